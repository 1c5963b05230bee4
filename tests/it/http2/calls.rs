//! Calls of gRPC from end to end: to an upstream that speaks HTTP/2, in all their kinds.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;

use crate::world::Ask;
use crate::world::Gone;
use crate::world::Http2;
use crate::world::Setup;
use crate::world::World;
use crate::world::h2_upstream::H2Upstream;
use crate::world::h2_upstream::Plan;
use crate::world::http2::NO_ERROR;

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "POST /shop.Orders/*", to: calls }
  - { match: "POST /open.Shop/*", to: calls, public: true }
"#;
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

fn setup(upstream: &H2Upstream, keys: &str) -> Setup {
    let mut setup = Setup::new().routes(ROUTES);
    let url = upstream.url();
    setup.more_upstreams = format!(", calls: {{ url: \"{url}\", http2: always{keys} }}");
    setup
}

fn world(upstream: &H2Upstream, keys: &str) -> World {
    setup(upstream, keys).http2().start()
}

fn bare(method: &str) -> Ask {
    let ask = Ask::new("POST", &format!("/shop.Orders/{method}"));
    ask.field("Content-Type", "application/grpc+proto").field("TE", "trailers")
}

fn call(method: &str) -> Ask {
    bare(method).signed()
}

/// Begins a call and says nothing yet.
fn begin(client: &mut Http2, ask: &Ask) -> u32 {
    client.headers(0, &ask.over_http2().0)
}

#[track_caller]
fn ends_with(client: &mut Http2, stream: u32, body: &[u8], status: &str) {
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.body.as_slice()), (200, body), "{answer:?}");
    assert_eq!(answer.fields.one("content-type"), "application/grpc");
    assert_eq!(answer.trailers.one("grpc-status"), status);
    assert_eq!(answer.trailers.one("grpc-message"), "told");
}

/// Refused with trailers only.
#[track_caller]
fn is_told(client: &mut Http2, stream: u32, status: &str) {
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.fields.one("grpc-status")), (200, status), "{answer:?}");
    assert!(answer.body.is_empty() && answer.trailers.0.is_empty(), "{answer:?}");
}

#[track_caller]
fn is_cut(client: &mut Http2, stream: u32) {
    let end = client.answer(stream);
    assert!(matches!(end, Err(Gone::Reset(code)) if code != NO_ERROR), "{end:?}");
}

#[track_caller]
fn is_cancelled(upstream: &H2Upstream, stream: usize) {
    let record = upstream.wait("the end upstream", |record| {
        record.streams.get(stream).is_some_and(|stream| stream.reset.is_some())
    });
    assert_eq!(record.streams[stream].reset, Some(Reason::CANCEL));
}

#[test]
fn a_call_arrives_as_it_was_sent_and_so_does_its_answer() {
    for over in [Setup::http2, Setup::over_tls] {
        let upstream = H2Upstream::scripted(|_, _| Plan::Call(vec![], 0));
        let world = over(setup(&upstream, "")).start();
        let mut client = world.connect_http2();
        let ask = call("Get").field("Grpc-Timeout", "30S").field("Grpc-Encoding", "gzip");
        let ask = ask.field("Trace-Bin", "AAEC").field("User-Agent", "grpc-go/1");
        let stream = client.ask(&ask.field("X-Auth-User", "forged").body(MESSAGE));
        ends_with(&mut client, stream, MESSAGE, "0");
        let record = upstream.record();
        let sent = &record.streams[0];
        assert_eq!(sent.head.uri().path(), "/shop.Orders/Get");
        for (name, value) in [
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
            ("grpc-timeout", "30S"),
            ("grpc-encoding", "gzip"),
            ("trace-bin", "AAEC"),
            ("user-agent", "grpc-go/1"),
            ("x-auth-user", "ada"),
        ] {
            assert_eq!(sent.one(name), value);
        }
        assert!(!sent.head.headers().contains_key("content-length"));
        assert_eq!((sent.body.as_slice(), sent.is_whole), (MESSAGE, true));
    }
}

