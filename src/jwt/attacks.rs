//! What hostile tokens find: one test for each way of getting past a signature.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::TokenError;
use super::algorithm::Algorithm;
use super::cache::TokenCache;
use super::key_set::KeySet;
use super::signer::TokenSigner;
use super::testing::{
    NOW, SECRET, claims, entry, header, key_set, keys_of, plain, signer, verifier, verify, with,
};
use super::verifier::{TokenVerifier, VerifierError};
use crate::id::CheckName;
use crate::json::Pointer;
use crate::secret::Secret;

const ISSUER: &str = "https://id";
const MEBIBYTE: u64 = 1 << 20;

fn es256() -> (TokenSigner, TokenVerifier) {
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
        let check = verifier(vec![entry(ISSUER, &[algorithm], keys_of(&signer))], MEBIBYTE);
        let token = signer.sign(&plain(), &claims()).unwrap();
        for _ in 0..2 {
            let verified = verify(&check, &token).await.unwrap();
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
    let (own, check) = es256();
    let token = own.sign(&plain(), &claims()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let other = encode(&with("sub", json!("eve")).to_string());
    let forged = format!("{head}.{other}.{signature}");
    assert_eq!(verify(&check, &forged).await.err(), Some(TokenError::BadSignature));

    let stranger = signer(Algorithm::Es256, Some("k"));
    let token = stranger.sign(&plain(), &claims()).unwrap();
    assert_eq!(verify(&check, &token).await.err(), Some(TokenError::BadSignature));
}

#[tokio::test]
async fn a_forged_token_is_never_told_that_it_expired() {
    let (signer, check) = es256();
    let expired = signer.sign(&plain(), &with("exp", json!(NOW))).unwrap();
    assert_eq!(verify(&check, &expired).await.err(), Some(TokenError::Expired));
    let (message, _) = expired.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
    assert_eq!(verify(&check, &forged).await.err(), Some(TokenError::BadSignature));
}

#[tokio::test]
async fn ecdsa_signatures_are_two_numbers_of_fixed_length_in_range() {
    for (algorithm, size) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96)] {
        let signer = signer(algorithm, None);
        let check = verifier(vec![entry(ISSUER, &[algorithm], keys_of(&signer))], 0);
        let token = signer.sign(&plain(), &claims()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
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
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&wrong));
            let judged = verify(&check, &forged).await.err();
            assert_eq!(judged, Some(TokenError::BadSignature), "{algorithm} {wrong:?}");
        }
    }
}

#[tokio::test]
async fn none_and_empty_signatures_open_nothing() {
    let (_, check) = es256();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let head = encode(&json!({"alg": alg, "typ": "JWT"}).to_string());
        let body = encode(&claims().to_string());
        for token in [format!("{head}.{body}."), format!("{head}.{body}")] {
            let judged = verify(&check, &token).await.unwrap_err();
            assert!(
                matches!(judged, TokenError::UnsupportedAlgorithm | TokenError::Malformed(_)),
                "{judged:?}"
            );
        }
    }
    let head = encode(&json!({"alg": "ES256", "kid": "k"}).to_string());
    let token = format!("{head}.{}.", encode(&claims().to_string()));
    assert_eq!(verify(&check, &token).await.err(), Some(TokenError::BadSignature));
    // HMAC with a blank password.
    let blank = TokenSigner::from_secret(Secret::new(b"".as_slice()), Algorithm::Hs256, None);
    let token = blank.unwrap().sign(&plain(), &claims()).unwrap();
    assert_eq!(verify(&check, &token).await.err(), Some(TokenError::UnsupportedAlgorithm));
    let keys = keys_of(&signer(Algorithm::Hs256, None));
    let check = verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys)], 0);
    assert_eq!(verify(&check, &token).await.err(), Some(TokenError::BadSignature));
}

