//! What an upstream has no room for is refused at once, and says when to come back.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::*;
use crate::world::Gate;
use crate::world::eventually;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[track_caller]
fn refused_at_once(world: &World) {
    let begun = Instant::now();
    let answer = world.answer(&get());
    let took = begun.elapsed();
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(answer.fields.one("retry-after"), "1");
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn requests_beyond_the_bound_wait_and_beyond_the_queue_are_refused() {
    let gate = Gate::default();
    let upstream = always(&[Step::Body, Step::Wait(gate.clone()), Step::text(GOOD)]);
    let world = before(&urls(&[&upstream]), ", in_flight: 2, queue: 1, queue_timeout: 30s");
    let mut clients: Vec<_> = (0..3).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.send(&get().bytes());
    }
    eventually("two under way and one waits", || {
        let shown = shown(&world);
        shown["in_flight"] == 2 && shown["queued"] == 1
    });
    upstream.wait("two asked", |seen| seen.heads() == 2);
    refused_at_once(&world);
    assert!((world.metric("portcullis_upstream_in_flight{upstream=\"many\"}") - 2.0).abs() < 0.1);
    assert!((world.metric("portcullis_upstream_queued{upstream=\"many\"}") - 1.0).abs() < 0.1);
    assert_eq!(status(&world, &Ask::get("/public/x")), 200, "others are not hurt");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer("GET").unwrap().status(), 200);
    }
    assert_eq!(heads(&upstream), 3, "what was refused was not sent");
    eventually("all is free", || shown(&world)["in_flight"] == 0);
    let full = "portcullis_upstream_refused_total{reason=\"full\",upstream=\"many\"}";
    assert!((world.metric(full) - 1.0).abs() < 0.1);
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let gate = Gate::default();
    let upstream = always(&[Step::Body, Step::Wait(gate.clone()), Step::text(GOOD)]);
    let world = before(&urls(&[&upstream]), ", in_flight: 1, queue: 1, queue_timeout: 30s");
    let (mut first, mut second) = (world.connect(), world.connect());
    first.send(&get().bytes());
    eventually("one under way", || shown(&world)["in_flight"] == 1);
    second.send(&get().bytes());
    eventually("one waits", || shown(&world)["queued"] == 1);
    second.reset();
    eventually("none waits", || shown(&world)["queued"] == 0);
    upstream.wait("the first asked", |seen| seen.heads() == 1);
    first.reset();
    eventually("none under way", || shown(&world)["in_flight"] == 0);
    assert_eq!(heads(&upstream), 1);
    gate.open();
    assert_eq!(status(&world, &get()), 200);
}

#[test]
fn whoever_waits_too_long_is_refused() {
    let gate = Gate::default();
    let upstream = always(&[Step::Body, Step::Wait(gate.clone()), Step::text(GOOD)]);
    let world = before(&urls(&[&upstream]), ", in_flight: 1, queue: 5, queue_timeout: 100ms");
    let mut first = world.connect();
    first.send(&get().bytes());
    eventually("one under way", || shown(&world)["in_flight"] == 1);
    let begun = Instant::now();
    assert_eq!(status(&world, &get()), 503);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    gate.open();
    assert_eq!(first.answer("GET").unwrap().status(), 200);
    assert_eq!(heads(&upstream), 1);
}

#[test]
fn an_answer_counts_until_its_last_byte() {
    let gate = Gate::default();
    let upstream = always(&[
        Step::Body,
        Step::text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"),
        Step::Wait(gate.clone()),
        Step::text("k"),
    ]);
    let world = before(&urls(&[&upstream]), ", in_flight: 1");
    let mut first = world.connect();
    first.send(&get().bytes());
    first.until(b"\r\n\r\no").unwrap();
    refused_at_once(&world);
    gate.open();
    assert_eq!(first.answer("GET").unwrap().status(), 200);
    eventually("free again", || shown(&world)["in_flight"] == 0);
    assert_eq!(status(&world, &get()), 200);
}

#[test]
fn connections_are_bounded_and_come_free() {
    let gate = Gate::default();
    let upstream = always(&[Step::Body, Step::Wait(gate.clone()), Step::text(GOOD)]);
    let world = before(&urls(&[&upstream]), ", connections: 2");
    let mut clients: Vec<_> = (0..2).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.send(&get().bytes());
    }
    upstream.wait("both under way", |seen| seen.heads() == 2);
    refused_at_once(&world);
    assert_eq!(upstream.look(Record::connections), 2);
    assert_eq!(states(&world), ["healthy"], "a bound of ours is no fault of the endpoint");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer("GET").unwrap().status(), 200);
    }
    for _ in 0..3 {
        assert_eq!(status(&world, &get()), 200);
    }
}

#[test]
fn whatever_becomes_of_requests_every_place_comes_free() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let ends = [
        always(&[Step::Body, Step::text(GOOD)]),
        always(&[Step::Body, Step::text(half), Step::Close]),
        always(&[Step::Body, Step::Reset]),
        always(&[Step::Silence]),
    ];
    let mut urls: Vec<_> = ends.iter().map(Upstream::url).collect();
    urls.push(nobody());
    let keys = ", in_flight: 6, queue: 4, queue_timeout: 20ms, timeout: 30ms, connections: 5, \
                eject: { failures: 3, for: 20ms }, retry: { attempts: 2 }";
    let world = before_with(4, &urls, keys);
    thread::scope(|scope| {
        for number in 0..12 {
            let world = &world;
            scope.spawn(move || ask_restlessly(world, number));
        }
    });
    let is_free = || {
        let shown = shown(&world);
        let endpoints = shown["endpoints"].as_array().unwrap();
        let pending = endpoints.iter().all(|one| one["pending"] == 0);
        pending && shown["in_flight"] == 0 && shown["queued"] == 0
    };
    eventually("every place is free", is_free);
    let open: i64 = shown(&world)["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["connections"].as_i64().unwrap())
        .sum();
    assert!((0..=5).contains(&open), "only one of them keeps connections: {open}");
}

/// Many requests, of which some are given up.
fn ask_restlessly(world: &World, number: usize) {
    for n in 0..40 {
        let ask = if n % 2 == 0 { get() } else { Ask::post("/pool/x", "hi") };
        let mut client = world.connect();
        client.send(&ask.bytes());
        if usize::is_multiple_of(n + number, 5) {
            client.reset();
        } else if let Ok(answer) = client.answer(ask.method()) {
            assert!([200, 502, 503, 504].contains(&answer.status()), "{answer:?}");
        }
    }
}
