//! Behind a proxy that passes bytes on: the PROXY protocol, from those who must speak it.

use std::time::Duration;

use crate::world::Ask;
use crate::world::Client;
use crate::world::End;
use crate::world::Setup;
use crate::world::World;

fn behind(networks: &str) -> World {
    let mut setup = Setup::new().extra("timeouts: { header: 300ms }");
    setup.listen_keys = format!(", proxy_protocol: [{networks}]");
    setup.start()
}

const TOLD: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";

fn v2() -> Vec<u8> {
    let start = *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&start[..], &[192, 0, 2, 7, 192, 0, 2, 1, 0, 1, 0, 2]].concat()
}

/// Nothing is answered, and nothing reaches the upstream.
#[track_caller]
fn closed(world: &World, mut client: Client) {
    let (end, rest) = client.end().unwrap();
    assert!(matches!(end, End::Fin | End::Reset) && rest.is_empty(), "{rest:?}");
    assert_eq!(world.upstream.bytes_seen(), 0);
}

#[test]
fn the_client_is_who_the_header_tells() {
    let world = behind("127.0.0.0/8");
    for header in [TOLD.as_bytes(), &v2()] {
        let mut client = world.connect();
        client.send(header);
        for _ in 0..2 {
            client.send(&Ask::get("/api/x").signed().bytes());
            assert_eq!(client.answer("GET").unwrap().status(), 200);
        }
    }
    let seen = world.upstream.requests();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert_eq!(request.fields.one("x-forwarded-for"), "192.0.2.7");
    }
}

#[test]
fn a_header_that_tells_of_nobody_leaves_the_proxy() {
    let world = behind("127.0.0.0/8");
    let mut client = world.connect();
    client.send(b"PROXY UNKNOWN\r\n");
    client.send(&Ask::get("/api/x").signed().bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    assert_eq!(world.upstream.requests()[0].fields.one("x-forwarded-for"), "127.0.0.1");
}

#[test]
fn without_a_good_header_nobody_is_served() {
    let world = behind("127.0.0.0/8");
    let ask = Ask::get("/api/x").signed().bytes();
    for start in ["", "PROXY TCP4 192.0.2.7\r\n", "PROXY TCP9 ::1 ::1 1 2\r\n", "proxy UNKNOWN\r\n"]
    {
        let mut client = world.connect();
        client.send(start.as_bytes());
        client.send(&ask);
        closed(&world, client);
    }
    assert!((world.metric("portcullis_http_malformed_total") - 4.0).abs() < 0.1);
}

#[test]
fn a_header_comes_in_time_or_not_at_all() {
    let world = behind("127.0.0.0/8");
    let (silent, mut slow) = (world.connect(), world.connect());
    slow.send(b"PROXY TCP4 192.0.2.7 192.");
    let begun = std::time::Instant::now();
    closed(&world, silent);
    closed(&world, slow);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn from_others_a_header_is_no_request() {
    for networks in ["", "10.0.0.0/8"] {
        let world = behind(networks);
        let mut client = world.connect();
        client.send(TOLD.as_bytes());
        client.send(&Ask::get("/api/x").signed().bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 400, "{networks}");
        assert_eq!(world.upstream.bytes_seen(), 0);
        let mut plain = world.connect();
        plain.send(&Ask::get("/api/x").signed().bytes());
        assert_eq!(plain.answer("GET").unwrap().status(), 200, "{networks}");
    }
}

#[test]
fn a_proxy_whom_the_header_tells_is_believed_like_any_other() {
    let mut setup = Setup::new().extra("trusted_proxies: [192.0.2.0/24]");
    setup.listen_keys = ", proxy_protocol: [127.0.0.1]".into();
    let world = setup.start();
    for (told, forwarded) in
        [("192.0.2.7", "198.51.100.9, 192.0.2.7"), ("203.0.113.1", "203.0.113.1")]
    {
        let mut client = world.connect();
        client.send(format!("PROXY TCP4 {told} 192.0.2.1 1 2\r\n").as_bytes());
        client.send(&Ask::get("/api/x").signed().field("X-Forwarded-For", "198.51.100.9").bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200);
        let seen = world.upstream.requests();
        assert_eq!(seen.last().unwrap().fields.one("x-forwarded-for"), forwarded);
    }
}

#[test]
fn whom_to_believe_cannot_be_everybody_and_changes_with_a_restart() {
    let world = behind("127.0.0.0/8");
    let why = world.reload_with("[127.0.0.0/8]", "[10.0.0.0/8]").unwrap_err();
    assert!(why.contains("needs a restart"), "{why}");
    let mut setup = Setup::new();
    setup.listen_keys = ", proxy_protocol: [0.0.0.0/0]".into();
    assert!(setup.try_start().is_err());
}
