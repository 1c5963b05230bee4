//! The keys of one issuer: judged when they are loaded, found by key id and algorithm.
//!
//! A set that the operator wrote is refused whole when anything about it is weak. A set fetched
//! from an issuer drops single keys that cannot be used, since issuers publish keys for others too.

use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use thiserror::Error;

use super::TokenError;
use super::algorithm::{Algorithm, Family};
use super::key::{Jwk, KeyError, VerifyingKey};
use crate::id::Digest;
use crate::secret::Secret;

/// Keys that one set may have.
const MAX_KEYS: usize = 64;
/// Bytes that the name of a key may have: it becomes a metric's label.
const MAX_KID_BYTES: usize = 256;

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
}

/// A key of a fetched set that is not used.
#[derive(Debug)]
pub struct Skipped {
    /// Its id, or its place in the set.
    pub label: String,
    /// Why.
    pub why: KeyError,
}

/// Why a set of keys is refused.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// Not a JWK set.
    #[error("not a JWK set: {0}")]
    NotASet(&'static str),
    /// No key remains that any listed algorithm can use.
    #[error("the set holds no key for the listed algorithms")]
    Empty,
    /// More keys than a set may have.
    #[error("the set has {0} keys; at most 64 are accepted")]
    TooMany(usize),
    /// Two usable keys have one name: which one is meant would be chance.
    #[error("two keys of the set are named `{0}`")]
    DuplicateKid(String),
    /// A secret beside public keys: the way to algorithm confusion.
    #[error("the set mixes shared secrets with public keys")]
    MixedFamilies,
    /// A shared secret in a set that was fetched.
    #[error("a fetched set holds a shared secret")]
    FetchedSecret,
    /// One key is bad.
    #[error("key {label} of the set: {source}")]
    Key {
        /// Its id, or its place in the set.
        label: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The only key is bad.
    #[error(transparent)]
    OnlyKey(#[from] KeyError),
}

#[derive(Deserialize)]
struct Members {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWK set that the operator wrote, for the `listed` algorithms; one weak key refuses it.
    pub fn from_jwks_text(text: &str, listed: &[Algorithm]) -> Result<Self, KeySetError> {
        let (keys, skipped) = read(text.as_bytes(), listed)?;
        for Skipped { label, why } in skipped {
            match why {
                // Keys for other algorithms and purposes may stand beside ours.
                KeyError::NotListed | KeyError::WrongUse | KeyError::Unsupported => {}
                source => return Err(KeySetError::Key { label, source }),
            }
        }
        Self::of(keys)
    }

    /// Reads a JWK set that an issuer published; keys that cannot be used are told beside it.
    pub fn from_fetched(
        body: &[u8],
        listed: &[Algorithm],
    ) -> Result<(Self, Vec<Skipped>), KeySetError> {
        let (keys, skipped) = read(body, listed)?;
        if keys.iter().any(|key| key.family() == Family::Hmac) {
            return Err(KeySetError::FetchedSecret);
        }
        Ok((Self::of(keys)?, skipped))
    }

    /// Reads one public key, PEM or JWK, for those `listed` algorithms that work with it.
    pub fn from_pem_or_jwk(text: &str, listed: &[Algorithm]) -> Result<Self, KeySetError> {
        let jwk = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|_| KeyError::Unreadable("not a JWK"))?
        } else {
            jwk_of_pem(text)?
        };
        Self::of(vec![VerifyingKey::from_jwk(&jwk, listed)?])
    }

    /// Takes one shared secret for the HS algorithms of `listed`.
    pub fn from_secret(secret: Secret<&[u8]>, listed: &[Algorithm]) -> Result<Self, KeySetError> {
        Self::of(vec![VerifyingKey::from_secret(None, secret.expose(), listed)?])
    }

    fn of(keys: Vec<VerifyingKey>) -> Result<Self, KeySetError> {
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        let secrets = keys.iter().filter(|key| key.family() == Family::Hmac).count();
        if secrets != 0 && secrets != keys.len() {
            return Err(KeySetError::MixedFamilies);
        }
        for (at, key) in keys.iter().enumerate() {
            let twin = keys.iter().skip(at + 1).any(|other| other.kid() == key.kid());
            if let Some(kid) = key.kid().filter(|_| twin) {
                return Err(KeySetError::DuplicateKid(kid.to_owned()));
            }
        }
        Ok(Self { keys: keys.into_iter().map(Arc::new).collect() })
    }

    /// The ids of the keys in force, in the order of the set; keys without one are left out.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.kid())
    }

    /// How many keys are in force.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key; never true.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The one key that a token with this header means.
    ///
    /// Without a key id, or for a key without one, only when the set leaves no choice: never trial
    /// by trial, which would let a token pick among keys.
    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&Arc<VerifyingKey>, TokenError> {
        if let Some(key) = kid.and_then(|kid| self.keys.iter().find(|key| key.kid() == Some(kid))) {
            let served = key.serves(algorithm);
            return if served { Ok(key) } else { Err(TokenError::UnsupportedAlgorithm) };
        }
        let mut serving = self.keys.iter().filter(|key| key.serves(algorithm));
        match (serving.next(), serving.next()) {
            (Some(only), None) if kid.is_none() || only.kid().is_none() => Ok(only),
            _ => Err(TokenError::UnknownKey),
        }
    }

    /// Whether the key with this fingerprint is still in force.
    pub(super) fn holds(&self, fingerprint: &Digest) -> bool {
        self.keys.iter().any(|key| key.fingerprint() == fingerprint)
    }
}

