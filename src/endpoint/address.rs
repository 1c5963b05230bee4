//! Where an endpoint listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use crate::config::EndpointAddress;

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address that needs no look-up.
    Socket(SocketAddr),
    /// A name that is looked up for each new connection, and a port.
    Name(String, u16),
    /// A Unix socket at a path.
    Unix(PathBuf),
}

/// The name that the certificate of an endpoint must bear; none of one in clear.
pub(super) fn server_name(written: &EndpointAddress) -> Option<ServerName<'static>> {
    match written {
        EndpointAddress::Http(address) if address.is_https => {
            ServerName::try_from(address.host.clone()).ok()
        }
        EndpointAddress::Http(_) | EndpointAddress::Unix(_) => None,
    }
}

impl From<&EndpointAddress> for Address {
    fn from(written: &EndpointAddress) -> Self {
        match written {
            EndpointAddress::Http(address) => match address.host.parse() {
                Ok(ip) => Self::Socket(SocketAddr::new(ip, address.port)),
                Err(_) => Self::Name(address.host.clone(), address.port),
            },
            EndpointAddress::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
