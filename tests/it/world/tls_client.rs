//! A client of TLS: believes one authority, asks for one name, shows a certificate or none.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::DigitallySignedStruct;
use rustls::HandshakeKind;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::StreamOwned;
use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;

use super::Ask;
use super::DEADLINE;
use super::Fault;
use super::Kind;
use super::Line;
use super::Message;
use super::authority::Authority;
use super::authority::Shown;

/// What the client believes, wants and shows; clones share the tickets that they were given.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    host: String,
}

/// A session after its handshake.
pub struct Session {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

/// Both versions.
pub const BOTH: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

impl TlsClient {
    /// Believes this authority and asks for `gw.test` over any version.
    pub fn of(authority: &Authority) -> Self {
        Self::speaking(authority, BOTH, None)
    }

    /// The same with a certificate of its own.
    pub fn showing(authority: &Authority, shown: &Shown) -> Self {
        Self::speaking(authority, BOTH, Some(shown))
    }

    /// Speaks these versions only.
    pub fn speaking(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Shown>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(key.clone_key());
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
        };
        Self { config: Arc::new(config), host: "gw.test".into() }
    }

    /// Believes this authority and speaks one version, with these suites, the most wanted first.
    pub fn preferring(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        cipher_suites: Vec<SupportedCipherSuite>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let provider = CryptoProvider { cipher_suites, ..default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), host: "gw.test".into() }
    }

    /// Asks for this name, or for none when it is an address.
    pub fn host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// With other settings.
    pub fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = (*self.config).clone();
        change(&mut config);
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// A connection before its first byte.
    pub fn begin(&self) -> ClientConnection {
        let name = ServerName::try_from(self.host.clone()).unwrap();
        ClientConnection::new(Arc::clone(&self.config), name).unwrap()
    }

    /// Shakes hands, as far as the client can tell: a server that speaks 1.3 may refuse afterwards.
    pub fn connect(&self, to: SocketAddr) -> Result<Session, String> {
        let stream = TcpStream::connect_timeout(&to, DEADLINE).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = StreamOwned::new(self.begin(), stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(Session { stream, buffer: Vec::new() })
    }

    /// A line after the handshake.
    pub fn line(&self, to: SocketAddr) -> Result<Line, String> {
        Ok(Line::Tls(Box::new(self.connect(to)?.stream)))
    }

    /// Offers this protocol alone and speaks it on the line.
    pub fn speak(&self, to: SocketAddr, protocol: &str) -> Result<Line, String> {
        self.with(|config| config.alpn_protocols = vec![protocol.into()]).line(to)
    }

    /// Asks on a new connection.
    pub fn ask(&self, to: SocketAddr, ask: &Ask) -> Result<Message, String> {
        self.connect(to)?.ask(ask)
    }

    /// The status of the answer on a new connection, or why there is none.
    pub fn status(&self, to: SocketAddr, ask: &Ask) -> Result<u16, String> {
        self.ask(to, ask).map(|answer| answer.status())
    }
}

impl Session {
    /// Asks, and reads the answer.
    pub fn ask(&mut self, ask: &Ask) -> Result<Message, String> {
        self.stream.write_all(&ask.bytes()).map_err(|error| error.to_string())?;
        self.stream.flush().map_err(|error| error.to_string())?;
        let read = |buffer: &[u8]| {
            Message::read(buffer, Kind::Response, false).map_err(|Fault(fault)| fault)
        };
        loop {
            if let Some((message, length)) = read(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(message);
            }
            if self.pull()? == 0 {
                return Err("ended before an answer".into());
            }
        }
    }

    /// Asks, and waits until `needle` has come.
    pub fn ask_until(&mut self, ask: &Ask, needle: &[u8]) {
        self.stream.write_all(&ask.bytes()).unwrap();
        while super::find(&self.buffer, needle).is_none() {
            assert_ne!(self.pull(), Ok(0), "ended before {}", needle.escape_ascii());
        }
    }

    /// Everything until the end, whichever way it comes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.pull().is_ok_and(|count| count > 0) {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for the end; whether the server said that it was one.
    pub fn ends_cleanly(&mut self) -> bool {
        let mut rest = [0; 64];
        matches!(self.stream.read(&mut rest), Ok(0))
    }

    fn pull(&mut self) -> Result<usize, String> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// What the server showed.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Whether nothing had to be proved again.
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The version in use, as rustls writes it.
    pub fn version(&self) -> String {
        format!("{:?}", self.stream.conn.protocol_version().unwrap())
    }

    /// The suite in use.
    pub fn suite(&self) -> CipherSuite {
        self.stream.conn.negotiated_cipher_suite().unwrap().suite()
    }

    /// The protocol that was agreed on.
    pub fn protocol(&self) -> Option<String> {
        self.stream.conn.alpn_protocol().map(super::latin1)
    }
}

/// Whatever is shown is good enough, as long as the key belongs to it.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl TlsClient {
    /// Looks at what is shown and judges nothing.
    pub fn believing_anything() -> Self {
        let provider = Arc::new(default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(BOTH)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth();
        Self { config: Arc::new(config), host: "gw.test".into() }
    }
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, shown, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, shown, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
