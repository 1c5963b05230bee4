//! Keys from an issuer's address: fetched ahead, kept while it is down, never from elsewhere.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use crate::world::Ask;
use crate::world::Gate;
use crate::world::Issuer;
use crate::world::Manner;
use crate::world::Record;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys::Key;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::RSA;
use crate::world::keys::claims;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;

fn behind(issuer: &Issuer) -> Setup {
    let address = issuer.jwks_url();
    Setup::new().jwt(&format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"{address}\", permissions: /roles }}"
    ))
}

#[track_caller]
fn status(world: &World, key: &Key) -> u16 {
    world.answer(&Ask::get("/api/x").keyed().bearing(&key.token("ES256", &claims()))).status()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn keys_are_fetched_once_for_many_requests() {
    let issuer = Issuer::publishing(&[&P256]);
    let world = behind(&issuer).start();
    for n in 0..20 {
        assert_eq!(status(&world, &P256), 200, "{n}");
        let fresh = P256.token("ES256", &claims_with(&json!({"n": n})));
        world.pass(&Ask::get("/api/x").keyed().bearing(&fresh));
    }
    assert_eq!(issuer.asked(), 1);
    assert!(world.metric("portcullis_jwks_keys{issuer=\"https://id.test\",kid=\"p256\"}") >= 1.0);
}

#[test]
fn the_gateway_starts_without_its_issuer_and_says_that_it_is_its_own_fault() {
    for manner in [
        Manner::Gone,
        Manner::Status(500),
        Manner::Status(404),
        Manner::Html,
        Manner::Fine("{\"keys\":[]}".into()),
        Manner::Fine("{}".into()),
        Manner::Fine(json!({"keys": [P256.jwk(), P256.jwk()]}).to_string()),
        Manner::Fine(json!({"keys": [{"kty": "oct", "kid": "p256", "k": "AAAA"}]}).to_string()),
        Manner::Huge(3 << 20),
    ] {
        let issuer = Issuer::with(manner.clone());
        let world = behind(&issuer).start();
        let mark = world.upstream.mark();
        let answer = world.answer(&Ask::get("/api/x").signed());
        assert_eq!(answer.status(), 503, "{manner:?}: {answer:?}");
        assert!(answer.fields.lacks("www-authenticate"));
        assert_eq!(world.answer(&Ask::get("/api/x").keyed()).status(), 401, "{manner:?}");
        assert_eq!(
            world.answer(&Ask::get("/api/x").keyed().bearing("x")).status(),
            401,
            "{manner:?}"
        );
        assert_eq!(world.upstream.since(&mark).unwrap(), [], "{manner:?}");
        assert_eq!(world.answer(&Ask::get("/public/x")).status(), 200);
        assert_eq!(world.admin("/readyz").status(), 503, "{manner:?}");
        assert_eq!(world.admin("/healthz").status(), 200, "{manner:?}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let lair = Upstream::answering(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        jwks(&[&P256]).len(),
        jwks(&[&P256])
    ));
    let issuer = Issuer::with(Manner::Redirect(format!("{}/jwks.json", lair.url())));
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 503);
    assert_eq!(lair.look(Record::connections), 0);
}

#[test]
fn the_last_good_keys_serve_while_the_issuer_is_broken() {
    let issuer = Issuer::publishing(&[&P256]);
    issuer.caches("max-age=60");
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 200);
    for manner in [
        Manner::Gone,
        Manner::Status(500),
        Manner::Html,
        Manner::Fine("{\"keys\":[]}".into()),
        Manner::Fine("not json".into()),
        Manner::Huge(3 << 20),
        Manner::Redirect("http://127.0.0.1:1/".into()),
    ] {
        issuer.becomes(manner.clone());
        world.advance(20);
        for _ in 0..3 {
            let fresh = P256.token("ES256", &claims_with(&json!({"m": format!("{manner:?}")})));
            let answer = world.answer(&Ask::get("/api/x").keyed().bearing(&fresh));
            assert_eq!(answer.status(), 200, "{manner:?}");
        }
    }
}

#[test]
fn a_rotated_key_is_learnt_from_the_first_token_that_names_it() {
    let issuer = Issuer::publishing(&[&P256]);
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 200);
    issuer.becomes(Manner::Fine(jwks(&[&P256, &OTHER_P256])));
    world.advance(30);
    eventually("the new key is known", || status(&world, &OTHER_P256) == 200);
    assert_eq!(status(&world, &P256), 200);
    issuer.becomes(Manner::Fine(jwks(&[&OTHER_P256])));
    world.advance(30);
    let unknown = OTHER_P256.mint(&json!({"alg": "ES256", "kid": "third"}), &claims());
    assert_eq!(world.answer(&Ask::get("/api/x").keyed().bearing(&unknown)).status(), 401);
    eventually("the old key is forgotten", || status(&world, &P256) == 401);
    assert_eq!(status(&world, &OTHER_P256), 200);
}

#[test]
fn unknown_key_ids_do_not_become_a_flood_of_fetches() {
    let issuer = Issuer::publishing(&[&P256]);
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 200);
    let mut client = world.connect();
    for n in 0..500 {
        let token = P256.mint(&json!({"alg": "ES256", "kid": format!("k{n}")}), &claims());
        client.send(&Ask::get("/api/x").keyed().bearing(&token).bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 401, "{n}");
    }
    assert!(issuer.asked() <= 3, "{} fetches", issuer.asked());
    assert_eq!(status(&world, &P256), 200);
}

