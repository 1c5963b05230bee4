//! A stream that closes so that the last frames arrive: what the client still sends is read for a while.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::super::{LINGER_BYTES, LINGER_FOR, Stream, poll_drop};

/// A socket closed with unread bytes sends a reset, which can overtake the frame that says why.
#[derive(Debug)]
pub(super) struct Lingering<S: Stream> {
    inner: TokioIo<S>,
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    /// Bytes of theirs that are read and dropped at most.
    left: usize,
    alarm: Pin<Box<Sleep>>,
}

impl<S: Stream> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { inner: TokioIo::new(stream), end: None }
    }
}

impl<S: Stream> Read for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Stream> Write for Lingering<S> {
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
        let Self { inner, end } = &mut *self;
        if end.is_none() {
            ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
        }
        let end = end.get_or_insert_with(|| End {
            left: LINGER_BYTES,
            alarm: Box::pin(tokio::time::sleep(LINGER_FOR)),
        });
        match poll_drop(inner, cx, &mut end.left) {
            Poll::Pending => end.alarm.as_mut().poll(cx).map(Ok),
            Poll::Ready(outcome) => Poll::Ready(outcome),
        }
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