fn read(
    body: &[u8],
    listed: &[Algorithm],
) -> Result<(Vec<VerifyingKey>, Vec<Skipped>), KeySetError> {
    let members: Members = serde_json::from_slice(body)
        .map_err(|_| KeySetError::NotASet("expected an object with a list of `keys`"))?;
    if members.keys.len() > MAX_KEYS {
        return Err(KeySetError::TooMany(members.keys.len()));
    }
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    let (mut secrets, mut public) = (false, false);
    for (at, member) in members.keys.into_iter().enumerate() {
        let jwk: Result<Jwk, _> = serde_json::from_value(member);
        let label = jwk.as_ref().ok().and_then(|jwk| jwk.kid());
        let label = label.map_or_else(|| format!("#{}", at + 1), str::to_owned);
        let key = jwk.map_err(|_| KeyError::Unreadable("not a JWK")).and_then(|jwk| {
            secrets |= jwk.is_symmetric();
            public |= !jwk.is_symmetric();
            if label.len() > MAX_KID_BYTES || label.contains(char::is_control) {
                return Err(KeyError::Unreadable("the key id is too long or not printable"));
            }
            VerifyingKey::from_jwk(&jwk, listed)
        });
        match key {
            Ok(key) => keys.push(key),
            Err(why) => skipped.push(Skipped { label, why }),
        }
    }
    if secrets && public { Err(KeySetError::MixedFamilies) } else { Ok((keys, skipped)) }
}

fn jwk_of_pem(text: &str) -> Result<Jwk, KeyError> {
    let labelled = |label: &str| text.contains(&format!("{label}-----"));
    if labelled("PRIVATE KEY") {
        return Err(KeyError::Private);
    }
    if labelled("BEGIN CERTIFICATE") {
        let hint = "a certificate; take its key with `openssl x509 -pubkey -noout`";
        return Err(KeyError::Unreadable(hint));
    }
    if text.matches("-----BEGIN ").count() != 1 {
        return Err(KeyError::Unreadable("expected exactly one PEM block"));
    }
    let pem = text.as_bytes();
    let key = DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .map_err(|_| KeyError::Unreadable("not a public key in PEM form"))?;
    let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&key, None)
        .map_err(|_| KeyError::Unreadable("not a public key of a supported kind"))?;
    let jwk = serde_json::to_value(jwk).and_then(serde_json::from_value);
    jwk.map_err(|_| KeyError::Unreadable("not a public key of a supported kind"))
}
