//! The bytes of one connection to an upstream, whatever carries them.

use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Address, Endpoint};
use crate::gateway::Secured;

/// An open connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: a session is large, and most upstreams have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects, writes what stands before everything else, and sets up TLS where there is to be any;
    /// the caller says how long that may take.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        first: Option<&[u8]>,
        secured: Option<&Arc<Secured>>,
    ) -> io::Result<Self> {
        let mut stream = match &endpoint.address {
            Address::Socket(address) => Self::Tcp(TcpStream::connect(address).await?),
            Address::Name(name, port) => Self::Tcp(connect_by_name(name, *port).await?),
            Address::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
        };
        if let Self::Tcp(stream) = &stream {
            stream.set_nodelay(true)?;
        }
        if let Some(first) = first {
            stream.write_all(first).await?;
        }
        match (stream, secured) {
            (Self::Tcp(stream), Some(secured)) => {
                let connector = TlsConnector::from(Arc::clone(&secured.config));
                let name = secured.name.clone().or_else(|| endpoint.server_name.clone());
                let name = name.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(Self::Tls(Box::new(connector.connect(name, stream).await?)))
            }
            (stream, _) => Ok(stream),
        }
    }

    /// Reads what is there, without waiting and outside of the task's budget.
    pub(super) fn try_read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
            Self::Tls(stream) => listen(stream).map(|()| 0),
        }
    }

    /// Whether both ends agreed on HTTP/2.
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether bytes may be held back by it after they were written, until it is flushed.
    pub(super) const fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Waits until there is something to read.
    #[cfg(test)]
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            Self::Tls(stream) => stream.get_ref().0.readable().await,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Takes in what a silent server may send: session tickets, new keys. `WouldBlock` is silence, success
/// the end or bytes of an answer.
fn listen(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let (socket, session) = stream.get_mut();
    loop {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let state = session.process_new_packets().map_err(broken)?;
        if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
            return Ok(());
        }
        if session.read_tls(&mut Unpolled(socket))? == 0 {
            return Ok(());
        }
    }
}

/// A socket read without waiting and outside of the task's budget.
struct Unpolled<'s>(&'s TcpStream);

impl io::Read for Unpolled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

async fn connect_by_name(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in tokio::net::lookup_host((name, port)).await?.take(MOST_ADDRESSES) {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
