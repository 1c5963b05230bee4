//! Sockets to accept on, one for each worker, all on one address.

use std::net::SocketAddr;
use std::net::TcpListener;
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};

/// Sockets that share an address.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

/// Binds `count` sockets to `address`; among them the kernel spreads connections.
///
/// An address on which anybody listens already is refused. Without the probe a second process would
/// join the first one's port, and each would get a share of the requests, judged by its own
/// configuration.
pub(super) fn bind(address: SocketAddr, count: usize) -> std::io::Result<Listeners> {
    drop(bound(address, Sharing::Alone)?);
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = listen(address)?;
        // Port 0 is a different one for each socket; the others follow the first.
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(Listeners { address, sockets })
}

/// Whether other sockets may have the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithWorkers,
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = bound(address, Sharing::WithWorkers)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, sharing: Sharing) -> std::io::Result<Socket> {
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
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_that_nobody_else_can_join() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind(any, 3).unwrap();
        assert_eq!(first.sockets.len(), 3);
        for socket in &first.sockets {
            assert_eq!(socket.local_addr().unwrap(), first.address);
        }
        let second = bind(first.address, 3).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
        let everywhere = SocketAddr::new("0.0.0.0".parse().unwrap(), first.address.port());
        let overlapping = bind(everywhere, 1).unwrap_err();
        assert_eq!(overlapping.kind(), std::io::ErrorKind::AddrInUse);
        drop(first.sockets);
        assert!(bind(first.address, 3).is_ok(), "what was left can be taken");
    }
}
