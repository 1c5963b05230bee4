//! More connections than there is room for: of everybody, or of one address.

use std::time::Duration;
use std::time::Instant;

use crate::world::Ask;
use crate::world::Client;
use crate::world::Message;
use crate::world::Record;
use crate::world::Setup;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::eventually;
use crate::world::tls_client::TlsClient;

fn good() -> Ask {
    Ask::get("/api/x").signed()
}

/// A connection that was served and stays.
#[track_caller]
fn held(world: &World, start: &str) -> Client {
    let mut client = world.connect();
    client.send(start.as_bytes());
    client.send(&good().bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    client
}

#[track_caller]
fn told(client: &mut Client, status: u16, reason: &str) -> Message {
    let answer = client.answer("GET").unwrap();
    assert_eq!(answer.status(), status, "{answer:?}");
    assert!(answer.text().contains(&format!(r#""reason":"{reason}""#)), "{answer:?}");
    assert_eq!(answer.fields.one("content-type"), "application/problem+json");
    assert_eq!(answer.fields.one("retry-after"), "1");
    assert_eq!(answer.fields.one("connection"), "close");
    client.end().unwrap();
    answer
}

#[track_caller]
fn passes_again(world: &World) {
    let begun = Instant::now();
    eventually("room", || {
        let mut client = world.connect();
        client.send(&good().bytes());
        client.answer("GET").is_ok_and(|answer| answer.status() == 200)
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Connections whose requests are under way.
#[track_caller]
fn busy(world: &World, count: usize) -> Vec<Client> {
    let ask = Ask::new("POST", "/api/x").signed().field("Content-Length", 100).body("begun");
    let mut clients: Vec<_> = (0..count).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.send(&ask.bytes());
    }
    world.upstream.wait("what is under way", |seen| seen.connections() == count);
    clients
}

#[track_caller]
fn overloaded(world: &World) {
    let before = world.upstream.look(Record::connections);
    let mut extra = world.connect();
    extra.send(&good().bytes());
    told(&mut extra, 503, "overloaded");
    assert_eq!(world.upstream.look(Record::connections), before);
}

#[test]
fn two_hundred_beyond_the_bound_are_told_so_at_once_and_served_when_there_is_room() {
    let world = Setup::new().extra("limits: { connections: 4 }").start();
    let served = busy(&world, 4);
    let begun = Instant::now();
    let mut crowd: Vec<_> = (0..200).map(|_| world.connect()).collect();
    for client in &mut crowd {
        client.send(&good().bytes());
    }
    for client in &mut crowd {
        told(client, 503, "overloaded");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(world.upstream.look(Record::connections), 4);
    assert!(world.metric("portcullis_connections_refused_total") >= 200.0);
    assert!((world.metric("portcullis_connections") - 4.0).abs() < 0.1);
    drop(served);
    passes_again(&world);
}

#[test]
fn who_is_within_the_bound_notices_nothing() {
    let world = Setup::new().extra("limits: { connections: 2 }").start();
    let mut served = busy(&world, 2);
    let mut extra = world.connect();
    extra.send(&Ask::post("/api/x", "a body that nobody reads").signed().bytes());
    told(&mut extra, 503, "overloaded");
    overloaded(&world);
    for client in &mut served {
        client.send(&[b'x'; 95]);
        assert_eq!(client.answer("POST").unwrap().status(), 200);
    }
}

#[test]
fn who_asks_for_nothing_gives_way_to_who_does() {
    let world = Setup::new().extra("workers: 1\nlimits: { connections: 2 }").start();
    let mut first = held(&world, "");
    // One that is asked in between stays.
    let mut second = held(&world, "");
    second.send(&good().bytes());
    assert_eq!(second.answer("GET").unwrap().status(), 200);
    passes_again(&world);
    assert_eq!(first.end().unwrap().1, b"");
    let refused = world.metric("portcullis_connections_refused_total");
    // Now there is room, and nobody has to go.
    eventually("room", || world.metric("portcullis_connections") < 1.5);
    let _third = held(&world, "");
    assert!((world.metric("portcullis_connections_refused_total") - refused).abs() < 0.1);
}

#[test]
fn clients_of_http2_and_grpc_are_told_in_their_words() {
    let world = Setup::new().http2().extra("limits: { connections: 1 }").start();
    let _served = busy(&world, 1);
    let mut client = world.connect_http2();
    let stream = client.ask(&good());
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.fields.one("retry-after")), (503, "1"));
    assert!(answer.text().contains(r#""reason":"overloaded""#), "{answer:?}");
    client.end();
    let mut client = world.connect_http2();
    let call = Ask::post("/api/x", "x").signed().field("Content-Type", "application/grpc");
    let stream = client.ask(&call);
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.fields.one("grpc-status")), (200, "14"));
}

#[test]
fn clients_of_tls_are_told_within_their_session() {
    let authority = Authority::new("ours");
    let shown = authority.certify("gw.test", LONG);
    let world = Setup::new()
        .pair("gw", &shown)
        .tls("certificate: file:gw.crt, key: file:gw.key")
        .extra("limits: { connections: 1 }")
        .start();
    let (client, to) = (TlsClient::of(&authority), world.public());
    // Its handshake is under way.
    let slow = world.connect();
    eventually("a connection", || world.metric("portcullis_connections") > 0.0);
    let answer = client.ask(to, &good()).unwrap();
    assert_eq!((answer.status(), answer.fields.one("connection")), (503, "close"));
    drop(slow);
    eventually("room", || client.status(to, &good()) == Ok(200));
}

#[test]
fn those_who_say_nothing_while_there_is_no_room_do_not_stay() {
    let world = Setup::new().extra("limits: { connections: 1 }").start();
    let served = busy(&world, 1);
    let begun = Instant::now();
    let mut silent: Vec<_> = (0..600).map(|_| world.connect()).collect();
    for client in &mut silent {
        assert_eq!(client.end().unwrap().1, b"");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    overloaded(&world);
    drop(served);
    passes_again(&world);
}

#[test]
fn a_reload_changes_how_much_room_there_is() {
    let world = Setup::new().extra("limits: { connections: 1 }").start();
    let _served = busy(&world, 1);
    overloaded(&world);
    world.reload_with("connections: 1", "connections: 2").unwrap();
    let mut second = world.connect();
    second.send(&good().bytes());
    assert_eq!(second.answer("GET").unwrap().status(), 200);
}

/// A gateway that is told by whoever connects for whom.
fn told_addresses(more: &str) -> World {
    let mut setup = Setup::new().extra("limits: { connections_per_address: 2 }").extra(more);
    setup.listen_keys = ", proxy_protocol: [127.0.0.0/8]".into();
    setup.start()
}

fn proxied(address: &str) -> String {
    let (family, to) = if address.contains(':') { (6, "2001:db8::1") } else { (4, "192.0.2.1") };
    format!("PROXY TCP{family} {address} {to} 4711 443\r\n")
}

#[track_caller]
fn too_many(world: &World, address: &str) {
    let before = world.upstream.bytes_seen();
    let mut client = world.connect();
    client.send(proxied(address).as_bytes());
    client.send(&good().bytes());
    told(&mut client, 429, "too_many_connections");
    assert_eq!(world.upstream.bytes_seen(), before);
}

#[test]
fn an_address_has_as_many_connections_as_it_may_and_another_has_its_own() {
    let world = told_addresses("");
    let from = proxied("192.0.2.7");
    let (first, _second) = (held(&world, &from), held(&world, &from));
    too_many(&world, "192.0.2.7");
    too_many(&world, "::ffff:192.0.2.7");
    let _others = [held(&world, &proxied("192.0.2.8")), held(&world, &proxied("192.0.2.8"))];
    drop(first);
    eventually("a place of the same address", || {
        let mut client = world.connect();
        client.send(from.as_bytes());
        client.send(&good().bytes());
        client.answer("GET").is_ok_and(|answer| answer.status() == 200)
    });
}

#[test]
fn a_network_of_ipv6_has_them_together() {
    let world = told_addresses("");
    let _first = held(&world, &proxied("2001:db8:0:1::1"));
    let _second = held(&world, &proxied("2001:db8:0:1:ffff::2"));
    too_many(&world, "2001:db8:0:1:abcd::3");
    let _neighbour = held(&world, &proxied("2001:db8:0:2::1"));
}

#[test]
fn whoever_connects_without_a_proxy_is_counted_whatever_it_tells() {
    let world = Setup::new().extra("limits: { connections_per_address: 2 }").start();
    let _held = [held(&world, ""), held(&world, "")];
    for address in ["192.0.2.1", "192.0.2.2"] {
        let mut client = world.connect();
        client.send(&good().field("X-Forwarded-For", address).bytes());
        told(&mut client, 429, "too_many_connections");
    }
}

#[test]
fn a_trusted_proxy_comes_for_many() {
    let world = Setup::new()
        .extra("trusted_proxies: [127.0.0.0/8]")
        .extra("limits: { connections_per_address: 2, connections: 5 }")
        .start();
    let _served = busy(&world, 5);
    overloaded(&world);
}
