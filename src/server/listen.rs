//! Sockets to accept on: one for each worker, all on one address, or one Unix socket for all of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::net::{UnixListener, UnixStream};

use super::unix_socket;
use super::unix_socket::SocketFile;
use crate::config::ListenAddress;

/// Sockets that share an address.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) address: ListenAddress,
    pub(super) sockets: Vec<Bound>,
}

/// A socket that listens, bound before there was a runtime.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(std::net::TcpListener),
    /// Its file first: nobody may connect to what nobody accepts from.
    Unix(Arc<SocketFile>, std::os::unix::net::UnixListener),
}

/// A socket to accept from.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// As above.
    Unix(#[expect(dead_code, reason = "held for its end")] Arc<SocketFile>, UnixListener),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Accepted {
    /// From an address.
    Tcp(TcpStream, IpAddr),
    /// From this machine.
    Unix(UnixStream),
}

impl Bound {
    /// Within a runtime.
    pub(super) fn into_listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
            Self::Unix(file, socket) => {
                UnixListener::from_std(socket).map(|socket| Listener::Unix(file, socket))
            }
        }
    }
}

impl Listener {
    /// Waits for the next connection; nothing is lost when that is given up.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                Ok(Accepted::Tcp(stream, address.ip()))
            }
            Self::Unix(_, socket) => {
                socket.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

/// Binds `count` sockets to `address`.
pub(super) fn bind(address: &ListenAddress, count: usize) -> io::Result<Listeners> {
    match address {
        ListenAddress::Socket(address) => bind_tcp(*address, count),
        ListenAddress::Unix(unix) => {
            let (file, socket) = unix_socket::bind(unix)?;
            let file = Arc::new(file);
            // One queue, from which whichever worker is free takes the next connection.
            let sockets = (1..count).map(|_| socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
            let sockets = sockets.into_iter().chain([socket]);
            let sockets = sockets.map(|socket| Bound::Unix(Arc::clone(&file), socket)).collect();
            Ok(Listeners { address: address.clone(), sockets })
        }
    }
}

/// Binds one socket that shares its address with none; where it listens.
pub(super) fn bind_alone(address: &ListenAddress) -> io::Result<(ListenAddress, Bound)> {
    match address {
        ListenAddress::Socket(address) => {
            let socket = listen(*address, Sharing::Alone)?;
            Ok((ListenAddress::Socket(socket.local_addr()?), Bound::Tcp(socket)))
        }
        ListenAddress::Unix(unix) => {
            let (file, socket) = unix_socket::bind(unix)?;
            Ok((address.clone(), Bound::Unix(Arc::new(file), socket)))
        }
    }
}

/// Binds `count` sockets to `address`; among them the kernel spreads connections.
///
/// An address on which anybody listens already is refused. Without the probe a second process would
/// join the first one's port, and each would get a share of the requests, judged by its own
/// configuration.
fn bind_tcp(address: SocketAddr, count: usize) -> io::Result<Listeners> {
    drop(bound(address, Sharing::Alone)?);
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = listen(address, Sharing::WithWorkers)?;
        // Port 0 is a different one for each socket; the others follow the first.
        address = socket.local_addr()?;
        sockets.push(Bound::Tcp(socket));
    }
    Ok(Listeners { address: ListenAddress::Socket(address), sockets })
}

/// Whether other sockets may have the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithWorkers,
}

fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, sharing)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that still close do not keep the next one from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::WithWorkers)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Cores that this process may use: the container's CPU quota and the affinity are honoured.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Connections that the kernel keeps for a worker until it accepts them.
pub(super) const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_that_nobody_else_can_join() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind_tcp(any, 3).unwrap();
        assert_eq!(first.sockets.len(), 3);
        let address = first.address.socket().unwrap();
        for socket in &first.sockets {
            let Bound::Tcp(socket) = socket else { panic!("{socket:?}") };
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        let second = bind_tcp(address, 3).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let everywhere = SocketAddr::new("0.0.0.0".parse().unwrap(), address.port());
        let overlapping = bind_tcp(everywhere, 1).unwrap_err();
        assert_eq!(overlapping.kind(), io::ErrorKind::AddrInUse);
        drop(first.sockets);
        assert!(bind_tcp(address, 3).is_ok(), "what was left can be taken");
    }
}
