//! One `jwt` check: which issuers it trusts, and the way of a token through the rules.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::TokenError;
use super::algorithm::Algorithm;
use super::cache::{Remembered, TokenCache};
use super::claims::{self, Audience, TypRule, Window};
use super::compact::Compact;
use super::key::VerifyingKey;
use super::key_set::KeySet;
use super::pointer::Pointer;
use super::remote::RemoteKeys;
use crate::clock::Timestamp;
use crate::id::{CheckName, Digest};
use crate::principal::{Permissions, Subject};
use crate::secret::Secret;

/// Where the keys of an issuer come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Loaded with the configuration.
    Fixed(Arc<KeySet>),
    /// Fetched from the issuer, and refreshed.
    Remote(Arc<RemoteKeys>),
}

/// What is demanded of the tokens of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The number of the entry, for whoever configured it.
    pub id: usize,
    /// The exact `iss`; `None` takes tokens without one, and those whose `iss` no other entry claims.
    pub issuer: Option<String>,
    /// Which `aud` is accepted.
    pub audience: Audience,
    /// Which algorithms are accepted, whatever the keys could do.
    pub algorithms: Vec<Algorithm>,
    /// Which `typ` is accepted.
    pub typ: TypRule,
    /// Whose signature is accepted.
    pub keys: KeySource,
    /// Where the identity stands.
    pub identity: Pointer,
    /// Where the permissions stand.
    pub permissions: Option<Pointer>,
    /// For how long after `exp` and before `nbf` a token is still good.
    pub leeway: Duration,
}

/// A token that passed.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Of whom it speaks.
    pub subject: Arc<Subject>,
    /// The `id` of the entry that accepted it.
    pub entry: usize,
}

/// Why a check cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifierError {
    /// Two entries are for one issuer: which one judges would be chance.
    #[error("two entries are for the issuer `{0}`")]
    DuplicateIssuer(String),
    /// Two entries take tokens without an issuer.
    #[error("two entries are for tokens without an issuer")]
    DuplicateNone,
}

/// Verifies the tokens of one `jwt` check.
#[derive(Debug)]
pub struct TokenVerifier {
    name: CheckName,
    entries: Vec<IssuerSettings>,
    cache: TokenCache,
    max_token_bytes: usize,
    /// The digest of name and rules: what was verified under other rules is not found again.
    rules: Digest,
}

impl TokenVerifier {
    /// Puts the entries of a check together.
    pub fn new(
        name: CheckName,
        entries: Vec<IssuerSettings>,
        cache: TokenCache,
        max_token_bytes: usize,
    ) -> Result<Self, VerifierError> {
        for (at, entry) in entries.iter().enumerate() {
            if entries.iter().skip(at + 1).any(|other| other.issuer == entry.issuer) {
                let issuer = entry.issuer.clone();
                return Err(issuer.map_or(VerifierError::DuplicateNone, |issuer| {
                    VerifierError::DuplicateIssuer(issuer)
                }));
            }
        }
        let rules = entries.iter().map(IssuerSettings::rules).collect::<Vec<_>>();
        let rules = Digest::of(format!("{name:?} {rules:?}").as_bytes());
        Ok(Self { name, entries, cache, max_token_bytes, rules })
    }

    /// The name of the check.
    pub const fn name(&self) -> &CheckName {
        &self.name
    }

    /// The entries, in the order in which they were written.
    pub fn entries(&self) -> &[IssuerSettings] {
        &self.entries
    }

    /// Judges a token at the instant `now`.
    ///
    /// Waits only when the issuer's keys are not loaded, or lack the one that the token names; and
    /// then for a bounded time.
    pub async fn verify(
        &self,
        token: Secret<&str>,
        now: Timestamp,
    ) -> Result<Verified, TokenError> {
        let token = *token.expose();
        if token.len() > self.max_token_bytes {
            return Err(TokenError::TooLong);
        }
        let memory = self.cache.key(&self.rules, token);
        if let Some(known) = memory.as_ref().and_then(|memory| self.recall(memory, now)) {
            return known;
        }
        let (verified, remembered) = self.judge(token, now).await?;
        if let Some(memory) = memory {
            self.cache.remember(memory, remembered);
        }
        Ok(verified)
    }

