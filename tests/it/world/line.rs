//! What a client speaks over: a socket, or a session of TLS over one.

use std::io::Error;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Result;
use std::io::Write;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::StreamOwned;
use socket2::SockRef;
use socket2::Socket;

use super::Client;
use super::DEADLINE;
use super::Http2;
use super::World;

/// A connection to the gateway.
#[derive(Debug)]
pub enum Line {
    /// In clear.
    Clear(Socket),
    /// After a handshake.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    /// Connects in clear; every wait has a deadline.
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_nodelay(true)?;
        Self::clear(stream.into())
    }

    /// Connects to a Unix socket.
    pub fn connect_unix(to: &Path) -> Result<Self> {
        Self::clear(UnixStream::connect(to)?.into())
    }

    fn clear(socket: Socket) -> Result<Self> {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Self::Clear(socket))
    }

    /// The socket below.
    pub fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Clear(socket) => SockRef::from(socket),
            Self::Tls(session) => SockRef::from(&session.sock),
        }
    }

    /// Waits for `patience`, or until anything arrives; whether nothing did.
    pub fn is_quiet(&self, patience: Duration) -> bool {
        let socket = self.socket();
        socket.set_read_timeout(Some(patience)).unwrap();
        let arrived = socket.peek(&mut [MaybeUninit::uninit()]);
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        arrived.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// How long a write may wait.
    pub fn set_write_timeout(&self, timeout: Duration) {
        self.socket().set_write_timeout(Some(timeout)).unwrap();
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        if let Self::Tls(session) = self {
            session.conn.send_close_notify();
            let _ = session.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buf),
            Self::Tls(session) => read_within(session, buf),
        }
    }
}

/// Reads what has come, although nothing more can be written: a peer says why before it closes.
fn read_within(
    session: &mut StreamOwned<ClientConnection, TcpStream>,
    buf: &mut [u8],
) -> Result<usize> {
    loop {
        match session.conn.reader().read(buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
        session.conn.read_tls(&mut session.sock)?;
        session.conn.process_new_packets().map_err(Error::other)?;
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(buf),
            Self::Tls(session) => session.write(buf),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(session) => session.flush(),
        }
    }
}

impl World {
    /// A new connection to the public port.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::over(self.line("http/1.1"))
    }

    /// A new connection that speaks HTTP/2.
    #[track_caller]
    pub fn connect_http2(&self) -> Http2 {
        self.connect_http2_with(&[])
    }

    /// The same with more settings.
    #[track_caller]
    pub fn connect_http2_with(&self, settings: &[(u16, u32)]) -> Http2 {
        Http2::over(self.line("h2"), settings)
    }

    /// A new connection that may speak HTTP/2 and says nothing yet.
    #[track_caller]
    pub fn silent_http2(&self) -> Http2 {
        Http2::silent(self.line("h2"))
    }

    #[track_caller]
    fn line(&self, protocol: &str) -> Line {
        if let Some(unix) = self.running.public().unix() {
            return Line::connect_unix(&unix.path).expect("the gateway listens");
        }
        let to = self.public();
        match &self.tls {
            None => Line::connect(to).expect("the gateway listens"),
            Some(client) => client.speak(to, protocol).expect("a handshake"),
        }
    }
}
