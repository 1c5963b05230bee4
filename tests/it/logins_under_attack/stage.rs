//! A gateway with six login services, and what an attacker and an owner ask of it.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::process::Output;
use crate::world::process::run_with_input;

/// The password of everybody who has no other.
pub const PASSWORD: &str = "correct horse battery";
/// What seals seeds and signing keys.
pub const MASTER: &str = "5f1e0c7a9b3d2846f7a0c1d2e3b4958675645342312011ffeeddccbbaa998877";

/// The services: each with its host, the target of its login, and where its answer has the token.
pub const SERVICES: [Service; 6] = [
    Service::new("ping", "/v1.0/private/user/customer/login", "/data/access_token"),
    Service::new("redis", "/v1/users/authorize", "/access_token"),
    Service::new("old", "/v1/users/authorize", "/access_token"),
    Service::new("analogue", "/api/users/login", "/user/token"),
    Service::new("monogoto", "/Auth", "/token"),
    Service::new("native", "/auth/login", "/access_token"),
];

#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub name: &'static str,
    login: &'static str,
    token: &'static str,
}

impl Service {
    const fn new(name: &'static str, login: &'static str, token: &'static str) -> Self {
        Self { name, login, token }
    }
}

const CHECKS: &str = r#"
  app: { app_key: { header: X-App-Key } }
  user: { jwt: [ { issuer: "https://id.test", audience: orders, algorithms: [ES256], jwks: "file:keys.json", permissions: /roles } ] }
  ping: { jwt: [ { issuer: self, dialect: ping-proxies } ] }
  redis: { jwt: [ { issuer: self, dialect: redis-7.8 } ] }
  analogue: { jwt: [ { issuer: self, dialect: analogue } ] }
  monogoto: { jwt: [ { issuer: self, dialect: monogoto } ] }
  native: { jwt: [ { issuer: self, dialect: native } ] }
"#;

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "* ping.test/v1.0/private/things/**", to: api, require: app and ping }
  - { match: "* redis.test/v1/things/**", to: api, require: redis }
  - { match: "* old.test/v1/things/**", to: api, require: redis }
  - { match: "* analogue.test/v1/things/**", to: api, require: analogue }
  - { match: "* monogoto.test/v1/things/**", to: api, require: monogoto }
  - { match: "* native.test/v1/things/**", to: api, require: native }
"#;

const EXTRA: &str = r#"
trusted_proxies: ["127.0.0.0/8"]
store: sqlite:portcullis.db
secrets: { master: "file:master.key" }
login:
  - { dialect: ping-proxies, host: ping.test, require: app, name: ping }
  - { dialect: redis-7.8, host: redis.test, name: redis }
  - { dialect: redis-7.4, host: old.test, name: old }
  - { dialect: analogue, host: analogue.test, name: analogue }
  - { dialect: monogoto, host: monogoto.test, name: monogoto }
  - { dialect: native, host: native.test, name: native }
"#;

/// Six login services before an echo, and the usual deployment beside them.
pub fn setup() -> Setup {
    Setup::new().checks(CHECKS).routes(ROUTES).extra(EXTRA).file("master.key", MASTER)
}

/// A gateway with these users, all of whom have the same password.
#[track_caller]
pub fn world_with(users: &[&str]) -> World {
    started(setup(), users)
}

/// The same, set up otherwise.
#[track_caller]
pub fn started(setup: Setup, users: &[&str]) -> World {
    let world = setup.start();
    for user in users {
        add(world.folder(), user, PASSWORD);
    }
    world
}

/// Creates a user.
#[track_caller]
pub fn add(folder: &Path, login: &str, password: &str) {
    operate_with(
        folder,
        &["user", "add", login, "--permissions", "{\"Things\":[\"view\"]}"],
        password,
    );
}

/// What an operator types while the gateway runs; it must work.
#[track_caller]
pub fn operate(folder: &Path, arguments: &[&str]) -> Output {
    operate_with(folder, arguments, "")
}

#[track_caller]
pub fn operate_with(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let arguments = [arguments, &["-c", "portcullis.yaml"]].concat();
    let output = run_with_input(folder, &arguments, input);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output
}

/// A call with a JSON body.
pub fn post(host: &str, target: &str, body: &Value) -> Ask {
    send("POST", host, target, &body.to_string())
}

