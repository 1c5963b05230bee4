//! TLS to upstreams: who is believed, what is shown, and that nobody else sees one byte of a request.

use crate::world::Ask;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Shown;
use crate::world::authority::pems;
use crate::world::tls_door::Manner;
use crate::world::tls_door::TlsDoor;

const ONLY_1_2: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

const ROUTES: &str = r#"
  - { match: "* /sealed/**", to: sealed, public: true }
  - { match: "* /api/**", to: api }
"#;

/// A gateway whose upstream `sealed` has these keys, `ca.pem` being this authority's.
fn setup(upstream: Upstream, keys: &str, authority: &Authority) -> Setup {
    let mut setup = Setup::before(upstream).routes(ROUTES).extra("workers: 1");
    setup.more_upstreams = format!(", sealed: {{ {keys} }}");
    setup.file("ca.pem", &authority.pem())
}

/// The usual one: what `door` shows is verified by `ca.pem`.
fn behind(door: &TlsDoor, upstream: Upstream, authority: &Authority) -> World {
    let url = door.url("localhost");
    setup(upstream, &format!("url: \"{url}\", tls: {{ ca: \"file:ca.pem\" }}"), authority).start()
}

fn sealed() -> Ask {
    Ask::get("/sealed/a")
}

#[track_caller]
fn refuses(why: &str, shown: Shown, keys: &str) {
    let authority = Authority::new("ours");
    let upstream = Upstream::echo();
    let door = TlsDoor::before(upstream.address(), shown);
    let keys = keys.replace("URL", &door.url("localhost"));
    let world = setup(upstream, &keys, &authority).start();
    let mark = world.upstream.mark();
    assert_eq!(world.answer(&sealed()).status(), 502, "{why}");
    assert!(door.handshakes(1)[0].failure.is_some(), "{why}");
    assert_eq!(world.upstream.bytes_seen(), 0, "{why}");
    world.only_control_since(&mark, &sealed());
}

#[test]
fn a_request_goes_to_the_upstream_whose_authority_is_believed() {
    let authority = Authority::new("ours");
    let upstream = Upstream::echo();
    let door = TlsDoor::before(upstream.address(), authority.certify("localhost", LONG));
    let world = behind(&door, upstream, &authority);
    for _ in 0..3 {
        world.pass(&sealed());
    }
    let handshakes = door.handshakes(1);
    assert_eq!(handshakes.len(), 1, "one connection for all: {handshakes:?}");
    assert_eq!(handshakes[0].name.as_deref(), Some("localhost"));
    assert_eq!(handshakes[0].protocol.as_deref(), Some("http/1.1"));
    assert_eq!((handshakes[0].version.as_str(), handshakes[0].shown), ("TLSv1_3", 0));
    let opened = "portcullis_upstream_connections_total{outcome=\"opened\",upstream=\"sealed\"}";
    assert!((world.metric(opened) - 1.0).abs() < 0.5);
}

#[test]
fn an_upstream_that_cannot_prove_who_it_is_sees_nothing() {
    let theirs = Authority::new("theirs");
    let keys = "url: \"URL\", tls: { ca: \"file:ca.pem\" }";
    refuses("another authority", theirs.certify("localhost", LONG), keys);
    refuses(
        "another authority of the same name",
        Authority::new("ours").certify("localhost", LONG),
        keys,
    );
    refuses("the system's roots do not know it", theirs.certify("localhost", LONG), "url: \"URL\"");
}

#[test]
fn a_certificate_of_another_name_or_time_is_refused() {
    for (why, host, period, keys) in [
        ("another name", "other.test", LONG, ""),
        ("a name within it", "a.localhost", LONG, ""),
        ("over", "localhost", ("20200101", "20210101"), ""),
        ("not yet", "localhost", ("20980101", "20990101"), ""),
        ("not the name that was asked for", "localhost", LONG, ", server_name: api.test"),
    ] {
        let authority = Authority::new("ours");
        let upstream = Upstream::echo();
        let door = TlsDoor::before(upstream.address(), authority.certify(host, period));
        let url = door.url("localhost");
        let keys = format!("url: \"{url}\", tls: {{ ca: \"file:ca.pem\"{keys} }}");
        let world = setup(upstream, &keys, &authority).start();
        assert_eq!(world.answer(&sealed()).status(), 502, "{why}");
        assert!(door.handshakes(1)[0].failure.is_some(), "{why}");
        assert_eq!(world.upstream.bytes_seen(), 0, "{why}");
    }
}