#[test]
fn a_slow_issuer_slows_nobody_who_has_a_known_key() {
    let issuer = Issuer::publishing(&[&P256]);
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 200);
    let gate = Gate::default();
    issuer.becomes(Manner::Slow(gate.clone(), jwks(&[&P256, &OTHER_P256])));
    world.advance(30);
    let mut waiting = world.connect();
    waiting
        .send(&Ask::get("/api/x").keyed().bearing(&OTHER_P256.token("ES256", &claims())).bytes());
    let begun = Instant::now();
    for n in 0..20 {
        let fresh = P256.token("ES256", &claims_with(&json!({"n": n})));
        assert_eq!(world.answer(&Ask::get("/api/x").keyed().bearing(&fresh)).status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    gate.open();
    assert!([200, 401, 503].contains(&waiting.answer("GET").unwrap().status()));
    eventually("the new key is known", || status(&world, &OTHER_P256) == 200);
}

#[test]
fn unusable_keys_in_a_set_do_not_spoil_the_others() {
    let mixed = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": "bad", "x": "AAAA", "y": "AAAA"},
        {"kty": "unheard-of", "kid": "odd"},
        {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
        RSA.jwk(),
        P256.jwk(),
    ]});
    let issuer = Issuer::with(Manner::Fine(mixed.to_string()));
    let world = behind(&issuer).start();
    assert_eq!(status(&world, &P256), 200);
    for kid in ["bad", "odd", "short", "rsa"] {
        let token = P256.mint(&json!({"alg": "ES256", "kid": kid}), &claims());
        world.deny(&Ask::get("/api/x").keyed().bearing(&token), &[401]);
    }
}

#[test]
fn a_key_that_is_not_for_signatures_signs_nothing() {
    for changes in [
        json!({"use": "enc"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": []}),
        json!({"alg": "ES384"}),
        json!({"alg": "ECDH-ES"}),
    ] {
        let mut key = P256.jwk();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        let issuer =
            Issuer::with(Manner::Fine(json!({"keys": [key, OTHER_P256.jwk()]}).to_string()));
        let world = behind(&issuer).start().with_control(&OTHER_P256.token("ES256", &claims()));
        world.deny(&Ask::get("/api/x").signed(), &[401]);
    }
}

#[test]
fn the_address_of_the_keys_can_be_discovered() {
    let issuer = Issuer::publishing(&[&P256]);
    let url = issuer.url();
    issuer.discovers(&json!({"issuer": url, "jwks_uri": issuer.jwks_url()}).to_string());
    let entry =
        format!("{{ issuer: \"{url}\", audience: orders, algorithms: [ES256], jwks: discover }}");
    let world = Setup::new().jwt(&entry).start();
    let token = P256.token("ES256", &claims_with(&json!({"iss": url})));
    assert_eq!(world.answer(&Ask::get("/api/x").keyed().bearing(&token)).status(), 200);
    assert_eq!(world.answer(&Ask::get("/api/x").signed()).status(), 401);
    for document in [
        json!({"issuer": "https://evil.test", "jwks_uri": issuer.jwks_url()}),
        json!({"issuer": format!("{url}/"), "jwks_uri": issuer.jwks_url()}),
        json!({"jwks_uri": issuer.jwks_url()}),
        json!({"issuer": url}),
        json!({"issuer": url, "jwks_uri": "http://keys.example.com/jwks.json"}),
        json!({"issuer": url, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": url, "jwks_uri": 7}),
        json!([]),
    ] {
        issuer.discovers(&document.to_string());
        let world = Setup::new().jwt(&entry).start();
        let status = world.answer(&Ask::get("/api/x").keyed().bearing(&token)).status();
        assert_eq!(status, 503, "{document}");
    }
}

#[test]
fn plain_http_beyond_loopback_is_written_out_or_refused() {
    let entry = |more: &str| {
        format!(
            "{{ issuer: \"https://id.test\", audience: a, algorithms: [ES256], jwks: \"http://keys.example.com/x\"{more} }}"
        )
    };
    assert!(Setup::new().jwt(&entry("")).try_start().is_err());
    assert!(Setup::new().jwt(&entry(", insecure: true")).try_start().is_ok());
}

#[test]
fn the_last_good_keys_survive_a_restart() {
    let issuer = Issuer::publishing(&[&P256]);
    let kept = tempfile::TempDir::new().unwrap();
    let extra = format!("cache: {{ key_sets: \"{}\" }}", kept.path().display());
    let world = behind(&issuer).extra(&extra).start();
    assert_eq!(status(&world, &P256), 200);
    let named = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    eventually("the keys are in place", || {
        // What ends in `.new` is still being written.
        let mut files = std::fs::read_dir(kept.path()).unwrap().map(named);
        files.any(|name| !name.to_string_lossy().ends_with(".new"))
    });
    drop(world);
    issuer.becomes(Manner::Gone);
    let again = behind(&issuer).extra(&extra).start();
    assert_eq!(status(&again, &P256), 200);
    assert_eq!(status(&again, &OTHER_P256), 401);
}
