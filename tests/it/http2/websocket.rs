//! Streams that become sockets of the web (RFC 8441), before an upstream that speaks HTTP/1.1.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::others_are_served;
use crate::websocket::agreement_to;
use crate::world::Ask;
use crate::world::Gate;
use crate::world::Gone;
use crate::world::Http2;
use crate::world::Kind;
use crate::world::Message;
use crate::world::Record;
use crate::world::Setup;
use crate::world::Step;
use crate::world::TOKEN;
use crate::world::Upstream;
use crate::world::World;
use crate::world::http2::{END_STREAM, NO_ERROR, PROTOCOL_ERROR};

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "GET /api/socket", to: api, upgrade: websocket }
"#;
const FROM_CLIENT: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
const FROM_SERVER: &[u8] = b"\x81\x05Hello";
/// `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
const CONNECT_PROTOCOL: u16 = 8;

type Field = (Vec<u8>, Vec<u8>);

/// The fields that ask for a socket, but for what `ask` says otherwise.
fn opening(ask: Ask) -> Vec<Field> {
    let (mut fields, _) = ask.field("Sec-WebSocket-Version", 13).over_http2();
    fields[0].1 = b"CONNECT".to_vec();
    fields.insert(1, (b":protocol".to_vec(), b"websocket".to_vec()));
    fields
}

fn socket() -> Ask {
    Ask::get("/api/socket").signed()
}

fn key_in(head: &str) -> &str {
    let line = head.lines().find(|line| line.to_lowercase().starts_with("sec-websocket-key: "));
    line.and_then(|line| line.split_once(": ")).map_or("", |(_, key)| key)
}

/// Agrees to each opening, then does this; answers anything else.
fn server(then: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |_, head| {
        if !head.contains("/api/socket") {
            return vec![Step::Body, Step::Echo];
        }
        [vec![Step::text(&agreement_to(key_in(head)))], then()].concat()
    })
}

/// Sends a frame once the gate is open.
fn server_behind(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    server(move || vec![Step::Wait(gate.clone()), Step::Send(FROM_SERVER.to_vec()), Step::Silence])
}

fn setup(upstream: Upstream) -> Setup {
    let setup = Setup::before(upstream).routes(ROUTES);
    setup.extra("http2: { prior_knowledge: true, websockets: true }")
}

/// A socket that is open.
#[track_caller]
fn opened(client: &mut Http2) -> u32 {
    let stream = client.headers(0, &opening(socket()));
    assert_eq!(client.begun(stream).map(|answer| answer.status()), Ok(200));
    stream
}

#[track_caller]
fn is_cut(client: &mut Http2, stream: u32) {
    let end = client.answer(stream);
    assert!(matches!(end, Err(Gone::Reset(code)) if code != NO_ERROR), "{end:?}");
}

/// The answer is this, and nothing went upstream.
#[track_caller]
fn refused(world: &World, fields: &[Field], expected: &Result<u16, Gone>) {
    let before = world.upstream.bytes_seen();
    let mut client = world.connect_http2();
    let stream = client.headers(0, fields);
    let answer = client.answer(stream);
    assert_eq!(&answer.as_ref().map(Message::status).map_err(Clone::clone), expected);
    assert_eq!(world.upstream.bytes_seen(), before, "{answer:?}");
}

#[test]
fn frames_go_both_ways_on_a_stream_beside_others() {
    for over in [|setup: Setup| setup, Setup::over_tls] {
        let gate = Gate::default();
        let world = over(setup(server_behind(&gate))).start();
        let mut client = world.connect_http2();
        let ask =
            socket().field("Sec-WebSocket-Protocol", "chat").field("Sec-WebSocket-Key", "mine");
        let stream = client.headers(0, &opening(ask));
        let answer = client.begun(stream).unwrap();
        assert_eq!(answer.status(), 200);
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(answer.fields.lacks(name), "{answer:?}");
        }
        assert_eq!(client.allowed.get(&CONNECT_PROTOCOL), Some(&1));

        client.data(stream, FROM_CLIENT, false);
        world.upstream.wait("the frame", |seen| seen.has(FROM_CLIENT));
        let other = client.ask(&Ask::get("/api/other").signed());
        assert_eq!(client.answer(other).unwrap().status(), 200);
        gate.open();
        assert_eq!(client.wait(stream, FROM_SERVER.len()), Ok(FROM_SERVER));

        let sent = world.upstream.raw().remove(0);
        let sent = sent.strip_suffix(FROM_CLIENT).unwrap();
        let request = Message::read_all(sent, Kind::Request).unwrap().remove(0);
        assert_eq!(request.line, "GET /api/socket HTTP/1.1");
        assert_eq!(request.fields.one("upgrade"), "websocket");
        assert_eq!(request.fields.one("connection"), "Upgrade");
        assert_eq!(request.fields.one("sec-websocket-key").len(), 24, "ours");
        assert_eq!(request.fields.one("sec-websocket-version"), "13");
        assert_eq!(request.fields.one("sec-websocket-protocol"), "chat");
        assert_eq!(request.fields.one("x-auth-user"), "ada");
        assert_eq!(request.fields.one("host"), "gw.test");
    }
}