/// The six forms in which a public key could be mistaken for a secret.
fn public_forms(jwk: &Value) -> Vec<Vec<u8>> {
    let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (n, e) = (member("n"), member("e"));
    let components = RsaPublicKeyComponents { n: n.clone(), e };
    let spki: PublicKeyX509Der<'_> = components.as_der().unwrap();
    let spki = spki.as_ref();
    // SubjectPublicKeyInfo of a 2048-bit key: 24 bytes, then the PKCS#1 form.
    let pem = |label: &str, der: &[u8]| {
        let lines: Vec<_> =
            STANDARD.encode(der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
        let body = String::from_utf8(lines.join(&b'\n')).unwrap();
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----").into_bytes()
    };
    let with_newline = [pem("PUBLIC KEY", spki), b"\n".to_vec()].concat();
    let forms = vec![
        with_newline,
        pem("PUBLIC KEY", spki),
        pem("RSA PUBLIC KEY", &spki[24..]),
        spki.to_vec(),
        jwk.to_string().into_bytes(),
        n,
    ];
    for pem in &forms[..3] {
        let pem = std::str::from_utf8(pem).unwrap();
        assert!(KeySet::from_pem_or_jwk(pem, &[Algorithm::Rs256]).is_ok(), "{pem}");
    }
    forms
}

#[tokio::test]
async fn a_public_key_is_no_hmac_secret_even_when_both_algorithms_are_listed() {
    let rsa = signer(Algorithm::Rs256, Some("k"));
    let both = [Algorithm::Rs256, Algorithm::Hs256];
    let check = verifier(vec![entry(ISSUER, &both, key_set(&[&rsa], &both))], 0);
    let good = rsa.sign(&plain(), &claims()).unwrap();
    assert!(verify(&check, &good).await.is_ok());
    for secret in public_forms(&rsa.public_jwk().unwrap()) {
        for kid in [Some("k"), None] {
            let secret = Secret::new(secret.as_slice());
            let kid = kid.map(str::to_owned);
            let confused = TokenSigner::from_secret(secret, Algorithm::Hs256, kid).unwrap();
            let token = confused.sign(&plain(), &claims()).unwrap();
            let judged = verify(&check, &token).await.unwrap_err();
            let refused = [TokenError::UnsupportedAlgorithm, TokenError::UnknownKey];
            assert!(refused.contains(&judged), "{judged:?}");
        }
    }
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_the_entrys_not_the_tokens() {
    // All of the family share one key pair, so the signatures themselves would fit.
    let (rs256, ps256) = (signer(Algorithm::Rs256, Some("k")), signer(Algorithm::Ps256, Some("k")));
    let pinned = |own: &TokenSigner, listed: &[Algorithm]| {
        verifier(vec![entry(ISSUER, listed, key_set(&[own], listed))], 0)
    };
    let both = [Algorithm::Rs256, Algorithm::Ps256];
    for (own, other) in [(&rs256, &ps256), (&ps256, &rs256)] {
        let check = pinned(own, &both);
        let token = own.sign(&plain(), &claims()).unwrap();
        assert!(verify(&check, &token).await.is_ok());
        let token = other.sign(&plain(), &claims()).unwrap();
        let judged = verify(&check, &token).await.err();
        assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm));
    }
    let check = pinned(&rs256, &[Algorithm::Rs256]);
    for algorithm in [Algorithm::Rs384, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let token = signer(algorithm, Some("k")).sign(&plain(), &claims()).unwrap();
        let judged = verify(&check, &token).await.err();
        assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm), "{algorithm}");
    }
    for alg in ["ES512", "ES256K", "HS256 "] {
        let token = rs256.sign(&header(json!({"alg": alg})), &claims()).unwrap();
        let judged = verify(&check, &token).await.err();
        assert_eq!(judged, Some(TokenError::UnsupportedAlgorithm), "{alg}");
    }
}

