//! Routes that ask for a second factor: nothing goes on before the code, and the code does not go on.

use std::time::Instant;

use portcullis::store::UserState;
use serde_json::{Value, json};

use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Message;
use crate::world::World;
use crate::world::keys::NOW;
use crate::world::people::{People, code, now};

const PASSWORD: &str = "correct horse";
const SEED: [u8; 20] = *b"12345678901234567890";
const KEY: &str = "two_factor_authentication_public_key";
const CODE: &str = "two_factor_authentication_private_key";

fn gateway(people: &People) -> World {
    let checks = r"
  app: { app_key: { header: X-App-Key } }
  ping: { jwt: [ { issuer: self, dialect: ping-proxies } ] }
";
    let routes = r#"
  - { match: "* /v1.0/private/**", to: api, require: ping }
  - { match: "* /v1.0/private/service/create", to: api, require: ping, second_factor: true }
  - { match: "POST /v1.0/private/small", to: api, require: ping, second_factor: true, body: 64B }
  - { match: "GET /api/control", to: api, require: app }
"#;
    people.setup(checks, routes, "ping-proxies").start()
}

/// Moves the clock on, and waits until the gateway has heard of its store after that.
fn later(world: &World, seconds: u64, probe: &Ask) {
    world.advance(seconds);
    let deadline = Instant::now() + DEADLINE;
    while world.answer(probe).status() == 503 {
        assert!(Instant::now() < deadline, "the store is not heard");
        std::thread::yield_now();
    }
}

fn body_of(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap_or_else(|_| panic!("no JSON: {message:?}"))
}

fn post(target: &str, body: &Value) -> Ask {
    Ask::post(target, &body.to_string()).field("Content-Type", "application/json")
}

/// Signs in, with a code when one is asked for.
fn token(world: &World, login: &str, at: i64) -> String {
    let path = "/v1.0/private/user/customer/login";
    let mut body = json!({"customer_email_address": login, "customer_password": PASSWORD});
    let mut answer = world.answer(&post(path, &body));
    if answer.status() == 499 {
        body[KEY] = body_of(&answer)[KEY].clone();
        body[CODE] = json!(code(SEED, at));
        answer = world.answer(&post(path, &body));
    }
    assert_eq!(answer.status(), 200, "{answer:?}");
    body_of(&answer)["data"]["access_token"].as_str().unwrap().to_owned()
}

fn create(token: &str, body: &Value) -> Ask {
    post("/v1.0/private/service/create", body).field("Authorization", token)
}

#[test]
fn a_request_goes_on_after_the_code_and_without_it() {
    let people = People::new();
    let anna = people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    people.enrol(&anna, SEED);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let probe = Ask::get("/v1.0/private/x").field("Authorization", &token);
    later(&world, 60, &probe);
    let mut body = json!({"name": "a", "size": 10});
    let asked = world.deny(&create(&token, &body), &[499]);
    let challenge = body_of(&asked);
    assert_eq!(challenge["two_factor_authentication_service"], json!("totp"));
    assert!(challenge["two_factor_authentication_target"].as_str().unwrap().contains("**"));
    body[KEY] = challenge[KEY].clone();
    body[CODE] = json!("000000");
    world.deny(&create(&token, &body), &[401]);
    body[CODE] = json!(code(SEED, NOW + 60));
    let seen = world.pass(&create(&token, &body));
    assert_eq!(body_of(&seen), json!({"name": "a", "size": 10}));
    assert_eq!(seen.fields.one("content-length"), seen.body.len().to_string());
    assert_eq!(seen.fields.one("x-auth-user"), "1");
    // Neither the code nor the challenge is good again.
    world.deny(&create(&token, &body), &[401]);
}

#[test]
fn an_answer_is_good_for_its_own_request_only() {
    let people = People::new();
    let anna = people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    people.enrol(&anna, SEED);
    let berta = people.add("berta@example.com", PASSWORD, &Value::Null, &Value::Null);
    people.enrol(&berta, SEED);
    let world = gateway(&people);
    let (anna, berta) =
        (token(&world, "anna@example.com", NOW), token(&world, "berta@example.com", NOW));
    let probe = Ask::get("/v1.0/private/x").field("Authorization", &anna);
    later(&world, 60, &probe);
    let first = json!({"name": "a"});
    let key = body_of(&world.deny(&create(&anna, &first), &[499]))[KEY].clone();
    let code = code(SEED, NOW + 60);
    let other = json!({"name": "b", KEY: key, CODE: code});
    world.deny(&create(&anna, &other), &[401]);
    let same = json!({"name": "a", KEY: key, CODE: code});
    world.deny(&create(&berta, &same), &[401]);
    let elsewhere = post("/v1.0/private/service/create?x=1", &same).field("Authorization", &anna);
    world.deny(&elsewhere, &[401]);
    world.deny(&create(&anna, &same).instead("Host", "other.example.com"), &[401]);
    world.pass(&create(&anna, &same));
}

