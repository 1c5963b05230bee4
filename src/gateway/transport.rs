//! How an upstream is spoken to: in clear or over TLS, in which version of HTTP.
//!
//! Opens no connection; holds what every worker needs to open one.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::UpstreamHttp2;
use crate::id::Digest;

/// How an upstream is spoken to.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Over TLS, or in clear.
    pub secured: Option<Arc<Secured>>,
    /// In which version of HTTP.
    pub http2: UpstreamHttp2,
}

/// TLS as one upstream is spoken to; clones of the `Arc` share sessions that can be resumed.
pub struct Secured {
    /// Whom to believe, what to show, what to speak.
    pub config: Arc<ClientConfig>,
    /// The name that a certificate must bear; none stands for the host of the endpoint.
    pub name: Option<ServerName<'static>>,
    /// What all of this was made from: the same material is the same object.
    pub(super) made_from: Digest,
}

impl Transport {
    /// Whether a connection opened over `other` may be used: one that trusts somebody else, or shows
    /// another certificate, may not.
    pub fn takes(&self, other: Option<&Arc<Secured>>) -> bool {
        match (&self.secured, other) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("name", &self.name).finish_non_exhaustive()
    }
}
