//! A request as bytes: begun well-formed, then bent line by line.

use std::fmt;
use std::sync::LazyLock;

use super::keys::P256;
use super::keys::claims;

/// The key of the application `mobile`.
pub const APP_KEY: &str = "mobile-key-6f1d0a53c1b24e0d";
/// The id of that application.
pub const APP: &str = "mobile";
/// The token of a user who holds the role `reader`.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| P256.token("ES256", &claims()));

/// A name and a value.
pub type RawField = (Vec<u8>, Vec<u8>);

/// A request under construction; every part can be any bytes.
#[derive(Clone)]
pub struct Ask {
    method: String,
    line: Vec<u8>,
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
}

impl Ask {
    /// A request for a target at `gw.test`, without credentials.
    pub fn new(method: &str, target: &str) -> Self {
        let line = format!("{method} {target} HTTP/1.1").into_bytes();
        let lines = vec![b"Host: gw.test".to_vec()];
        Self { method: method.to_owned(), line, lines, body: vec![] }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a body and its length.
    pub fn post(target: &str, body: &str) -> Self {
        Self::new("POST", target).field("Content-Length", body.len()).body(body)
    }

    /// Adds the good application key and the good token.
    pub fn signed(self) -> Self {
        self.keyed().bearing(&TOKEN)
    }

    /// Adds the good application key.
    pub fn keyed(self) -> Self {
        self.field("X-App-Key", APP_KEY)
    }

    /// Adds a token.
    pub fn bearing(self, token: &str) -> Self {
        self.field("Authorization", format!("Bearer {token}"))
    }

    /// Opens a WebSocket.
    pub fn opening(self) -> Self {
        self.field("Connection", "keep-alive, Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Version", 13)
            .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// Uses another request line.
    pub fn with_line(mut self, line: impl Into<Vec<u8>>) -> Self {
        self.line = line.into();
        self
    }

    /// Adds a field.
    pub fn field(self, name: &str, value: impl fmt::Display) -> Self {
        self.raw_line(format!("{name}: {value}"))
    }

    /// Adds a line as it is.
    pub fn raw_line(mut self, line: impl Into<Vec<u8>>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Takes away every field of this name.
    pub fn without(mut self, name: &str) -> Self {
        let prefix = format!("{name}:").to_ascii_lowercase();
        self.lines.retain(|line| !line.to_ascii_lowercase().starts_with(prefix.as_bytes()));
        self
    }

    /// Replaces every field of this name by one.
    pub fn instead(self, name: &str, value: impl fmt::Display) -> Self {
        self.without(name).field(name, value)
    }

    /// What follows the head, as it is.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The method, which decides how the answer is framed.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The same request for HTTP/2: its fields, and its body. The first `Host` becomes the authority.
    pub fn over_http2(&self) -> (Vec<RawField>, Vec<u8>) {
        let method = self.method.as_bytes().to_vec();
        let target = self.line.get(method.len() + 1..).unwrap_or_default();
        let target = target.strip_suffix(b" HTTP/1.1").unwrap_or(target).to_vec();
        let mut fields =
            vec![(b":method".to_vec(), method), (b":scheme".to_vec(), b"http".to_vec())];
        fields.push((b":path".to_vec(), target));
        let mut rest = Vec::new();
        for line in &self.lines {
            let colon = line.iter().position(|byte| *byte == b':').expect("a field");
            let (name, value) =
                (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
            if name == b"host" && fields.len() == 3 {
                fields.push((b":authority".to_vec(), value.to_vec()));
            } else {
                rest.push((name, value.to_vec()));
            }
        }
        fields.extend(rest);
        (fields, self.body.clone())
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.line.clone();
        bytes.extend_from_slice(b"\r\n");
        for line in &self.lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The beginning of the bytes, with the good credentials by name.
impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.bytes().escape_ascii().to_string();
        let text = text.replace(TOKEN.as_str(), "TOKEN").replace(APP_KEY, "APP_KEY");
        f.write_str(&text[..text.len().min(1_000)])
    }
}
