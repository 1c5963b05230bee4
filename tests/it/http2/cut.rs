//! A stream ends when its caller may not stay: it alone, in a way that nobody takes for its own end.

use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::others_are_served;
use crate::world::Ask;
use crate::world::Gate;
use crate::world::Gone;
use crate::world::Http2;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::http2::NO_ERROR;
use crate::world::keys::NOW;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;

/// A second is promised; the rest is for a machine that is busy with something else.
const PROMPTLY: Duration = Duration::from_secs(3);

/// One event at once, the next when the gate opens, and no end.
fn events(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::scripted(move |_, head| {
        if head.contains("/control") {
            return vec![Step::Body, Step::Echo];
        }
        let first =
            Step::text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n");
        vec![first, Step::Wait(gate.clone()), Step::text("6\r\nevent2\r\n"), Step::Silence]
    })
}

/// In clear, and within TLS.
fn worlds() -> impl Iterator<Item = (Gate, World)> {
    [|setup: Setup| setup.http2(), Setup::over_tls].into_iter().map(|over| {
        let gate = Gate::default();
        let world = over(Setup::before(events(&gate))).start();
        (gate, world)
    })
}

/// A stream whose answer is under way.
#[track_caller]
fn listening(client: &mut Http2, ask: &Ask) -> u32 {
    let stream = client.ask(ask);
    assert_eq!(client.wait(stream, 6), Ok(&b"event1"[..]), "{ask:?}");
    stream
}

#[track_caller]
fn is_cut(client: &mut Http2, stream: u32) {
    let began = Instant::now();
    let end = client.answer(stream);
    let took = began.elapsed();
    assert!(took < PROMPTLY, "{took:?}");
    assert!(matches!(end, Err(Gone::Reset(code)) if code != NO_ERROR), "{end:?}");
}

#[test]
fn a_token_that_expires_ends_its_streams_and_no_other_of_the_connection() {
    for (gate, world) in worlds() {
        let early = P256.token("ES256", &claims_with(&json!({"exp": NOW + 10})));
        let mut client = world.connect_http2();
        let brief = Ask::get("/api/x").keyed().bearing(&early);
        let cut = [listening(&mut client, &brief), listening(&mut client, &brief)];
        let stays = listening(&mut client, &Ask::get("/api/y").signed());
        let open = listening(&mut client, &Ask::get("/public/y"));
        world.advance(9);
        client.settle().unwrap();
        world.advance(1);
        for stream in cut {
            is_cut(&mut client, stream);
        }
        world.upstream.wait("their end upstream", |seen| seen.ended() == 2);
        gate.open();
        assert_eq!(client.wait(stays, 12), Ok(&b"event1event2"[..]));
        assert_eq!(client.wait(open, 12), Ok(&b"event1event2"[..]));
        let next = client.ask(&Ask::get("/api/control").signed());
        assert_eq!(client.answer(next).unwrap().status(), 200);
        let late = client.ask(&brief);
        assert_eq!(client.answer(late).unwrap().status(), 401);
        let series = "portcullis_streams_cut_total{reason=\"expired_token\",route=\"* /api/**\"}";
        assert!((world.metric(series) - 2.0).abs() < 0.1);
        others_are_served(&world);
    }
}

#[test]
fn a_credential_that_is_revoked_ends_its_streams_and_no_other_of_the_connection() {
    for (gate, world) in worlds() {
        let mut client = world.connect_http2();
        let cut = listening(&mut client, &Ask::get("/api/x").signed());
        let open = listening(&mut client, &Ask::get("/public/y"));
        world.reload().unwrap();
        client.settle().unwrap();
        world.write("keys.json", &jwks(&[&OTHER_P256]));
        world.reload().unwrap();
        is_cut(&mut client, cut);
        world.upstream.wait("its end upstream", |seen| seen.ended() == 1);
        gate.open();
        assert_eq!(client.wait(open, 12), Ok(&b"event1event2"[..]));
        world.write("keys.json", &jwks(&[&P256]));
        world.reload().unwrap();
        others_are_served(&world);
    }
}

#[test]
fn what_waits_for_its_answer_is_refused_like_any_request() {
    let upstream = Upstream::scripted(|_, head| {
        if head.contains("/control") { vec![Step::Body, Step::Echo] } else { vec![Step::Silence] }
    });
    let world = Setup::before(upstream).http2().start();
    let mut client = world.connect_http2();
    let poll = client.ask(&Ask::get("/api/x").signed());
    let call = Ask::new("POST", "/api/x").field("Content-Type", "application/grpc").signed();
    let upload = client.headers(0, &call.over_http2().0);
    client.data(upload, b"\0\0\0\0\x02h", false);
    world.upstream.wait("both", |seen| seen.heads() == 2);
    world.advance(300);
    let answer = client.answer(poll).unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.text().contains("expired_token"), "{answer:?}");
    let answer = client.answer(upload).unwrap();
    assert_eq!((answer.status(), answer.fields.one("grpc-status")), (200, "16"), "{answer:?}");
    assert!(answer.body.is_empty());
    world.upstream.wait("their end upstream", |seen| seen.ended() == 2);
    client.settle().unwrap();
}

#[test]
fn a_client_that_takes_nothing_cannot_stay_for_that() {
    let gate = Gate::default();
    let setup = Setup::before(events(&gate)).http2().extra("timeouts: { idle: 1s }");
    let world = setup.start();
    let mut client = world.connect_http2_with(&[(4, 6)]);
    client.grants = false;
    let stream = listening(&mut client, &Ask::get("/api/x").signed());
    world.advance(300);
    is_cut(&mut client, stream);
    world.upstream.wait("its end upstream", |seen| seen.ended() == 1);
}
