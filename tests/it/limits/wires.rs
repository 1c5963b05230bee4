//! Rates in the words of whoever is refused: over HTTP/2, to clients of gRPC, in a dialect.

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::people::People;

fn world(rate: &str) -> World {
    Setup::new()
        .http2()
        .extra("workers: 2")
        .extra(&format!("rates: {{ few: {rate} }}"))
        .extra("limits: { rates: [few], tell_rates: true }")
        .start()
}

fn good() -> Ask {
    Ask::get("/api/x").signed()
}

fn call() -> Ask {
    let ask = Ask::new("POST", "/api/x").signed().field("Content-Type", "application/grpc");
    ask.field("TE", "trailers").body(*b"\0\0\0\0\x02hi")
}

#[track_caller]
fn over_http2(world: &World, ask: &Ask) -> Message {
    let mut client = world.connect_http2();
    let stream = client.ask(ask);
    client.answer(stream).unwrap()
}

#[test]
fn streams_and_connections_of_either_protocol_are_counted_together() {
    let world = world("{ per: app, requests: 3, every: 1m }");
    let mut client = world.connect_http2();
    for left in [2, 1] {
        let stream = client.ask(&good());
        let answer = client.answer(stream).unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.fields.one("ratelimit").starts_with(&format!(r#""few";r={left};"#)));
    }
    assert_eq!(world.answer(&good()).status(), 200);
    let before = world.upstream.bytes_seen();
    assert_eq!(world.answer(&good()).status(), 429);
    let stream = client.ask(&good());
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.fields.one("retry-after")), (429, "20"));
    assert_eq!(answer.fields.one("ratelimit"), r#""few";r=0;t=20"#);
    assert!(answer.text().contains(r#""reason":"rate_limited""#), "{answer:?}");
    assert_eq!(world.upstream.bytes_seen(), before);
    // The connection stays, and serves again in time.
    world.advance(20);
    let stream = client.ask(&good());
    assert_eq!(client.answer(stream).unwrap().status(), 200);
}

#[test]
fn of_a_hundred_streams_at_once_as_many_pass_as_the_burst_says() {
    let world = world("{ per: app, requests: 1, every: 1m, burst: 30 }");
    let mut clients = [world.connect_http2(), world.connect_http2()];
    let mark = world.upstream.mark();
    let streams: Vec<_> =
        clients.iter_mut().map(|client| [(); 50].map(|()| client.ask(&good()))).collect();
    let mut statuses = Vec::new();
    for (client, streams) in clients.iter_mut().zip(streams) {
        statuses.extend(streams.map(|stream| client.answer(stream).unwrap().status()));
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 30);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 70);
    assert_eq!(world.upstream.since(&mark).unwrap().len(), 30);
}

#[test]
fn an_address_over_http2_is_counted_before_its_credentials_are_looked_at() {
    let world = world("{ per: address, requests: 2, every: 1m }");
    let mut client = world.connect_http2();
    let forged = good().instead("Authorization", "Bearer x.y.z");
    for expected in [401, 401, 429, 429] {
        let stream = client.ask(&forged);
        assert_eq!(client.answer(stream).unwrap().status(), expected);
    }
    assert_eq!(over_http2(&world, &good()).status(), 429);
    assert_eq!(world.upstream.bytes_seen(), 0);
}

#[test]
fn a_call_of_grpc_that_comes_too_soon_is_told_that_a_resource_is_exhausted() {
    for per in ["app", "address"] {
        let world = world(&format!("{{ per: {per}, requests: 1, every: 1m }}"));
        let first = over_http2(&world, &call());
        assert!(first.status() == 200 && first.fields.lacks("grpc-status"), "{first:?}");
        let before = world.upstream.bytes_seen();
        let answer = over_http2(&world, &call());
        assert_eq!((answer.status(), answer.fields.one("grpc-status")), (200, "8"), "{per}");
        assert_eq!(answer.fields.one("grpc-message"), "rate_limited: Requests come too fast");
        assert_eq!(answer.fields.one("content-type"), "application/grpc");
        assert_eq!(answer.fields.one("retry-after"), "60");
        assert_eq!(answer.fields.one("ratelimit"), r#""few";r=0;t=60"#);
        assert!(answer.body.is_empty() && answer.trailers.0.is_empty(), "{answer:?}");
        assert_eq!(world.upstream.bytes_seen(), before);
        // Whoever speaks something else is told in a document.
        assert_eq!(over_http2(&world, &good()).status(), 429);
    }
}

#[test]
fn a_dialect_has_its_own_words_for_it() {
    let people = People::new();
    let checks = r"
  app: { app_key: { header: X-App-Key } }
  mono: { jwt: [ { issuer: self, dialect: monogoto } ] }
";
    let routes = r#"
  - { match: "GET /things", to: api, require: mono, rates: [few] }
  - { match: "GET /api/control", to: api, require: app }
"#;
    let world = people
        .setup(checks, routes, "monogoto")
        .extra("rates: { few: { per: address, requests: 1, every: 1m } }")
        .start();
    assert_eq!(world.answer(&Ask::get("/things")).status(), 401);
    let answer = world.answer(&Ask::get("/things"));
    assert_eq!((answer.status(), answer.text().as_str()), (429, "Too many requests"));
    assert_eq!(answer.fields.one("retry-after"), "60");
    assert_eq!(answer.fields.one("ratelimit"), r#""few";r=0;t=60"#);
    assert_eq!(world.upstream.bytes_seen(), 0);
}
