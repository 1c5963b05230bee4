//! Bodies that come a little at a time.

use std::time::Duration;
use std::time::Instant;

use crate::world::Ask;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::World;
use crate::world::h2_upstream::H2Upstream;
use crate::world::h2_upstream::Plan;

fn world(limits: &str) -> World {
    Setup::new()
        .http2()
        .extra("timeouts: { body: 1s }")
        .extra(&format!("limits: {{ {limits} }}"))
        .start()
}

/// Sends pieces of `size` bytes, ten in a second, until the gateway says something or all is sent.
fn drip(pieces: usize, size: usize, mut goes_on: impl FnMut(&[u8]) -> bool) -> (usize, Duration) {
    let begun = Instant::now();
    let sent = (0..pieces).take_while(|_| goes_on(&vec![b'x'; size])).count();
    (sent, begun.elapsed())
}

fn post(length: usize) -> Ask {
    Ask::new("POST", "/api/x").signed().field("Content-Length", length)
}

const TENTH: Duration = Duration::from_millis(100);

#[track_caller]
fn was_cut((sent, took): (usize, Duration)) {
    assert!(sent < 60, "{sent} pieces were taken in {took:?}");
    assert!((TENTH * 9..TENTH * 30).contains(&took), "{took:?}");
}

#[test]
fn a_body_that_drips_is_given_up_soon_after_its_timeout() {
    let world = world("slowest_body: 64B");
    let mut client = world.connect();
    client.send(&post(1000).bytes());
    was_cut(drip(60, 1, |piece| {
        client.send(piece);
        client.is_quiet(TENTH)
    }));
    assert_eq!(client.answer("POST").unwrap().status(), 408);
    client.end().unwrap();
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
    assert!(world.upstream.try_requests().is_err(), "a part of a body became a whole request");
    world.pass(&Ask::get("/api/x").signed());
}

#[test]
fn so_is_one_over_http2_and_its_connection_stays() {
    let world = world("slowest_body: 64B");
    let mut client = world.connect_http2();
    let stream = client.headers(0, &post(1000).over_http2().0);
    client.settle().unwrap();
    was_cut(drip(60, 1, |piece| {
        client.data(stream, piece, false);
        client.is_quiet(TENTH)
    }));
    assert_eq!(client.answer(stream).unwrap().status(), 408);
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
    let other = client.ask(&Ask::get("/api/x").signed());
    assert_eq!(client.answer(other).unwrap().status(), 200);
}

#[test]
fn empty_pieces_are_no_body() {
    let world = world("slowest_body: 0B");
    let mut client = world.connect_http2();
    let stream = client.headers(0, &post(1000).over_http2().0);
    client.settle().unwrap();
    was_cut(drip(60, 0, |piece| {
        client.data(stream, piece, false);
        client.is_quiet(TENTH)
    }));
    assert_eq!(client.answer(stream).unwrap().status(), 408);
}

#[test]
fn a_body_that_is_quick_enough_takes_as_long_as_it_takes() {
    for (limits, size) in [("slowest_body: 64B", 50), ("slowest_body: 0B", 1)] {
        let world = world(limits);
        let mut client = world.connect();
        client.send(&post(25 * size).bytes());
        let (sent, took) = drip(24, size, |piece| {
            client.send(piece);
            client.is_quiet(TENTH)
        });
        assert_eq!(sent, 24, "{limits}: {took:?}");
        client.send(&vec![b'x'; size]);
        assert_eq!(client.answer("POST").unwrap().status(), 200, "{limits}");
    }
}

#[test]
fn a_call_of_grpc_may_say_little_for_long() {
    let world = world("slowest_body: 64B");
    let mut client = world.connect_http2();
    let ask = Ask::new("POST", "/api/x").signed().field("Content-Type", "application/grpc");
    let stream = client.headers(0, &ask.over_http2().0);
    client.settle().unwrap();
    let (sent, took) = drip(24, 1, |piece| {
        client.data(stream, piece, false);
        client.is_quiet(TENTH)
    });
    assert_eq!(sent, 24, "{took:?}");
    client.data(stream, b"x", true);
    assert_eq!(client.answer(stream).unwrap().status(), 200);
}

#[test]
fn what_an_upstream_of_http2_takes_is_no_waiting_for_the_client() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = H2Upstream::scripted(move |_, _| Plan::Wait(theirs.clone()));
    let mut setup = Setup::new()
        .routes("\n  - { match: \"POST /shared/**\", to: shared, public: true }\n")
        .extra("timeouts: { body: 1s }")
        .extra("limits: { slowest_body: 1MiB }");
    setup.more_upstreams = format!(", shared: {{ url: \"{}\", http2: always }}", upstream.url());
    let world = setup.start();
    // More than the upstream takes before it reads, so that it is waited for.
    let body = vec![b'x'; 256 * 1024];
    let mut client = world.connect();
    client.send(&Ask::new("POST", "/shared/x").field("Content-Length", body.len() + 1).bytes());
    client.send(&body);
    assert!(client.is_quiet(TENTH * 25), "the client was given up");
    gate.open();
    upstream.wait("all but the last byte", |seen| {
        seen.streams.iter().any(|stream| stream.body.len() == body.len())
    });
    assert!(client.is_quiet(TENTH), "the client was given up");
    client.send(b"x");
    assert_eq!(client.answer("POST").unwrap().status(), 200);
}
