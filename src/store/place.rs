//! Whether the file that connections have open is still the one at its path.
//!
//! A file that was removed or replaced lives on for whoever has it open: a gateway would go on
//! believing it and never hear of a revocation that is written to the new one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The path of a store and what was found there last.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    file: Option<File>,
    since: Instant,
}

/// Which file: its device and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File(u64, u64);

impl Place {
    /// What stands at `path` now.
    pub(super) fn new(path: PathBuf) -> Self {
        let seen = Seen { file: None, since: Instant::now() };
        let place = Self { path, seen: Mutex::new(seen) };
        place.look(|_| ());
        place
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that stands here now.
    pub(super) fn file(&self) -> Option<File> {
        self.look(|seen| seen.file)
    }

    /// Whether a connection of this age was opened after the file came to stand here.
    pub(super) fn has_open(&self, age: Duration) -> bool {
        self.look(|seen| age < seen.since.elapsed())
    }

    fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        let file = std::fs::metadata(&self.path).ok().map(|found| File(found.dev(), found.ino()));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.file != file {
            *seen = Seen { file, since: Instant::now() };
        }
        at(&seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_as_good_as_the_file_that_it_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.db");
        std::fs::write(&path, "one").unwrap();
        let place = Place::new(path.clone());
        let opened = Instant::now();
        assert!(place.has_open(opened.elapsed()));
        std::fs::write(&path, "two").unwrap();
        assert!(place.has_open(opened.elapsed()), "the same file with other contents");

        std::fs::remove_file(&path).unwrap();
        assert!(!place.has_open(opened.elapsed()));
        let other = folder.path().join("other");
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(other, &path).unwrap();
        assert!(!place.has_open(opened.elapsed()), "another file with the same contents");
        let opened = Instant::now();
        assert!(place.has_open(opened.elapsed()));
    }
}
