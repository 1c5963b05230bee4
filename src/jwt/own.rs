//! Keys of our own: those that sign the tokens of one family, and all that still verify them.
//!
//! Where they are kept and when one follows another is decided above; here they are only in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use thiserror::Error;
use zeroize::Zeroizing;

use super::TokenError;
use super::algorithm::{Algorithm, Family};
use super::key::{Jwk, KeyError, VerifyingKey};
use super::key_set::{KeySet, KeySetError};
use super::signer::{SignerError, TokenSigner};
use crate::id::Digest;
use crate::secret::Secret;

/// The keys of one family of tokens, swapped whole when one is added, retired or withdrawn.
#[derive(Debug)]
pub struct OwnKeys {
    family: String,
    algorithm: Algorithm,
    in_force: ArcSwap<InForce>,
}

/// What is in force at one time.
#[derive(Debug, Default)]
struct InForce {
    verifying: Option<KeySet>,
    signer: Option<Arc<TokenSigner>>,
    public: Vec<Value>,
}

impl OwnKeys {
    /// No keys yet: nothing can be signed, and no token is good.
    pub fn new(family: impl Into<String>, algorithm: Algorithm) -> Self {
        Self { family: family.into(), algorithm, in_force: ArcSwap::default() }
    }

    /// Whose tokens they sign.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The algorithm of every key of the family.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Puts these keys in force, in place of all others.
    pub fn replace(&self, keys: &[OwnKey]) -> Result<(), OwnKeyError> {
        let mut verifying = Vec::with_capacity(keys.len());
        let (mut signer, mut public) = (None, Vec::new());
        for key in keys {
            let (read, sign) = key.parse(self.algorithm)?;
            verifying.push(read);
            public.extend(sign.public_jwk());
            if key.signs {
                signer = Some(Arc::new(sign));
            }
        }
        let verifying = if verifying.is_empty() { None } else { Some(KeySet::of(verifying)?) };
        self.in_force.store(Arc::new(InForce { verifying, signer, public }));
        Ok(())
    }

    /// The key that signs now.
    pub fn signer(&self) -> Option<Arc<TokenSigner>> {
        self.in_force.load().signer.clone()
    }

    /// The public keys of the family; none of a shared secret, which is not public.
    pub fn public_jwks(&self) -> Vec<Value> {
        self.in_force.load().public.clone()
    }

    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, TokenError> {
        // Every token of ours names its key: one that does not is somebody else's.
        let kid = kid.ok_or(TokenError::UnknownKey)?;
        let in_force = self.in_force.load();
        let keys = in_force.verifying.as_ref().ok_or(TokenError::KeysUnavailable)?;
        keys.find(Some(kid), algorithm).cloned()
    }

    pub(super) fn holds(&self, fingerprint: &Digest) -> bool {
        self.in_force.load().verifying.as_ref().is_some_and(|keys| keys.holds(fingerprint))
    }
}

/// One of our keys, unsealed.
#[derive(Debug)]
pub struct OwnKey {
    /// Its name, in the header of every token it signs.
    pub kid: String,
    /// The secret itself for HMAC, a private key in PEM form for the others.
    pub material: Secret<Zeroizing<Vec<u8>>>,
    /// Whether it signs; the others only verify.
    pub signs: bool,
}

