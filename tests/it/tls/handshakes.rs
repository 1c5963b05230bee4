//! Versions, protocols, tickets; handshakes that are slow, silent or no handshakes at all.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::version::TLS12;
use rustls::version::TLS13;

use super::Secured;
use crate::world::Ask;
use crate::world::Client;
use crate::world::DEADLINE;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::tls_client::TlsClient;

#[test]
fn requests_are_judged_and_served_over_both_versions() {
    let secured = Secured::new("");
    for (version, name) in [(&TLS12, "TLSv1_2"), (&TLS13, "TLSv1_3")] {
        let client = TlsClient::speaking(&secured.authority, &[version], None);
        let mut session = client.connect(secured.to()).unwrap();
        assert_eq!(session.version(), name);
        let mark = secured.world.upstream.mark();
        assert_eq!(session.ask(&Ask::get("/api/x").keyed()).unwrap().status(), 401);
        assert_eq!(session.ask(&Ask::get("/api/admin/x").signed()).unwrap().status(), 403);
        assert!(secured.world.upstream.since(&mark).unwrap().is_empty());
        let forged = Ask::get("/api/x").signed().field("X-Forwarded-Proto", "gopher");
        assert_eq!(session.ask(&forged).unwrap().status(), 200);
        let requests = secured.world.upstream.since(&mark).unwrap();
        assert_eq!(requests[0].fields.one("x-forwarded-proto"), "https");
        let last = Ask::get("/api/x").signed().field("Connection", "close");
        assert_eq!(session.ask(&last).unwrap().status(), 200);
        assert!(session.ends_cleanly());
    }
    secured.counts("full", 2.0);
}

#[test]
fn a_large_body_goes_both_ways() {
    let secured = Secured::new("");
    let body = "0123456789abcdef".repeat(64 * 1024);
    let mut session = secured.client.connect(secured.to()).unwrap();
    for _ in 0..2 {
        let mark = secured.world.upstream.mark();
        let answer = session.ask(&Ask::post("/api/x", &body).signed()).unwrap();
        assert_eq!(answer.status(), 200);
        assert!(secured.world.upstream.since(&mark).unwrap()[0].body == body.as_bytes());
    }
}

#[test]
fn an_older_version_is_refused_where_only_the_newer_is_spoken() {
    let secured = Secured::new(", min_version: \"1.3\"");
    let older = TlsClient::speaking(&secured.authority, &[&TLS12], None);
    let why = secured.turns_away(&older);
    assert!(why.contains("ProtocolVersion"), "{why}");
    let newer = TlsClient::speaking(&secured.authority, &[&TLS13], None);
    secured.serves(&newer);
    secured.counts("failed", 1.0);
}

#[test]
fn the_gateway_chooses_among_the_suites_of_a_client() {
    let secured = Secured::new("");
    let agreed = |version, suites: &[SupportedCipherSuite]| {
        let client = TlsClient::preferring(&secured.authority, version, suites.to_vec());
        client.connect(secured.to()).map(|session| session.suite())
    };
    for (version, suites) in [
        (
            &TLS13,
            [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
        ),
        (
            &TLS12,
            [
                TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ],
        ),
    ] {
        // Whatever comes first for the client; what it does not know is not chosen.
        let [chacha, weaker, stronger] = suites;
        assert_eq!(agreed(version, &[chacha, weaker, stronger]), Ok(stronger.suite()));
        assert_eq!(agreed(version, &[stronger, weaker, chacha]), Ok(stronger.suite()));
        assert_eq!(agreed(version, &[chacha, weaker]), Ok(weaker.suite()));
        assert_eq!(agreed(version, &[chacha]), Ok(chacha.suite()));
    }
    // Of a kind that its certificate cannot sign for, there is nothing to choose.
    assert!(agreed(&TLS12, &[TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]).is_err());
}

#[test]
fn a_protocol_is_agreed_on_or_the_handshake_ends() {
    let secured = Secured::new("");
    let offering = |protocols: &[&str]| {
        let names = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        secured.client.with(|config| config.alpn_protocols = names)
    };
    let agreed = |client: &TlsClient| client.connect(secured.to()).unwrap().protocol();
    assert_eq!(agreed(&offering(&[])), None);
    assert_eq!(agreed(&offering(&["http/1.1"])).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&offering(&["spdy/3", "http/1.1"])).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&offering(&["http/1.1", "h2"])).as_deref(), Some("h2"), "ours is the choice");
    assert_eq!(agreed(&offering(&["h2"])).as_deref(), Some("h2"));
    secured.serves(&offering(&[]));
    let why = secured.turns_away(&offering(&["spdy/3"]));
    assert!(why.contains("NoApplicationProtocol"), "{why}");
}

