//! Which key a token is checked with, and who may name it.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::ask;
use super::refused;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys::Key;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::RSA;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;

#[test]
fn a_key_that_the_token_brings_along_is_ignored_and_never_fetched() {
    let world = World::usual();
    let lair = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let thief = &*OTHER_P256;
    let address = format!("{}/jwks.json", lair.url());
    let certificate =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, thief.der().0);
    for header in [
        json!({"alg": "ES256", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "other", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "p256", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "jku": address}),
        json!({"alg": "ES256", "kid": "p256", "jku": address}),
        json!({"alg": "ES256", "kid": address, "jku": address}),
        json!({"alg": "ES256", "x5u": address}),
        json!({"alg": "ES256", "x5c": [certificate]}),
        json!({"alg": "ES256", "kid": "p256", "x5u": address, "x5c": [certificate]}),
    ] {
        refused(&world, &thief.mint(&header, &claims()));
    }
    assert_eq!(lair.look(crate::world::Record::connections), 0, "somebody called");
    let stranger = claims_with(&json!({"iss": lair.url()}));
    refused(&world, &thief.token("ES256", &stranger));
    refused(&world, &P256.token("ES256", &stranger));
    assert_eq!(lair.look(crate::world::Record::connections), 0, "somebody called");
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let setup = Setup::new().file("keys.json", &jwks(&[&P256, &OTHER_P256]));
    let world = setup.start();
    let long = "k".repeat(6 * 1024);
    let begun = Instant::now();
    for kid in [
        json!("../../dev/null"),
        json!("/dev/null"),
        json!("file:///dev/null"),
        json!("x' UNION SELECT '1"),
        json!("p256' OR '1'='1"),
        json!("|sleep 10"),
        json!("$(sleep 10)"),
        json!("p256\u{0}"),
        json!("p256\r\nX: y"),
        json!("P256"),
        json!("p25"),
        json!("p256 "),
        json!(""),
        json!(long),
        json!(0),
        json!(256),
        json!(null),
        json!(true),
        json!({"kid": "p256"}),
        json!(["p256"]),
    ] {
        refused(&world, &P256.mint(&json!({"alg": "ES256", "kid": kid}), &claims()));
        refused(
            &world,
            &Key::shared("x", b"").mint(&json!({"alg": "HS256", "kid": kid}), &claims()),
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "somebody slept");
    refused(&world, &P256.mint(&json!({"alg": "ES256"}), &claims()));
    refused(&world, &P256.mint(&json!({"alg": "ES256", "kid": "other"}), &claims()));
    refused(&world, &OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &claims()));
    world.pass(&ask(&OTHER_P256.token("ES256", &claims())));
}

#[test]
fn the_issuer_picks_the_keys_and_no_others_are_tried() {
    let two = "{ issuer: \"https://a.test\", audience: orders, algorithms: [ES256], jwks: \"file:a.json\" }, \
               { issuer: \"https://b.test\", audience: orders, algorithms: [ES256, RS256], jwks: \"file:b.json\" }";
    let setup = Setup::new()
        .jwt(two)
        .file("a.json", &jwks(&[&P256]))
        .file("b.json", &jwks(&[&OTHER_P256, &RSA]));
    let world = setup.start();
    let of = |issuer: &str| claims_with(&json!({"iss": issuer}));
    let mark = world.upstream.mark();
    for good in [
        P256.token("ES256", &of("https://a.test")),
        OTHER_P256.token("ES256", &of("https://b.test")),
        RSA.token("RS256", &of("https://b.test")),
    ] {
        assert_eq!(world.answer(&ask(&good)).status(), 200);
    }
    for bad in [
        P256.token("ES256", &of("https://b.test")),
        OTHER_P256.token("ES256", &of("https://a.test")),
        RSA.token("RS256", &of("https://a.test")),
        P256.mint(&json!({"alg": "ES256"}), &of("https://b.test")),
        P256.token("ES256", &of("https://c.test")),
        P256.token("ES256", &claims_with(&json!({"iss": null}))),
    ] {
        assert_eq!(world.answer(&ask(&bad)).status(), 401);
    }
    assert_eq!(world.upstream.since(&mark).unwrap().len(), 3);
}

#[test]
fn a_flood_of_bad_tokens_leaves_the_good_one_cached() {
    let world = World::usual();
    world.pass(&ask(&P256.token("ES256", &claims())));
    let hits = world.metric("portcullis_token_cache_hits_total");
    let mut client = world.connect();
    for n in 0..2_000 {
        let token = format!(
            "{}.{}.{}",
            b64(br#"{"alg":"ES256","kid":"p256"}"#),
            b64(format!("{{\"n\":{n}}}").as_bytes()),
            b64(&[1; 64])
        );
        client.send(&ask(&token).bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 401);
    }
    let evicted = world.metric("portcullis_token_cache_evictions_total");
    assert!(evicted < 0.5, "{evicted} evicted");
    let again = P256.token("ES256", &claims_with(&json!({"n": 1})));
    world.pass(&ask(&again));
    world.pass(&ask(&again));
    assert!(world.metric("portcullis_token_cache_hits_total") > hits);
}