/// A call with whatever body.
pub fn send(method: &str, host: &str, target: &str, body: &str) -> Ask {
    let ask = Ask::new(method, target).instead("Host", format!("{host}.test"));
    let ask = ask.field("Content-Type", "application/json").field("Content-Length", body.len());
    ask.body(body)
}

/// A login call of a service, complete with what it demands of applications.
pub fn login(service: &str, login: &str, password: &str) -> Ask {
    let Service { login: target, .. } = of(service);
    let body = match service {
        "ping" => json!({"customer_email_address": login, "customer_password": password}),
        "redis" => {
            let pair = STANDARD.encode(format!("{login}:{password}"));
            return send("POST", service, target, "")
                .field("Authorization", format!("Basic {pair}"));
        }
        "old" | "native" => json!({"username": login, "password": password}),
        "analogue" => json!({"user": {"email": login, "password": password}}),
        _ => json!({"UserName": login, "Password": password}),
    };
    with_client(post(service, target, &body), service, "198.51.100.7")
}

/// What an application tells about its client, for the one service that demands it.
pub fn with_client(ask: Ask, service: &str, address: &str) -> Ask {
    if service != "ping" {
        return ask;
    }
    ask.instead("X-App-Key", APP_KEY)
        .instead("X-Application-Forwarded-Client-IP-Address", address)
        .instead("X-Application-Forwarded-Client-User-Agent", "browser")
}

/// The same call from elsewhere.
pub fn from(ask: Ask, address: &str) -> Ask {
    ask.instead("X-Forwarded-For", address)
}

/// Signs in and takes the token out of the answer.
#[track_caller]
pub fn token(world: &World, service: &str, user: &str) -> String {
    token_in(service, &world.answer(&login(service, user, PASSWORD)))
}

#[track_caller]
pub fn token_in(service: &str, answer: &Message) -> String {
    assert_eq!(answer.status(), 200, "{service}: {answer:?}");
    body(answer).pointer(of(service).token).unwrap().as_str().unwrap().to_owned()
}

/// The document in an answer.
#[track_caller]
pub fn body(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// A call of what a service protects, with a token under its scheme.
pub fn thing(service: &str, token: &str) -> Ask {
    let scheme = if service == "analogue" { "Token" } else { "Bearer" };
    let target = if service == "ping" { "/v1.0/private/things/1" } else { "/v1/things/1" };
    let ask = Ask::get(target).instead("Host", format!("{service}.test"));
    with_client(ask.field("Authorization", format!("{scheme} {token}")), service, "198.51.100.7")
}

/// Hashes computed so far.
pub fn hashes(world: &World) -> u64 {
    let page = world.admin("/metrics").text();
    let name = "portcullis_password_hashes_total ";
    page.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |value| value.parse().unwrap())
}

/// Asks until the answer has this status; how long that took.
#[track_caller]
pub fn becomes(world: &World, ask: &Ask, status: u16) -> Duration {
    let began = Instant::now();
    loop {
        let answer = world.answer(ask);
        if answer.status() == status {
            return began.elapsed();
        }
        assert!(began.elapsed() < DEADLINE, "{status} does not come: {answer:?}");
    }
}

/// All at once, each on a connection of its own.
pub fn at_once(world: &World, asks: &[Ask]) -> Vec<Message> {
    let mut clients: Vec<_> = asks.iter().map(|_| world.connect()).collect();
    for (client, ask) in clients.iter_mut().zip(asks) {
        client.send(&ask.bytes());
    }
    clients.iter_mut().zip(asks).map(|(client, ask)| client.answer(ask.method()).unwrap()).collect()
}

/// How many of the answers have this status.
pub fn count(answers: &[Message], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status() == status).count()
}

/// RFC 6238, straight from its text: the code of a seed in base32 at a second.
pub fn code(seed: &str, at: i64) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut key, mut bits, mut held) = (vec![], 0_u32, 0);
    for letter in seed.chars() {
        bits = bits << 5 | u32::try_from(alphabet.find(letter).unwrap()).unwrap();
        held += 5;
        if held >= 8 {
            held -= 8;
            key.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let mark = hmac::sign(&key, &(at / 30).to_be_bytes());
    let mark = mark.as_ref();
    let start = usize::from(mark[19] & 15);
    let number = u32::from_be_bytes(mark[start..start + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

fn of(service: &str) -> Service {
    SERVICES.into_iter().find(|known| known.name == service).unwrap()
}
