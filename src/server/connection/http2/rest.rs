//! What a client still sends of a body when it has its answer: read and dropped for a while, so that the
//! stream ends by itself.
//!
//! A stream that is reset at once is soon forgotten, and what was on its way counts as a fault of the
//! client's: uploads that are refused side by side would end the connection, and all that is on it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::super::{LINGER_BYTES, LINGER_FOR};

/// Reads until the end of the body, so many bytes, or so long; dropped then, the stream is reset.
pub(super) async fn ignore(rest: Incoming) {
    // Late or not, nothing more is to be done.
    let _ = timeout(LINGER_FOR, read(rest)).await;
}

async fn read(mut rest: Incoming) {
    let mut left = LINGER_BYTES;
    while left > 0 {
        let Some(Ok(frame)) = rest.frame().await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}
