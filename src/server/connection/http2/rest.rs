//! What a client still sends of a body when it has its answer: read and dropped for a while, so that the
//! stream ends by itself.
//!
//! A stream that is reset at once is soon forgotten, and what was on its way counts as a fault of the
//! client's: uploads that are refused side by side would end the connection, and all that is on it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::super::LINGER_BYTES;

/// Reads until the end of the body, or so many bytes, or for so long in vain; dropped then, the stream
/// is reset.
pub(super) async fn ignore(mut rest: Incoming) {
    let mut left = LINGER_BYTES;
    while left > 0 {
        let Ok(Some(Ok(frame))) = timeout(NEXT_WITHIN, rest.frame()).await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

/// How long the next piece may take. Streams take turns: on a slow line it is not the next frame.
const NEXT_WITHIN: Duration = Duration::from_secs(5);
