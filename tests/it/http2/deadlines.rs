//! How long a client may take over the parts of a connection that speaks HTTP/2.

use std::time::Duration;
use std::time::Instant;

use super::others_are_served;
use crate::world::Ask;
use crate::world::Gone;
use crate::world::Http2;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::http2::{CANCEL, Frame, HEADERS, PREFACE, head_of};

fn world(timeouts: &str) -> World {
    Setup::new().http2().extra(&format!("timeouts: {{ {timeouts} }}")).start()
}

/// Waits for the end, which must come about then.
#[track_caller]
fn ends_within(client: &mut Http2, seconds: std::ops::Range<u64>) -> Option<u32> {
    let begun = Instant::now();
    let code = client.end();
    let took = begun.elapsed();
    let range = Duration::from_secs(seconds.start)..Duration::from_secs(seconds.end);
    assert!(range.contains(&(took + Duration::from_millis(100))), "{took:?}");
    code
}

#[test]
fn a_first_request_that_does_not_come_ends_the_connection() {
    let world = world("header: 1s, idle: 60s");
    let mut nothing = world.silent_http2();
    let mut part = world.silent_http2();
    part.send(&PREFACE[..20]);
    let mut preface = world.silent_http2();
    preface.send(PREFACE);
    let mut settings = world.connect_http2();
    let mut half = world.connect_http2();
    half.frame(&Frame::new(HEADERS, 0, 1, head_of(&Ask::get("/api/x").signed())));
    for client in [&mut nothing, &mut part, &mut preface, &mut half] {
        client.end();
    }
    assert_eq!(settings.end(), Some(0));
    others_are_served(&world);
}

#[test]
fn pings_do_not_make_an_idle_connection_a_busy_one() {
    let world = world("header: 30s, idle: 1s");
    let mut client = world.connect_http2();
    let stream = client.ask(&Ask::get("/api/x").signed());
    assert_eq!(client.answer(stream).unwrap().status(), 200);
    let begun = Instant::now();
    while client.settle().is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "pings keep it open");
    }
    assert_eq!(client.end(), Some(0));
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    others_are_served(&world);
}

#[test]
fn a_farewell_that_nobody_returns_is_not_waited_for() {
    let world = world("header: 1s, idle: 1s");
    let mut client = world.silent_http2();
    client.send(&[PREFACE, &Frame::new(4, 0, 0, []).bytes()].concat());
    // Nothing is acknowledged: the goodbye has no answer either.
    client.answers_pings = false;
    ends_within(&mut client, 1..5);
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_loses_it_and_the_upstream_its_request() {
    let body = "x".repeat(1 << 20);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstream = Upstream::scripted(move |_, head| {
        if head.contains("/control") {
            return vec![Step::Body, Step::Echo];
        }
        vec![Step::Body, Step::text(&answer)]
    });
    let timeouts = "timeouts: { idle: 1s }";
    let world = Setup::before(upstream).http2().extra(timeouts).start();
    // A window of nothing for each stream.
    let mut client = world.connect_http2_with(&[(4, 0)]);
    let streams: Vec<u32> = (0..50).map(|_| client.ask(&Ask::get("/api/x").signed())).collect();
    for stream in streams {
        assert_eq!(client.answer(stream), Err(Gone::Reset(CANCEL)));
    }
    world.upstream.wait("their end", |seen| seen.ended() >= 50);
    others_are_served(&world);
}

#[test]
fn a_client_that_takes_a_little_at_a_time_gets_all() {
    let body = "x".repeat(200_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstream = Upstream::scripted(move |_, _| vec![Step::Body, Step::text(&answer)]);
    let world = Setup::before(upstream).http2().extra("timeouts: { idle: 1s }").start();
    let mut client = world.connect_http2_with(&[(4, 0)]);
    client.grants = false;
    client.grant(0, 1_000_000);
    let stream = client.ask(&Ask::get("/api/x").signed());
    for had in (0..200_000).step_by(50_000) {
        client.grant(stream, 50_000);
        client.wait(stream, had + 50_000).unwrap();
    }
    assert_eq!(client.answer(stream).unwrap().body.len(), 200_000);
}

#[test]
fn a_body_that_stops_is_given_up() {
    let world = world("body: 300ms");
    let mut client = world.connect_http2();
    let fields = Ask::new("POST", "/api/x").signed().field("Content-Length", 10).over_http2().0;
    let stream = client.headers(0, &fields);
    client.data(stream, b"hello", false);
    let other = client.ask(&Ask::get("/api/control").signed());
    assert_eq!(client.answer(other).unwrap().status(), 200);
    match client.answer(stream) {
        Ok(answer) => assert_eq!(answer.status(), 408),
        Err(gone) => assert!(matches!(gone, Gone::Reset(_)), "{gone:?}"),
    }
    world.upstream.wait("its end", |seen| seen.ended() >= 1);
    others_are_served(&world);
}
