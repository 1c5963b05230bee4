//! One key, parsed and judged once, and the algorithms it may be used with.
//!
//! The parsed form is kept because parsing costs a third of an RSA verification. A key decides by
//! itself which algorithms it serves; a token can only name one of them.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use super::algorithm::{Algorithm, Family};
use super::weak;
use crate::id::Digest;

/// Why a key is not used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The form is wrong.
    #[error("the key cannot be read: {0}")]
    Unreadable(&'static str),
    /// A private key stands where a public one belongs.
    #[error("this is a private key; the gateway needs the public one only")]
    Private,
    /// `kty`, `crv` or `alg` are not of a supported kind.
    #[error("the kind of key is not supported")]
    Unsupported,
    /// `use` or `key_ops` keep it from verifying signatures.
    #[error("the key is not for verifying signatures")]
    WrongUse,
    /// No listed algorithm works with this key.
    #[error("none of the listed algorithms works with this key")]
    NotListed,
    /// The secret is shorter than the output of its hash (RFC 7518 §3.2).
    #[error("the secret has {bytes} bytes; {algorithm} needs at least {needed}")]
    ShortSecret {
        /// What it has.
        bytes: usize,
        /// What it needs.
        needed: usize,
        /// For which algorithm.
        algorithm: Algorithm,
    },
    /// The secret can be guessed.
    #[error("the secret is weak: {0}")]
    WeakSecret(&'static str),
    /// The modulus is outside 2048 to 8192 bits.
    #[error("the RSA key has {bits} bits; 2048 to 8192 are accepted")]
    RsaSize {
        /// What it has.
        bits: usize,
    },
    /// The exponent makes signatures forgeable or verification dear.
    #[error("the RSA exponent is not an odd number from 3 to 2^33")]
    RsaExponent,
}

/// A key that can check signatures.
pub(super) struct VerifyingKey {
    kid: Option<String>,
    family: Family,
    checks: Vec<(Algorithm, Check)>,
    fingerprint: Digest,
}

enum Check {
    Mac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// The members of a JWK (RFC 7517, 7518, 8037) that matter here; it holds secrets, so no `Debug`.
#[derive(Default, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    k: Option<String>,
    #[serde(default)]
    d: Option<String>,
}

impl VerifyingKey {
    /// Parses a JWK for those of `listed` that it serves.
    pub(super) fn from_jwk(jwk: &Jwk, listed: &[Algorithm]) -> Result<Self, KeyError> {
        let family = jwk.family()?;
        if jwk.d.is_some() {
            return Err(KeyError::Private);
        }
        let usable = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !usable {
            return Err(KeyError::WrongUse);
        }
        let own = jwk.alg.as_deref().map(str::parse::<Algorithm>);
        let own = own.transpose().map_err(|_| KeyError::Unsupported)?;
        if own.is_some_and(|own| own.family() != family) {
            return Err(KeyError::Unsupported);
        }
        let served = |algorithm: &Algorithm| {
            algorithm.family() == family && own.is_none_or(|own| own == *algorithm)
        };
        let mut algorithms: Vec<_> = listed.iter().copied().filter(served).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let kid = jwk.kid.clone();
        match family {
            Family::Hmac => Self::from_secret(kid, &bytes(jwk.k.as_ref())?, &algorithms),
            Family::Rsa => {
                Self::from_rsa(kid, &bytes(jwk.n.as_ref())?, &bytes(jwk.e.as_ref())?, &algorithms)
            }
            Family::P256 => Self::from_point(kid, jwk, 32, &algorithms),
            Family::P384 => Self::from_point(kid, jwk, 48, &algorithms),
            Family::Ed25519 => {
                let x = sized(jwk.x.as_ref(), 32)?;
                Self::assemble(kid, family, &algorithms, &x, |_| {
                    parsed(ParsedPublicKey::new(&signature::ED25519, &x))
                })
            }
        }
    }

    /// Takes a shared secret for the HS algorithms of `listed`.
    pub(super) fn from_secret(
        kid: Option<String>,
        secret: &[u8],
        listed: &[Algorithm],
    ) -> Result<Self, KeyError> {
        Self::assemble(kid, Family::Hmac, listed, secret, |algorithm| {
            let (mac, needed) = match algorithm {
                Algorithm::Hs384 => (hmac::HMAC_SHA384, 48),
                Algorithm::Hs512 => (hmac::HMAC_SHA512, 64),
                _ => (hmac::HMAC_SHA256, 32),
            };
            if secret.len() < needed {
                return Err(KeyError::ShortSecret { bytes: secret.len(), needed, algorithm });
            }
            if let Some(weakness) = weak::weakness(secret) {
                return Err(KeyError::WeakSecret(weakness));
            }
            Ok(Check::Mac(Box::new(hmac::Key::new(mac, secret))))
        })
    }

    fn from_rsa(
        kid: Option<String>,
        n: &[u8],
        e: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = bit_length(n);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        // With an exponent of one, anybody signs; an even one is no RSA key.
        let odd = e.last().is_some_and(|last| last % 2 == 1);
        if !odd || e == [1] || bit_length(e) > 33 {
            return Err(KeyError::RsaExponent);
        }
        let material = [n, &[0], e].concat();
        let components = RsaPublicKeyComponents { n, e };
        Self::assemble(kid, Family::Rsa, algorithms, &material, |algorithm| {
            parsed(components.to_parsed_public_key(rsa_parameters(algorithm)))
        })
    }

    fn from_point(
        kid: Option<String>,
        jwk: &Jwk,
        size: usize,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let (x, y) = (sized(jwk.x.as_ref(), size)?, sized(jwk.y.as_ref(), size)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let (family, curve) = match size {
            32 => (Family::P256, &signature::ECDSA_P256_SHA256_FIXED),
            _ => (Family::P384, &signature::ECDSA_P384_SHA384_FIXED),
        };
        // aws-lc refuses a point that is not on the curve.
        Self::assemble(kid, family, algorithms, &point, |_| {
            parsed(ParsedPublicKey::new(curve, &point))
        })
    }

    fn assemble(
        kid: Option<String>,
        family: Family,
        algorithms: &[Algorithm],
        material: &[u8],
        check: impl Fn(Algorithm) -> Result<Check, KeyError>,
    ) -> Result<Self, KeyError> {
        let algorithms = || algorithms.iter().filter(|algorithm| algorithm.family() == family);
        let checks = algorithms()
            .map(|&algorithm| check(algorithm).map(|check| (algorithm, check)))
            .collect::<Result<Vec<_>, _>>()?;
        if checks.is_empty() {
            return Err(KeyError::NotListed);
        }
        let names = algorithms().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(",");
        let name = kid.as_deref().unwrap_or_default();
        let text = [names.as_bytes(), b"\0", name.as_bytes(), b"\0", material].concat();
        Ok(Self { kid, family, checks, fingerprint: Digest::of(&text) })
    }

    /// Its name, if the set gave it one.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What kind of key it is.
    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// The digest of key, name and algorithms: equal only for keys that decide alike.
    pub(super) const fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Whether signatures of `algorithm` may be checked with it.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let check = self.checks.iter().find(|(own, _)| *own == algorithm);
        match check.map(|(_, check)| check) {
            Some(Check::Mac(key)) => hmac::verify(key, message, signature).is_ok(),
            Some(Check::Public(key)) => key.verify_sig(message, signature).is_ok(),
            None => false,
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.checks.iter().map(|(algorithm, _)| algorithm).collect();
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithms", &algorithms)
            .finish_non_exhaustive()
    }
}

impl Jwk {
    /// Its name, if it has one.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it is a shared secret.
    pub(super) fn is_symmetric(&self) -> bool {
        self.kty == "oct"
    }

    fn family(&self) -> Result<Family, KeyError> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", None) => Ok(Family::Hmac),
            ("RSA", None) => Ok(Family::Rsa),
            ("EC", Some("P-256")) => Ok(Family::P256),
            ("EC", Some("P-384")) => Ok(Family::P384),
            ("OKP", Some("Ed25519")) => Ok(Family::Ed25519),
            _ => Err(KeyError::Unsupported),
        }
    }
}

fn parsed<E>(key: Result<ParsedPublicKey, E>) -> Result<Check, KeyError> {
    key.map(Check::Public).map_err(|_| KeyError::Unreadable("not a valid public key"))
}

fn bytes(member: Option<&String>) -> Result<Vec<u8>, KeyError> {
    let text = member.ok_or(KeyError::Unreadable("a member is missing"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Unreadable("a member is not base64url"))
}

fn sized(member: Option<&String>, size: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = bytes(member)?;
    if bytes.len() == size { Ok(bytes) } else { Err(KeyError::Unreadable("a coordinate's length")) }
}

/// Some libraries write the sign byte of an ASN.1 integer along (RFC 7518 §6.3.1.1 warns of them).
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.split_at_checked(zeros).map_or(number, |(_, rest)| rest)
}

fn bit_length(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(leading).unwrap_or(0))
}

const fn rsa_parameters(algorithm: Algorithm) -> &'static RsaParameters {
    match algorithm {
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}
