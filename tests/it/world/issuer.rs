//! An issuer on loopback that publishes its keys, and can be slow, broken, rotating or gone.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;

use super::Gate;
use super::Step;
use super::Upstream;
use super::keys::Key;
use super::keys::jwks;

/// How the issuer answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// 200 with this body.
    Fine(String),
    /// This status, and a body that says nothing.
    Status(u16),
    /// 200 with a body of this many bytes.
    Huge(usize),
    /// 200 with an HTML page.
    Html,
    /// 302 to another address.
    Redirect(String),
    /// Answers like [`Manner::Fine`] once the gate is opened.
    Slow(Gate, String),
    /// Ends every connection at once.
    Gone,
}

/// A scripted issuer.
pub struct Issuer {
    server: Upstream,
    manner: Arc<Mutex<Manner>>,
    discovery: Arc<Mutex<Option<String>>>,
    cache_control: Arc<Mutex<String>>,
}

impl Issuer {
    /// An issuer that publishes these keys.
    pub fn publishing(keys: &[&Key]) -> Self {
        Self::with(Manner::Fine(jwks(keys)))
    }

    /// An issuer that answers in this manner.
    pub fn with(manner: Manner) -> Self {
        let manner = Arc::new(Mutex::new(manner));
        let discovery = Arc::new(Mutex::new(None::<String>));
        let cache_control = Arc::new(Mutex::new("max-age=300".to_owned()));
        let (theirs, document) = (Arc::clone(&manner), Arc::clone(&discovery));
        let caching = Arc::clone(&cache_control);
        let server = Upstream::scripted(move |_, head| {
            if head.starts_with("GET /.well-known/openid-configuration ") {
                let text = document.lock().unwrap().clone();
                return text.map_or(vec![answer(404, "", "")], |text| vec![answer(200, "", &text)]);
            }
            let caching = format!("Cache-Control: {}\r\n", caching.lock().unwrap());
            theirs.lock().unwrap().clone().steps(&caching)
        });
        Self { server, manner, discovery, cache_control }
    }

    /// Answers in another manner from now on.
    pub fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What `Cache-Control` says from now on.
    pub fn caches(&self, control: &str) {
        control.clone_into(&mut self.cache_control.lock().unwrap());
    }

    /// Serves a discovery document from now on.
    pub fn discovers(&self, document: &str) {
        *self.discovery.lock().unwrap() = Some(document.to_owned());
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The address of the key set.
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks.json", self.server.url())
    }

    /// How often the key set was asked for.
    pub fn asked(&self) -> usize {
        self.server.requests().iter().filter(|request| request.target() == "/jwks.json").count()
    }
}

impl Manner {
    fn steps(self, caching: &str) -> Vec<Step> {
        match self {
            Self::Fine(body) => vec![answer(200, caching, &body)],
            Self::Status(status) => vec![answer(status, "", "nothing to see")],
            Self::Huge(size) => vec![answer(200, caching, &" ".repeat(size))],
            Self::Html => vec![answer(200, caching, "<!doctype html><title>Sign in</title>")],
            Self::Redirect(to) => vec![answer(302, &format!("Location: {to}\r\n"), "")],
            Self::Slow(gate, body) => vec![Step::Wait(gate), answer(200, caching, &body)],
            Self::Gone => vec![Step::Close],
        }
    }
}

fn answer(status: u16, fields: &str, body: &str) -> Step {
    let mut text = format!("HTTP/1.1 {status} As Told\r\n{fields}");
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    Step::Send(text.into_bytes())
}
