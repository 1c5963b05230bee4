//! The dialect that the README shows: an API that nobody foresaw, added by a file.

use std::time::Instant;

use serde_json::{Value, json};

use crate::world::people::People;
use crate::world::process::run;
use crate::world::{Ask, DEADLINE, Setup, World};

const PASSWORD: &str = "correct horse";

fn readme() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, after) = readme.split_once("```yaml\ndialect: sixth\n").unwrap();
    format!("dialect: sixth\n{}", after.split_once("```").unwrap().0)
}

fn setup(people: &People, sixth: &str) -> Setup {
    let checks = r#"
  app: { app_key: { header: X-App-Key } }
  sixth: { jwt: [ { issuer: self, dialect: "file:sixth.yaml" } ] }
"#;
    let routes = r#"
  - { match: "* /things/**", to: api, require: sixth }
  - { match: "GET /api/control", to: api, require: app }
"#;
    people.setup(checks, routes, "\"file:sixth.yaml\"").file("sixth.yaml", sixth)
}

fn login(world: &World, body: &str) -> (u16, Value) {
    let ask = Ask::post("/session", body).field("Content-Type", "application/json");
    let answer = world.answer(&ask);
    (answer.status(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

#[test]
fn an_api_that_nobody_foresaw_is_added_by_the_file_in_the_readme() {
    let people = People::new();
    let anna = people.add("anna", PASSWORD, &Value::Null, &Value::Null);
    let world = setup(&people, &readme()).start();
    let good = json!({"name": "anna", "word": PASSWORD}).to_string();
    let (status, said) = login(&world, &good);
    assert_eq!((status, &said["seconds"]), (201, &json!(3600)));
    let token = said["pass"].as_str().unwrap();
    let bring = |value: String| Ask::get("/things/7").field("Authorization", value);
    let seen = world.pass(&bring(format!("Sixth {token}")));
    assert_eq!(seen.fields.one("x-auth-user"), anna.as_str());

    let wrong = json!({"name": "anna", "word": "correct hors"}).to_string();
    assert_eq!(login(&world, &wrong), (401, json!({"problem": "who are you"})));
    let unknown = json!({"name": "berta", "word": PASSWORD}).to_string();
    assert_eq!(login(&world, &unknown), (401, json!({"problem": "who are you"})));
    for body in ["", "{", "[]", r#"{"name":7,"word":"x"}"#, r#"{"name":"anna"}"#] {
        assert_eq!(login(&world, body).0, 400, "{body}");
    }
    let told = world.deny(&bring(format!("Sixth {token}x")), &[401]);
    assert_eq!(told.body, br#"{"problem":"log in"}"#);
    world.deny(&bring(format!("Bearer {token}")), &[401]);
    world.deny(&Ask::get("/things/7"), &[401]);
    world.advance(3600);
    // Until it has heard of its store again.
    let deadline = Instant::now() + DEADLINE;
    while world.answer(&bring(format!("Sixth {token}"))).status() == 503 {
        assert!(Instant::now() < deadline, "the store is not heard");
        std::thread::yield_now();
    }
    let told = world.deny(&bring(format!("Sixth {token}")), &[401]);
    assert_eq!(told.body, br#"{"problem":"log in again"}"#);
}

#[test]
fn a_mistake_in_the_file_is_shown_once_where_it_stands() {
    let people = People::new();
    for (good, bad, expected) in [
        ("lifetime: 1h", "lifetime: 1y", ["sixth.yaml:5:13", "expected a length of time"]),
        ("${expires_in}", "${expire_in}", ["sixth.yaml:15:64", "did you mean `${expires_in}`?"]),
        ("malformed:", "malfromed:", ["sixth.yaml:17:3", "did you mean `malformed`?"]),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let text = readme();
        assert!(text.contains(good), "{good}");
        setup(&people, &text.replacen(good, bad, 1)).write(&folder);
        let output = run(folder.path(), &["check", "portcullis.yaml"]);
        let told = format!("{}{}", output.out, output.err);
        assert_eq!(output.code, Some(78), "{told}");
        for words in expected {
            assert_eq!(told.matches(words).count(), 1, "{words}\n{told}");
        }
    }
}

#[test]
fn a_check_that_names_the_file_speaks_as_its_service_does() {
    let people = People::new();
    people.add("anna", PASSWORD, &Value::Null, &Value::Null);
    let checks = r#"
  app: { app_key: { header: X-App-Key } }
  mine: { jwt: [ { issuer: self, dialect: "file:mine.yaml" } ] }
"#;
    let routes = r#"
  - { match: "GET /api/logs", to: api, require: mine }
  - { match: "GET /api/control", to: api, require: app }
"#;
    let world = people
        .setup(checks, routes, "\"file:mine.yaml\", generation: node")
        .file("mine.yaml", "dialect: mine\nextends: analogue\n")
        .start();
    let body = json!({"user": {"email": "anna", "password": PASSWORD}}).to_string();
    let ask = Ask::post("/api/users/login", &body).field("Content-Type", "application/json");
    let answer = world.answer(&ask);
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let token = said["user"]["token"].as_str().unwrap();
    // Another scheme and other words than those of the generation that is spoken by default.
    world.pass(&Ask::get("/api/logs").bearing(token));
    let told = world.deny(&Ask::get("/api/logs"), &[401]);
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["message"], "missing authorization credentials");
    world.deny(&Ask::get("/api/logs").bearing(&format!("{token}x")), &[401]);
}
