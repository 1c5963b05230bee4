//! A request whose answer tells browsers which pages may read it.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::request::Parts;

use crate::gateway::Cors;

/// Whose page asks, and what is said of that.
#[derive(Debug)]
pub(super) struct Crossing {
    cors: Arc<Cors>,
    origin: Option<HeaderValue>,
}

impl Crossing {
    pub(super) fn begin(cors: &Arc<Cors>, parts: &Parts) -> Self {
        let origin = Cors::origin(&parts.headers).cloned();
        Self { cors: Arc::clone(cors), origin }
    }

    /// In an answer of an upstream, in place of what that said.
    pub(super) fn replace(&self, headers: &mut HeaderMap) {
        Cors::forget(headers);
        self.write(headers);
    }

    /// In an answer of our own.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        self.cors.write(headers, self.origin.as_ref());
    }
}
