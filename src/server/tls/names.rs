//! Which certificate a client is shown, by the name that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Pair;

/// Certificates by the names in them. The first is shown to whoever asks for no name or an unknown one.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    /// Certificates in the order in which they are preferred; none without a first.
    pub(super) fn new(pairs: &[Pair]) -> Option<Self> {
        let first = Arc::clone(&pairs.first()?.certified);
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for pair in pairs {
            for name in &pair.leaf.dns {
                let name = name.to_ascii_lowercase();
                let (table, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcards, parent.to_owned()),
                    None => (&mut exact, name),
                };
                let known: &mut Vec<_> = table.entry(key).or_default();
                known.push(Arc::clone(&pair.certified));
            }
        }
        Some(Self { first, exact, wildcards })
    }

    /// A certificate made for exactly this name goes before one for its siblings too (RFC 9525 §6.3).
    fn known(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcards.get(parent)
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = hello.server_name().and_then(|name| self.known(name));
        let known = known.map_or(std::slice::from_ref(&self.first), Vec::as_slice);
        // Of several for one name, such as one of RSA and one of ECDSA, one whose kind the client knows.
        let usable = known
            .iter()
            .find(|certified| certified.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(known.first()).map(Arc::clone)
    }
}
