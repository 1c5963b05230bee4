//! One client connection: which protocol it speaks, over whatever stream.

mod http1;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::worker::Worker;
use crate::inquiry::Peer;
pub(super) use http1::protocol;

/// How long a connection may take over its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a whole head, from its first byte; for the first one, from the connection's opening.
    pub(super) head: Duration,
    /// For the next head to begin, and for the client to take more of its answer.
    pub(super) idle: Duration,
}

/// What carries a connection: a socket, or a session over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the socket below end in a reset: what was sent last is not left to the kernel to keep.
    fn reset_when_closed(&self);
}

impl Stream for TcpStream {
    fn reset_when_closed(&self) {
        // A socket that refuses has been closed already.
        let _ = self.set_zero_linger();
    }
}

/// Serves a connection to its end; one that opens while the worker drains serves one request.
pub(super) async fn serve<S: Stream>(
    stream: S,
    peer: Peer,
    worker: Arc<Worker>,
    patience: Patience,
) -> Result<(), hyper::Error> {
    http1::serve(stream, peer, worker, patience).await
}
