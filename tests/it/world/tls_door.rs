//! TLS before an upstream: shows one certificate, notes each handshake, and passes on what was sealed.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rustls::HandshakeKind;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::DEADLINE;
use super::authority::Authority;
use super::authority::Shown;

/// A server on a port of its own.
pub struct TlsDoor {
    address: SocketAddr,
    noted: Arc<Mutex<Vec<Handshake>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One handshake, as it ended.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// Why it failed, or what ended the session later.
    pub failure: Option<String>,
    /// The name that was asked for.
    pub name: Option<String>,
    /// The protocol that was agreed on.
    pub protocol: Option<String>,
    /// Whether nothing had to be proved again.
    pub is_resumed: bool,
    /// How many certificates the other side showed.
    pub shown: usize,
    /// The version in use, as rustls writes it.
    pub version: String,
}

/// How the door behaves.
pub struct Manner {
    /// The versions it speaks.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// The protocols it knows, most wanted first.
    pub protocols: &'static [&'static str],
    /// Whose clients it lets in; everybody's when there is none.
    pub clients: Option<String>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, protocols: &["http/1.1"], clients: None }
    }
}

impl Manner {
    /// Lets only those in whom this authority certified.
    pub fn asking(authority: &Authority) -> Self {
        Self { clients: Some(authority.pem()), ..Self::default() }
    }

    fn config(&self, (certificate, key): Shown) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(vec![certificate], key.into()).unwrap();
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().into()).collect();
        config
    }
}

impl TlsDoor {
    /// Shows this, and passes on to `target`.
    pub fn before(target: SocketAddr, shown: Shown) -> Self {
        Self::behaving(target, shown, &Manner::default())
    }

    /// The same with other manners.
    pub fn behaving(target: SocketAddr, shown: Shown, manner: &Manner) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(manner.config(shown)));
        let noted = Arc::<Mutex<Vec<Handshake>>>::default();
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&noted);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, acceptor, target, theirs) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, noted, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address at this host, which must lead to loopback.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// The handshakes so far, once there are so many.
    #[track_caller]
    pub fn handshakes(&self, count: usize) -> Vec<Handshake> {
        let until = Instant::now() + DEADLINE;
        loop {
            let noted = self.noted.lock().unwrap().clone();
            if noted.len() >= count {
                return noted;
            }
            assert!(Instant::now() < until, "{count} handshakes never happened: {noted:?}");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    target: SocketAddr,
    noted: Arc<Mutex<Vec<Handshake>>>,
) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
        sessions.spawn(async move {
            let mut sealed = match acceptor.accept(stream).await {
                Ok(sealed) => sealed,
                Err(error) => {
                    let failure = Some(error.to_string());
                    noted.lock().unwrap().push(Handshake { failure, ..Handshake::default() });
                    return;
                }
            };
            let session = sealed.get_ref().1;
            noted.lock().unwrap().push(Handshake {
                failure: None,
                name: session.server_name().map(str::to_owned),
                protocol: session.alpn_protocol().map(super::latin1),
                is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
                shown: session.peer_certificates().map_or(0, <[_]>::len),
                version: format!("{:?}", session.protocol_version().unwrap()),
            });
            // Its end is seen by whoever is behind.
            let mut plain = TcpStream::connect(target).await.unwrap();
            let _ended = tokio::io::copy_bidirectional(&mut sealed, &mut plain).await;
        });
    }
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
