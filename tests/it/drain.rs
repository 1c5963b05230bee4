//! A stop finishes what was begun and begins nothing more.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::world::Ask;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";

#[test]
fn a_request_in_flight_is_answered_and_its_connection_closed() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |_, _| {
        vec![Step::Body, Step::Wait(theirs.clone()), Step::text(ANSWER), Step::text("done")]
    });
    let world = Setup::before(upstream).extra("workers: 1").start();
    let (mut busy, mut idle) = (world.connect(), world.connect());
    busy.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    let address = world.public();
    let (running, upstream) = world.stopping();
    let stop = thread::spawn(move || running.drain());
    assert_eq!(idle.end().unwrap().1, b"", "an idle connection is closed without an answer");
    gate.open();
    let answer = busy.answer("GET").unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "done"));
    assert_eq!(answer.fields.one("connection"), "close");
    busy.end().unwrap();
    stop.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "somebody still listens");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_stop_does_not_wait_longer_than_its_grace() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let mut setup = Setup::before(upstream);
    setup.grace = "500ms".into();
    let world = setup.start();
    let mut busy = world.connect();
    busy.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    let (running, _upstream) = world.stopping();
    let begun = Instant::now();
    running.drain();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    if let Ok(answer) = busy.answer("GET") {
        assert_eq!(answer.status(), 503);
    }
}

#[test]
fn a_gateway_with_nothing_to_do_stops_at_once() {
    let world = Setup::new().start();
    let mut kept = world.connect();
    kept.send(&Ask::get("/api/x").signed().bytes());
    assert_eq!(kept.answer("GET").unwrap().status(), 200);
    let (running, _upstream) = world.stopping();
    let begun = Instant::now();
    running.drain();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(kept.end().unwrap().1, b"");
}

#[test]
fn readiness_fails_before_anything_else_changes() {
    let mut setup = Setup::new();
    setup.delay = "2s".into();
    let world = setup.start();
    assert_eq!(world.admin("/readyz").status(), 200);
    let (public, admin) = (world.public(), world.running.admin().unwrap().socket().unwrap());
    let (running, _upstream) = world.stopping();
    let stop = thread::spawn(move || running.drain());
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let mut client = crate::world::Client::connect(admin);
        client.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
        if client.answer("GET").unwrap().status() == 503 {
            break;
        }
        assert!(Instant::now() < deadline, "still ready");
    }
    let mut client = crate::world::Client::connect(public);
    client.send(&Ask::get("/api/x").signed().bytes());
    assert_eq!(
        client.answer("GET").unwrap().status(),
        200,
        "serves on while its balancer looks away"
    );
    stop.join().unwrap();
}