    /// The answer for a token verified before, unless its key is no longer in force.
    fn recall(&self, memory: &Digest, now: Timestamp) -> Option<Result<Verified, TokenError>> {
        let Some(known) = self.cache.find(memory) else {
            self.cache.count_miss();
            return None;
        };
        let entry = self.entries.get(known.entry)?;
        match entry.keys.holds(&known.key, now) {
            Ok(true) => {}
            Ok(false) => {
                self.cache.forget(memory);
                self.cache.count_miss();
                return None;
            }
            Err(error) => return Some(Err(error)),
        }
        self.cache.count_hit();
        let verified = Verified { subject: known.subject, entry: entry.id };
        Some(known.window.holds(now).map(|()| verified))
    }

    async fn judge(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Verified, Remembered), TokenError> {
        let Compact { signed, header, claims, signature } = Compact::read(token)?;
        // Unverified, this says only whose keys and rules to judge by.
        let issuer = claims::issuer(&claims)?;
        let (at, entry) = self.entry_for(issuer).ok_or(TokenError::UnknownIssuer)?;
        if !entry.algorithms.contains(&header.algorithm) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        let key = entry.keys.key(header.kid.as_deref(), header.algorithm, now).await?;
        if !key.verify(header.algorithm, signed.as_bytes(), &signature) {
            return Err(TokenError::BadSignature);
        }
        entry.typ.admit(header.typ.as_deref())?;
        entry.audience.admit(&claims)?;
        let (window, expires_at) = Window::of(&claims, entry.leeway)?;
        let identity = claims::identity(&claims, &entry.identity)?;
        window.holds(now)?;

        let permissions = entry.permissions.as_ref().and_then(|pointer| pointer.resolve(&claims));
        let permissions = permissions.map_or(Permissions::None, Permissions::of_claim);
        let issuer = issuer.unwrap_or_default().to_owned();
        let subject = Arc::new(Subject { identity, issuer, claims, permissions, expires_at });
        let verified = Verified { subject: Arc::clone(&subject), entry: entry.id };
        Ok((verified, Remembered::new(subject, window, *key.fingerprint(), at, now)))
    }

    fn entry_for(&self, issuer: Option<&str>) -> Option<(usize, &IssuerSettings)> {
        let entry = |wanted: Option<&str>| {
            self.entries.iter().enumerate().find(|(_, entry)| entry.issuer.as_deref() == wanted)
        };
        entry(issuer).or_else(|| entry(None))
    }
}

impl IssuerSettings {
    /// Everything that decides, except the keys: those are compared for themselves.
    fn rules(&self) -> String {
        let Self { id, issuer, audience, algorithms, typ, keys: _, identity, permissions, leeway } =
            self;
        format!(
            "{id:?} {issuer:?} {audience:?} {algorithms:?} {typ:?} {identity:?} {permissions:?} {leeway:?}"
        )
    }
}

impl KeySource {
    async fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Arc<VerifyingKey>, TokenError> {
        match self {
            Self::Fixed(keys) => keys.find(kid, algorithm).cloned(),
            Self::Remote(keys) => keys.key(kid, algorithm, now).await,
        }
    }

