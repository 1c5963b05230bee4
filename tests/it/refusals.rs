//! How the gateway says no: one form, short reasons, no secrets.

use serde_json::Value;
use serde_json::json;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::keys::NOW;
use crate::world::keys::P256;
use crate::world::keys::claims_with;

/// The document, checked for its form.
#[track_caller]
fn document(answer: &Message) -> Value {
    assert_eq!(answer.fields.one("content-type"), "application/problem+json");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let mut names: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["reason", "request_id", "status", "title", "type"], "{document}");
    assert_eq!(document["status"], answer.status());
    for name in ["type", "title", "reason", "request_id"] {
        assert!(
            document[name].as_str().is_some_and(|text| !text.is_empty()),
            "{name} in {document}"
        );
    }
    document
}

#[test]
fn every_refusal_is_a_problem_document_with_a_short_reason() {
    let world = World::usual();
    let expired = P256.token("ES256", &claims_with(&json!({"exp": NOW - 1})));
    let early = P256.token("ES256", &claims_with(&json!({"nbf": NOW + 9})));
    for (ask, status, reason) in [
        (Ask::get("/api/x"), 401, "missing_credentials"),
        (Ask::get("/api/x").keyed(), 401, "missing_credentials"),
        (Ask::get("/api/x").bearing(&TOKEN), 401, "missing_credentials"),
        (Ask::get("/nowhere"), 401, "missing_credentials"),
        (Ask::get("/api/x").field("X-App-Key", "wrong"), 401, "invalid_application_key"),
        (
            Ask::get("/api/x").field("X-App-Key", "wrong").bearing(&TOKEN),
            401,
            "invalid_application_key",
        ),
        (Ask::get("/api/x").keyed().bearing("x.y.z"), 401, "invalid_token"),
        (Ask::get("/api/x").keyed().bearing(&early), 401, "invalid_token"),
        (Ask::get("/api/x").keyed().bearing(&expired), 401, "expired_token"),
        (Ask::get("/api/admin/x").signed(), 403, "insufficient_permission"),
        (Ask::get("/nowhere").signed(), 404, "not_found"),
        (Ask::new("TRACE", "/api/x").signed(), 405, "method_not_allowed"),
        (Ask::get("/api//x").signed(), 400, "bad_request"),
    ] {
        let answer = world.deny(&ask, &[status]);
        let found = document(&answer);
        if [400, 404, 405].contains(&status) {
            continue;
        }
        assert_eq!(found["reason"], reason, "{ask:?}");
    }
}

#[test]
fn a_challenge_says_what_is_wanted_and_no_more() {
    let world = World::usual();
    let challenge =
        |ask: Ask| world.deny(&ask, &[401, 403]).fields.one("www-authenticate").to_owned();
    for bare in [Ask::get("/api/x").keyed(), Ask::get("/nowhere").keyed()] {
        let said = challenge(bare);
        assert!(said.starts_with("Bearer") && !said.contains("error"), "{said}");
    }
    let said = challenge(Ask::get("/api/x").keyed().bearing("x"));
    assert!(said.contains("error=\"invalid_token\""), "{said}");
    let expired = P256.token("ES256", &claims_with(&json!({"exp": NOW - 1})));
    let said = challenge(Ask::get("/api/x").keyed().bearing(&expired));
    assert!(said.contains("error=\"invalid_token\""), "{said}");
    let said = challenge(Ask::get("/api/admin/x").signed());
    assert!(said.contains("error=\"insufficient_scope\""), "{said}");
    for ask in [Ask::get("/nowhere").signed(), Ask::get("/api//x").signed()] {
        assert!(world.deny(&ask, &[404, 400]).fields.lacks("www-authenticate"));
    }
}

#[test]
fn a_refusal_repeats_nothing_it_was_given() {
    let world = World::usual();
    let token =
        P256.token("ES256", &claims_with(&json!({"sub": "very-private-name", "exp": NOW - 1})));
    let canary = "canary-7f3a";
    for ask in [
        Ask::get("/api/x").keyed().bearing(&token),
        Ask::get("/api/x").keyed().bearing(&format!("{token}x")),
        Ask::get("/api/x").field("X-App-Key", canary).bearing(&token),
        Ask::get(&format!("/api/{canary}?{canary}={canary}")).field("Cookie", canary),
        Ask::get(&format!("/api//{canary}")).signed(),
        Ask::get(&format!("/{canary}")).signed(),
        Ask::get("/api/x").keyed().field("Authorization", format!("Basic {canary}")),
        Ask::get("/api/x").signed().instead("Host", format!("{canary}/")),
        Ask::new("TRACE", "/api/x").signed().field("X", canary),
    ] {
        let answer = format!("{:?}", world.deny(&ask, &[400, 401, 404, 405]));
        for secret in [
            token.as_str(),
            &token[..20],
            "very-private-name",
            canary,
            APP_KEY,
            "exp\\\"",
            "signature",
        ] {
            assert!(!answer.contains(secret), "{secret} in {answer}");
        }
    }
}

#[test]
fn no_request_gets_the_id_of_another() {
    let world = World::usual();
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..20 {
        let given = Ask::get("/api/x").field("X-Request-Id", "mine");
        let answer = world.deny(&given, &[401]);
        let id = document(&answer)["request_id"].as_str().unwrap().to_owned();
        assert_ne!(id, "mine");
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_refusal_is_not_stored_by_anybody() {
    let world = World::usual();
    for ask in [Ask::get("/api/x"), Ask::get("/api/admin/x").signed()] {
        let answer = world.deny(&ask, &[401, 403]);
        assert_eq!(answer.fields.one("cache-control"), "no-store");
    }
}

#[test]
fn unknown_and_wrong_keys_cannot_be_told_apart() {
    let pair = Setup::new()
        .checks("\n  app: { app_key: { id: X-Id, secret: X-Secret } }\n")
        .defaults("{ require: app }")
        .routes("\n  - { match: \"* /api/**\", to: api }\n")
        .start();
    let said = |id: &str, secret: &str| {
        let answer = pair.answer(&Ask::get("/api/x").field("X-Id", id).field("X-Secret", secret));
        let mut document = document(&answer);
        document["request_id"] = Value::Null;
        (answer.status(), document.to_string(), answer.fields.all("www-authenticate").concat())
    };
    let wrong = said("mobile", "wrong");
    assert_eq!(wrong.0, 401);
    assert_eq!(said("nobody", "wrong"), wrong);
    assert_eq!(said("nobody", APP_KEY), wrong);
    assert_eq!(pair.upstream.bytes_seen(), 0);
}
