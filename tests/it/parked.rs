//! Connections that nobody uses give up what HTTP needs, and are as good as others afterwards.

use crate::world::Ask;
use crate::world::Client;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::eventually;

fn parked(world: &World) -> f64 {
    world.metric("portcullis_connections_parked")
}

#[track_caller]
fn wait_for_parked(world: &World, count: f64) {
    eventually("the connection is parked", || (parked(world) - count).abs() < 0.5);
}

#[track_caller]
fn answered(client: &mut Client, ask: &Ask, status: u16) {
    client.send(&ask.bytes());
    assert_eq!(client.answer("GET").unwrap().status(), status, "{ask:?}");
}

#[test]
fn a_parked_connection_serves_on_and_is_judged_as_before() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |_, _| {
        let head = Step::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        vec![Step::Body, Step::Wait(theirs.clone()), head]
    });
    let world = Setup::before(upstream).extra("workers: 1").start();
    let mut client = world.connect();
    answered(&mut client, &Ask::get("/api/x"), 401);
    wait_for_parked(&world, 1.0);
    client.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    assert!(parked(&world) < 0.5, "it is in use");
    gate.open();
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    wait_for_parked(&world, 1.0);
    for ask in [Ask::get("/api/x"), Ask::get("/api/x").signed().without("X-App-Key")] {
        answered(&mut client, &ask, 401);
        wait_for_parked(&world, 1.0);
    }
    assert_eq!(world.upstream.requests().len(), 1);
    answered(&mut client, &Ask::get("/api/x").signed(), 200);
}

#[test]
fn half_a_head_is_kept_over_parking_and_ends_in_time() {
    let world = Setup::new().extra("workers: 1\ntimeouts: { header: 3s, idle: 1m }").start();
    let whole = Ask::get("/api/x").signed().bytes();
    let (first, second) = whole.split_at(whole.len() / 2);
    let mut client = world.connect();
    // Behind a whole request, so that it is read while that one is under way.
    client.send(&[&*whole, first].concat());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    client.send(second);
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    let mut slow = world.connect();
    slow.send(&[&*whole, first].concat());
    assert_eq!(slow.answer("GET").unwrap().status(), 200);
    assert_eq!(slow.end().unwrap().1, b"", "long before its idle time is over");
}

#[test]
fn a_parked_connection_ends_with_its_idle_time_and_with_the_gateway() {
    let world = Setup::new().extra("workers: 1\ntimeouts: { idle: 1500ms }").start();
    let mut client = world.connect();
    answered(&mut client, &Ask::get("/api/x").signed(), 200);
    wait_for_parked(&world, 1.0);
    assert_eq!(client.end().unwrap().1, b"");
    wait_for_parked(&world, 0.0);
    drop(world);

    let world = Setup::new().extra("workers: 1").start();
    let mut client = world.connect();
    answered(&mut client, &Ask::get("/api/x").signed(), 200);
    wait_for_parked(&world, 1.0);
    let (running, _upstream) = world.stopping();
    running.drain();
    assert_eq!(client.end().unwrap().1, b"");
}