/// Why a key of ours cannot be put in force.
#[derive(Debug, Error)]
pub enum OwnKeyError {
    /// It cannot sign.
    #[error("the key `{0}` cannot sign")]
    Signer(String, #[source] SignerError),
    /// It cannot verify.
    #[error("the key `{0}` cannot verify")]
    Key(String, #[source] KeyError),
    /// Together they are no set.
    #[error(transparent)]
    Set(#[from] KeySetError),
}

impl OwnKey {
    fn parse(&self, algorithm: Algorithm) -> Result<(VerifyingKey, TokenSigner), OwnKeyError> {
        let kid = || Some(self.kid.clone());
        let material = self.material.expose();
        let cannot_sign = |error| OwnKeyError::Signer(self.kid.clone(), error);
        let cannot_verify = |error| OwnKeyError::Key(self.kid.clone(), error);
        if algorithm.family() == Family::Hmac {
            let signer =
                TokenSigner::from_secret(Secret::new(material.as_slice()), algorithm, kid());
            let key = VerifyingKey::from_secret(kid(), material, &[algorithm]);
            return Ok((key.map_err(cannot_verify)?, signer.map_err(cannot_sign)?));
        }
        let pem = String::from_utf8_lossy(material);
        let signer = TokenSigner::from_pem(&pem, algorithm, kid()).map_err(cannot_sign)?;
        let jwk = signer.public_jwk().and_then(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
        let key = jwk
            .ok_or(KeyError::Unreadable("no public key"))
            .and_then(|jwk| VerifyingKey::from_jwk(&jwk, &[algorithm]));
        Ok((key.map_err(cannot_verify)?, signer))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use std::time::Duration;

    use serde_json::json;

    use super::super::claims::Audience;
    use super::super::ended::Ended;
    use super::super::recent::Recent;
    use super::super::testing::{NOW, SECRET, entry, now, verifier, verify};
    use super::super::verifier::{KeySource, TokenVerifier};
    use super::*;
    use crate::clock::Timestamp;

    fn secret(kid: &str, first: u8, signs: bool) -> OwnKey {
        let mut material = SECRET.to_vec();
        material[0] = first;
        OwnKey { kid: kid.to_owned(), material: Secret::new(Zeroizing::new(material)), signs }
    }

    #[test]
    fn one_key_signs_and_all_verify_until_they_are_withdrawn() {
        let keys = OwnKeys::new("acme", Algorithm::Hs256);
        let find = |kid: Option<&str>| keys.find(kid, Algorithm::Hs256).map(|_| ());
        assert!(keys.signer().is_none());
        assert_eq!(find(Some("a")), Err(TokenError::KeysUnavailable));
        keys.replace(&[secret("a", 1, false), secret("b", 2, true)]).unwrap();
        assert_eq!((find(Some("a")), find(Some("b"))), (Ok(()), Ok(())));
        for foreign in [None, Some("c"), Some("")] {
            assert_eq!(find(foreign), Err(TokenError::UnknownKey), "{foreign:?}");
        }
        let old = *keys.find(Some("a"), Algorithm::Hs256).unwrap().fingerprint();
        assert!(keys.holds(&old));
        keys.replace(&[secret("b", 2, true)]).unwrap();
        assert!(!keys.holds(&old));
        assert_eq!(find(Some("a")), Err(TokenError::UnknownKey));
        keys.replace(&[]).unwrap();
        assert!(keys.signer().is_none());
    }

    #[test]
    fn a_pair_of_keys_signs_and_verifies() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let pem = TokenSigner::generate_pem(algorithm).unwrap();
            let material = Secret::new(Zeroizing::new(pem.expose().as_bytes().to_vec()));
            let keys = OwnKeys::new("acme", algorithm);
            keys.replace(&[OwnKey { kid: "k".to_owned(), material, signs: true }]).unwrap();
            let token =
                keys.signer().unwrap().sign(&serde_json::Map::new(), &serde_json::json!({}));
            let token = token.unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let key = keys.find(Some("k"), algorithm).unwrap();
            assert!(key.verify(algorithm, signed.as_bytes(), &signature));
            assert!(!key.verify(algorithm, b"other", &signature));
        }
    }

    /// A check for tokens of our own, by one key named `k`, and what of them ended.
    fn own_check(family: &str) -> (TokenVerifier, Arc<OwnKeys>, Arc<Ended>) {
        let keys = Arc::new(OwnKeys::new(family, Algorithm::Hs256));
        keys.replace(&[secret("k", family.len().try_into().unwrap(), true)]).unwrap();
        let ended = Arc::new(Ended::new(now(), Duration::from_secs(30)));
        let source = KeySource::Own(Arc::clone(&keys), Arc::clone(&ended));
        let mut entry = entry("", &[Algorithm::Hs256], source);
        (entry.issuer, entry.audience) = (None, Audience::Any);
        (verifier(vec![entry], 1 << 20), keys, ended)
    }

    fn minted(keys: &OwnKeys, header: Value) -> String {
        let Value::Object(header) = header else { panic!("an object") };
        let claims = json!({"sub": "anna", "jti": "t1", "exp": NOW + 60});
        keys.signer().unwrap().sign(&header, &claims).unwrap()
    }

    #[tokio::test]
    async fn a_token_of_ours_is_good_until_its_session_ends() {
        let (check, keys, ended) = own_check("acme");
        let token = minted(&keys, json!({"sid": "s_1", "uid": "u_7"}));
        let recent = Recent::new();
        let judge = async || check.verify(Secret::new(token.as_str()), now(), &recent).await;
        for _ in 0..2 {
            let own = judge().await.unwrap().subject.own.clone().unwrap();
            assert_eq!((own.session.as_str(), own.user.as_str()), ("s_1", "u_7"));
        }
        ended.add(&[("s_1".to_owned(), Timestamp::from_seconds(NOW + 60))], now());
        assert_eq!(judge().await.err(), Some(TokenError::Revoked));
        let unseen = verify(&check, &token).await;
        assert_eq!(unseen.err(), Some(TokenError::Revoked));
        ended.replace([("t1".to_owned(), Timestamp::from_seconds(NOW + 60))]);
        assert_eq!(judge().await.err(), Some(TokenError::Revoked));
        ended.replace([]);
        assert!(judge().await.is_ok());
        keys.replace(&[]).unwrap();
        assert!(judge().await.is_err());
    }

    #[tokio::test]
    async fn a_token_of_ours_names_its_session_user_and_key() {
        let (check, keys, _) = own_check("acme");
        for header in [
            json!({}),
            json!({"sid": "s_1"}),
            json!({"uid": "u_7"}),
            json!({"sid": 1, "uid": "u_7"}),
            json!({"sid": "s_1", "uid": 7}),
            json!({"sid": "s_1", "uid": ["u_7"]}),
            json!({"sid": null, "uid": "u_7"}),
        ] {
            let verdict = verify(&check, &minted(&keys, header.clone())).await;
            assert_eq!(verdict.err(), Some(TokenError::Claims("session")), "{header}");
        }
        let nameless = minted(&keys, json!({"sid": "s_1", "uid": 7, "kid": null}));
        assert_eq!(verify(&check, &nameless).await.err(), Some(TokenError::UnknownKey));
        let (other, _, _) = own_check("other");
        let good = minted(&keys, json!({"sid": "s_1", "uid": "u_7"}));
        assert!(verify(&check, &good).await.is_ok());
        assert_eq!(verify(&other, &good).await.err(), Some(TokenError::BadSignature));
    }

    #[test]
    fn a_bad_key_leaves_those_in_force() {
        let keys = OwnKeys::new("acme", Algorithm::Hs256);
        keys.replace(&[secret("a", 1, true)]).unwrap();
        let short = OwnKey {
            kid: "s".to_owned(),
            material: Secret::new(Zeroizing::new(vec![7; 31])),
            signs: true,
        };
        assert!(keys.replace(&[short]).is_err());
        assert!(keys.replace(&[secret("a", 1, true), secret("a", 2, false)]).is_err());
        assert_eq!(keys.signer().unwrap().kid(), Some("a"));
    }
}