#[test]
fn a_ticket_spares_the_next_handshake_on_every_worker() {
    for version in [&TLS12, &TLS13] {
        let secured = Secured::new("");
        let client = TlsClient::speaking(&secured.authority, &[version], None);
        let mut first = client.connect(secured.to()).unwrap();
        assert!(!first.is_resumed());
        // Tickets come with the first bytes after the handshake.
        assert_eq!(first.ask(&Ask::get("/api/x").signed()).unwrap().status(), 200);
        for count in 1..=8 {
            let mut next = client.connect(secured.to()).unwrap();
            assert!(next.is_resumed(), "{count}");
            assert_eq!(next.ask(&Ask::get("/api/x").signed()).unwrap().status(), 200);
            assert_eq!(next.ask(&Ask::get("/api/x").keyed()).unwrap().status(), 401);
        }
        secured.counts("resumed", 8.0);
        secured.counts("full", 1.0);
        // What one client was given is nothing to another.
        let other = TlsClient::speaking(&secured.authority, &[version], None);
        assert!(!other.connect(secured.to()).unwrap().is_resumed());
    }
}

#[test]
fn nothing_is_taken_before_the_handshake_is_over() {
    let secured = Secured::new("");
    let eager = secured.client.with(|config| config.enable_early_data = true);
    let mut first = eager.connect(secured.to()).unwrap();
    assert_eq!(first.ask(&Ask::get("/api/x").signed()).unwrap().status(), 200);
    let mut again = eager.begin();
    assert!(again.early_data().is_none(), "tickets of ours do not invite it");
    assert!(eager.connect(secured.to()).unwrap().is_resumed());
}

#[test]
fn a_client_that_believes_another_authority_goes_away() {
    let secured = Secured::new("");
    let double = Authority::new("ours");
    for (client, what) in [
        (TlsClient::of(&double), "another key under the same name"),
        (secured.client.host("other.test"), "another name"),
    ] {
        let why = secured.turns_away(&client);
        assert!(why.contains("certificate"), "{what}: {why}");
    }
    secured.counts("refused_by_client", 2.0);
    secured.serves(&secured.client);
}

#[test]
fn what_is_no_handshake_gets_no_answer() {
    let secured = Secured::new("");
    let mark = secured.world.upstream.mark();
    let mut plain = Client::connect(secured.to());
    plain.send(&Ask::get("/public/x").bytes());
    let (_, rest) = plain.end().unwrap();
    assert!(!rest.starts_with(b"HTTP"), "{}", rest.escape_ascii());
    for bytes in [&b"\x16"[..], b"\x16\x03\x01\xff\xff", &[0; 64], b"SSH-2.0-x\r\n"] {
        let mut client = Client::connect(secured.to());
        client.send(bytes);
        client.finish_sending();
        let (_, rest) = client.end().unwrap();
        assert!(rest.len() < 16, "an alert at the most: {}", rest.escape_ascii());
    }
    assert!(secured.world.upstream.since(&mark).unwrap().is_empty());
    secured.serves(&secured.client);
}

#[test]
fn a_handshake_on_a_port_in_clear_is_a_bad_request() {
    let world = World::usual();
    let authority = Authority::new("ours");
    assert!(TlsClient::of(&authority).connect(world.public()).is_err());
    world.pass(&Ask::get("/api/x").signed());
}

/// A connection that sent its hello, or only a part of it, and then nothing.
fn stuck(secured: &Secured, part: usize) -> TcpStream {
    let mut hello = Vec::new();
    secured.client.begin().write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect_timeout(&secured.to(), DEADLINE).unwrap();
    stream.write_all(&hello[..hello.len().min(part)]).unwrap();
    stream
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let secured = Secured::new(", handshake_timeout: 300ms");
    let all = usize::MAX;
    for (count, part) in [(1.0, 0), (2.0, 1), (3.0, 100), (4.0, all)] {
        let stream = stuck(&secured, part);
        secured.counts("late", count);
        drop(stream);
    }
    secured.serves(&secured.client);
    let open = || secured.world.metric("portcullis_connections");
    let deadline = std::time::Instant::now() + DEADLINE;
    while open() > 0.0 {
        assert!(std::time::Instant::now() < deadline, "{} stay open", open());
        thread::yield_now();
    }
}

#[test]
fn who_is_silent_keeps_nobody_waiting() {
    let secured = Secured::new(", handshakes: 1, handshake_timeout: 60s");
    let silent: Vec<_> = (0..20).map(|part| stuck(&secured, part)).collect();
    secured.serves(&secured.client);
    drop(silent);
}

#[test]
fn handshakes_beyond_the_bound_wait_for_their_turn() {
    let secured = Secured::new(", handshakes: 1, handshake_timeout: 60s");
    let holding = stuck(&secured, usize::MAX);
    // It has the turn once it was answered.
    let mut byte = [0];
    holding.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(holding.peek(&mut byte).unwrap(), 1);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| secured.client.status(secured.to(), &Ask::get("/api/x").signed()))
            })
            .collect();
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        drop(holding);
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap(), Ok(200));
        }
    });
}