    fn holds(&self, fingerprint: &Digest, now: Timestamp) -> Result<bool, TokenError> {
        match self {
            Self::Fixed(keys) => Ok(keys.holds(fingerprint)),
            Self::Remote(keys) => keys.holds(fingerprint, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::super::testing::{
        NOW, SECRET, claims, entry, header, jwks, key_set, keys_of, now, plain, signer, verifier,
        verify, with,
    };
    use super::*;

    const ISSUER: &str = "https://id";
    const MEBIBYTE: u64 = 1 << 20;

    fn es256() -> (super::super::TokenSigner, TokenVerifier) {
        let signer = signer(Algorithm::Es256, Some("k"));
        let entry = entry(ISSUER, &[Algorithm::Es256], keys_of(&signer));
        (signer, verifier(vec![entry], 0))
    }

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[tokio::test]
    async fn accepts_a_good_token_of_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let signer = signer(algorithm, Some("k"));
            let verifier = verifier(vec![entry(ISSUER, &[algorithm], keys_of(&signer))], MEBIBYTE);
            let token = signer.sign(&plain(), &claims()).unwrap();
            for _ in 0..2 {
                let verified = verify(&verifier, &token).await.unwrap();
                assert_eq!(verified.subject.identity, "anna", "{algorithm}");
                assert_eq!(verified.subject.issuer, ISSUER);
                assert!(verified.subject.permissions.grants("write"));
                assert_eq!(verified.subject.expires_at.seconds(), NOW + 60);
                assert_eq!(Value::Object(verified.subject.claims.clone()), claims());
            }
        }
    }

    #[tokio::test]
    async fn a_signature_fits_one_text_one_key_and_one_algorithm() {
        let (signer, verifier) = es256();
        let token = signer.sign(&plain(), &claims()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let other = encode(&with("sub", json!("eve")).to_string());
        let forged = format!("{head}.{other}.{signature}");
        assert_eq!(verify(&verifier, &forged).await.err(), Some(TokenError::BadSignature));

        let stranger = super::super::testing::signer(Algorithm::Es256, Some("k"));
        let token = stranger.sign(&plain(), &claims()).unwrap();
        assert_eq!(verify(&verifier, &token).await.err(), Some(TokenError::BadSignature));
    }

    #[tokio::test]
    async fn a_forged_token_is_never_told_that_it_expired() {
        let (signer, verifier) = es256();
        let expired = signer.sign(&plain(), &with("exp", json!(NOW))).unwrap();
        assert_eq!(verify(&verifier, &expired).await.err(), Some(TokenError::Expired));
        let (signed, _) = expired.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
        assert_eq!(verify(&verifier, &forged).await.err(), Some(TokenError::BadSignature));
    }

    #[tokio::test]
    async fn ecdsa_signatures_are_two_numbers_of_fixed_length_in_range() {
        for (algorithm, size) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96)] {
            let signer = signer(algorithm, None);
            let verifier = verifier(vec![entry(ISSUER, &[algorithm], keys_of(&signer))], 0);
            let token = signer.sign(&plain(), &claims()).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let good = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert_eq!(good.len(), size);
            let (r, s) = good.split_at(size / 2);
            let der = [
                &[0x30, u8::try_from(size + 4).unwrap(), 2, u8::try_from(size / 2).unwrap()],
                r,
                &[2, u8::try_from(size / 2).unwrap()],
                s,
            ]
            .concat();
            for wrong in [
                vec![0; size],
                vec![0xff; size],
                [r, &vec![0; size / 2]].concat(),
                good[..size - 1].to_vec(),
                [&good[..], &[0]].concat(),
                [&[0], &good[..]].concat(),
                [&[0], r, &[0], s].concat(),
                der,
                vec![],
            ] {
                let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&wrong));
                let judged = verify(&verifier, &forged).await.err();
                assert_eq!(judged, Some(TokenError::BadSignature), "{algorithm} {wrong:?}");
            }
        }
    }

    #[tokio::test]
    async fn none_and_empty_signatures_open_nothing() {
        let (_, verifier) = es256();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let head = encode(&json!({"alg": alg, "typ": "JWT"}).to_string());
            let body = encode(&claims().to_string());
            for token in [format!("{head}.{body}."), format!("{head}.{body}")] {
                let judged = verify(&verifier, &token).await.unwrap_err();
                assert!(
                    matches!(judged, TokenError::UnsupportedAlgorithm | TokenError::Malformed(_)),
                    "{judged:?}"
                );
            }
        }
        let head = encode(&json!({"alg": "ES256", "kid": "k"}).to_string());
        let token = format!("{head}.{}.", encode(&claims().to_string()));
        assert_eq!(verify(&verifier, &token).await.err(), Some(TokenError::BadSignature));
        // HMAC with a blank password.
        let blank = super::super::TokenSigner::from_secret(
            Secret::new(b"".as_slice()),
            Algorithm::Hs256,
            None,
        );
        let token = blank.unwrap().sign(&plain(), &claims()).unwrap();
        assert_eq!(verify(&verifier, &token).await.err(), Some(TokenError::UnsupportedAlgorithm));
        let keys = keys_of(&signer(Algorithm::Hs256, None));
        let verifier =
            super::super::testing::verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys)], 0);
        assert_eq!(verify(&verifier, &token).await.err(), Some(TokenError::BadSignature));
    }

    #[tokio::test]
    async fn a_public_key_is_no_hmac_secret_even_when_both_algorithms_are_listed() {
        let rsa = signer(Algorithm::Rs256, Some("k"));
        let jwk = rsa.public_jwk().unwrap();
        let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        let entry = entry(
            ISSUER,
            &[Algorithm::Rs256, Algorithm::Hs256],
            key_set(&[&rsa], &[Algorithm::Rs256, Algorithm::Hs256]),
        );
        let verifier = verifier(vec![entry], 0);
        for secret in [jwk.to_string().into_bytes(), jwks(&[&rsa]).into_bytes(), modulus] {
            for kid in [Some("k"), None] {
                let confused = super::super::TokenSigner::from_secret(
                    Secret::new(&secret),
                    Algorithm::Hs256,
                    kid.map(str::to_owned),
                );
                let token = confused.unwrap().sign(&plain(), &claims()).unwrap();
                let judged = verify(&verifier, &token).await.unwrap_err();
                assert!(
                    matches!(judged, TokenError::UnsupportedAlgorithm | TokenError::UnknownKey),
                    "{judged:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_algorithm_is_the_keys_and_the_entrys_not_the_tokens() {
        // All of the family share one key pair, so the signatures themselves would fit.
        let (rs256, ps256) =
            (signer(Algorithm::Rs256, Some("k")), signer(Algorithm::Ps256, Some("k")));
        let pinned = |own: &super::super::TokenSigner, listed: &[Algorithm]| {
            verifier(vec![entry(ISSUER, listed, key_set(&[own], listed))], 0)
        };
        let both = [Algorithm::Rs256, Algorithm::Ps256];
        for (own, other) in [(&rs256, &ps256), (&ps256, &rs256)] {
            let verifier = pinned(own, &both);
            let token = own.sign(&plain(), &claims()).unwrap();
            assert!(verify(&verifier, &token).await.is_ok());
            let token = other.sign(&plain(), &claims()).unwrap();
            let judged = verify(&verifier, &token).await.err();
            assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm));
        }
        let verifier = pinned(&rs256, &[Algorithm::Rs256]);
        for algorithm in [Algorithm::Rs384, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let token = signer(algorithm, Some("k")).sign(&plain(), &claims()).unwrap();
            let judged = verify(&verifier, &token).await.err();
            assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm), "{algorithm}");
        }
        for alg in ["ES512", "ES256K", "HS256 "] {
            let token = rs256.sign(&header(json!({"alg": alg})), &claims()).unwrap();
            let judged = verify(&verifier, &token).await.err();
            assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm), "{alg}");
        }
    }

    #[tokio::test]
    async fn the_key_id_names_one_key_exactly() {
        let (a, b) = (signer(Algorithm::Es256, Some("a")), signer(Algorithm::Es256, Some("b")));
        let listed = [Algorithm::Es256];
        let verifier = verifier(vec![entry(ISSUER, &listed, key_set(&[&a, &b], &listed))], 0);
        let judge = async |members: Value| {
            let token = a.sign(&header(members), &claims()).unwrap();
            verify(&verifier, &token).await.err()
        };
        assert_eq!(judge(json!({})).await, None);
        assert_eq!(judge(json!({"kid": "b"})).await, Some(TokenError::BadSignature));
        for kid in [
            json!("A"),
            json!("a "),
            json!(""),
            json!("c"),
            json!("../../dev/null"),
            json!("/dev/null"),
            json!("x' UNION SELECT '1"),
            json!("|sleep 10"),
            json!(null),
        ] {
            // `null` takes the member away: with two keys, nobody guesses.
            assert_eq!(judge(json!({"kid": kid})).await, Some(TokenError::UnknownKey), "{kid}");
        }
        for kid in [json!("a\u{0}"), json!("a\r\n"), json!(1), json!({}), json!("a".repeat(257))] {
            let judged = judge(json!({"kid": kid})).await;
            assert!(matches!(judged, Some(TokenError::Malformed(_))), "{kid} {judged:?}");
        }
    }

    #[tokio::test]
    async fn keys_that_the_token_brings_along_are_not_used() {
        let (_, verifier) = es256();
        let stranger = signer(Algorithm::Es256, Some("k"));
        let jwk = stranger.public_jwk().unwrap();
        for members in [
            json!({"jwk": jwk}),
            json!({"jwk": jwk, "kid": null}),
            json!({"jku": "http://127.0.0.1:1/keys"}),
            json!({"x5u": "http://127.0.0.1:1/cert", "x5c": ["AAAA"], "x5t": "AA"}),
        ] {
            let token = stranger.sign(&header(members), &claims()).unwrap();
            assert_eq!(verify(&verifier, &token).await.err(), Some(TokenError::BadSignature));
        }
    }

    #[tokio::test]
    async fn the_issuer_picks_one_entry_and_another_issuers_keys_are_never_tried() {
        let (a, b) = (signer(Algorithm::Es256, Some("k")), signer(Algorithm::Es256, Some("k")));
        let listed = [Algorithm::Es256];
        let mut second = entry("https://b", &listed, keys_of(&b));
        second.id = 7;
        let verifier = verifier(vec![entry("https://a", &listed, keys_of(&a)), second], 0);
        let judge = async |signer: &super::super::TokenSigner, claims: Value| {
            let token = signer.sign(&plain(), &claims).unwrap();
            verify(&verifier, &token).await.map(|verified| verified.entry)
        };
        assert_eq!(judge(&a, with("iss", json!("https://a"))).await, Ok(0));
        assert_eq!(judge(&b, with("iss", json!("https://b"))).await, Ok(7));
        let crossed = judge(&a, with("iss", json!("https://b"))).await;
        assert_eq!(crossed, Err(TokenError::BadSignature));
        for iss in [json!("https://c"), json!("https://a/"), json!("HTTPS://a"), json!("")] {
            let judged = judge(&a, with("iss", iss.clone())).await;
            assert_eq!(judged, Err(TokenError::UnknownIssuer), "{iss}");
        }
        for iss in [json!(["https://a"]), json!(null), json!({})] {
            let judged = judge(&a, with("iss", iss.clone())).await;
            assert_eq!(judged, Err(TokenError::Claims("iss")), "{iss}");
        }
    }

    #[tokio::test]
    async fn an_entry_without_issuer_takes_what_no_other_entry_claims() {
        let (own, open) = (signer(Algorithm::Es256, None), signer(Algorithm::Es256, None));
        let listed = [Algorithm::Es256];
        let mut none = entry("", &listed, keys_of(&open));
        none.issuer = None;
        none.id = 1;
        let verifier = verifier(vec![entry(ISSUER, &listed, keys_of(&own)), none], 0);
        let judge = async |claims: Value| {
            let token = open.sign(&plain(), &claims).unwrap();
            verify(&verifier, &token).await.map(|verified| verified.entry)
        };
        let mut anonymous = claims();
        anonymous.as_object_mut().unwrap().remove("iss");
        assert_eq!(judge(anonymous).await, Ok(1));
        assert_eq!(judge(with("iss", json!("https://other"))).await, Ok(1));
        assert_eq!(judge(claims()).await, Err(TokenError::BadSignature));
    }

    #[test]
    fn two_entries_for_one_issuer_are_refused() {
        let build = |issuers: [Option<&str>; 2]| {
            let keys = keys_of(&signer(Algorithm::Hs256, None));
            let entries = issuers.map(|issuer| {
                let mut entry = entry("", &[Algorithm::Hs256], keys.clone());
                entry.issuer = issuer.map(str::to_owned);
                entry
            });
            let metrics = crate::telemetry::Metrics::new().unwrap();
            let cache = TokenCache::new(0, &metrics);
            TokenVerifier::new(CheckName::new("user"), entries.to_vec(), cache, 8192).err()
        };
        assert_eq!(build([Some("a"), Some("b")]), None);
        assert_eq!(build([Some("a"), None]), None);
        let twice = VerifierError::DuplicateIssuer("a".to_owned());
        assert_eq!(build([Some("a"), Some("a")]), Some(twice));
        assert_eq!(build([None, None]), Some(VerifierError::DuplicateNone));
    }

    #[tokio::test]
    async fn type_audience_and_identity_are_demanded() {
        let (signer, verifier) = es256();
        let judge = async |members: Value, claims: Value| {
            let token = signer.sign(&header(members), &claims).unwrap();
            verify(&verifier, &token).await.err()
        };
        assert_eq!(judge(json!({"typ": null}), claims()).await, None);
        assert_eq!(judge(json!({"typ": "at+jwt"}), claims()).await, None);
        for typ in ["refresh+jwt", "id+jwt", "totp+jwt", "reset+jwt"] {
            let judged = judge(json!({"typ": typ}), claims()).await;
            assert_eq!(judged, Some(TokenError::WrongType), "{typ}");
        }
        for aud in [json!("other"), json!([]), json!({"api": 1}), json!("api,other")] {
            let judged = judge(json!({}), with("aud", aud.clone())).await;
            assert_eq!(judged, Some(TokenError::WrongAudience), "{aud}");
        }
        assert_eq!(judge(json!({}), with("aud", json!(["x", "api"]))).await, None);
        for sub in [json!(null), json!(""), json!({"id": 1}), json!([]), json!(true)] {
            let judged = judge(json!({}), with("sub", sub.clone())).await;
            assert_eq!(judged, Some(TokenError::Claims("identity")), "{sub}");
        }
        for exp in [json!("1900000000"), json!(null), json!([]), json!(u64::MAX)] {
            let judged = judge(json!({}), with("exp", exp.clone())).await;
            assert_eq!(judged, Some(TokenError::Claims("exp")), "{exp}");
        }
        // "Expired" is said only of a token that would otherwise be good.
        let mut foreign = with("exp", json!(NOW - 1));
        foreign["aud"] = json!("other");
        assert_eq!(judge(json!({}), foreign).await, Some(TokenError::WrongAudience));
        assert_eq!(judge(json!({}), with("exp", json!(NOW - 1))).await, Some(TokenError::Expired));
        assert_eq!(
            judge(json!({}), with("nbf", json!(NOW + 1))).await,
            Some(TokenError::NotYetValid)
        );
    }

    #[tokio::test]
    async fn an_identity_may_lie_within_an_object() {
        let signer = signer(Algorithm::Hs256, None);
        let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        entry.identity = Pointer::parse("/sub/customer_id").unwrap();
        let verifier = verifier(vec![entry], 0);
        let sub = json!({"customer_id": 17, "customer_first_name": "Anna"});
        let token = signer.sign(&plain(), &with("sub", sub)).unwrap();
        assert_eq!(verify(&verifier, &token).await.unwrap().subject.identity, "17");
        let token = signer.sign(&plain(), &claims()).unwrap();
        let judged = verify(&verifier, &token).await.err();
        assert_eq!(judged, Some(TokenError::Claims("identity")));
    }

    #[tokio::test]
    async fn a_token_has_at_most_the_configured_length() {
        let signer = signer(Algorithm::Hs256, None);
        let verifier = verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer))], 0);
        let of_length = |wanted: usize| {
            (0..4).find_map(|pad| {
                let filler = "x".repeat((wanted - 400) * 3 / 4 + pad);
                (0..400).find_map(|more| {
                    let filler = format!("{filler}{}", "y".repeat(more));
                    let token = signer.sign(&plain(), &with("filler", json!(filler))).unwrap();
                    (token.len() == wanted).then_some(token)
                })
            })
        };
        assert!(verify(&verifier, &of_length(8192).unwrap()).await.is_ok());
        let longer = of_length(8193).or_else(|| of_length(8194)).unwrap();
        assert_eq!(verify(&verifier, &longer).await.err(), Some(TokenError::TooLong));
        for bytes in [16 << 10, 64 << 10, 1 << 20] {
            let judged = verify(&verifier, &"a".repeat(bytes)).await.err();
            assert_eq!(judged, Some(TokenError::TooLong));
        }
    }

    #[tokio::test]
    async fn deep_wide_and_ambiguous_payloads_are_malformed() {
        let signer = signer(Algorithm::Hs256, None);
        let entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        let metrics = crate::telemetry::Metrics::new().unwrap();
        let cache = TokenCache::new(0, &metrics);
        let name = CheckName::new("user");
        let verifier = TokenVerifier::new(name, vec![entry], cache, 2 << 20).unwrap();
        let wide: Vec<_> = (0..100_000).map(|i| format!("\"{i}\":0")).collect();
        let good = claims().to_string();
        let good = good.strip_suffix('}').unwrap();
        for payload in [
            format!("{good},\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
            format!("{good},{}}}", wide.join(",")),
            format!("{good},\"sub\":\"eve\"}}"),
            format!("{good},\"n\":1e400}}"),
            format!("[{good}}}]"),
            "null".to_owned(),
            String::new(),
        ] {
            let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&payload));
            let token = format!("{signed}.{}", signer.signature(signed.as_bytes()).unwrap());
            let judged = verify(&verifier, &token).await.err();
            assert!(matches!(judged, Some(TokenError::Malformed(_))), "{judged:?}");
        }
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&format!("{good}}}")));
        let token = format!("{signed}.{}", signer.signature(signed.as_bytes()).unwrap());
        assert!(verify(&verifier, &token).await.is_ok());
    }

    #[tokio::test]
    async fn a_remembered_token_expires_to_the_millisecond() {
        let signer = signer(Algorithm::Hs256, None);
        let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        entry.leeway = Duration::from_secs(2);
        let verifier = verifier(vec![entry], MEBIBYTE);
        let token = signer.sign(&plain(), &with("exp", json!(NOW + 1))).unwrap();
        let at = async |ms: i64| {
            let now = Timestamp::from_millis(NOW * 1000 + ms);
            verifier.verify(Secret::new(&token), now).await.err()
        };
        assert_eq!(at(0).await, None);
        assert_eq!(at(2999).await, None);
        assert_eq!(at(3000).await, Some(TokenError::Expired));
        assert_eq!(at(3001).await, Some(TokenError::Expired));
    }

    #[tokio::test]
    async fn what_is_remembered_belongs_to_one_check_and_its_rules() {
        let signer = signer(Algorithm::Hs256, None);
        let metrics = crate::telemetry::Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let build = |name: &str, audience: &str| {
            let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
            entry.audience = Audience::OneOf(vec![audience.to_owned()]);
            let name = CheckName::new(name);
            TokenVerifier::new(name, vec![entry], cache.clone(), 8192).unwrap()
        };
        let token = signer.sign(&plain(), &claims()).unwrap();
        let hits = || metrics.token_hits.get();
        assert!(verify(&build("user", "api"), &token).await.is_ok());
        assert!(verify(&build("user", "api"), &token).await.is_ok());
        assert_eq!(hits(), 1, "the same rules find it again, also after a reload");
        let judged = verify(&build("user", "other"), &token).await.err();
        assert_eq!(judged, Some(TokenError::WrongAudience));
        assert!(verify(&build("second", "api"), &token).await.is_ok());
        assert_eq!(hits(), 1);
    }

    #[tokio::test]
    async fn what_is_remembered_dies_with_its_key_and_with_no_other() {
        let (old, new) =
            (signer(Algorithm::Es256, Some("old")), signer(Algorithm::Es256, Some("new")));
        let metrics = crate::telemetry::Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let build = |signers: &[&super::super::TokenSigner]| {
            let listed = [Algorithm::Es256];
            let entry = entry(ISSUER, &listed, key_set(signers, &listed));
            TokenVerifier::new(CheckName::new("user"), vec![entry], cache.clone(), 8192).unwrap()
        };
        let token = old.sign(&plain(), &claims()).unwrap();
        assert!(verify(&build(&[&old]), &token).await.is_ok());
        assert!(verify(&build(&[&new, &old]), &token).await.is_ok());
        assert_eq!(metrics.token_hits.get(), 1);
        let judged = verify(&build(&[&new]), &token).await.err();
        assert_eq!(judged, Some(TokenError::UnknownKey));
        let impostor = signer(Algorithm::Es256, Some("old"));
        let judged = verify(&build(&[&impostor]), &token).await.err();
        assert_eq!(judged, Some(TokenError::BadSignature));
    }

    #[tokio::test]
    async fn only_valid_tokens_are_remembered() {
        let signer = signer(Algorithm::Hs256, None);
        let metrics = crate::telemetry::Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        let name = CheckName::new("user");
        let verifier = TokenVerifier::new(name, vec![entry], cache.clone(), 8192).unwrap();
        let good = signer.sign(&plain(), &claims()).unwrap();
        for n in 0..1000 {
            let token = signer.sign(&plain(), &with("exp", json!(n))).unwrap();
            assert!(verify(&verifier, &token).await.is_err());
            assert!(verify(&verifier, &format!("{good}{n}")).await.is_err());
        }
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 0);
        assert!(verify(&verifier, &good).await.is_ok());
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 1);
        cache.clear();
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn the_secret_of_the_tests_is_not_shown_by_debug() {
        let keys = keys_of(&signer(Algorithm::Hs256, Some("k")));
        let text = format!("{:?}", verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys)], 0));
        let secret = std::str::from_utf8(SECRET).unwrap();
        assert!(!text.contains(secret) && !text.contains(&secret[..16]), "{text}");
        assert!(now().seconds() == NOW);
    }
}
