//! The last good key set on disk, so that a restart does not depend on the issuer.
//!
//! Whoever can write this file chooses the keys: it is created for the owner alone, and belongs in a
//! folder that is too.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clock::Timestamp;

/// A file longer than this was not written by us.
const MAX_BYTES: u64 = 4 << 20;

/// The file of one key set.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
}

/// What the file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// From where it was fetched: a set of another source is not ours.
    pub(super) source: String,
    /// When, in milliseconds since the epoch.
    pub(super) fetched_at_ms: i64,
    /// The set, as the issuer sent it.
    pub(super) jwks: String,
}

impl Kept {
    pub(super) const fn fetched_at(&self) -> Timestamp {
        Timestamp::from_millis(self.fetched_at_ms)
    }
}

impl Shelf {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the file; absent is nothing.
    pub(super) async fn read(&self) -> io::Result<Option<Kept>> {
        let file = match tokio::fs::File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text).await?;
        serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
    }

    /// Writes the file beside the old one and puts it in its place: never half a set.
    pub(super) async fn write(&self, kept: &Kept) -> io::Result<()> {
        let text = serde_json::to_vec(kept)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        // A left-over of a crash; what stands there, link or file, is not written through.
        match tokio::fs::remove_file(&beside).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&beside).await?;
        file.write_all(&text).await?;
        file.sync_all().await?;
        drop(file);
        tokio::fs::rename(&beside, &self.path).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(jwks: &str) -> Kept {
        Kept { source: "https://a".to_owned(), fetched_at_ms: 1, jwks: jwks.to_owned() }
    }

    #[tokio::test]
    async fn gives_back_what_was_kept_last() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("set.json"));
        assert_eq!(shelf.read().await.unwrap(), None);
        shelf.write(&kept("one")).await.unwrap();
        shelf.write(&kept("two")).await.unwrap();
        assert_eq!(shelf.read().await.unwrap(), Some(kept("two")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.json");
        Shelf::new(path.clone()).write(&kept("one")).await.unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_broken_file_is_an_error_and_can_be_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.json");
        let shelf = Shelf::new(path.clone());
        for broken in ["", "{", "[]", "{\"source\":1}"] {
            std::fs::write(&path, broken).unwrap();
            assert!(shelf.read().await.is_err(), "{broken}");
        }
        std::fs::write(folder.path().join("set.json.new"), "left over").unwrap();
        shelf.write(&kept("one")).await.unwrap();
        assert_eq!(shelf.read().await.unwrap(), Some(kept("one")));
        let nowhere = Shelf::new(folder.path().join("absent/set.json"));
        assert!(nowhere.write(&kept("one")).await.is_err());
    }
}
