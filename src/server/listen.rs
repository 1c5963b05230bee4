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
pub(super) fn bind(address: SocketAddr, count: usize) -> std::io::Result<Listeners> {
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

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Cores that this process may use: the container's CPU quota and the affinity are honoured.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Connections that the kernel keeps for a worker until it accepts them.
const BACKLOG: i32 = 4096;
