//! HTTP/2 to upstreams: the same request as over HTTP/1.1, on connections that requests share.

mod again;
mod checks;

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;

use crate::world::Ask;
use crate::world::Client;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::h2_upstream::H2Upstream;
use crate::world::h2_upstream::Plan;
use crate::world::tls_door::Manner;
use crate::world::tls_door::TlsDoor;

const ROUTES: &str = r#"
  - { match: "* /open/**", to: shared, public: true }
  - { match: "* /shared/**", to: shared }
  - { match: "* /api/**", to: api }
"#;

fn setup(keys: &str) -> Setup {
    let mut setup = Setup::before(Upstream::echo()).routes(ROUTES).extra("workers: 1");
    setup.more_upstreams = format!(", shared: {{ {keys} }}");
    setup
}

/// A gateway that knows beforehand that this upstream speaks HTTP/2.
fn behind(upstream: &H2Upstream, keys: &str) -> World {
    setup(&format!("url: \"{}\", http2: always{keys}", upstream.url())).start()
}

fn get(target: &str) -> Ask {
    Ask::get(target)
}

fn post(target: &str, body: &[u8]) -> Ask {
    Ask::new("POST", target).field("Content-Length", body.len()).body(body.to_vec())
}

#[test]
fn a_request_arrives_as_it_was_judged() {
    let upstream = H2Upstream::echo();
    let world = behind(&upstream, "");
    let ask = Ask::get("/shared/%61?q=1").signed().field("Cookie", "a=1; b=2");
    let ask = ask.field("Connection", "X-Gone, close").field("X-Gone", "1");
    let ask = ask.field("X-Auth-User", "forged").field("TE", "gzip, trailers");
    assert_eq!(world.answer(&ask).status(), 200);
    let record = upstream.wait("one stream", |record| record.streams.len() == 1);
    let stream = &record.streams[0];
    let uri = stream.head.uri();
    assert_eq!((uri.scheme_str(), uri.path()), (Some("http"), "/shared/a"));
    assert_eq!(uri.query(), Some("q=1"));
    assert_eq!(stream.one("x-forwarded-host"), uri.authority().unwrap().as_str());
    assert_eq!(stream.one("te"), "trailers");
    assert_eq!(stream.one("cookie"), "a=1; b=2");
    assert_ne!(stream.one("x-auth-user"), "forged");
    for name in ["host", "connection", "x-gone", "keep-alive", "transfer-encoding", "x-app-key"] {
        assert!(!stream.head.headers().contains_key(name), "{name}");
    }
}

#[test]
fn a_refused_request_reaches_nobody() {
    let upstream = H2Upstream::echo();
    let world = behind(&upstream, "");
    for ask in [get("/shared/a"), get("/shared/a").keyed(), post("/shared/a", b"x")] {
        assert_eq!(world.answer(&ask).status(), 401);
    }
    assert_eq!(upstream.record().connections, 0);
    assert_eq!(world.answer(&get("/shared/a").signed()).status(), 200);
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let upstream = H2Upstream::echo();
    let world = behind(&upstream, "");
    for size in [0, 1, 65_535, 65_536, 3_000_000] {
        let body = vec![b'x'; size];
        let answer = world.answer(&post("/open/a", &body));
        assert_eq!((answer.status(), answer.body.len()), (200, size));
    }
    let chunked = "POST /open/a HTTP/1.1\r\nHost: gw.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Auth-User: forged\r\n\r\n";
    let mut client = world.connect();
    client.send(chunked.as_bytes());
    let answer = client.answer("POST").unwrap();
    assert_eq!(answer.body, b"abc");
    let record = upstream.wait("six streams", |record| record.streams.len() == 6);
    let last = record.streams.last().unwrap();
    let trailers = last.trailers.as_ref().unwrap();
    assert_eq!(trailers["x-sum"], "7");
    assert!(!trailers.contains_key("x-auth-user"));
    assert!(!last.head.headers().contains_key("content-length"));
    assert_eq!(record.streams[1].one("content-length"), "1");
    assert_eq!(record.connections, 1);
}

#[test]
fn an_answer_begins_before_the_request_has_ended() {
    let upstream = H2Upstream::scripted(|_, _| Plan::Mirror);
    let world = behind(&upstream, "");
    let mut client = world.connect();
    client.send(b"POST /open/a HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["one", "two"] {
        client.send(format!("3\r\n{piece}\r\n").as_bytes());
        client.until(piece.as_bytes()).unwrap();
    }
    client.send(b"0\r\n\r\n");
    client.until(b"0\r\n\r\n").unwrap();
}