#[test]
fn messages_flow_as_they_come_whoever_sends_them() {
    let upstream = H2Upstream::scripted(|_, head| match head.uri().path() {
        "/shop.Orders/Watch" => Plan::Call(vec![b"one", b"two"], 0),
        _ => Plan::Call(vec![], 0),
    });
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    // The server streams, and says so before the client has finished.
    let watch = begin(&mut client, &call("Watch"));
    assert_eq!(client.wait(watch, 6), Ok(&b"onetwo"[..]));
    // Both stream, each in answer to the other.
    let chat = begin(&mut client, &call("Chat"));
    for (count, piece) in (1..).zip([b"a1", b"b2", b"c3"]) {
        client.data(chat, piece, false);
        assert_eq!(client.wait(chat, 2 * count).map(<[u8]>::len), Ok(2 * count));
    }
    // The client streams.
    let upload = begin(&mut client, &call("Upload"));
    for piece in [b"d4", b"e5"] {
        client.data(upload, piece, false);
    }
    client.data(upload, b"", true);
    client.data(chat, b"", true);
    client.data(watch, b"", true);
    ends_with(&mut client, upload, b"d4e5", "0");
    ends_with(&mut client, chat, b"a1b2c3", "0");
    ends_with(&mut client, watch, b"onetwo", "0");
    let record = upstream.record();
    assert_eq!((record.connections <= 3, record.streams.len()), (true, 3));
}

#[test]
fn an_upstream_that_refuses_with_trailers_only_is_passed_on() {
    let fields = vec![
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "no%20such"),
    ];
    let upstream =
        H2Upstream::scripted(move |_, _| Plan::Answer(200, fields.clone(), Bytes::new()));
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    let stream = client.ask(&call("Get").body(MESSAGE));
    let answer = client.answer(stream).unwrap();
    assert_eq!(answer.fields.one("grpc-status"), "5");
    assert_eq!(answer.fields.one("grpc-message"), "no%20such");
    assert!(answer.body.is_empty() && answer.trailers.0.is_empty(), "{answer:?}");
}

#[test]
fn what_is_refused_begins_no_stream_upstream() {
    let upstream = H2Upstream::scripted(|_, _| Plan::Call(vec![], 0));
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    for (ask, status) in [
        (bare("Get"), "16"),
        (bare("Get").keyed(), "16"),
        (bare("Get").keyed().bearing("a.b.c"), "16"),
        (
            Ask::new("POST", "/other.Shop/Get").field("Content-Type", "application/grpc").signed(),
            "12",
        ),
    ] {
        let stream = client.ask(&ask.body(MESSAGE));
        is_told(&mut client, stream, status);
    }
    assert!(upstream.record().streams.is_empty() && upstream.record().connections == 0);
    let stream = client.ask(&call("Get").body(MESSAGE));
    ends_with(&mut client, stream, MESSAGE, "0");
}

#[test]
fn a_client_that_cancels_ends_its_call_upstream() {
    let upstream = H2Upstream::scripted(|number, _| match number {
        0 => Plan::Silence,
        1 => Plan::Half(Bytes::from_static(b"half")),
        _ => Plan::Call(vec![], 0),
    });
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    let waiting = client.ask(&call("Get").body(MESSAGE));
    upstream.wait("the call", |record| record.streams.len() == 1);
    client.reset(waiting);
    is_cancelled(&upstream, 0);
    let under_way = client.ask(&call("Watch").body(MESSAGE));
    client.wait(under_way, 4).unwrap();
    client.reset(under_way);
    is_cancelled(&upstream, 1);
    let next = client.ask(&call("Get").body(MESSAGE));
    ends_with(&mut client, next, MESSAGE, "0");
    assert_eq!(upstream.record().connections, 1, "the connection lives on");
}

#[test]
fn a_call_is_cut_with_its_token_on_both_sides() {
    let upstream = H2Upstream::scripted(|_, head| match head.uri().path() {
        "/shop.Orders/Watch" => Plan::Half(Bytes::from_static(b"half")),
        "/shop.Orders/Get" => Plan::Silence,
        _ => Plan::Call(vec![b"open"], 0),
    });
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    let watch = client.ask(&call("Watch").body(MESSAGE));
    client.wait(watch, 4).unwrap();
    let waiting = client.ask(&call("Get").body(MESSAGE));
    upstream.wait("the second call", |record| record.streams.len() == 2);
    let open = Ask::new("POST", "/open.Shop/Chat").field("Content-Type", "application/grpc");
    let open = begin(&mut client, &open);
    client.wait(open, 4).unwrap();
    world.advance(299);
    client.settle().unwrap();
    world.advance(1);
    let began = Instant::now();
    is_cut(&mut client, watch);
    is_told(&mut client, waiting, "16");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    is_cancelled(&upstream, 0);
    is_cancelled(&upstream, 1);
    client.data(open, b"more", true);
    ends_with(&mut client, open, b"openmore", "0");
}

