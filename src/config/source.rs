//! A configuration file as text, with the name under which the operator knows it.
//!
//! Only reads; what the text means is read by `load`.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// Largest configuration file.
pub(super) const MAX_SOURCE_BYTES: u64 = 1 << 20;

/// The text of a configuration file and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the operator named it.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// Why a file could not be had as text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file is larger than the bound.
    #[error("is larger than {} KiB", MAX_SOURCE_BYTES >> 10)]
    TooLarge,
    /// The file is not UTF-8 from the given byte on.
    #[error("is not UTF-8 text (byte {0})")]
    NotText(usize),
}

impl Source {
    /// A source that is already in memory; `path` is only its name.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Reads a file of at most one mebibyte.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(SourceError::Unreadable)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells "exactly full" from "too large" without trusting `stat`.
        file.take(MAX_SOURCE_BYTES.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(SourceError::Unreadable)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_SOURCE_BYTES {
            return Err(SourceError::TooLarge);
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| SourceError::NotText(error.utf8_error().valid_up_to()))?;
        Ok(Self::new(path, text))
    }

    /// The folder against which relative paths in the file are meant.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new(""))
    }

    /// The text of a line, counted from 1, without its end.
    pub fn line(&self, number: u64) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.text.lines().nth(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis.yaml");
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn read(content: &[u8]) -> Result<Source, SourceError> {
        let (_folder, path) = write(content);
        Source::read(&path)
    }

    #[test]
    fn a_file_of_exactly_the_bound_is_read_and_one_byte_more_is_refused() {
        let bound = usize::try_from(MAX_SOURCE_BYTES).unwrap();
        assert_eq!(read(&vec![b'#'; bound]).unwrap().text.len(), bound);
        assert!(matches!(read(&vec![b'#'; bound + 1]), Err(SourceError::TooLarge)));
    }

    #[test]
    fn a_file_that_is_absent_or_not_text_is_refused() {
        let nowhere = Source::read(Path::new("/nonexistent/portcullis.yaml"));
        assert!(matches!(nowhere, Err(SourceError::Unreadable(_))));
        assert!(matches!(read(b"listen: \xff"), Err(SourceError::NotText(8))));
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = Source::new("etc/x.yaml", "a\r\nb\n");
        assert_eq!(source.line(0), None);
        assert_eq!(source.line(1), Some("a"));
        assert_eq!(source.line(2), Some("b"));
        assert_eq!(source.line(3), None);
        assert_eq!(source.folder(), Path::new("etc"));
    }
}
