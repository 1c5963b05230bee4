//! An answer under way ends when its caller may not stay: token expired, credential revoked.

use std::time::Duration;
use std::time::Instant;

use portcullis::clock::Clock;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::logins_under_attack::stage;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Client;
use crate::world::End;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;
use crate::world::process::run;

/// A second is promised; the rest is for a machine that is busy with something else.
const PROMPTLY: Duration = Duration::from_secs(3);
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n";
const NEXT: &str = "6\r\nevent2\r\n";

/// One event at once, the next when the gate opens, and no end.
fn events(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::scripted(move |_, _| {
        vec![Step::text(EVENTS), Step::Wait(gate.clone()), Step::text(NEXT), Step::Silence]
    })
}

/// A client whose answer is under way.
#[track_caller]
fn listening(world: &World, ask: &Ask) -> Client {
    let mut client = world.connect();
    client.send(&ask.bytes());
    client.until(b"event1").unwrap_or_else(|fault| panic!("{ask:?}: {fault}"));
    client
}

/// The stream ends soon, in a way that nobody takes for its own end, and the upstream's with it.
#[track_caller]
fn is_cut(world: &World, client: &mut Client, began: Instant) {
    let (_, rest) = client.end().unwrap();
    let took = began.elapsed();
    assert!(took < PROMPTLY, "{took:?}");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    world.upstream.wait("the end upstream", |seen| seen.ended() == seen.connections());
}

#[track_caller]
fn goes_on(client: &mut Client, gate: &Gate) {
    gate.open();
    client.until(b"event2").unwrap();
}

#[test]
fn a_stream_ends_with_its_token_and_not_before() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    world.advance(299);
    goes_on(&mut client, &gate);
    world.advance(1);
    is_cut(&world, &mut client, Instant::now());
    let series = "portcullis_streams_cut_total{reason=\"expired_token\",route=\"* /api/**\"}";
    assert!((world.metric(series) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_stream_has_the_leeway_of_its_issuer_and_the_grace_of_all() {
    let gate = Gate::default();
    let entry = "{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], \
                 jwks: \"file:keys.json\", leeway: 5s }";
    let setup = Setup::before(events(&gate)).jwt(entry).extra("streams: { grace: 10s }");
    let world = setup.routes("\n  - { match: \"* /api/**\", to: api }\n").start();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    world.advance(314);
    goes_on(&mut client, &gate);
    world.advance(1);
    is_cut(&world, &mut client, Instant::now());
}

#[test]
fn whoever_had_to_prove_nothing_stays() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let mut guarded = listening(&world, &Ask::get("/api/x").signed());
    let mut open = listening(&world, &Ask::get("/public/x"));
    world.advance(1000);
    guarded.end().unwrap();
    goes_on(&mut open, &gate);
}

#[test]
fn an_answer_of_known_length_is_cut_too() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nevent1";
    let upstream = Upstream::scripted(move |_, _| vec![Step::text(answer), Step::Silence]);
    let world = Setup::before(upstream).start();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    world.advance(300);
    is_cut(&world, &mut client, Instant::now());
}

#[test]
fn an_answer_that_its_client_does_not_take_is_cut_too() {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\nevent1".to_vec();
    answer.resize(answer.len() + (64 << 20), b'x');
    let upstream = Upstream::scripted(move |_, _| vec![Step::Send(answer.clone()), Step::Silence]);
    let world = Setup::before(upstream).start();
    let _client = listening(&world, &Ask::get("/api/x").signed());
    world.advance(300);
    let began = Instant::now();
    world.upstream.wait("the end upstream", |seen| seen.ended() == seen.connections());
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
    let series = "portcullis_streams_cut_total{reason=\"expired_token\",route=\"* /api/**\"}";
    assert!((world.metric(series) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn where_only_the_end_of_the_connection_tells_it_is_a_reset() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let ask = Ask::get("/api/x").signed();
    let text = String::from_utf8(ask.bytes()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut client = world.connect();
    client.send(text.as_bytes());
    client.until(b"event1").unwrap();
    world.advance(300);
    assert_eq!(client.end().unwrap().0, End::Reset);
}

#[test]
fn a_poll_that_waits_for_its_answer_is_refused_like_any_request() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let world = Setup::before(upstream).start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    world.advance(300);
    let began = Instant::now();
    let answer = client.answer("GET").unwrap();
    assert!(began.elapsed() < PROMPTLY);
    assert_eq!(answer.status(), 401);
    assert!(answer.text().contains("expired_token"), "{answer:?}");
    world.upstream.wait("the end upstream", |seen| seen.ended() == 1);
}

#[test]
fn an_upload_that_waits_for_its_client_is_refused_like_any_request() {
    let world = Setup::before(Upstream::scripted(|_, _| vec![Step::Silence])).start();
    let mut client = world.connect();
    let upload = Ask::new("POST", "/api/x").field("Content-Length", 100).signed();
    client.send(&upload.body(*b"a part").bytes());
    world.upstream.wait("a part", |seen| seen.has(b"a part"));
    world.advance(300);
    let began = Instant::now();
    let answer = client.answer("POST").unwrap();
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
    assert_eq!(answer.status(), 401);
    world.upstream.wait("the end upstream", |seen| seen.ended() == 1);
}

#[test]
fn a_key_or_an_application_that_a_reload_takes_away_ends_its_streams() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    world.reload().unwrap();
    world.reload_with("permissions: /roles", "permissions: /rights").unwrap();
    goes_on(&mut client, &gate);
    world.write("keys.json", &jwks(&[&OTHER_P256]));
    world.reload().unwrap();
    is_cut(&world, &mut client, Instant::now());

    world.write("keys.json", &jwks(&[&P256]));
    world.reload().unwrap();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    let mut next = listening(&world, &Ask::get("/api/x").signed());
    world.reload_with("id: mobile", "id: renamed").unwrap();
    next.until(b"event2").unwrap();
    let digest = portcullis::id::Digest::of(APP_KEY.as_bytes()).to_string();
    let other = portcullis::id::Digest::of(b"another").to_string();
    world.reload_with(&digest, &other).unwrap();
    is_cut(&world, &mut client, Instant::now());
}

#[test]
fn a_check_that_is_gone_vouches_for_nobody() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let mut client = listening(&world, &Ask::get("/api/x").signed());
    let text = world.config().replace("\n  user:", "\n  person:").replace("and user", "and person");
    world.write("portcullis.yaml", &text);
    world.reload().unwrap();
    is_cut(&world, &mut client, Instant::now());
}