#[test]
fn it_is_told_and_done_only_where_it_is_configured() {
    for more in ["", ", websockets: false"] {
        let setup = Setup::before(server(|| vec![Step::Silence])).routes(ROUTES);
        let world = setup.extra(&format!("http2: {{ prior_knowledge: true{more} }}")).start();
        let mut client = world.connect_http2();
        client.settle().unwrap();
        assert_ne!(client.allowed.get(&CONNECT_PROTOCOL), Some(&1));
        refused(&world, &opening(socket()), &Err(Gone::Reset(PROTOCOL_ERROR)));
    }
}

#[test]
fn it_is_decided_before_anything_reaches_the_upstream() {
    let world = setup(server(|| vec![Step::Silence])).start();
    let bare = || Ask::get("/api/socket");
    refused(&world, &opening(bare()), &Ok(401));
    refused(&world, &opening(bare().keyed()), &Ok(401));
    refused(&world, &opening(bare().keyed().bearing("a.b.c")), &Ok(401));
    refused(&world, &opening(Ask::get("/nowhere").signed()), &Ok(404));
    // A refusal that said 200, as one of gRPC does, would be taken for an open socket.
    let call = bare().field("Content-Type", "application/grpc");
    refused(&world, &opening(call), &Ok(401));
    world.advance(300);
    refused(&world, &opening(socket()), &Ok(401));
}

#[test]
fn a_socket_and_nothing_else_is_opened_and_only_where_one_may_be() {
    let world = setup(server(|| vec![Step::Silence])).start();
    let but = |name: &str, value: &str| {
        let mut fields = opening(socket());
        fields.iter_mut().filter(|field| field.0 == name.as_bytes()).for_each(|field| {
            field.1 = value.into();
        });
        fields
    };
    let bad = Ok(400);
    refused(&world, &opening(Ask::get("/api/other").signed()), &bad);
    refused(&world, &but("sec-websocket-version", "8"), &bad);
    refused(&world, &opening(socket().field("Sec-WebSocket-Version", 13)), &bad);
    for protocol in ["connect-udp", "WebSocket", "", "websocket, x"] {
        refused(&world, &but(":protocol", protocol), &bad);
    }
    let broken = Err(Gone::Reset(PROTOCOL_ERROR));
    refused(&world, &but(":method", "GET"), &broken);
    let without = |name: &[u8]| {
        let fields = opening(socket());
        fields.into_iter().filter(|field| field.0 != name).collect::<Vec<_>>()
    };
    refused(&world, &without(b":path"), &broken);
    refused(&world, &without(b":scheme"), &broken);
    // Without a protocol it is a CONNECT, which has neither path nor scheme.
    refused(&world, &without(b":protocol"), &broken);
    refused(&world, &but(":authority", "evil.test:x"), &bad);
    refused(&world, &opening(socket().field("Upgrade", "websocket")), &broken);
    // And by itself no GET opens one.
    let fields = socket().field("Sec-WebSocket-Version", 13).over_http2().0;
    let mut client = world.connect_http2();
    let stream = client.headers(END_STREAM, &fields);
    assert_eq!(client.answer(stream).map(|answer| answer.status()), Ok(502));
    let sent = world.upstream.requests().remove(0);
    assert!(sent.fields.lacks("upgrade") && sent.fields.lacks("connection"), "{sent:?}");
}

