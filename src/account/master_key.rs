//! The one secret that guards what is kept: it seals seeds and signing keys, and marks refresh tokens.
//!
//! Two keys are derived from it, one for each use. Sealed bytes name the key that sealed them, so that
//! a wrong master key is told from a damaged store; they are bound to what they are and whose.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::jwt;
use crate::secret::Secret;

/// Why a text is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// Neither of the accepted spellings.
    #[error("a master key is 32 random bytes, as 64 hexadecimal digits or in Base64")]
    Form,
    /// Anybody could guess it.
    #[error("the master key is weak: {0}")]
    Weak(&'static str),
    /// The derivation failed.
    #[error("no keys could be derived from the master key")]
    Derivation,
}

/// Nothing could be sealed: the system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value could not be sealed")]
pub struct SealError;

/// Why sealed bytes stay closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key in use is not the one they were sealed with.
    #[error("sealed with the master key {sealed}, and {present} is in use")]
    OtherKey {
        /// The name of the key that sealed them.
        sealed: KeyName,
        /// The name of the key in use.
        present: KeyName,
    },
    /// They were changed, cut, or belong to somebody or something else.
    #[error("the sealed value is damaged or not where it belongs")]
    Damaged,
}

/// What sealed bytes are for. Those of one purpose do not open as those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The seed of a user's one-time codes; the id is the user's.
    TotpSeed,
    /// A private signing key; the id is the key's.
    SigningKey,
}

/// Eight hexadecimal digits that tell one master key from another and reveal nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyName([u8; NAME]);

/// The keys derived from the master key.
pub struct MasterKey {
    name: KeyName,
    sealing: RandomizedNonceKey,
    pub(super) refresh: hmac::Key,
}

impl MasterKey {
    /// Reads 64 hexadecimal digits, or 32 bytes in either alphabet of Base64, padded or not.
    pub fn parse(text: &[u8]) -> Result<Self, MasterKeyError> {
        let bytes = decoded(text).ok_or(MasterKeyError::Form)?;
        let key = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| MasterKeyError::Form)?;
        Self::new(Secret::new(key))
    }

    /// Takes 32 random bytes.
    pub fn new(key: Secret<&[u8; 32]>) -> Result<Self, MasterKeyError> {
        if let Some(weakness) = jwt::weakness(key.expose().as_slice()) {
            return Err(MasterKeyError::Weak(weakness));
        }
        let derive = || {
            let name = KeyName(derived(key, b"portcullis name")?);
            let sealing = Zeroizing::new(derived::<32>(key, b"portcullis seal")?);
            let refresh = Zeroizing::new(derived::<32>(key, b"portcullis refresh")?);
            Ok(Self {
                name,
                sealing: RandomizedNonceKey::new(&AES_256_GCM, sealing.as_slice())?,
                refresh: hmac::Key::new(hmac::HMAC_SHA256, refresh.as_slice()),
            })
        };
        derive().map_err(|Unspecified| MasterKeyError::Derivation)
    }

    /// What tells this key from others.
    pub const fn name(&self) -> KeyName {
        self.name
    }

    /// Seals `value` so that it opens only as the `purpose` of `id`.
    pub fn seal(&self, purpose: Purpose, id: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = value.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(context(purpose, id)), &mut body)
            .map_err(|Unspecified| SealError)?;
        let mut sealed = Vec::with_capacity(HEAD + body.len());
        sealed.push(FORM);
        sealed.extend_from_slice(&self.name.0);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what was sealed as the `purpose` of `id`.
    pub fn open(
        &self,
        purpose: Purpose,
        id: &str,
        sealed: &[u8],
    ) -> Result<Secret<Zeroizing<Vec<u8>>>, OpenError> {
        let (head, body) = sealed.split_at_checked(HEAD).ok_or(OpenError::Damaged)?;
        let (form, head) = head.split_first().ok_or(OpenError::Damaged)?;
        let (name, nonce) = head.split_first_chunk::<NAME>().ok_or(OpenError::Damaged)?;
        if *form != FORM {
            return Err(OpenError::Damaged);
        }
        if *name != self.name.0 {
            return Err(OpenError::OtherKey { sealed: KeyName(*name), present: self.name });
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Damaged)?;
        let mut value = Zeroizing::new(body.to_vec());
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(context(purpose, id)), &mut value)
            .map_err(|Unspecified| OpenError::Damaged)?
            .len();
        value.truncate(length);
        Ok(Secret::new(value))
    }
}

