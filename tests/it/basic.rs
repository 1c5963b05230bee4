//! HTTP Basic on ordinary routes: the users of the store, and nobody else.

use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis::store::UserState;
use serde_json::{Value, json};

use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::World;
use crate::world::people::{People, now};

const PASSWORD: &str = "correct: horse";

fn gateway(people: &People) -> World {
    let checks = r"
  basic: { basic: self }
  redis: { jwt: [ { issuer: self, dialect: redis-7.8 } ] }
  app: { app_key: { header: X-App-Key } }
";
    let routes = r#"
  - { match: "* /v1/**", to: api, require: redis or basic }
  - { match: "GET /only/**", to: api, require: basic }
  - { match: "GET /admin", to: api, require: basic, permissions: ["bdbs:edit"] }
  - { match: "GET /optional", to: api, require: "basic?" }
  - { match: "GET /api/control", to: api, require: app }
"#;
    people.setup(checks, routes, "redis-7.8").start()
}

fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{login}:{password}")))
}

fn ask(target: &str, login: &str, password: &str) -> Ask {
    Ask::get(target).field("Authorization", basic(login, password))
}

#[test]
fn a_right_password_passes_and_is_not_sent_on() {
    let people = People::new();
    people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    for login in ["anna@example.com", "Anna@Example.COM"] {
        let seen = world.pass(&ask("/only/a", login, PASSWORD));
        assert_eq!(seen.fields.one("x-auth-user"), "1");
        assert!(seen.fields.lacks("authorization"));
    }
    // One hash for each spelling, however often it comes.
    let hashes = world.metric("portcullis_password_hashes_total");
    world.pass(&ask("/only/b", "anna@example.com", PASSWORD));
    assert!((world.metric("portcullis_password_hashes_total") - hashes).abs() < 0.5);
}

#[test]
fn a_wrong_name_password_or_form_does_not() {
    let people = People::new();
    people.add("anna", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    for (login, password) in [
        ("anna", "correct: hors"),
        ("anna", ""),
        ("anna", "Correct: horse"),
        ("berta", PASSWORD),
        ("", PASSWORD),
    ] {
        let answer = world.deny(&ask("/only/a", login, password), &[401]);
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(document["reason"], json!("invalid_credentials"), "{login}:{password}");
        assert!(answer.fields.one("www-authenticate").starts_with("Basic realm="));
    }
    for value in ["Basic", "Basic !!!", "Basic YW5uYQ==", "Basic YW5uYTpjb3JyZWN0OiBob3JzZQ==x"] {
        world.deny(&Ask::get("/only/a").field("Authorization", value), &[401]);
    }
    let missing = world.deny(&Ask::get("/only/a"), &[401]);
    assert!(missing.fields.one("www-authenticate").starts_with("Basic realm="));
    let twice = ask("/only/a", "anna", PASSWORD).field("Authorization", basic("anna", PASSWORD));
    world.deny(&twice, &[400]);
    // Optional is not lenient.
    world.deny(&ask("/optional", "anna", "wrong"), &[401]);
    world.pass(&Ask::get("/optional"));
}

#[test]
fn what_changes_about_a_user_acts_at_once() {
    let people = People::new();
    let anna = people.add("anna", PASSWORD, &Value::Null, &json!({"bdbs": ["view"]}));
    let world = gateway(&people);
    let ask = |target: &'static str| ask(target, "anna", PASSWORD);
    world.pass(&ask("/only/a"));
    world.deny(&ask("/admin"), &[403]);
    let until = |what: &str, wanted: u16, target: &'static str| {
        let deadline = Instant::now() + DEADLINE;
        while world.answer(&ask(target)).status() != wanted {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    };
    people.act(async |store| {
        store.set_permissions(&anna, &json!({"bdbs": ["view", "edit"]}), now()).await.unwrap();
    });
    until("the permission comes", 200, "/admin");
    people.act(async |store| store.set_state(&anna, UserState::Disabled, now()).await.unwrap());
    until("the user is gone", 401, "/only/a");
}

#[test]
fn either_a_token_or_a_password_opens_a_route_that_takes_both() {
    let people = People::new();
    people.add("anna", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    let login =
        Ask::post("/v1/users/authorize", "").field("Authorization", basic("anna", PASSWORD));
    let answer = world.answer(&login);
    assert_eq!(answer.status(), 200, "{answer:?}");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let token = document["access_token"].as_str().unwrap();
    let by_token = Ask::get("/v1/bdbs").field("Authorization", format!("JWT {token}"));
    let by_password = ask("/v1/bdbs", "anna", PASSWORD);
    for ask in [by_token, by_password] {
        assert_eq!(world.pass(&ask).fields.one("x-auth-user"), "1");
    }
    let forged = Ask::get("/v1/bdbs").field("Authorization", format!("JWT {token}x"));
    world.deny(&forged, &[401]);
    world.deny(&ask("/v1/bdbs", "anna", "wrong"), &[401]);
    world.deny(&Ask::get("/v1/bdbs").field("Authorization", "Digest x"), &[401]);
}

#[test]
fn a_password_is_guessed_at_here_no_oftener_than_at_a_login() {
    let people = People::new();
    people.add("anna", PASSWORD, &Value::Null, &Value::Null);
    people.add("berta", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    let hashes = || world.metric("portcullis_password_hashes_total");
    for (number, target) in (0..10).zip(["/only/a", "/v1/bdbs"].iter().cycle()) {
        let before = hashes();
        let answer = world.deny(&ask(target, "anna", "wrong horse"), &[401]);
        assert!(answer.fields.lacks("retry-after"), "{number}");
        assert!((hashes() - before - 1.0).abs() < 0.5, "{number}");
    }
    let before = hashes();
    // Whoever has the right one by now learns nothing, and in other letters it is the same account.
    for (login, password) in [("anna", PASSWORD), ("ANNA", PASSWORD), ("anna", "wrong horse")] {
        let answer = world.deny(&ask("/only/a", login, password), &[429]);
        assert_eq!(answer.fields.one("retry-after"), "900");
    }
    let login =
        Ask::post("/v1/users/authorize", "").field("Authorization", basic("anna", PASSWORD));
    world.deny(&login, &[401]);
    assert!((hashes() - before).abs() < 0.5, "something was hashed");
    world.pass(&ask("/only/a", "berta", PASSWORD));
    world.advance(15 * 60);
    let deadline = Instant::now() + DEADLINE;
    while world.answer(&ask("/only/a", "anna", PASSWORD)).status() != 200 {
        assert!(Instant::now() < deadline, "the account stays closed");
        thread::yield_now();
    }
}
