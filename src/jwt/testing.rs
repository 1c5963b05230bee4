//! Fixtures of this part's tests: keys made once, tokens of every kind, a fake issuer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::TokenError;
use super::algorithm::{Algorithm, Family};
use super::cache::TokenCache;
use super::claims::{Audience, TypRule};
use super::key_set::KeySet;
use super::recent::Recent;
use super::signer::TokenSigner;
use super::verifier::{IssuerSettings, KeySource, TokenVerifier, Verified};
use crate::clock::Timestamp;
use crate::fetch::{Address, Plain};
use crate::id::CheckName;
use crate::json::Pointer;
use crate::secret::Secret;
use crate::telemetry::Metrics;

/// The instant at which the tests take place.
pub(super) const NOW: i64 = 1_800_000_000;
/// A secret of 64 bytes that nobody guesses.
pub(super) const SECRET: &[u8] =
    b"q8Zt3vXn5LwR0yPc7KdF2hGj9BmS4aTe6UiO1xVb_ZkQ-WfYrNlCpHoDsJgMuEIA";

/// Making an RSA key takes a tenth of a second: once is enough.
static RSA_PEM: LazyLock<Secret<String>> =
    LazyLock::new(|| TokenSigner::generate_pem(Algorithm::Rs256).unwrap());

pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

/// A signer with a key of its own; all of the RSA family share one key.
pub(super) fn signer(algorithm: Algorithm, kid: Option<&str>) -> TokenSigner {
    let kid = kid.map(str::to_owned);
    match algorithm.family() {
        Family::Hmac => TokenSigner::from_secret(Secret::new(SECRET), algorithm, kid).unwrap(),
        Family::Rsa => TokenSigner::from_pem(RSA_PEM.expose(), algorithm, kid).unwrap(),
        _ => TokenSigner::generate(algorithm, kid).unwrap(),
    }
}

/// The set of keys that verifies what these signers sign.
pub(super) fn jwks(signers: &[&TokenSigner]) -> String {
    let keys: Vec<_> = signers.iter().filter_map(|signer| signer.public_jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub(super) fn key_set(signers: &[&TokenSigner], listed: &[Algorithm]) -> KeySource {
    KeySource::Fixed(Arc::new(KeySet::from_jwks_text(&jwks(signers), listed).unwrap()))
}

/// What verifies the tokens of one signer.
pub(super) fn keys_of(signer: &TokenSigner) -> KeySource {
    let listed = [signer.algorithm()];
    match signer.algorithm().family() {
        Family::Hmac => {
            let set = KeySet::from_secret(Secret::new(SECRET), &listed).unwrap();
            KeySource::Fixed(Arc::new(set))
        }
        _ => key_set(&[signer], &listed),
    }
}

pub(super) fn entry(issuer: &str, algorithms: &[Algorithm], keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        id: 0,
        issuer: Some(issuer.to_owned()),
        audience: Audience::OneOf(vec!["api".to_owned()]),
        algorithms: algorithms.to_vec(),
        typ: TypRule::Default,
        keys,
        identity: Pointer::parse("/sub").unwrap(),
        permissions: Some(Pointer::parse("/scope").unwrap()),
        leeway: Duration::ZERO,
    }
}

pub(super) fn verifier(entries: Vec<IssuerSettings>, cache_bytes: u64) -> TokenVerifier {
    let metrics = Metrics::new().unwrap();
    let cache = TokenCache::new(cache_bytes, &metrics);
    TokenVerifier::new(CheckName::new("user"), entries, cache, 8192).unwrap()
}

pub(super) fn claims() -> Value {
    json!({"iss": "https://id", "aud": "api", "sub": "anna", "exp": NOW + 60, "scope": "read write"})
}

pub(super) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(super) fn header(members: Value) -> Map<String, Value> {
    let Value::Object(map) = members else { panic!("an object") };
    map
}

pub(super) fn plain() -> Map<String, Value> {
    Map::new()
}

/// Judges at [`NOW`].
pub(super) async fn verify(verifier: &TokenVerifier, token: &str) -> Result<Verified, TokenError> {
    verifier.verify(Secret::new(token), now(), &Recent::new()).await
}

/// An issuer on loopback that answers as told and counts.
pub(super) struct FakeIssuer {
    pub(super) origin: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// What the fake issuer does with a request.
pub(super) enum Answer {
    /// Status 200 with this body and these header lines.
    Body(String, &'static str),
    /// Another status.
    Status(u16),
    /// Nothing, for ever.
    Silence,
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Answer>>, count: Arc<AtomicUsize>) {
    let mut silent = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = vec![0; 4096];
        let _read = stream.read(&mut head).await;
        count.fetch_add(1, Ordering::SeqCst);
        let text = script.lock().unwrap().wire();
        let _written = stream.write_all(text.as_bytes()).await;
        if text.is_empty() {
            silent.push(stream);
        }
    }
}

impl Answer {
    fn wire(&self) -> String {
        let (status, lines, body) = match self {
            Self::Body(body, lines) => (200, *lines, body.as_str()),
            Self::Status(status) => (*status, "", ""),
            Self::Silence => return String::new(),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\n{lines}content-length: {length}\r\n\r\n{body}"
        )
    }
}

impl FakeIssuer {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let (script, count) = (Arc::clone(&answer), Arc::clone(&asked));
        tasks.spawn(serve(listener, script, count));
        Self { origin, answer, asked, _tasks: tasks }
    }

    pub(super) fn now_answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn address(&self) -> Address {
        Address::parse(&format!("{}/keys", self.origin), Plain::Loopback).unwrap()
    }
}
