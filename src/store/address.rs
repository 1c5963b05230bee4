//! Where a store is kept, as the operator writes it: `sqlite:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config;

/// The address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Memory,
}

/// Why a text is not the address of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin with `sqlite:`.
    #[error("a store is written sqlite:PATH")]
    Scheme,
    /// Nothing stands behind the scheme.
    #[error("the path of the store is empty")]
    Empty,
    /// SQLite would read the path as something other than the name of a file.
    #[error("the path of the store holds `?`, `#`, a control character or a scheme of its own")]
    Path,
}

impl StoreAddress {
    /// Reads `sqlite:PATH`, `sqlite://PATH`, or `sqlite::memory:` for a store that dies with its handle.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("sqlite:").ok_or(AddressError::Scheme)?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path == ":memory:" {
            return Ok(Self(Kind::Memory));
        }
        if path.is_empty() {
            return Err(AddressError::Empty);
        }
        // SQLite opens `file:` names as URIs, whose parameters switch locking and permissions off.
        let is_odd = path.starts_with("file:") || path.starts_with(':');
        if is_odd || path.contains(|c: char| c.is_control() || matches!(c, '?' | '#')) {
            return Err(AddressError::Path);
        }
        Ok(Self(Kind::File(PathBuf::from(path))))
    }

    /// The file it is kept in; `None` for a store in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::File(path) => Some(path),
            Kind::Memory => None,
        }
    }
}

impl TryFrom<&config::StoreAddress> for StoreAddress {
    type Error = AddressError;

    fn try_from(configured: &config::StoreAddress) -> Result<Self, AddressError> {
        let config::StoreAddress::Sqlite(path) = configured;
        Self::parse(&format!("sqlite:{}", path.display()))
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => write!(f, "sqlite:{}", path.display()),
            Kind::Memory => f.write_str("sqlite::memory:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form_of_an_address() {
        for (text, path) in [
            ("sqlite:portcullis.db", Some("portcullis.db")),
            ("sqlite:/var/lib/p.db", Some("/var/lib/p.db")),
            ("sqlite://p.db", Some("p.db")),
            ("sqlite:///var/lib/p.db", Some("/var/lib/p.db")),
            ("sqlite::memory:", None),
        ] {
            let address = StoreAddress::parse(text).unwrap();
            assert_eq!(address.path(), path.map(Path::new), "{text}");
            assert_eq!(StoreAddress::parse(&address.to_string()), Ok(address), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_the_name_of_a_file() {
        for (text, error) in [
            ("", AddressError::Scheme),
            ("portcullis.db", AddressError::Scheme),
            ("postgres://h/db", AddressError::Scheme),
            ("SQLITE:p.db", AddressError::Scheme),
            ("sqlite:", AddressError::Empty),
            ("sqlite://", AddressError::Empty),
            ("sqlite:p.db?mode=ro", AddressError::Path),
            ("sqlite:p.db#x", AddressError::Path),
            ("sqlite:file:p.db", AddressError::Path),
            ("sqlite:p\0.db", AddressError::Path),
            ("sqlite::other:", AddressError::Path),
        ] {
            assert_eq!(StoreAddress::parse(text), Err(error), "{text}");
        }
    }
}