#[test]
fn a_deadline_of_the_client_is_told_and_bounds_its_call() {
    let upstream = H2Upstream::scripted(|_, head| match head.uri().path() {
        "/shop.Orders/Watch" => Plan::Half(Bytes::from_static(b"half")),
        "/shop.Orders/Get" => Plan::Silence,
        _ => Plan::Call(vec![], 0),
    });
    let keys = ", total_timeout: 30s, eject: { failures: 1, for: 1m }";
    let world = world(&upstream, keys);
    let mut client = world.connect_http2();
    let began = Instant::now();
    for timeout in ["300m", "300000u", "1n", "0S"] {
        let stream = client.ask(&call("Get").field("Grpc-Timeout", timeout).body(MESSAGE));
        is_told(&mut client, stream, "4");
    }
    let watch = client.ask(&call("Watch").field("Grpc-Timeout", "300m").body(MESSAGE));
    is_cut(&mut client, watch);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let record = upstream.wait("their end upstream", |record| {
        record.streams.iter().all(|stream| stream.reset.is_some())
    });
    assert!(record.streams.iter().all(|stream| stream.reset == Some(Reason::CANCEL)), "{record:?}");
    // That somebody was in a hurry is no fault of the endpoint's.
    let next = client.ask(&call("Chat").body(MESSAGE));
    ends_with(&mut client, next, MESSAGE, "0");
}

#[test]
fn a_deadline_beyond_the_configured_one_changes_nothing() {
    let upstream = H2Upstream::scripted(|_, _| Plan::Silence);
    let world = world(&upstream, ", total_timeout: 300ms");
    let mut client = world.connect_http2();
    for timeout in ["1H", "99999999H", "123456789m", "1 S", "x"] {
        let began = Instant::now();
        let stream = client.ask(&call("Get").field("Grpc-Timeout", timeout).body(MESSAGE));
        is_told(&mut client, stream, "14");
        let took = began.elapsed();
        assert!(took > Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn a_call_may_listen_longer_than_a_body_may_pause() {
    let upstream = H2Upstream::scripted(|_, _| Plan::Call(vec![b"first"], 0));
    let setup = setup(&upstream, "").http2();
    let world = setup.extra("timeouts: { body: 1s }\nstreams: { idle: 3s }").start();
    let mut client = world.connect_http2();
    let (listening, silent) =
        (begin(&mut client, &call("Watch")), begin(&mut client, &call("Watch")));
    client.wait(listening, 5).unwrap();
    // Another request with the same pause, which is no call.
    let plain = Ask::new("POST", "/shop.Orders/Get").field("Content-Length", 9).signed();
    let plain = begin(&mut client, &plain);
    let began = Instant::now();
    is_cut(&mut client, plain);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
    client.data(listening, b"more", false);
    assert_eq!(client.wait(listening, 9), Ok(&b"firstmore"[..]));
    is_cut(&mut client, silent);
    assert!(began.elapsed() > Duration::from_millis(2500), "{:?}", began.elapsed());
    client.data(listening, b"", true);
    ends_with(&mut client, listening, b"firstmore", "0");
}

#[test]
fn an_upstream_that_breaks_off_is_no_success() {
    let upstream = H2Upstream::scripted(|_, head| match head.uri().path() {
        "/shop.Orders/Refused" => Plan::Reset(Reason::REFUSED_STREAM),
        "/shop.Orders/Broken" => Plan::ReadAndReset(Reason::INTERNAL_ERROR),
        _ => Plan::Cut(Bytes::from_static(b"half")),
    });
    let world = world(&upstream, "");
    let mut client = world.connect_http2();
    for method in ["Refused", "Broken"] {
        let stream = client.ask(&call(method).body(MESSAGE));
        is_told(&mut client, stream, "14");
    }
    let stream = begin(&mut client, &call("Watch"));
    assert_eq!(client.wait(stream, 4), Ok(&b"half"[..]));
    client.data(stream, MESSAGE, true);
    is_cut(&mut client, stream);
    client.settle().unwrap();
}
