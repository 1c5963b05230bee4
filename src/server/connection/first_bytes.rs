//! Whether a connection in clear begins with HTTP/2: its first bytes are read, and read again by whoever
//! serves it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Stream;

/// A stream of which a first part was read already.
#[derive(Debug)]
pub(super) struct Begun<S> {
    inner: S,
    first: [u8; PREFACE.len()],
    /// The part of `first` that is to be read again.
    from: usize,
    to: usize,
}

/// Reads until the bytes are those of HTTP/2, or cannot become them; tells which.
pub(super) async fn begins_http2<S: Stream>(stream: S) -> io::Result<(Begun<S>, bool)> {
    let mut begun = Begun { inner: stream, first: [0; PREFACE.len()], from: 0, to: 0 };
    loop {
        let is_preface = PREFACE.starts_with(begun.unread());
        let room = begun.first.get_mut(begun.to..).unwrap_or_default();
        if !is_preface || room.is_empty() {
            return Ok((begun, is_preface));
        }
        // Reading is cancelled by a deadline only, which gives the stream up.
        match begun.inner.read(room).await? {
            0 => return Ok((begun, false)),
            read => begun.to += read,
        }
    }
}

impl<S> Begun<S> {
    fn unread(&self) -> &[u8] {
        self.first.get(self.from..self.to).unwrap_or_default()
    }
}

impl<S: Stream> Stream for Begun<S> {
    fn reset_when_closed(&self) {
        self.inner.reset_when_closed();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.from == self.to { self.inner.poll_readable(cx) } else { Poll::Ready(()) }
    }
}

impl<S: Stream> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from == self.to {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let unread = self.unread();
        let piece = unread.get(..buf.remaining()).unwrap_or(unread);
        buf.put_slice(piece);
        self.from += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// RFC 9113 §3.4. No request of HTTP/1.1 begins so: `PRI` is nobody's method.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