#[test]
fn an_early_answer_counts_although_the_body_is_not_read() {
    let upstream = H2Upstream::scripted(|_, _| Plan::Early(Bytes::from_static(b"no")));
    let world = behind(&upstream, "");
    let mut client = world.connect();
    client.send(b"POST /open/a HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(client.answer("POST").unwrap().body, b"no");
}

#[test]
fn requests_share_a_connection_up_to_its_bound() {
    for (most, expected) in [(100, 1), (2, 2)] {
        let upstream = H2Upstream::allowing(most, |_, _| Plan::Mirror);
        let world = behind(&upstream, "");
        assert_eq!(world.answer(&get("/open/first")).status(), 200, "its settings are known");
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..4 {
            let mut client = world.connect();
            client.send(
                b"POST /open/a HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n",
            );
            client.until(b"z").unwrap();
            clients.push(client);
        }
        assert_eq!(upstream.record().connections, expected, "{most} streams at once");
        for mut client in clients {
            client.send(b"0\r\n\r\n");
            client.until(b"0\r\n\r\n").unwrap();
        }
    }
}

#[test]
fn a_client_that_goes_away_resets_the_stream_and_nothing_else() {
    let silent = |_: usize, head: &http::Request<()>| {
        if head.uri().path() == "/open/silent" { Plan::Silence } else { Plan::Echo }
    };
    let upstream = H2Upstream::scripted(silent);
    let world = behind(&upstream, "");
    let mut client = world.connect();
    client.send(&get("/open/silent").bytes());
    upstream.wait("the request", |record| record.streams.len() == 1);
    client.reset();
    let record = upstream.wait("the reset", |record| record.streams[0].reset.is_some());
    assert_eq!(record.streams[0].reset, Some(Reason::CANCEL));
    assert_eq!(world.answer(&get("/open/a")).status(), 200);
    assert_eq!(upstream.record().connections, 1);
}

#[test]
fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
    let upstream = H2Upstream::echo();
    let world = behind(&upstream, "");
    let mut client = world.connect();
    client.send(b"POST /open/a HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nabc");
    upstream.wait("the half", |record| {
        record.streams.first().is_some_and(|stream| stream.body == b"abc")
    });
    client.finish_sending();
    let record = upstream.wait("the reset", |record| record.streams[0].reset.is_some());
    assert!(!record.streams[0].is_whole);
}

#[test]
fn an_upstream_that_is_silent_is_late_and_another_connection_is_used() {
    let upstream = H2Upstream::scripted(|n, _| if n == 0 { Plan::Silence } else { Plan::Echo });
    let world = behind(&upstream, ", timeout: 200ms");
    assert_eq!(world.answer(&get("/open/a")).status(), 504);
    assert_eq!(world.answer(&get("/open/a")).status(), 200);
    assert_eq!(upstream.record().connections, 2);
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_refused() {
    for (fields, status) in [
        (vec![("content-length", "2"), ("content-length", "3")], 502),
        (vec![("content-length", "x")], 502),
        (vec![("content-length", "2")], 200),
    ] {
        let plan = Plan::Answer(200, fields.clone(), Bytes::from_static(b"ok"));
        let upstream = H2Upstream::scripted(move |_, _| plan.clone());
        let world = behind(&upstream, "");
        assert_eq!(world.answer(&get("/open/a")).status(), status, "{fields:?}");
    }
}

#[test]
fn a_server_of_http1_is_a_bad_gateway_when_http2_is_expected() {
    let http1 = Upstream::echo();
    let world = setup(&format!("url: \"{}\", http2: always, timeout: 2s", http1.url())).start();
    let status = world.answer(&get("/open/a")).status();
    assert!([502, 504].contains(&status), "{status}");
}

#[test]
fn a_connection_that_nobody_uses_is_closed() {
    let upstream = H2Upstream::echo();
    let world = behind(&upstream, ", idle_timeout: 0s");
    assert_eq!(world.answer(&get("/open/a")).status(), 200);
    let opened = "portcullis_upstream_connections_total{outcome=\"opened\",upstream=\"shared\"}";
    assert!((world.metric(opened) - 1.0).abs() < 0.5);
    let until = Instant::now() + Duration::from_secs(30);
    while upstream.record().connections == 1 && Instant::now() < until {
        assert_eq!(world.answer(&get("/open/a")).status(), 200);
    }
    assert!(upstream.record().connections > 1, "swept, then opened anew");
}

#[test]
fn over_tls_both_sides_agree_on_a_version() {
    let authority = Authority::new("ours");
    for (http2, protocols, agreed) in [
        ("auto", &["h2", "http/1.1"][..], Some("h2")),
        ("auto", &["http/1.1"], Some("http/1.1")),
        ("always", &["h2"], Some("h2")),
        ("always", &["http/1.1"], None),
        ("never", &["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let (two, one) = (H2Upstream::echo(), Upstream::echo());
        let is_two = agreed == Some("h2");
        let target = if is_two { two.address() } else { one.address() };
        let manner = Manner { protocols, ..Manner::default() };
        let door = TlsDoor::behaving(target, authority.certify("localhost", LONG), &manner);
        let url = door.url("localhost");
        let keys = format!("url: \"{url}\", http2: {http2}, tls: {{ ca: \"file:ca.pem\" }}");
        let world = setup(&keys).file("ca.pem", &authority.pem()).start();
        for _ in 0..2 {
            let status = world.answer(&post("/open/a", b"body")).status();
            assert_eq!(status, if agreed.is_some() { 200 } else { 502 }, "{http2} {protocols:?}");
        }
        let handshakes = door.handshakes(1);
        assert_eq!(handshakes[0].protocol.as_deref(), agreed, "{http2} {protocols:?}");
        if agreed.is_some() {
            assert_eq!(handshakes.len(), 1, "{http2} {protocols:?}");
        }
        assert_eq!(one.bytes_seen() > 0, agreed == Some("http/1.1"));
        let streams = two.record().streams;
        assert_eq!(streams.len(), if is_two { 2 } else { 0 });
        assert!(streams.iter().all(|stream| stream.head.uri().scheme_str() == Some("https")));
    }
}

#[test]
fn a_route_to_http2_opens_no_websocket() {
    for (http2, accepted) in [("always", false), ("never", true)] {
        let setup = setup(&format!("url: \"http://127.0.0.1:1\", http2: {http2}"));
        let routes = r#"
  - { match: "GET /ws", to: shared, public: true, upgrade: websocket }
"#;
        let started = setup.routes(routes).try_start();
        assert_eq!(started.is_ok(), accepted, "{http2}");
        if let Err(error) = started {
            assert!(error.contains("the upstream speaks HTTP/2, which has no upgrades"), "{error}");
        }
    }
}
