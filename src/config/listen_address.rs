//! Where the gateway listens: at an address and port, or at a Unix socket that some may open.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::socket_path;
use super::finding::Findings;
use super::scalar::At;

/// Where one listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// At an address and port.
    Socket(SocketAddr),
    /// At a Unix socket.
    Unix(UnixSettings),
}

/// A Unix socket to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSettings {
    /// Its file.
    pub path: PathBuf,
    /// The permission bits of that file: whoever may write to it may connect.
    pub mode: u32,
}

impl ListenAddress {
    /// Reads `ADDRESS:PORT` or `unix:/PATH`.
    pub(super) fn resolve(
        written: &At<String>,
        mode: Option<&At<String>>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let Some(path) = written.strip_prefix("unix:") else {
            if let Some(mode) = mode {
                findings.warn(mode.place, "only the file of a Unix socket has a mode");
            }
            let address = written.parse().ok().map(Self::Socket);
            if address.is_none() {
                findings
                    .error(written.place, format!("`{}` is not an address and port", written.value))
                    .help("write an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or `unix:/PATH`");
            }
            return address;
        };
        let path = socket_path(path);
        if path.is_none() {
            findings
                .error(written.place, "the path of the socket is none")
                .help("write `unix:/PATH`, absolute and of at most 100 bytes");
        }
        let mode = match mode {
            None => Some(USUAL_MODE),
            Some(mode) => self::mode(mode, findings),
        };
        Some(Self::Unix(UnixSettings { path: path?, mode: mode? }))
    }

    /// The address and port, of one that has them.
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The Unix socket, of one that is there.
    pub const fn unix(&self) -> Option<&UnixSettings> {
        match self {
            Self::Socket(_) => None,
            Self::Unix(unix) => Some(unix),
        }
    }

    /// Whether one takes the connections of the other; port 0 asks for any free port.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(a), Self::Socket(b)) => {
                let is_same =
                    a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && a.port() != 0 && is_same
            }
            (Self::Unix(a), Self::Unix(b)) => a.path == b.path,
            (Self::Socket(_), Self::Unix(_)) | (Self::Unix(_), Self::Socket(_)) => false,
        }
    }
}

impl UnixSettings {
    /// Whether every program on the machine may connect.
    pub(super) const fn is_open_to_all(&self) -> bool {
        self.mode & 0o002 != 0
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(unix) => write!(f, "unix:{}", unix.path.display()),
        }
    }
}

fn mode(written: &At<String>, findings: &mut Findings) -> Option<u32> {
    let text = written.value.as_str();
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| digit.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && *bits <= 0o777);
    if bits.is_none() {
        findings
            .error(written.place, format!("`{text}` is not a mode of a file"))
            .help("write three octal digits for owner, group and others, such as `660`");
    }
    bits
}

/// For the owner and the group.
const USUAL_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scalar::Place;

    fn resolve(text: &str, mode: Option<&str>) -> Result<ListenAddress, Vec<String>> {
        let at = |text: &str| At { value: text.to_owned(), place: Place::default() };
        let mut findings = Findings::new();
        let mode = mode.map(at);
        let address = ListenAddress::resolve(&at(text), mode.as_ref(), &mut findings);
        let found: Vec<_> = findings.iter().map(|finding| finding.message.clone()).collect();
        address.filter(|_| found.is_empty()).ok_or(found)
    }

    #[test]
    fn an_address_is_a_port_or_a_path() {
        for text in ["0.0.0.0:8080", "[::1]:1", "unix:/run/p.sock"] {
            assert_eq!(resolve(text, None).unwrap().to_string(), text);
        }
        for text in ["unix:", "unix:p.sock", "unix:/p/", "unix://p", "UNIX:/p", "localhost:80"] {
            assert_eq!(resolve(text, None).unwrap_err().len(), 1, "{text}");
        }
        let long = format!("unix:/{}", "p".repeat(99));
        assert!(resolve(&long, None).is_ok());
        assert!(resolve(&format!("{long}p"), None).is_err());
    }

    #[test]
    fn a_mode_is_three_octal_digits() {
        let mode = |mode| {
            resolve("unix:/p", mode).map(|address| address.unix().map_or(0, |unix| unix.mode))
        };
        assert_eq!(mode(None), Ok(0o660));
        for (text, bits) in [("600", 0o600), ("0777", 0o777), ("000", 0)] {
            assert_eq!(mode(Some(text)), Ok(bits), "{text}");
        }
        for text in ["", "66", "680", "1777", "00660", "0o660", "+66", "u=rw", "-660"] {
            assert_eq!(mode(Some(text)).unwrap_err().len(), 1, "{text}");
        }
        let found = resolve("127.0.0.1:80", Some("660")).unwrap_err();
        assert_eq!(found, ["only the file of a Unix socket has a mode"]);
    }
}
