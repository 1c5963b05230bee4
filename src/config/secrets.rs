//! Where secrets come from: files and environment variables, read once at load.
//!
//! The only code that reads the environment. Which files were read is kept, so that a change to one
//! of them can be noticed.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::secret::Secret;

use super::scalar::SecretRef;
use super::watch::NamedFile;

/// Why a secret or a named file could not be had; names the place it was looked for, never what was there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error("`{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is a folder, a pipe or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file is larger than the bound.
    #[error("`{path}` is larger than {} KiB", .max_bytes >> 10, path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        max_bytes: u64,
    },
    /// The file holds nothing, or only a line end.
    #[error("`{}` is empty", .0.display())]
    EmptyFile(PathBuf),
    /// The environment variable is not there, or is not text.
    #[error("the environment variable `{0}` is not set")]
    NoVariable(String),
    /// The environment variable holds nothing.
    #[error("the environment variable `{0}` is empty")]
    EmptyVariable(String),
}

/// Reads secrets and other named files, and keeps the names of the files.
#[derive(Debug)]
pub struct Secrets {
    folder: PathBuf,
    named_files: Vec<NamedFile>,
}

/// Largest secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Largest other file that the document names, such as a key set.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Secrets {
    /// A reader for which relative paths are meant from `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), named_files: Vec::new() }
    }

    /// Reads a secret; of a file's content, one line end at the end is left out.
    pub fn read(&mut self, reference: &SecretRef) -> Result<Secret<Vec<u8>>, SecretError> {
        match reference {
            SecretRef::File(path) => {
                let path = self.name(path.as_ref());
                let mut content = content(&path, MAX_SECRET_BYTES)?;
                if content.last() == Some(&b'\n') {
                    content.pop();
                    content.pop_if(|byte| *byte == b'\r');
                }
                if content.is_empty() {
                    return Err(SecretError::EmptyFile(path));
                }
                Ok(Secret::new(content))
            }
            SecretRef::Env(name) => variable(name),
        }
    }

    /// Reads a file that holds no secret, such as a key set, as it is.
    pub fn read_file(&mut self, path: &Path) -> Result<Vec<u8>, SecretError> {
        let path = self.name(path);
        let content = content(&path, MAX_FILE_BYTES)?;
        if content.is_empty() {
            return Err(SecretError::EmptyFile(path));
        }
        Ok(content)
    }

    /// Reads what may be larger than a secret, such as a chain of certificates, wherever it is kept.
    pub fn read_chain(&mut self, reference: &SecretRef) -> Result<Vec<u8>, SecretError> {
        match reference {
            SecretRef::File(path) => self.read_file(path.as_ref()),
            SecretRef::Env(name) => variable(name).map(|value| value.expose().clone()),
        }
    }

    /// Where a file is that the document names.
    pub fn locate(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The files that were asked for, also those that could not be read.
    pub fn into_named_files(self) -> Vec<NamedFile> {
        self.named_files
    }

    /// Kept before it is read: once a missing file appears, that is a change too.
    fn name(&mut self, path: &Path) -> PathBuf {
        let path = self.locate(path);
        if self.named_files.iter().all(|known| known.path != path) {
            self.named_files.push(NamedFile::now(path.clone()));
        }
        path
    }
}

#[expect(clippy::disallowed_methods, reason = "secrets are what config reads the environment for")]
fn variable(name: &str) -> Result<Secret<Vec<u8>>, SecretError> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Err(SecretError::EmptyVariable(name.to_owned())),
        Ok(value) => Ok(Secret::new(value.into_bytes())),
        Err(_) => Err(SecretError::NoVariable(name.to_owned())),
    }
}

fn content(path: &Path, max_bytes: u64) -> Result<Vec<u8>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    // A pipe would be waited for without end, and could be read only once.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(SecretError::TooLarge { path: path.to_owned(), max_bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Vec<u8>, String> {
        let folder = write(content);
        let secret = Secrets::new(folder.path()).read(&SecretRef::File("it".to_owned()));
        secret
            .map(|secret| secret.expose().clone())
            .map_err(|error| error.to_string().replace(&*folder.path().to_string_lossy(), "…"))
    }

    fn write(content: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("it"), content).unwrap();
        folder
    }

    #[test]
    fn one_line_end_is_left_out_and_everything_else_is_the_secret() {
        assert_eq!(read(b"hunter2").unwrap(), b"hunter2");
        assert_eq!(read(b"hunter2\n").unwrap(), b"hunter2");
        assert_eq!(read(b"hunter2\r\n").unwrap(), b"hunter2");
        assert_eq!(read(b"hunter2\n\n").unwrap(), b"hunter2\n");
        assert_eq!(read(b" \xff\r").unwrap(), b" \xff\r");
    }

    #[test]
    fn an_empty_secret_is_refused() {
        assert_eq!(read(b"").unwrap_err(), "`…/it` is empty");
        assert_eq!(read(b"\n").unwrap_err(), "`…/it` is empty");
        assert_eq!(read(b"\r\n").unwrap_err(), "`…/it` is empty");
    }

    #[test]
    fn a_secret_of_the_bound_is_read_and_one_byte_more_is_refused() {
        assert_eq!(read(&vec![b'x'; 64 << 10]).unwrap().len(), 64 << 10);
        assert_eq!(read(&vec![b'x'; (64 << 10) + 1]).unwrap_err(), "`…/it` is larger than 64 KiB");
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let mut secrets = Secrets::new("/");
        let absent = secrets.read(&SecretRef::File("nonexistent/x".to_owned())).unwrap_err();
        assert!(absent.to_string().starts_with("`/nonexistent/x` cannot be read: "));
        let folder = secrets.read(&SecretRef::File("/tmp".to_owned())).unwrap_err();
        assert_eq!(folder.to_string(), "`/tmp` is not a regular file");
        let device = secrets.read_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(device.to_string(), "`/dev/zero` is not a regular file");
        let named = secrets.into_named_files();
        let named: Vec<_> = named.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(named, ["/nonexistent/x", "/tmp", "/dev/zero"]);
    }

    #[test]
    fn a_variable_that_is_not_set_is_refused_by_name() {
        let mut secrets = Secrets::new("");
        let path = secrets.read(&SecretRef::Env("PATH".to_owned())).unwrap();
        assert!(!path.expose().is_empty());
        let name = "PORTCULLIS_TEST_THAT_NOBODY_SETS".to_owned();
        let error = secrets.read(&SecretRef::Env(name)).unwrap_err();
        assert!(matches!(error, SecretError::NoVariable(_)));
        // The system cannot even hold such a name; the look-up must not panic.
        for name in ["=", "A=B", "A\0B"] {
            assert!(secrets.read(&SecretRef::Env(name.to_owned())).is_err());
        }
        assert!(secrets.into_named_files().is_empty());
    }
}
