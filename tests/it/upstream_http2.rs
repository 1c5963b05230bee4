//! HTTP/2 to upstreams: the same request as over HTTP/1.1, on connections that requests share.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;
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
use crate::world::eventually;
use crate::world::find;
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
fn what_the_upstream_did_nothing_about_is_asked_again() {
    let refusing = |n: usize, _: &http::Request<()>| {
        if n == 0 { Plan::Reset(Reason::REFUSED_STREAM) } else { Plan::Echo }
    };
    let upstream = H2Upstream::scripted(refusing);
    let world = behind(&upstream, "");
    let ask = Ask::new("POST", "/open/a").field("Content-Length", 0);
    assert_eq!(world.answer(&ask).status(), 200);
    assert_eq!(upstream.record().streams.len(), 2);
}

#[test]
fn a_body_goes_again_with_what_is_asked_again_as_far_as_it_is_kept() {
    for (size, is_again) in [(0, true), (1, true), (60_000, true), (70_000, false)] {
        let refusing = |n: usize, _: &http::Request<()>| match n {
            0 => Plan::Reset(Reason::REFUSED_STREAM),
            1 => Plan::ReadAndReset(Reason::REFUSED_STREAM),
            _ => Plan::Echo,
        };
        let upstream =
            H2Upstream::scripted(move |n, head| refusing(n + usize::from(size > 1), head));
        let world = behind(&upstream, "");
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        let answer = world.answer(&post("/open/a", &body));
        if is_again {
            assert_eq!((answer.status(), answer.body == body), (200, true), "{size}");
            let last = upstream.record().streams.pop().unwrap();
            assert!(last.is_whole && last.body == body, "{size}");
            assert_eq!(last.one("content-length"), size.to_string());
        } else {
            assert_eq!(answer.status(), 502, "{size}");
            assert_eq!(upstream.record().streams.len(), 1, "{size}");
        }
    }
}

#[test]
fn trailers_go_again_with_their_body() {
    let refusing = |n: usize, _: &http::Request<()>| match n {
        0 => Plan::ReadAndReset(Reason::REFUSED_STREAM),
        _ => Plan::Echo,
    };
    let upstream = H2Upstream::scripted(refusing);
    let world = behind(&upstream, "");
    let mut client = world.connect();
    client.send(b"POST /open/a HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["one", "two"] {
        client.send(format!("3\r\n{piece}\r\n").as_bytes());
    }
    client.send(b"0\r\nX-Sum: 7\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().body, b"onetwo");
    let record = upstream.record();
    assert_eq!(record.streams.len(), 2);
    for stream in record.streams {
        assert_eq!((stream.body.as_slice(), stream.is_whole), (&b"onetwo"[..], true));
        assert_eq!(stream.trailers.unwrap()["x-sum"], "7");
    }
}

#[test]
fn a_body_that_was_done_something_about_never_goes_again() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let upstream = H2Upstream::scripted(move |_, _| Plan::ReadAndReset(reason));
        let world = behind(&upstream, "");
        assert_eq!(world.answer(&post("/open/a", b"once")).status(), 502, "{reason:?}");
        assert_eq!(upstream.record().streams.len(), 1, "{reason:?}");
    }
}

/// An upstream whose first connection takes a request and says that it did nothing about streams beyond
/// `last`; the others lead to `next`.
fn leaving(last: u8, next: SocketAddr) -> SocketAddr {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let has_head =
            |seen: &[u8]| [4, 5].iter().any(|flags| find(seen, &[1, *flags, 0, 0, 0, 1]).is_some());
        while !has_head(&seen) {
            let mut chunk = [0; 4096];
            let count = first.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..count]);
        }
        first.write_all(&[SETTINGS, &go_away].concat()).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let (second, _) = listener.accept().unwrap();
        let onward = TcpStream::connect(next).unwrap();
        let (mut from, mut to) = (second.try_clone().unwrap(), onward.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut from, mut to) = (onward, second);
        let _ended = std::io::copy(&mut from, &mut to);
    });
    address
}

#[test]
fn a_request_beyond_the_last_that_was_processed_is_asked_again() {
    let cases =
        [(0, b"".as_slice(), 200, 1), (0, b"body", 200, 1), (1, b"", 502, 0), (1, b"body", 502, 0)];
    for (last, body, status, streams) in cases {
        let upstream = H2Upstream::echo();
        let address = leaving(last, upstream.address());
        let world = setup(&format!("url: \"http://{address}\", http2: always")).start();
        assert_eq!(world.answer(&post("/open/a", body)).status(), status, "{last}");
        let record = upstream.record();
        assert_eq!(record.streams.len(), streams, "{last}");
        assert!(record.streams.iter().all(|stream| stream.is_whole && stream.body == body));
    }
}

#[test]
fn what_may_have_been_done_is_not_asked_again() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let upstream = H2Upstream::scripted(move |_, _| Plan::Reset(reason));
        let world = behind(&upstream, "");
        let ask = Ask::new("POST", "/open/a").field("Content-Length", 0);
        assert_eq!(world.answer(&ask).status(), 502);
        assert_eq!(upstream.record().streams.len(), 1, "{reason:?}");
    }
    let upstream = H2Upstream::scripted(|_, _| Plan::Reset(Reason::REFUSED_STREAM));
    let world = behind(&upstream, "");
    assert_eq!(world.answer(&get("/open/a")).status(), 502);
    assert_eq!(upstream.record().streams.len(), 3, "not for ever");
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
        let plan = Plan::Answer(fields.clone(), Bytes::from_static(b"ok"));
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

