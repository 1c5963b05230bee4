//! A stream that became a WebSocket (RFC 8441): moved to its end, and ended so that a break is not taken
//! for one.

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use http::header;
use hyper_util::rt::TokioIo;

use crate::proxy::{Over, Tunnel};

/// What writes to the stream of a tunnel, and ends that stream when it is not dropped before.
pub(super) struct Writer(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Writer {
    pub(super) fn new(writer: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(writer))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Says of a switch of protocols what HTTP/2 says in its place (RFC 8441 §5).
pub(super) fn agree<B>(response: &mut Response<B>) {
    *response.status_mut() = StatusCode::OK;
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
}

/// Runs a tunnel to its end.
pub(super) async fn run(mut tunnel: Tunnel, mut writer: Writer) {
    let Ok(client) = (&mut tunnel.upgrade).await else { return };
    let mut client = TokioIo::new(client);
    let over = together(tunnel.run(&mut client, Bytes::new()), &mut writer).await;
    if over == Over::Broken {
        // First: with its end in sight, the writer would end the stream as if all had been said.
        drop(writer);
    }
}

/// Drives both until the tunnel is over.
async fn together(running: impl Future<Output = Over>, writer: &mut Writer) -> Over {
    let mut running = pin!(running);
    let mut is_written = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(over) = running.as_mut().poll(cx) {
                return Poll::Ready(over);
            }
            if is_written || writer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The client reset the stream, or takes no more: the tunnel is to find that out.
            is_written = true;
        }
    })
    .await
}