#[test]
fn who_has_no_second_factor_is_not_asked_for_one() {
    let people = People::new();
    people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let body = json!({"name": "a"});
    assert_eq!(body_of(&world.pass(&create(&token, &body))), body);
    let bare = Ask::get("/v1.0/private/service/create").field("Authorization", &token);
    world.pass(&bare);
    world.deny(&create("x", &body), &[401]);
    world.deny(&post("/v1.0/private/service/create", &body), &[401]);
}

#[test]
fn a_body_that_has_two_readings_or_no_end_is_refused() {
    let people = People::new();
    let anna = people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    people.enrol(&anna, SEED);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let raw = |body: &str| {
        Ask::post("/v1.0/private/service/create", body)
            .field("Content-Type", "application/json")
            .field("Authorization", &token)
    };
    for body in ["{", "[]", "7", r#"{"a":1,"a":2}"#, &format!(r#"{{"{CODE}":"1","{CODE}":"2"}}"#)] {
        world.deny(&raw(body), &[400]);
    }
    for body in [json!({KEY: "k"}), json!({CODE: "123456"}), json!({KEY: 1, CODE: "123456"})] {
        world.deny(&raw(&body.to_string()), &[400]);
    }
    let filled = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    world.deny(&raw(&filled(65_536)), &[499]);
    world.deny(&raw(&filled(65_537)), &[413]);
}

#[test]
fn a_body_is_as_small_as_its_route_wants_however_it_is_framed() {
    let people = People::new();
    people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let small = |bytes: usize, is_chunked: bool| {
        let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        let ask = Ask::post("/v1.0/private/small", &body)
            .field("Content-Type", "application/json")
            .field("Authorization", &token);
        if !is_chunked {
            return ask;
        }
        ask.without("Content-Length")
            .field("Transfer-Encoding", "chunked")
            .body(format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n"))
    };
    for is_chunked in [false, true] {
        world.pass(&small(64, is_chunked));
        world.deny(&small(65, is_chunked), &[413]);
    }
}

#[test]
fn a_request_whose_user_is_disabled_before_its_body_is_whole_goes_nowhere() {
    let people = People::new();
    let anna = people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let ask = create(&token, &json!({"name": "a"})).field("Expect", "100-continue");
    let bytes = ask.bytes();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = bytes.split_at(end);
    let mut slow = world.connect();
    slow.send(head);
    slow.until(b"100 Continue\r\n\r\n").unwrap();
    people.act(async |store| store.set_state(&anna, UserState::Disabled, now()).await.unwrap());
    let probe = Ask::get("/v1.0/private/x").field("Authorization", &token);
    let deadline = Instant::now() + DEADLINE;
    while world.answer(&probe).status() != 401 {
        assert!(Instant::now() < deadline, "the token stays good");
    }
    let mark = world.upstream.mark();
    slow.send(body);
    assert_eq!(slow.answer("POST").unwrap().status(), 401);
    assert!(world.upstream.since(&mark).unwrap().is_empty());
}

#[test]
fn codes_guessed_at_on_a_route_count_with_those_at_the_login() {
    let people = People::new();
    let anna = people.add("anna@example.com", PASSWORD, &Value::Null, &Value::Null);
    people.enrol(&anna, SEED);
    let world = gateway(&people);
    let token = token(&world, "anna@example.com", NOW);
    let probe = Ask::get("/v1.0/private/x").field("Authorization", &token);
    later(&world, 60, &probe);
    let right = code(SEED, NOW + 60);
    let with = |key: &Value, code: &str| create(&token, &json!({"n": 1, KEY: key, CODE: code}));
    let question = || body_of(&world.deny(&create(&token, &json!({"n": 1})), &[499]))[KEY].clone();
    let first = question();
    for _ in 0..5 {
        world.deny(&with(&first, "000000"), &[401]);
    }
    // The sixth try is not made, and another question begins no new count.
    world.deny(&with(&first, &right), &[401]);
    let second = question();
    for _ in 0..5 {
        world.deny(&with(&second, "000000"), &[401]);
    }
    let third = question();
    for code in [right.as_str(), "000000"] {
        let answer = world.deny(&with(&third, code), &[429]);
        assert_eq!(answer.fields.one("retry-after"), "900");
    }
    let path = "/v1.0/private/user/customer/login";
    let mut login =
        json!({"customer_email_address": "anna@example.com", "customer_password": PASSWORD});
    login[KEY] = body_of(&world.answer(&post(path, &login)))[KEY].clone();
    login[CODE] = json!(right);
    assert_eq!(world.answer(&post(path, &login)).status(), 429);
}