/// What operators are told of the upstream, once its endpoint was checked.
#[track_caller]
fn checked(world: &World) -> serde_json::Value {
    let shown = || {
        let document: serde_json::Value =
            serde_json::from_slice(&world.admin("/upstreams").body).unwrap();
        let all = document["upstreams"].as_array().unwrap();
        all.iter().find(|one| one["name"] == "shared").unwrap().clone()
    };
    eventually("checked", || !shown()["endpoints"][0]["last_check"].is_null());
    shown()
}

const H2: &[&str] = &["h2"];
const HTTP1: &[&str] = &["http/1.1"];
const CHECKS: &str = "health: { path: \"/healthz?a=1\", interval: 20ms, unhealthy_after: 1 }";

#[test]
fn an_active_check_speaks_what_requests_are_sent_in() {
    let authority = Authority::new("ours");
    for (http2, protocols, agreed) in [
        ("never", None, "http/1.1"),
        ("always", None, "h2"),
        ("never", Some(&["h2", "http/1.1"][..]), "http/1.1"),
        ("auto", Some(&["h2", "http/1.1"]), "h2"),
        ("auto", Some(&["http/1.1"]), "http/1.1"),
        ("always", Some(&["h2"]), "h2"),
    ] {
        let (two, one) = (H2Upstream::echo(), Upstream::echo());
        let target = if agreed == "h2" { two.address() } else { one.address() };
        let manner = Manner { protocols: protocols.unwrap_or_default(), ..Manner::default() };
        let door = TlsDoor::behaving(target, authority.certify("localhost", LONG), &manner);
        let keys = match protocols {
            Some(_) => {
                format!("url: \"{}\", tls: {{ ca: \"file:ca.pem\" }}", door.url("localhost"))
            }
            None => format!("url: \"http://{target}\""),
        };
        let keys = format!("{keys}, http2: {http2}, {CHECKS}");
        let world = setup(&keys).file("ca.pem", &authority.pem()).start();
        let shown = checked(&world);
        let why = format!("{http2} {protocols:?}: {shown}");
        assert_eq!(shown["tls"], protocols.is_some(), "{why}");
        let endpoint = &shown["endpoints"][0];
        assert_eq!(
            (&endpoint["state"], &endpoint["protocol"]),
            (&"healthy".into(), &agreed.into())
        );
        assert_eq!(endpoint["last_check"]["passed"], true, "{why}");
        if agreed == "h2" {
            let stream = two.record().streams.remove(0);
            let host = if protocols.is_some() { door.url("localhost") } else { two.url() };
            assert_eq!(stream.head.uri().to_string(), format!("{host}/healthz?a=1"), "{why}");
            assert_eq!(stream.one("user-agent"), "portcullis");
        } else {
            assert_eq!(one.requests()[0].target(), "/healthz?a=1", "{why}");
        }
        assert_eq!(world.answer(&get("/open/a")).status(), 200, "{why}");
    }
}

#[test]
fn an_active_check_believes_no_other_than_requests_do() {
    let authority = Authority::new("ours");
    for (why, shown, protocols, http2, keys) in [
        ("another authority", Authority::new("theirs").certify("localhost", LONG), H2, "auto", ""),
        ("another name", authority.certify("other.test", LONG), H2, "auto", ""),
        ("no agreement", authority.certify("localhost", LONG), HTTP1, "always", ""),
        ("a bad status", authority.certify("localhost", LONG), H2, "auto", ", expect: [204]"),
    ] {
        let upstream = H2Upstream::echo();
        let manner = Manner { protocols, ..Manner::default() };
        let door = TlsDoor::behaving(upstream.address(), shown, &manner);
        let checks = CHECKS.replace(" }", &format!("{keys} }}"));
        let url = door.url("localhost");
        let keys =
            format!("url: \"{url}\", http2: {http2}, tls: {{ ca: \"file:ca.pem\" }}, {checks}");
        let world = setup(&keys).file("ca.pem", &authority.pem()).start();
        eventually("found sick", || checked(&world)["endpoints"][0]["state"] == "sick");
        assert_eq!(world.answer(&get("/open/a")).status(), 503, "{why}");
        assert!(upstream.record().streams.iter().all(|one| one.head.uri().path() == "/healthz"));
    }
}

#[test]
fn a_reload_that_replaces_the_authority_is_noticed_by_the_checks() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let upstream = H2Upstream::echo();
    let manner = Manner { protocols: H2, ..Manner::default() };
    let door = TlsDoor::behaving(upstream.address(), new.certify("localhost", LONG), &manner);
    let url = door.url("localhost");
    let checks = CHECKS.replace(" }", ", healthy_after: 1 }");
    let keys = format!("url: \"{url}\", http2: auto, tls: {{ ca: \"file:ca.pem\" }}, {checks}");
    let world = setup(&keys).file("ca.pem", &old.pem()).start();
    let state = || checked(&world)["endpoints"][0]["state"].clone();
    eventually("found sick", || state() == "sick");
    world.write("ca.pem", &new.pem());
    world.reload().unwrap();
    eventually("found well", || state() == "healthy");
}
