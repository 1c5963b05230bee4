//! The `jsonwebtoken` crate as a second opinion: where both have the same rule, both must agree.
//!
//! Its clock is the system's, so these tests take place today; times keep well away from the edge,
//! which the two draw differently.

use std::collections::HashSet;
use std::sync::LazyLock;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation, decode};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::recent::Recent;
use super::signer::{TokenSigner, jose};
use super::testing::{SECRET, entry, keys_of, plain, signer, verifier};
use super::verifier::TokenVerifier;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;

const ISSUER: &str = "https://id";

/// One algorithm, seen by both.
struct Pair {
    signer: TokenSigner,
    ours: TokenVerifier,
    theirs: (DecodingKey, Validation),
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    Algorithm::ALL.into_iter().map(|algorithm| Pair::new(signer(algorithm, Some("k")))).collect()
});

impl Pair {
    fn new(signer: TokenSigner) -> Self {
        let algorithm = signer.algorithm();
        let ours = verifier(vec![entry(ISSUER, &[algorithm], keys_of(&signer))], 0);
        let key = signer.public_jwk().map_or_else(
            || DecodingKey::from_secret(SECRET),
            |jwk| DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk).unwrap()).unwrap(),
        );
        let mut rules = Validation::new(jose(algorithm));
        rules.leeway = 0;
        rules.validate_nbf = true;
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&["api"]);
        let required = ["exp", "iss", "aud", "sub"];
        rules.required_spec_claims =
            required.into_iter().map(str::to_owned).collect::<HashSet<_>>();
        Self { signer, ours, theirs: (key, rules) }
    }

    /// Both verdicts on one token.
    fn verdicts(&self, token: &str, now: Timestamp) -> (bool, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ours = runtime.block_on(self.ours.verify(Secret::new(token), now, &Recent::new()));
        let theirs = decode::<Value>(token, &self.theirs.0, &self.theirs.1);
        (ours.is_ok(), theirs.is_ok())
    }
}

fn claim(good: Value) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        8 => Just(Some(good)),
        1 => Just(None),
        1 => select(vec![json!("other"), json!(""), json!(1), json!(["other"]), json!({}), json!(null), json!(true)])
            .prop_map(Some),
    ]
}

/// Seconds from now: past, future, or not a number.
fn time(good: i64) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        8 => Just(Some(json!(good))),
        1 => Just(None),
        1 => select(vec![json!(-good), json!("1900000000"), json!([]), json!({})]).prop_map(Some),
    ]
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Flip(Index),
    Cut(Index),
    Append(String),
    OtherSigner(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => Just(Damage::None),
        1 => any::<Index>().prop_map(Damage::Flip),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => "[A-Za-z0-9_=.+/ -]{1,3}".prop_map(Damage::Append),
        1 => any::<Index>().prop_map(Damage::OtherSigner),
    ]
}

impl Damage {
    fn done_to(&self, token: String) -> String {
        let mut bytes = token.into_bytes();
        match self {
            Self::None | Self::OtherSigner(_) => {}
            Self::Flip(at) => {
                let at = at.index(bytes.len());
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Append(text) => bytes.extend_from_slice(text.as_bytes()),
        }
        String::from_utf8(bytes).unwrap()
    }
}

proptest! {
    #[test]
    fn both_verifiers_agree(
        algorithm in any::<Index>(),
        iss in claim(json!(ISSUER)),
        aud in claim(json!("api")),
        list in any::<bool>(),
        exp in time(1000),
        nbf in time(-1000),
        damage in damage(),
    ) {
        let now = Clock::system().now();
        let from_now = |time: Value| match time.as_i64() {
            Some(seconds) => json!(now.seconds() + seconds),
            None => time,
        };
        let mut claims = json!({"sub": "anna"});
        let aud = aud.map(|aud| if list { json!(["x", aud]) } else { aud });
        let members =
            [("iss", iss), ("aud", aud), ("exp", exp.map(from_now)), ("nbf", nbf.map(from_now))];
        for (name, value) in members {
            if let Some(value) = value {
                claims[name] = value;
            }
        }
        // The crate also takes a list of issuers and a `null` for an absent claim; we do not.
        let differs = claims["iss"].is_array() || claims.get("aud").is_some_and(Value::is_null);
        let pair = algorithm.get(&PAIRS);
        let signing = match &damage {
            Damage::OtherSigner(other) => other.get(&PAIRS),
            _ => pair,
        };
        let token = damage.done_to(signing.signer.sign(&plain(), &claims).unwrap());
        let (ours, theirs) = pair.verdicts(&token, now);
        if differs {
            assert!(theirs || !ours, "{claims}");
        } else {
            assert_eq!(ours, theirs, "{claims} {damage:?}");
        }
    }

    #[test]
    fn whatever_is_no_token_is_refused_without_a_panic(text in "[ -~é.]{0,200}", dots in "[A-Za-z0-9_.-]{0,80}") {
        let now = Clock::system().now();
        for pair in PAIRS.iter().take(3) {
            assert_eq!(pair.verdicts(&text, now), (false, false));
            assert_eq!(pair.verdicts(&dots, now), (false, false));
        }
    }
}
