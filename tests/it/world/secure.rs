//! An issuer behind TLS: shows one certificate and publishes one key set.

use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::crypto::aws_lc_rs::default_provider;

use super::DEADLINE;
use super::authority::Shown;

/// A server on a port of its own.
pub struct Secure {
    address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

struct State {
    config: Arc<ServerConfig>,
    body: String,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

impl Secure {
    /// Shows this and answers every request with this body.
    pub fn publishing(body: &str, (certificate, key): Shown) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let state = State { config: Arc::new(config), body: body.to_owned(), asked, is_over };
        let state = Arc::new(state);
        let theirs = Arc::clone(&state);
        let acceptor = thread::spawn(move || {
            let streams = listener.incoming().map_while(Result::ok);
            for stream in streams.take_while(|_| !theirs.is_over.load(Ordering::Acquire)) {
                // A client that does not believe us ends the handshake.
                let _refused = theirs.answer(stream);
            }
        });
        Self { address, state, acceptor: Some(acceptor) }
    }

    /// The address of the key set at this host, which must lead to loopback.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/jwks.json", self.address.port())
    }

    /// How often it was asked by somebody who believed it.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Acquire)
    }
}

impl State {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(DEADLINE))?;
        let session = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
        while super::find(&head, b"\r\n\r\n").is_none() {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                count => head.extend_from_slice(&chunk[..count]),
            }
        }
        self.asked.fetch_add(1, Ordering::AcqRel);
        let Self { body, .. } = self;
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")?;
        stream.flush()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, DEADLINE);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}
