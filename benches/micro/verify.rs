//! What verifying a token costs beside the bare verification of its signature, and what a token
//! that is remembered costs.
//!
//! The yardstick is aws-lc's verification of the same message with a key parsed beforehand. Uncached
//! verification should stay within 1.15 times that.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::clock::Timestamp;
use portcullis::id::CheckName;
use portcullis::jwt::{
    Algorithm, Audience, IssuerSettings, KeySet, KeySource, Pointer, Recent, TokenCache,
    TokenError, TokenSigner, TokenVerifier, TypRule, Verified,
};
use portcullis::secret::Secret;
use portcullis::telemetry::Metrics;
use serde_json::{Map, Value, json};

/// As shipped: the allocator has its share in the cost of claims.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const CACHE_BYTES: u64 = 64 << 20;

fn verifier(signer: &TokenSigner, cache_bytes: u64) -> TokenVerifier {
    let listed = [signer.algorithm()];
    let jwks = json!({"keys": [signer.public_jwk()]}).to_string();
    let keys = KeySource::Fixed(Arc::new(KeySet::from_jwks_text(&jwks, &listed).unwrap()));
    let entry = IssuerSettings {
        id: 0,
        issuer: Some("https://id.example.com".to_owned()),
        audience: Audience::OneOf(vec!["api".to_owned()]),
        algorithms: listed.to_vec(),
        typ: TypRule::Default,
        keys,
        identity: Pointer::parse("/sub").unwrap(),
        permissions: Some(Pointer::parse("/scope").unwrap()),
        leeway: Duration::ZERO,
    };
    let cache = TokenCache::new(cache_bytes, &Metrics::new().unwrap());
    TokenVerifier::new(CheckName::new("user"), vec![entry], cache, 8192).unwrap()
}

fn parsed(jwk: &Value) -> ParsedPublicKey {
    let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    if jwk["kty"] == "RSA" {
        let components = RsaPublicKeyComponents { n: member("n"), e: member("e") };
        components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap()
    } else {
        let point = [vec![4], member("x"), member("y")].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap()
    }
}

/// With keys at hand, a verification never waits: no runtime shares in what is measured.
fn now_or_never(verifying: impl Future<Output = Result<Verified, TokenError>>) -> Verified {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(verifying).poll(&mut context) {
        Poll::Ready(Ok(verified)) => verified,
        other => panic!("{other:?}"),
    }
}

fn verification(c: &mut Criterion) {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let signer = TokenSigner::generate(algorithm, Some("2026-11".to_owned())).unwrap();
        let claims = json!({
            "iss": "https://id.example.com",
            "aud": ["api"],
            "sub": "6b3f7c52-9d0e-4a46-8a55-0f3f0d0f8a11",
            "exp": NOW.seconds() + 3600,
            "iat": NOW.seconds(),
            "jti": "f1b0c9a7-52de-4c1b-9f0e-2f9b6c3d1e77",
            "scope": "orders:read orders:write",
        });
        let token = signer.sign(&Map::new(), &claims).unwrap();
        let mut group = c.benchmark_group(algorithm.name());

        let key = parsed(&signer.public_jwk().unwrap());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        group.bench_function("bare signature", |b| {
            b.iter(|| key.verify_sig(black_box(message.as_bytes()), &signature).unwrap());
        });

        for (name, cache_bytes) in [("uncached", 0), ("remembered", CACHE_BYTES)] {
            let verifier = verifier(&signer, cache_bytes);
            let recent = Recent::new();
            let verify =
                || now_or_never(verifier.verify(Secret::new(black_box(&token)), NOW, &recent));
            group.bench_function(name, |b| b.iter(verify));
        }
        group.finish();
    }
}

criterion_group!(benches, verification);
criterion_main!(benches);
