//! A connection that became a tunnel: bytes of a WebSocket both ways, not looked into.
//!
//! Holds no buffer while nothing moves. What one side does not take is held once, 16 KiB at most, and
//! until it is gone nothing more is read from the other.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer_body::Source;
use super::link::Link;
use super::several::Escort;

/// The upstream's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    link: Box<Link>,
    /// Counts it where requests are counted, to its end.
    _escort: Option<Box<Escort>>,
    up: Flow,
    down: Flow,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    held: Bytes,
    state: State,
    moved: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The sender has ended; what it sent last is still to be written.
    Ending,
    Ended,
}

impl Tunnel {
    pub(super) fn new(source: Source) -> Self {
        let Source { mut link, mut escort, .. } = source;
        // The endpoint agreed; how long it stays is no merit and no fault.
        if let Some(escort) = &mut escort {
            escort.load.succeeded();
        }
        // Sent behind the head of the answer.
        let held = link.read.split().freeze();
        Self { link, _escort: escort, up: Flow::default(), down: Flow { held, ..Flow::default() } }
    }

    /// Takes what the client sent before it knew of the answer.
    pub fn begin(&mut self, early: Bytes) {
        self.up.held = early;
    }

    /// Moves what there is; ready when both sides have ended, or one has failed.
    pub fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        client: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let up = self.up.poll(client, &mut self.link.stream, cx)?;
        let down = self.down.poll(&mut self.link.stream, client, cx)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Bytes that went to the upstream and to the client.
    pub const fn moved(&self) -> (u64, u64) {
        (self.up.moved, self.down.moved)
    }

    /// Ready once each [`LOOK_EVERY`](super::LOOK_EVERY), while it is asked.
    pub fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_look(cx)
    }
}

impl Flow {
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.held.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
                self.wrote(count)?;
                drop(self.held.split_to(count));
            }
            match self.state {
                State::Open => ready!(self.poll_move(from, to, cx))?,
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads once, and writes what was read; ready when there is something to do.
    fn poll_move(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = [const { MaybeUninit::uninit() }; READ_AT_ONCE];
        let mut buffer = ReadBuf::uninit(&mut room);
        if Pin::new(from).poll_read(cx, &mut buffer)?.is_pending() {
            // A session over the socket may keep what it took.
            ready!(Pin::new(to).poll_flush(cx))?;
            return Poll::Pending;
        }
        let read = buffer.filled();
        if read.is_empty() {
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        let count = match Pin::new(to).poll_write(cx, read)? {
            Poll::Ready(count) => {
                self.wrote(count)?;
                count
            }
            Poll::Pending => 0,
        };
        self.held = Bytes::copy_from_slice(read.get(count..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) -> io::Result<()> {
        self.moved = self.moved.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}

/// Whether the head of an answer agrees to just the opening that was sent (RFC 6455 §4.1).
pub(super) fn agrees(answer: &HeaderMap, request: &HeaderMap) -> bool {
    let is_only = |name: HeaderName, wanted: &dyn Fn(&[u8]) -> bool| {
        let mut values = answer.get_all(name).iter();
        values.next().is_some_and(|value| wanted(value.as_bytes())) && values.next().is_none()
    };
    let is_upgrade = |value: &[u8]| {
        let mut tokens = value.split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    let Some(key) = request.get(header::SEC_WEBSOCKET_KEY) else { return false };
    let accept = accept(key.as_bytes());
    is_only(header::UPGRADE, &|value| value.eq_ignore_ascii_case(b"websocket"))
        && is_only(header::CONNECTION, &is_upgrade)
        && is_only(header::SEC_WEBSOCKET_ACCEPT, &|value| value == accept.as_bytes())
}

fn accept(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    STANDARD.encode(context.finish())
}

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The most that is read at once, and so the most that is held.
const READ_AT_ONCE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_the_answer_to_this_opening_agrees() {
        let request = map(&[("sec-websocket-key", KEY)]);
        let good =
            [("upgrade", "WebSocket"), ("connection", "Upgrade"), ("sec-websocket-accept", ACCEPT)];
        assert!(agrees(&map(&good), &request));
        assert!(!agrees(&map(&good), &map(&[])));
        for left_out in 0..good.len() {
            let mut fields = good.to_vec();
            let twice = fields[left_out];
            fields.push(twice);
            assert!(!agrees(&map(&fields), &request), "twice {twice:?}");
            fields.retain(|field| *field != twice);
            assert!(!agrees(&map(&fields), &request), "without {twice:?}");
        }
        for (at, value) in [(0, "h2c"), (1, "close"), (2, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")] {
            let mut fields = good;
            fields[at].1 = value;
            assert!(!agrees(&map(&fields), &request), "{value}");
        }
    }

    #[tokio::test]
    async fn what_a_slow_reader_does_not_take_is_held_and_no_more_is_read() {
        let (mut theirs, mut from) = tokio::io::duplex(1 << 20);
        let (mut to, mut slow) = tokio::io::duplex(1000);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &sent).await.unwrap();
        drop(theirs);
        let mut flow = Flow::default();
        let mut got = Vec::new();
        let turn = |cx: &mut Context<'_>| {
            let done = flow.poll(&mut from, &mut to, cx)?;
            assert!(flow.held.len() <= READ_AT_ONCE);
            let mut room = [0; 700];
            let mut buffer = ReadBuf::new(&mut room);
            let read = Pin::new(&mut slow).poll_read(cx, &mut buffer)?;
            got.extend_from_slice(buffer.filled());
            let is_over = done.is_ready() && read.is_ready() && buffer.filled().is_empty();
            cx.waker().wake_by_ref();
            is_over.then_some(io::Result::Ok(())).map_or(Poll::Pending, Poll::Ready)
        };
        std::future::poll_fn(turn).await.unwrap();
        assert_eq!((got == sent, flow.moved), (true, 100_000));
    }
}
