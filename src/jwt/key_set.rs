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

    /// Puts parsed keys together.
    pub(super) fn of(keys: Vec<VerifyingKey>) -> Result<Self, KeySetError> {
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

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::super::signer::TokenSigner;
    use super::super::testing::{SECRET, jwks, signer};
    use super::*;

    const ALL: &[Algorithm] = &Algorithm::ALL;

    fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn load(keys: &Value, listed: &[Algorithm]) -> Result<KeySet, KeySetError> {
        KeySet::from_jwks_text(&json!({ "keys": keys }).to_string(), listed)
    }

    /// Why a set of this one key is refused.
    #[track_caller]
    fn refused(key: &Value, listed: &[Algorithm]) -> KeyError {
        match load(&json!([key]), listed) {
            Err(KeySetError::Key { source, .. }) => source,
            other => panic!("{key} gave {other:?}"),
        }
    }

    fn public(algorithm: Algorithm, kid: &str) -> Value {
        signer(algorithm, Some(kid)).public_jwk().unwrap()
    }

    fn changed(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn finds_a_key_by_name_and_algorithm_only() {
        let keys = json!([public(Algorithm::Es256, "a"), public(Algorithm::EdDsa, "b")]);
        let set = load(&keys, ALL).unwrap();
        assert_eq!(set.kids().collect::<Vec<_>>(), ["a", "b"]);
        let find =
            |kid, algorithm| set.find(kid, algorithm).map(|key| key.kid().map(str::to_owned));
        assert_eq!(find(Some("a"), Algorithm::Es256), Ok(Some("a".to_owned())));
        assert_eq!(find(None, Algorithm::Es256), Ok(Some("a".to_owned())));
        assert_eq!(find(Some("a"), Algorithm::EdDsa), Err(TokenError::UnsupportedAlgorithm));
        assert_eq!(find(Some("c"), Algorithm::Es256), Err(TokenError::UnknownKey));
        assert_eq!(find(None, Algorithm::Rs256), Err(TokenError::UnknownKey));
    }

    #[test]
    fn a_nameless_key_serves_any_name_only_when_it_is_alone() {
        let mut key = public(Algorithm::Es256, "a");
        key.as_object_mut().unwrap().remove("kid");
        let set = load(&json!([key]), ALL).unwrap();
        assert!(set.find(Some("x"), Algorithm::Es256).is_ok());
        assert!(set.find(None, Algorithm::Es256).is_ok());
        let set = load(&json!([key, public(Algorithm::Es256, "b")]), ALL).unwrap();
        assert!(set.find(Some("b"), Algorithm::Es256).is_ok());
        assert_eq!(set.find(Some("x"), Algorithm::Es256).err(), Some(TokenError::UnknownKey));
        assert_eq!(set.find(None, Algorithm::Es256).err(), Some(TokenError::UnknownKey));
    }

    #[test]
    fn a_secret_is_at_least_as_long_as_its_hash_and_not_guessable() {
        for (algorithm, needed) in
            [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
        {
            let load =
                |bytes: usize| KeySet::from_secret(Secret::new(&SECRET[..bytes]), &[algorithm]);
            assert!(load(needed).is_ok());
            let short = KeyError::ShortSecret { bytes: needed - 1, needed, algorithm };
            for bytes in [0, 1, needed - 1] {
                assert!(matches!(
                    load(bytes),
                    Err(KeySetError::OnlyKey(KeyError::ShortSecret { .. }))
                ));
            }
            assert!(matches!(load(needed - 1), Err(KeySetError::OnlyKey(error)) if error == short));
        }
        let both = [Algorithm::Hs256, Algorithm::Hs512];
        assert!(KeySet::from_secret(Secret::new(&SECRET[..40]), &both).is_err());
        for common in ["secret", "password", "your-256-bit-secret", "", "changeme", "123456"] {
            let secret = Secret::new(common.as_bytes());
            assert!(KeySet::from_secret(secret, &[Algorithm::Hs256]).is_err(), "{common}");
            let padded = format!("{common:\0<64}");
            let secret = Secret::new(padded.as_bytes());
            assert!(KeySet::from_secret(secret, &[Algorithm::Hs256]).is_err(), "{common} padded");
        }
        let secret = Secret::new(SECRET);
        let error = KeySet::from_secret(secret, &[Algorithm::Rs256]).unwrap_err();
        assert!(matches!(error, KeySetError::OnlyKey(KeyError::NotListed)));
    }

    #[test]
    fn rsa_keys_have_2048_to_8192_bits_and_a_sound_exponent() {
        let good = public(Algorithm::Rs256, "k");
        let listed = [Algorithm::Rs256];
        let n = URL_SAFE_NO_PAD.decode(good["n"].as_str().unwrap()).unwrap();
        let sized = |bits: usize| {
            let mut number = vec![0xff; bits.div_ceil(8)];
            number[0] >>= number.len() * 8 - bits;
            changed(good.clone(), "n", json!(encode(&number)))
        };
        assert!(load(&json!([sized(2048)]), &listed).is_ok());
        for bits in [1024, 2047, 8193, 16_384] {
            assert_eq!(refused(&sized(bits), &listed), KeyError::RsaSize { bits });
        }
        let zeros = [&[0, 0], &n[..]].concat();
        let padded = changed(good.clone(), "n", json!(encode(&zeros)));
        assert!(load(&json!([padded]), &listed).is_ok());
        for exponent in [&[1_u8][..], &[0, 1], &[2], &[1, 0, 0], &[], &[0], &[1; 16]] {
            let key = changed(good.clone(), "e", json!(encode(exponent)));
            assert_eq!(refused(&key, &listed), KeyError::RsaExponent, "{exponent:?}");
        }
        assert!(load(&json!([changed(good, "e", json!("Aw"))]), &listed).is_ok());
    }

    #[test]
    fn points_lie_on_their_curve() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384] {
            let good = public(algorithm, "k");
            assert!(load(&json!([good]), ALL).is_ok());
            let y = URL_SAFE_NO_PAD.decode(good["y"].as_str().unwrap()).unwrap();
            let mut off = y.clone();
            off[3] ^= 1;
            for wrong in [off, vec![0; y.len()], y[1..].to_vec(), [&y[..], &[0]].concat(), vec![]] {
                let key = changed(good.clone(), "y", json!(encode(&wrong)));
                assert!(matches!(refused(&key, ALL), KeyError::Unreadable(_)));
            }
            let other = if algorithm == Algorithm::Es256 { "P-384" } else { "P-256" };
            let key = changed(good.clone(), "crv", json!(other));
            assert!(load(&json!([key]), ALL).is_err());
        }
        let good = public(Algorithm::EdDsa, "k");
        for wrong in [vec![1; 31], vec![1; 33], vec![]] {
            let key = changed(good.clone(), "x", json!(encode(&wrong)));
            assert!(matches!(refused(&key, ALL), KeyError::Unreadable(_)));
        }
    }

    #[test]
    fn a_private_key_is_refused_wherever_a_public_one_belongs() {
        let key = changed(public(Algorithm::Es256, "k"), "d", json!("AAAA"));
        assert_eq!(refused(&key, ALL), KeyError::Private);
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let pem = TokenSigner::generate_pem(algorithm).unwrap();
            let error = KeySet::from_pem_or_jwk(pem.expose(), ALL).unwrap_err();
            assert!(matches!(error, KeySetError::OnlyKey(KeyError::Private)), "{error}");
            assert!(!format!("{error:?} {error}").contains(pem.expose().lines().nth(1).unwrap()));
        }
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over_and_an_empty_set_is_refused() {
        let good = public(Algorithm::Es256, "k");
        for other in [
            changed(good.clone(), "use", json!("enc")),
            changed(good.clone(), "key_ops", json!(["sign"])),
            changed(good.clone(), "key_ops", json!([])),
            changed(good.clone(), "alg", json!("ECDH-ES")),
            changed(good.clone(), "alg", json!("RS256")),
            changed(good.clone(), "kty", json!("AKP")),
            changed(good.clone(), "crv", json!("secp256k1")),
            public(Algorithm::Rs256, "k"),
        ] {
            let only = load(&json!([other]), &[Algorithm::Es256]);
            assert!(matches!(only, Err(KeySetError::Empty)), "{other} {only:?}");
            let beside = load(&json!([other, good]), &[Algorithm::Es256]).unwrap();
            assert_eq!(beside.len(), 1);
        }
        let usable = changed(good.clone(), "key_ops", json!(["verify"]));
        assert!(load(&json!([usable]), ALL).is_ok());
        assert!(matches!(load(&json!([]), ALL), Err(KeySetError::Empty)));
    }

    #[test]
    fn names_are_unique_and_families_not_mixed() {
        let (a, b) = (public(Algorithm::Es256, "k"), public(Algorithm::EdDsa, "k"));
        let twice = load(&json!([a, b]), ALL);
        assert!(matches!(twice, Err(KeySetError::DuplicateKid(kid)) if kid == "k"));
        let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": encode(SECRET)});
        assert!(load(&json!([secret]), ALL).is_ok());
        let mixed = load(&json!([secret, a]), ALL);
        assert!(matches!(mixed, Err(KeySetError::MixedFamilies)), "{mixed:?}");
        // Also when one of them would not be used.
        let mixed = load(&json!([secret, a]), &[Algorithm::Hs256]);
        assert!(matches!(mixed, Err(KeySetError::MixedFamilies)), "{mixed:?}");
        let weak = json!({"kty": "oct", "k": encode(&[7; 32])});
        assert!(matches!(refused(&weak, &[Algorithm::Hs256]), KeyError::WeakSecret(_)));
        let short = json!({"kty": "oct", "k": ""});
        assert!(matches!(refused(&short, &[Algorithm::Hs256]), KeyError::ShortSecret { .. }));
    }

    #[test]
    fn what_is_not_a_key_set_is_refused() {
        for text in ["", "{}", "[]", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":[]}x"#] {
            assert!(KeySet::from_jwks_text(text, ALL).is_err(), "{text}");
        }
        for key in [json!(1), json!({}), json!({"kty": 1}), json!({"kty": "EC", "kid": 1})] {
            assert!(matches!(refused(&key, ALL), KeyError::Unreadable(_)), "{key}");
        }
        let key = public(Algorithm::Es256, "k");
        let many = |n: usize| {
            let named = (0..n).map(|i| changed(key.clone(), "kid", json!(i.to_string())));
            json!(named.collect::<Vec<_>>())
        };
        assert_eq!(load(&many(64), ALL).unwrap().len(), 64);
        assert!(matches!(load(&many(65), ALL), Err(KeySetError::TooMany(65))));
        for kid in ["k".repeat(257), "a\nb".to_owned()] {
            let key = changed(key.clone(), "kid", json!(kid));
            assert!(matches!(refused(&key, ALL), KeyError::Unreadable(_)));
        }
    }

    #[test]
    fn a_fetched_set_drops_bad_keys_but_never_takes_secrets() {
        let good = public(Algorithm::Es256, "good");
        let weak = changed(public(Algorithm::Rs256, "weak"), "n", json!(encode(&[0xff; 128])));
        let private = changed(public(Algorithm::EdDsa, "private"), "d", json!("AA"));
        let fetch =
            |keys: Value| KeySet::from_fetched(json!({ "keys": keys }).to_string().as_bytes(), ALL);
        let (set, skipped) = fetch(json!([weak, private, 7, good])).unwrap();
        assert_eq!(set.kids().collect::<Vec<_>>(), ["good"]);
        let labels: Vec<_> = skipped.iter().map(|key| key.label.as_str()).collect();
        assert_eq!(labels, ["weak", "private", "#3"]);
        assert!(matches!(fetch(json!([weak, private])), Err(KeySetError::Empty)));
        let secret = json!({"kty": "oct", "kid": "s", "k": encode(SECRET)});
        assert!(matches!(fetch(json!([secret])), Err(KeySetError::FetchedSecret)));
        assert!(matches!(fetch(json!([secret, good])), Err(KeySetError::MixedFamilies)));
        assert!(matches!(fetch(json!([good, good])), Err(KeySetError::DuplicateKid(_))));
    }

    #[test]
    fn one_public_key_may_come_as_pem_or_jwk() {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::generate().unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let set = KeySet::from_pem_or_jwk(&pem, ALL).unwrap();
        let key = set.find(Some("any"), Algorithm::EdDsa).unwrap();
        assert!(key.verify(Algorithm::EdDsa, b"text", pair.sign(b"text").as_ref()));
        assert!(!key.verify(Algorithm::EdDsa, b"Text", pair.sign(b"text").as_ref()));
        assert!(!key.verify(Algorithm::Es256, b"text", pair.sign(b"text").as_ref()));

        let jwk = public(Algorithm::Es256, "k").to_string();
        assert!(
            KeySet::from_pem_or_jwk(&jwk, ALL).unwrap().find(Some("k"), Algorithm::Es256).is_ok()
        );
        let es256 = signer(Algorithm::Es256, None);
        for wrong in [
            String::new(),
            "{}".to_owned(),
            jwks(&[&es256]),
            "secret".to_owned(),
            pem.replace("PUBLIC KEY", "CERTIFICATE"),
            format!("{pem}{pem}"),
            pem.replace(&body, "AAAA"),
            pem.replace(&body, ""),
        ] {
            assert!(KeySet::from_pem_or_jwk(&wrong, ALL).is_err(), "{wrong}");
        }
        let unlisted = KeySet::from_pem_or_jwk(&pem, &[Algorithm::Es256]);
        assert!(matches!(unlisted, Err(KeySetError::OnlyKey(KeyError::NotListed))));
    }
}
