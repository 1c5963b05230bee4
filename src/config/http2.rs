//! What a client may do with HTTP/2, in numbers.

use std::time::Duration;

use super::bounds;
use super::document::Http2;
use super::finding::Findings;

/// What a client may do with HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// Whether a connection in clear may begin with it.
    pub prior_knowledge: bool,
    /// Whether it is offered to clients that speak TLS.
    pub alpn: bool,
    /// Whether a stream may become a WebSocket.
    pub websockets: bool,
    /// Requests under way on one connection.
    pub streams: u32,
    /// Streams reset before they were looked at, and streams with an error of the client's.
    pub resets: usize,
    /// Largest frame, in bytes.
    pub frame: u32,
    /// Bytes of one body before it was passed on.
    pub stream_window: u32,
    /// Bytes of all bodies before they were passed on.
    pub connection_window: u32,
    /// Bytes kept of one answer.
    pub send_buffer: usize,
    /// How often a client is asked whether it is still there.
    pub keep_alive: Duration,
}

impl Http2Settings {
    /// Reads the numbers.
    pub fn resolve(http2: &Http2, findings: &mut Findings) -> Self {
        let send_buffer = bounds::HTTP2_SEND_BUFFER.bytes(http2.send_buffer.as_ref(), findings);
        let window = bounds::HTTP2_CONNECTION_WINDOW;
        Self {
            prior_knowledge: http2.prior_knowledge.unwrap_or(false),
            alpn: http2.alpn.unwrap_or(true),
            websockets: http2.websockets.unwrap_or(false),
            streams: to_u32(bounds::HTTP2_STREAMS.count(http2.streams.as_ref(), findings)),
            resets: bounds::HTTP2_RESETS.count(http2.resets.as_ref(), findings),
            frame: to_u32(bounds::HTTP2_FRAME.bytes(http2.frame.as_ref(), findings)),
            stream_window: to_u32(
                bounds::HTTP2_STREAM_WINDOW.bytes(http2.stream_window.as_ref(), findings),
            ),
            connection_window: to_u32(window.bytes(http2.connection_window.as_ref(), findings)),
            send_buffer: bounds::to_usize(send_buffer),
            keep_alive: bounds::HTTP2_KEEP_ALIVE.time(http2.keep_alive.as_ref(), findings),
        }
    }
}

/// Of a number within bounds that fit.
fn to_u32<T: TryInto<u32>>(number: T) -> u32 {
    number.try_into().unwrap_or(u32::MAX >> 1)
}