#[test]
fn only_an_agreement_opens_it() {
    let answers = |status: &'static str| {
        Upstream::scripted(move |_, _| {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
            vec![Step::text(&text), Step::Silence]
        })
    };
    for (status, told, text) in [
        ("403 Forbidden", 403, Some("no")),
        ("302 Found", 302, Some("no")),
        ("200 OK", 502, None),
        ("204 No Content", 502, None),
        ("101 Switching Protocols", 502, None),
    ] {
        let world = setup(answers(status)).start();
        let mut client = world.connect_http2();
        let stream = client.headers(0, &opening(socket()));
        client.data(stream, FROM_CLIENT, false);
        let answer = client.answer(stream).unwrap();
        assert_eq!(answer.status(), told, "{status}");
        assert!(text.is_none_or(|text| answer.text() == text), "{answer:?}");
        assert!(!world.upstream.look(|seen| seen.has(FROM_CLIENT)), "{status}");
        client.settle().unwrap();
    }
    let other = Upstream::scripted(|_, _| {
        vec![Step::text(&agreement_to("dGhlIHNhbXBsZSBub25jZQ==")), Step::Silence]
    });
    let world = setup(other).start();
    let mut client = world.connect_http2();
    let stream = client.headers(0, &opening(socket()));
    assert_eq!(client.answer(stream).unwrap().status(), 502, "an agreement to another opening");
}

#[test]
fn a_socket_ends_with_its_token_and_no_other_stream_does() {
    for over in [|setup: Setup| setup, Setup::over_tls] {
        let gate = Gate::default();
        let world = over(setup(server_behind(&gate))).start();
        let mut client = world.connect_http2();
        let stream = opened(&mut client);
        world.advance(299);
        gate.open();
        assert_eq!(client.wait(stream, FROM_SERVER.len()), Ok(FROM_SERVER));
        world.advance(1);
        let began = Instant::now();
        is_cut(&mut client, stream);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        world.upstream.wait("the end upstream", |seen| seen.ended() == 1);
        client.settle().unwrap();
        let series =
            "portcullis_streams_cut_total{reason=\"expired_token\",route=\"GET /api/socket\"}";
        assert!((world.metric(series) - 1.0).abs() < 0.1);
        assert!(world.metric("portcullis_http2_abandoned_total") < 0.1);
    }
}

#[test]
fn a_socket_on_which_nobody_speaks_ends_and_one_that_speaks_keeps_its_connection() {
    let gate = Gate::default();
    let setup = setup(server_behind(&gate));
    let world = setup.extra("streams: { idle: 2s }\ntimeouts: { idle: 1s, header: 1s }").start();
    let mut client = world.connect_http2();
    let (silent, speaking) = (opened(&mut client), opened(&mut client));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        client.data(speaking, FROM_CLIENT, false);
        client.settle().unwrap();
    }
    is_cut(&mut client, silent);
    gate.open();
    assert_eq!(client.wait(speaking, FROM_SERVER.len()), Ok(FROM_SERVER));
}

#[test]
fn a_half_that_ended_leaves_the_other_open() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let frame = || vec![Step::Send(FROM_SERVER.to_vec()), Step::Close];
    let late = move || [vec![Step::Wait(theirs.clone())], frame()].concat();
    let world = setup(server(late)).start();
    let mut client = world.connect_http2();
    let stream = opened(&mut client);
    client.data(stream, FROM_CLIENT, true);
    world.upstream.wait("their end", |seen| seen.ended() == 1 && seen.has(FROM_CLIENT));
    gate.open();
    let answer = client.answer(stream).unwrap();
    assert_eq!(answer.body, FROM_SERVER, "and both have ended");

    let world = setup(server(frame)).start();
    let mut client = world.connect_http2();
    let stream = opened(&mut client);
    assert_eq!(client.answer(stream).unwrap().body, FROM_SERVER);
    client.settle().unwrap();
}

#[test]
fn a_server_that_breaks_off_is_no_end() {
    let frame = || vec![Step::Send(FROM_SERVER.to_vec()), Step::Reset];
    let world = setup(server(frame)).start();
    let mut client = world.connect_http2();
    let stream = client.headers(0, &opening(socket()));
    is_cut(&mut client, stream);
    others_are_served(&world);
}

#[test]
fn a_client_that_resets_or_goes_away_ends_it_upstream() {
    let world = setup(server(|| vec![Step::Silence])).start();
    let mut client = world.connect_http2();
    let (one, other) = (opened(&mut client), opened(&mut client));
    client.reset(one);
    world.upstream.wait("the end of one", |seen| seen.ended() == 1);
    client.data(other, FROM_CLIENT, false);
    world.upstream.wait("the other's frame", |seen| seen.has(FROM_CLIENT));
    assert_eq!(world.upstream.look(Record::ended), 1);
    drop(client);
    world.upstream.wait("the end of both", |seen| seen.ended() == 2);
}