#[test]
fn the_name_to_be_proved_can_be_another_than_the_host() {
    let authority = Authority::new("ours");
    let upstream = Upstream::echo();
    let door = TlsDoor::before(upstream.address(), authority.certify("api.test", LONG));
    let url = door.url("127.0.0.1");
    let keys = format!("url: \"{url}\", tls: {{ ca: \"file:ca.pem\", server_name: api.test }}");
    let world = setup(upstream, &keys, &authority).start();
    world.pass(&sealed());
    assert_eq!(door.handshakes(1)[0].name.as_deref(), Some("api.test"));
}

#[test]
fn an_upstream_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new("ours");
    let clients = Authority::new("clients");
    let [certificate, key] = pems(&clients.certify("gateway", LONG));
    let [_, other_key] = pems(&clients.certify("gateway", LONG));
    let shown = "tls: { ca: \"file:ca.pem\", certificate: \"file:c.pem\", key: \"file:c.key\" }";
    for (tls, status) in [(shown, 200), ("tls: { ca: \"file:ca.pem\" }", 502)] {
        let upstream = Upstream::echo();
        let shown = authority.certify("localhost", LONG);
        let door = TlsDoor::behaving(upstream.address(), shown, &Manner::asking(&clients));
        let keys = format!("url: \"{}\", {tls}", door.url("localhost"));
        let setup = setup(upstream, &keys, &authority);
        let world = setup.file("c.pem", &certificate).file("c.key", &key).start();
        assert_eq!(world.answer(&sealed()).status(), status, "{tls}");
        let handshake = door.handshakes(1).remove(0);
        assert_eq!(
            (handshake.failure.is_none(), handshake.shown == 1),
            (status == 200, status == 200)
        );
        assert_eq!(world.upstream.bytes_seen() > 0, status == 200);
    }
    let keys = format!("url: \"https://localhost\", {shown}");
    let setup = setup(Upstream::echo(), &keys, &authority);
    let refused = setup.file("c.pem", &certificate).file("c.key", &other_key).try_start();
    let refused = refused.err().expect("a key of another certificate");
    assert!(refused.contains("the private key does not belong to the certificate"), "{refused}");
}

#[test]
fn both_versions_are_spoken() {
    for (versions, version) in [(ONLY_1_2, "TLSv1_2"), (ONLY_1_3, "TLSv1_3")] {
        let authority = Authority::new("ours");
        let upstream = Upstream::echo();
        let manner = Manner { versions, ..Manner::default() };
        let shown = authority.certify("localhost", LONG);
        let door = TlsDoor::behaving(upstream.address(), shown, &manner);
        let world = behind(&door, upstream, &authority);
        world.pass(&sealed());
        assert_eq!(door.handshakes(1)[0].version, version);
    }
}