/// What a sealed value is and whose; the text of a purpose holds no zero byte.
fn context(purpose: Purpose, id: &str) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::TotpSeed => "totp seed",
        Purpose::SigningKey => "signing key",
    };
    [purpose.as_bytes(), b"\0", id.as_bytes()].concat()
}

fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() == 64 {
        let pairs = text.as_bytes().chunks_exact(2);
        return pairs.map(hex_byte).collect::<Option<Vec<u8>>>().map(Zeroizing::new);
    }
    let text = text.strip_suffix('=').unwrap_or(text);
    let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()?;
    Some(Zeroizing::new(bytes))
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    if !pair.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
}

fn derived<const N: usize>(key: Secret<&[u8; 32]>, info: &[u8]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    let prk = Salt::new(HKDF_SHA256, &[]).extract(key.expose().as_slice());
    prk.expand(&[info], Length(N))?.fill(&mut out)?;
    Ok(out)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.name)
    }
}

/// Bytes of a key's name.
const NAME: usize = 4;
/// The first byte of everything sealed; another form would begin with another.
const FORM: u8 = 1;
/// Form, name of the key, nonce.
const HEAD: usize = 1 + NAME + NONCE_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f00112233445566778899aabbccddeeff";

    fn key(text: &str) -> MasterKey {
        MasterKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_key_has_three_spellings() {
        let standard = "AAECAwQFBgcICQoLDA0ODwARIjNEVWZ3iJmqu8zd7v8=";
        let url = "AAECAwQFBgcICQoLDA0ODwARIjNEVWZ3iJmqu8zd7v8";
        let names = [HEX, &HEX.to_uppercase(), standard, url].map(|text| key(text).name());
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_ne!(key(&HEX.replace("00", "01")).name(), names[0]);
    }

    #[test]
    fn what_is_no_key_or_a_weak_one_is_refused() {
        for (text, expected) in [
            (String::new(), MasterKeyError::Form),
            (HEX.split_at(1).1.to_owned(), MasterKeyError::Form),
            (format!("{HEX}0"), MasterKeyError::Form),
            (HEX.replace('f', "g"), MasterKeyError::Form),
            (HEX.replacen("00", "+1", 1), MasterKeyError::Form),
            (format!(" {}", HEX.split_at(1).1), MasterKeyError::Form),
            ("AAECAwQFBgcICQoLDA0ODwARIjNEVWZ3iJmqu8zd7v".to_owned(), MasterKeyError::Form),
            ("correct horse battery staple".to_owned(), MasterKeyError::Form),
            ("0".repeat(64), MasterKeyError::Weak("it consists of very few different bytes")),
            ("0011223344556677".repeat(4), MasterKeyError::Weak("it repeats itself")),
        ] {
            assert_eq!(MasterKey::parse(text.as_bytes()).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_look_twice_the_same() {
        let key = key(HEX);
        for value in [&b""[..], b"x", &[7; 4096]] {
            let sealed = key.seal(Purpose::TotpSeed, "u_1", value).unwrap();
            assert_ne!(sealed, key.seal(Purpose::TotpSeed, "u_1", value).unwrap());
            let opened = key.open(Purpose::TotpSeed, "u_1", &sealed).unwrap();
            assert_eq!(opened.expose().as_slice(), value);
        }
    }

    #[test]
    fn another_master_key_is_named() {
        let sealed = key(HEX).seal(Purpose::SigningKey, "k", b"private").unwrap();
        let other = key(&HEX.replace("00", "01"));
        let error = other.open(Purpose::SigningKey, "k", &sealed).unwrap_err();
        let (sealed, present) = (key(HEX).name(), other.name());
        assert_eq!(error, OpenError::OtherKey { sealed, present });
        let text = format!("sealed with the master key {sealed}, and {present} is in use");
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_was_moved_changed_or_cut_stays_closed() {
        let key = key(HEX);
        let sealed = key.seal(Purpose::TotpSeed, "u_1", b"seed").unwrap();
        for (purpose, id) in [
            (Purpose::TotpSeed, "u_2"),
            (Purpose::TotpSeed, ""),
            (Purpose::TotpSeed, "u_1\0"),
            (Purpose::SigningKey, "u_1"),
        ] {
            assert_eq!(key.open(purpose, id, &sealed).unwrap_err(), OpenError::Damaged);
        }
        for place in (0..sealed.len()).filter(|place| !(1..=NAME).contains(place)) {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(key.open(Purpose::TotpSeed, "u_1", &changed).is_err(), "{place}");
        }
        for end in 0..sealed.len() {
            assert!(key.open(Purpose::TotpSeed, "u_1", &sealed[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_key_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", key(HEX)), format!("MasterKey({})", key(HEX).name()));
    }
}
