//! Roots of trust: whose certificates are believed.

use rustls::RootCertStore;
use thiserror::Error;

use super::{PemError, certificates};

/// Why there are no roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// One of the certificates cannot vouch for others; counted from 1.
    #[error("certificate {0} of it cannot be a root of trust")]
    Unusable(usize),
    /// The system keeps none.
    #[error("the system has no certificates (package ca-certificates, or SSL_CERT_FILE)")]
    None,
}

/// The roots of a PEM file that the operator named: every one must be usable.
pub fn own_roots(pem: &[u8]) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(pem)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| RootsError::Unusable(at + 1))?;
    }
    Ok(roots)
}

/// The roots that the system keeps; those that cannot be used are left out. Reads many files.
pub fn system_roots() -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(RootsError::None) } else { Ok(roots) }
}