#[test]
fn much_goes_both_ways_and_a_client_that_takes_nothing_holds_it_up() {
    let many = b"0123456789abcdef".repeat(64 * 1024);
    let sent = many.clone();
    let world = setup(server(move || vec![Step::Send(sent.clone()), Step::Silence])).start();
    let mut client = world.connect_http2();
    let stream = opened(&mut client);
    assert!(client.wait(stream, many.len()) == Ok(&many[..]));

    let sent = many.clone();
    let setup = setup(server(move || vec![Step::Send(sent.clone()), Step::Silence]));
    let world = setup.extra("streams: { idle: 1s }").start();
    let mut client = world.connect_http2();
    client.grants = false;
    let stream = opened(&mut client);
    assert_eq!(client.wait(stream, 65_535).unwrap().len(), 65_535, "as much as it had granted");
    is_cut(&mut client, stream);
    world.upstream.wait("the end upstream", |seen| seen.ended() == 1);
}

#[test]
fn a_socket_counts_as_a_stream() {
    let setup = Setup::before(server(|| vec![Step::Silence])).routes(ROUTES);
    let keys = "http2: { prior_knowledge: true, websockets: true, streams: 2 }";
    let world = setup.extra(keys).start();
    let mut client = world.connect_http2();
    let (first, _second) = (opened(&mut client), opened(&mut client));
    let third = client.ask(&Ask::get("/api/x").signed());
    assert!(matches!(client.answer(third), Err(Gone::Reset(_))), "{client:?}");
    client.reset(first);
    client.settle().unwrap();
    let fourth = client.ask(&Ask::get("/api/x").signed());
    assert_eq!(client.answer(fourth).unwrap().status(), 200);
}

#[test]
fn a_stop_lets_sockets_go_on_until_its_grace() {
    let gate = Gate::default();
    let mut setup = setup(server_behind(&gate));
    setup.grace = "1s".into();
    let world = setup.start();
    let (mut client, mut idle) = (world.connect_http2(), world.connect_http2());
    let stream = opened(&mut client);
    idle.settle().unwrap();
    let (running, _upstream) = world.stopping();
    let began = Instant::now();
    let stop = thread::spawn(move || running.drain());
    assert_eq!(idle.end(), Some(NO_ERROR));
    gate.open();
    assert_eq!(client.wait(stream, FROM_SERVER.len()), Ok(FROM_SERVER));
    assert!(client.answer(stream).is_err(), "no end of its own");
    stop.join().unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_foreign_page_opens_none_with_what_a_browser_keeps() {
    let checks = "\n  user: { jwt: [ { issuer: \"https://id.test\", audience: orders, algorithms: [ES256], \
                  jwks: \"file:keys.json\", cookie: token } ] }\n";
    let routes =
        ROUTES.replace("websocket }", "websocket, cors: { origins: [\"https://app.test\"] } }");
    let mut setup = setup(server(|| vec![Step::Silence])).checks(checks);
    setup.routes = routes;
    let world = setup.defaults("{ require: user }").start();
    let cookie = format!("token={}", TOKEN.as_str());
    let asking = |origin: &str| {
        let ask = Ask::get("/api/socket").field("Cookie", &cookie);
        opening(ask.field("Origin", origin))
    };
    for origin in ["https://evil.test", "https://app.test:8443", "http://app.test", "null", ""] {
        refused(&world, &asking(origin), &Ok(403));
    }
    let mut client = world.connect_http2();
    let named = client.headers(0, &asking("https://app.test"));
    assert_eq!(client.begun(named).map(|answer| answer.status()), Ok(200));
    // Who tells no origin is no browser.
    let silent = client.headers(0, &opening(Ask::get("/api/socket").field("Cookie", &cookie)));
    assert_eq!(client.begun(silent).map(|answer| answer.status()), Ok(200));
}

#[test]
fn an_opening_that_announces_a_body_opens_nothing() {
    let world = setup(server(|| vec![Step::Silence])).start();
    let before = world.upstream.bytes_seen();
    let mut client = world.connect_http2();
    let stream = client.headers(0, &opening(socket().field("Content-Length", 5)));
    // hyper ends the whole connection.
    assert_eq!(client.answer(stream), Err(Gone::Closed(None)));
    assert_eq!(world.upstream.bytes_seen(), before);
    refused(
        &world,
        &opening(socket().field("Content-Length", "5x")),
        &Err(Gone::Reset(PROTOCOL_ERROR)),
    );
    let mut client = world.connect_http2();
    let stream = client.headers(0, &opening(socket().field("Content-Length", 0)));
    assert_eq!(client.begun(stream).map(|answer| answer.status()), Ok(200));
    others_are_served(&world);
}
