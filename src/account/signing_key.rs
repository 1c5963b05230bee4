//! Keys that sign our own tokens: made, sealed for keeping, opened again.

use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::master_key::{MasterKey, OpenError, Purpose, SealError};
use super::random;
use crate::clock::Timestamp;
use crate::jwt::{Algorithm, Family, SignerError, TokenSigner};
use crate::secret::Secret;
use crate::store::{NewSigningKey, SigningKeyRecord};

/// Why a signing key could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Random,
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It stays closed.
    #[error("signing key {kid}")]
    Open {
        /// The key.
        kid: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// What was sealed is no key of its algorithm.
    #[error("signing key {0} cannot be read")]
    Unreadable(String),
    /// It does not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl From<Unspecified> for SigningKeyError {
    fn from(_: Unspecified) -> Self {
        Self::Random
    }
}

/// Makes a key for a family of dialects, sealed for the store.
pub fn new_signing_key(
    master: &MasterKey,
    family: &str,
    algorithm: Algorithm,
    signs_from: Timestamp,
) -> Result<NewSigningKey, SigningKeyError> {
    let kid = URL_SAFE_NO_PAD.encode(random::bytes::<12>()?);
    let (key, public) = if algorithm.family() == Family::Hmac {
        // As long as the longest hash, whose own strength it thereby has.
        (Zeroizing::new(random::bytes::<64>()?.to_vec()), None)
    } else {
        let pem = TokenSigner::generate_pem(algorithm)?;
        let signer = TokenSigner::from_pem(pem.expose(), algorithm, Some(kid.clone()))?;
        (Zeroizing::new(pem.expose().as_bytes().to_vec()), signer.public_jwk())
    };
    let sealed = master.seal(Purpose::SigningKey, &kid, &key)?;
    let (family, algorithm) = (family.to_owned(), algorithm.name().to_owned());
    Ok(NewSigningKey { kid, family, algorithm, sealed, public, signs_from })
}

/// The signer out of a kept key; its tokens name the key.
pub fn open_signing_key(
    master: &MasterKey,
    record: &SigningKeyRecord,
) -> Result<TokenSigner, SigningKeyError> {
    let unreadable = || SigningKeyError::Unreadable(record.kid.clone());
    let algorithm: Algorithm = record.algorithm.parse().map_err(|_| unreadable())?;
    let key = open_key(master, record)?;
    let kid = Some(record.kid.clone());
    if algorithm.family() == Family::Hmac {
        return Ok(TokenSigner::from_secret(Secret::new(key.expose().as_slice()), algorithm, kid)?);
    }
    let pem = std::str::from_utf8(key.expose()).map_err(|_| unreadable())?;
    Ok(TokenSigner::from_pem(pem, algorithm, kid)?)
}

/// What was sealed: the bytes of a shared key, or a private key in PEM form.
pub fn open_key(
    master: &MasterKey,
    record: &SigningKeyRecord,
) -> Result<Secret<Zeroizing<Vec<u8>>>, SigningKeyError> {
    master
        .open(Purpose::SigningKey, &record.kid, &record.sealed)
        .map_err(|source| SigningKeyError::Open { kid: record.kid.clone(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn master(text: &str) -> MasterKey {
        let bytes = crate::id::Digest::of(text.as_bytes());
        MasterKey::new(Secret::new(bytes.as_bytes())).unwrap()
    }

    fn kept(key: &NewSigningKey) -> SigningKeyRecord {
        SigningKeyRecord {
            kid: key.kid.clone(),
            family: key.family.clone(),
            algorithm: key.algorithm.clone(),
            sealed: key.sealed.clone(),
            public: key.public.clone(),
            created_at: NOW,
            signs_from: key.signs_from,
            retired_at: None,
            verifies_until: None,
        }
    }

    #[test]
    fn a_key_signs_the_same_after_it_was_kept() {
        let master = master("a");
        for algorithm in [Algorithm::EdDsa, Algorithm::Hs256, Algorithm::Hs512] {
            let record = kept(&new_signing_key(&master, "native", algorithm, NOW).unwrap());
            let sign = || {
                let signer = open_signing_key(&master, &record).unwrap();
                assert_eq!(signer.public_jwk(), record.public);
                signer.sign(&Map::new(), &json!({"sub": "x"})).unwrap()
            };
            assert_eq!(sign(), sign(), "{algorithm}");
            assert_eq!(record.public.is_some(), algorithm == Algorithm::EdDsa);
        }
    }

    #[test]
    fn two_keys_have_nothing_in_common() {
        let master = master("a");
        let make = || new_signing_key(&master, "redis", Algorithm::Hs256, NOW).unwrap();
        let (one, two) = (make(), make());
        assert_ne!(one.kid, two.kid);
        let open = |key| open_key(&master, &kept(key)).unwrap();
        assert_ne!(open(&one).expose(), open(&two).expose());
        assert_eq!(open(&one).expose().len(), 64);
    }

    #[test]
    fn a_key_opens_by_its_master_and_under_its_own_name_alone() {
        let key = kept(&new_signing_key(&master("a"), "f", Algorithm::EdDsa, NOW).unwrap());
        assert!(open_signing_key(&master("a"), &key).is_ok());
        let renamed = SigningKeyRecord { kid: "other".to_owned(), ..key.clone() };
        let other = SigningKeyRecord { algorithm: "ES256".to_owned(), ..key.clone() };
        let unknown = SigningKeyRecord { algorithm: "none".to_owned(), ..key.clone() };
        let shared = SigningKeyRecord { sealed: Vec::new(), ..key.clone() };
        for bad in [renamed, other, unknown, shared] {
            assert!(open_signing_key(&master("a"), &bad).is_err());
        }
        let stranger = open_signing_key(&master("b"), &key).unwrap_err();
        assert!(matches!(
            stranger,
            SigningKeyError::Open { source: OpenError::OtherKey { .. }, .. }
        ));
    }
}