#[test]
fn a_session_or_token_or_user_that_ends_takes_its_streams_along() {
    let gate = Gate::default();
    let mut setup = stage::setup();
    setup.upstream = events(&gate);
    let world = stage::started(setup, &["anna", "berta"]);
    let mut unharmed =
        listening(&world, &stage::thing("native", &stage::token(&world, "native", "berta")));
    for act in ["session", "token", "logout", "disable"] {
        let token = stage::token(&world, "native", "anna");
        let mut client = listening(&world, &stage::thing("native", &token));
        let (session, jti) = names_of(&token);
        let arguments = match act {
            "session" => vec!["session", "revoke", &session],
            "token" => vec!["session", "revoke", "--token", &jti],
            act => vec!["user", act, "anna"],
        };
        stage::operate(world.folder(), &arguments);
        let began = Instant::now();
        let (_, rest) = client.end().unwrap();
        assert!(began.elapsed() < PROMPTLY, "{act}");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{act}");
    }
    goes_on(&mut unharmed, &gate);
}

/// The session and the `jti` of a token.
fn names_of(token: &str) -> (String, String) {
    use base64::Engine;
    let part = |at: usize| {
        let text = token.split('.').nth(at).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&part(0)["sid"]), text(&part(1)["jti"]))
}

#[test]
fn an_application_key_that_is_revoked_in_the_store_ends_its_streams() {
    let folder = TempDir::new().unwrap();
    let store = format!("sqlite:{}", folder.path().join("apps.db").display());
    let app = |arguments: &[&str]| {
        let all = [&["app"], arguments, &["--store", &store, "--output", "json"]].concat();
        let output = run(folder.path(), &all);
        assert_eq!(output.code, Some(0), "{output:?}");
        serde_json::from_str(&output.out).unwrap_or(Value::Null)
    };
    let (made, other) = (app(&["create", "shop"]), app(&["create", "other"]));
    let gate = Gate::default();
    let mut setup = Setup::before(events(&gate)).defaults("{ require: app }");
    setup.clock = Clock::system();
    let world = setup
        .checks("\n  app: { app_key: { header: X-App-Key } }\n")
        .routes("\n  - { match: \"* /api/**\", to: api }\n")
        .extra(&format!("store: \"{store}\""))
        .start();
    let keyed = |made: &Value| Ask::get("/api/x").field("X-App-Key", made["key"].as_str().unwrap());
    let mut client = listening(&world, &keyed(&made));
    let mut unharmed = listening(&world, &keyed(&other));
    app(&["revoke", made["id"].as_str().unwrap()]);
    let began = Instant::now();
    client.end().unwrap();
    assert!(began.elapsed() < PROMPTLY);
    goes_on(&mut unharmed, &gate);
}

#[test]
fn a_token_that_expires_ends_no_stream_of_another() {
    let gate = Gate::default();
    let world = Setup::before(events(&gate)).start();
    let early = P256.token("ES256", &claims_with(&json!({"exp": crate::world::keys::NOW + 10})));
    let mut first = listening(&world, &Ask::get("/api/x").keyed().bearing(&early));
    let mut second = listening(&world, &Ask::get("/api/x").signed());
    world.advance(10);
    first.end().unwrap();
    goes_on(&mut second, &gate);
}
