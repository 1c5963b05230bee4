//! A certificate with its chain, and the key that proves it.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::{Certificate, PemError, certificates, private_key, provider};

/// What a server shows, or a client that is asked for one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The first of the chain.
    pub leaf: Certificate,
    /// The chain and the key, ready for use.
    pub certified: Arc<CertifiedKey>,
}

/// Why a certificate and a key are no pair.
#[derive(Debug, Error)]
pub enum PairError {
    /// The chain cannot be read.
    #[error(transparent)]
    Certificate(PemError),
    /// The key cannot be read.
    #[error(transparent)]
    Key(PemError),
    /// The key is of no kind that can be used.
    #[error("the private key cannot be used")]
    Unusable,
    /// The key is another's; also while only one of two files has been replaced.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl Pair {
    /// Puts together what two PEM files hold.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = certificates(certificate).map_err(PairError::Certificate)?;
        let key = private_key(key).map_err(PairError::Key)?;
        let leaf = chain.first().and_then(|first| Certificate::read(first));
        let leaf = leaf.ok_or(PairError::Certificate(PemError::NoCertificate))?;
        let key = provider().key_provider.load_private_key(key);
        let certified = CertifiedKey::new(chain, key.map_err(|_| PairError::Unusable)?);
        // A kind of key that cannot tell its public half proves nothing either way.
        certified.keys_match().map_err(|_| PairError::Mismatch)?;
        Ok(Self { leaf, certified: Arc::new(certified) })
    }
}