#[tokio::test]
async fn the_key_id_names_one_key_exactly() {
    let (a, b) = (signer(Algorithm::Es256, Some("a")), signer(Algorithm::Es256, Some("b")));
    let listed = [Algorithm::Es256];
    let check = verifier(vec![entry(ISSUER, &listed, key_set(&[&a, &b], &listed))], 0);
    let judge = async |members: Value| {
        let token = a.sign(&header(members), &claims()).unwrap();
        verify(&check, &token).await.err()
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
    let (_, check) = es256();
    let stranger = signer(Algorithm::Es256, Some("k"));
    let jwk = stranger.public_jwk().unwrap();
    for members in [
        json!({"jwk": jwk}),
        json!({"jwk": jwk, "kid": null}),
        json!({"jku": "http://127.0.0.1:1/keys"}),
        json!({"x5u": "http://127.0.0.1:1/cert", "x5c": ["AAAA"], "x5t": "AA"}),
    ] {
        let token = stranger.sign(&header(members), &claims()).unwrap();
        assert_eq!(verify(&check, &token).await.err(), Some(TokenError::BadSignature));
    }
}

#[tokio::test]
async fn the_issuer_picks_one_entry_and_another_issuers_keys_are_never_tried() {
    let (a, b) = (signer(Algorithm::Es256, Some("k")), signer(Algorithm::Es256, Some("k")));
    let listed = [Algorithm::Es256];
    let mut second = entry("https://b", &listed, keys_of(&b));
    second.id = 7;
    let check = verifier(vec![entry("https://a", &listed, keys_of(&a)), second], 0);
    let judge = async |signer: &TokenSigner, claims: Value| {
        let token = signer.sign(&plain(), &claims).unwrap();
        verify(&check, &token).await.map(|verified| verified.entry)
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
    let check = verifier(vec![entry(ISSUER, &listed, keys_of(&own)), none], 0);
    let judge = async |claims: Value| {
        let token = open.sign(&plain(), &claims).unwrap();
        verify(&check, &token).await.map(|verified| verified.entry)
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
    let (signer, check) = es256();
    let judge = async |members: Value, claims: Value| {
        let token = signer.sign(&header(members), &claims).unwrap();
        verify(&check, &token).await.err()
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
    assert_eq!(judge(json!({}), with("nbf", json!(NOW + 1))).await, Some(TokenError::NotYetValid));
}

#[tokio::test]
async fn an_identity_may_lie_within_an_object() {
    let signer = signer(Algorithm::Hs256, None);
    let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
    entry.identity = Pointer::parse("/sub/customer_id").unwrap();
    let check = verifier(vec![entry], 0);
    let sub = json!({"customer_id": 17, "customer_first_name": "Anna"});
    let token = signer.sign(&plain(), &with("sub", sub)).unwrap();
    assert_eq!(verify(&check, &token).await.unwrap().subject.identity, "17");
    let token = signer.sign(&plain(), &claims()).unwrap();
    let judged = verify(&check, &token).await.err();
    assert_eq!(judged, Some(TokenError::Claims("identity")));
}

#[tokio::test]
async fn a_token_has_at_most_the_configured_length() {
    let signer = signer(Algorithm::Hs256, None);
    let check = verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer))], 0);
    let filled =
        |bytes: usize| signer.sign(&plain(), &with("filler", json!("x".repeat(bytes)))).unwrap();
    let around: Vec<_> = (5700..6100).map(filled).collect();
    let longest = around.iter().rfind(|token| token.len() <= 8192).unwrap();
    let longer = around.iter().find(|token| token.len() > 8192).unwrap();
    assert!((8191..=8192).contains(&longest.len()) && (8193..=8194).contains(&longer.len()));
    assert!(verify(&check, longest).await.is_ok());
    assert_eq!(verify(&check, longer).await.err(), Some(TokenError::TooLong));
    for bytes in [16 << 10, 64 << 10, 1 << 20] {
        let judged = verify(&check, &"a".repeat(bytes)).await.err();
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
    let check = TokenVerifier::new(name, vec![entry], cache, 2 << 20).unwrap();
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
        let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&payload));
        let token = format!("{message}.{}", signer.signature(message.as_bytes()).unwrap());
        let judged = verify(&check, &token).await.err();
        assert!(matches!(judged, Some(TokenError::Malformed(_))), "{judged:?}");
    }
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&format!("{good}}}")));
    let token = format!("{message}.{}", signer.signature(message.as_bytes()).unwrap());
    assert!(verify(&check, &token).await.is_ok());
}

#[test]
fn the_secret_of_the_tests_is_not_shown_by_debug() {
    let keys = keys_of(&signer(Algorithm::Hs256, Some("k")));
    let text = format!("{:?}", verifier(vec![entry(ISSUER, &[Algorithm::Hs256], keys)], 0));
    let secret = std::str::from_utf8(SECRET).unwrap();
    assert!(!text.contains(secret) && !text.contains("q8Zt3v"), "{text}");
}