#[test]
fn a_session_is_resumed_on_the_next_connection() {
    let authority = Authority::new("ours");
    let upstream = Upstream::scripted(|_, _| {
        vec![
            Step::Body,
            Step::text("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        ]
    });
    let door = TlsDoor::before(upstream.address(), authority.certify("localhost", LONG));
    let world = behind(&door, upstream, &authority);
    for _ in 0..2 {
        assert_eq!(world.answer(&sealed()).body, b"ok");
    }
    let resumed: Vec<_> = door.handshakes(2).iter().map(|one| one.is_resumed).collect();
    assert_eq!(resumed, [false, true]);
}

#[test]
fn bodies_of_every_size_go_both_ways() {
    let authority = Authority::new("ours");
    let upstream = Upstream::scripted(|_, head| {
        let size: usize =
            head.split("n=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        vec![Step::Body, Step::Send([head.into_bytes(), vec![b'y'; size]].concat())]
    });
    let door = TlsDoor::before(upstream.address(), authority.certify("localhost", LONG));
    let world = behind(&door, upstream, &authority);
    for size in [0, 1, 8191, 16_384, 16_385, 3_000_000] {
        let mark = world.upstream.mark();
        let ask = Ask::new("POST", &format!("/sealed/a?n={size}"))
            .field("Content-Length", size)
            .body(vec![b'x'; size]);
        let answer = world.answer(&ask);
        assert_eq!((answer.status(), answer.body.len()), (200, size));
        let request = world.upstream.since(&mark).unwrap().remove(0);
        assert_eq!(request.body, vec![b'x'; size]);
    }
    assert_eq!(door.handshakes(1).len(), 1, "the connection was kept throughout");
}

#[test]
fn an_answer_without_a_length_ends_with_the_farewell() {
    let authority = Authority::new("ours");
    let upstream = Upstream::scripted(|_, _| {
        vec![Step::Body, Step::text("HTTP/1.1 200 OK\r\n\r\nhalf"), Step::Close]
    });
    let door = TlsDoor::before(upstream.address(), authority.certify("localhost", LONG));
    let world = behind(&door, upstream, &authority);
    // The door says farewell once the one behind it has ended.
    assert_eq!(world.answer(&sealed()).body, b"half");
}

#[test]
fn a_server_that_does_not_shake_hands_is_waited_for_no_longer_than_for_a_connection() {
    let authority = Authority::new("ours");
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let keys = format!(
        "url: \"https://localhost:{port}\", connect_timeout: 200ms, tls: {{ ca: \"file:ca.pem\" }}"
    );
    let world = setup(Upstream::echo(), &keys, &authority).start();
    assert_eq!(world.answer(&sealed()).status(), 504);
    let plain = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let keys = plain.url().replace("http:", "https:").replace("127.0.0.1", "localhost");
    let keys = format!("url: \"{keys}\", tls: {{ ca: \"file:ca.pem\" }}, connect_timeout: 300ms");
    let world = setup(Upstream::echo(), &keys, &authority).start();
    let status = world.answer(&sealed()).status();
    assert!([502, 504].contains(&status), "a server without TLS: {status}");
    assert!(!plain.look(|record| record.has(b"/sealed")), "{plain:?}");
}

#[test]
fn a_reload_believes_the_new_authority_and_no_connection_of_the_old() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let upstream = Upstream::echo();
    let door = TlsDoor::before(upstream.address(), old.certify("localhost", LONG));
    let world = behind(&door, upstream, &old);
    world.pass(&sealed());
    world.reload().unwrap();
    world.pass(&sealed());
    assert_eq!(door.handshakes(1).len(), 1, "the same material: the connection is kept");
    world.write("ca.pem", &new.pem());
    world.reload().unwrap();
    assert_eq!(world.answer(&sealed()).status(), 502);
    world.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA");
    let report = world.reload().unwrap_err();
    assert!(report.contains("these authorities cannot be used"), "{report}");
    world.write("ca.pem", &old.pem());
    world.reload().unwrap();
    world.pass(&sealed());
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let authority = Authority::new("ours");
    for (tls, expected) in [
        ("ca: \"file:none.pem\"", "none.pem` cannot be read"),
        ("ca: \"file:keys.json\"", "these authorities cannot be used"),
        (
            "certificate: \"file:ca.pem\", key: \"file:ca.pem\"",
            "there is no unencrypted private key in it",
        ),
        ("server_name: \"a b\"", "`a b` is no name that a certificate can bear"),
    ] {
        let keys = format!("url: \"https://localhost\", tls: {{ {tls} }}");
        let refused = setup(Upstream::echo(), &keys, &authority).try_start().err().unwrap();
        assert!(refused.contains(expected), "{refused}");
        assert!(refused.contains("portcullis.yaml:4:"), "{refused}");
    }
}
