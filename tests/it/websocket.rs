//! Sockets of the web: decided before they are opened, then moved and not looked into; frames by hand.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::world::Ask;
use crate::world::Client;
use crate::world::DEADLINE;
use crate::world::End;
use crate::world::Gate;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "GET /api/socket", to: api, upgrade: websocket }
"#;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// A masked text frame that says `Hello`, and an unmasked one (RFC 6455 section 5.7).
const FROM_CLIENT: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
const FROM_SERVER: &[u8] = b"\x81\x05Hello";

fn opening() -> Ask {
    bare_opening().signed()
}

fn bare_opening() -> Ask {
    Ask::get("/api/socket").opening()
}

fn agreement() -> String {
    agreement_to(KEY)
}

/// What a server says to an opening with this key.
pub(crate) fn agreement_to(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = STANDARD.encode(digest);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Agrees, then sends a frame once the gate is open.
fn server(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::scripted(move |_, head| {
        if !head.contains("/api/socket") {
            return vec![Step::Body, Step::Echo];
        }
        let frame = Step::Send(FROM_SERVER.to_vec());
        vec![Step::text(&agreement()), Step::Wait(gate.clone()), frame, Step::Silence]
    })
}

fn setup(upstream: Upstream) -> Setup {
    Setup::before(upstream).routes(ROUTES)
}

/// A client whose socket is open.
#[track_caller]
fn opened(world: &World) -> Client {
    let mut client = world.connect();
    client.send(&opening().bytes());
    let head = client.until(b"\r\n\r\n").unwrap().to_vec();
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    client
}

#[test]
fn frames_go_both_ways_once_it_is_open() {
    let gate = Gate::default();
    let world = setup(server(&gate)).start();
    let mut client = world.connect();
    client.send(&opening().field("Sec-WebSocket-Protocol", "chat").bytes());
    let head = client.until(b"\r\n\r\n").unwrap().to_vec();
    let (answer, _) = Message::read(&head, crate::world::Kind::Response, false).unwrap().unwrap();
    assert_eq!((answer.status(), answer.fields.one("connection")), (101, "Upgrade"));
    assert_eq!(answer.fields.one("upgrade"), "websocket");
    assert!(agreement().contains(answer.fields.one("sec-websocket-accept")));

    client.send(FROM_CLIENT);
    world.upstream.wait("the frame", |seen| seen.has(FROM_CLIENT));
    gate.open();
    client.until(FROM_SERVER).unwrap();

    let sent = world.upstream.raw().remove(0);
    let sent = sent.strip_suffix(FROM_CLIENT).unwrap();
    let request = Message::read_all(sent, crate::world::Kind::Request).unwrap().remove(0);
    assert_eq!(request.fields.one("upgrade"), "websocket");
    assert_eq!(request.fields.one("connection"), "Upgrade");
    assert_eq!(request.fields.one("sec-websocket-key"), KEY);
    assert_eq!(request.fields.one("sec-websocket-protocol"), "chat");
    assert_eq!(request.fields.one("x-auth-user"), "ada");
}

#[test]
fn it_is_decided_before_anything_reaches_the_upstream() {
    let world = setup(server(&Gate::default())).start();
    world.deny(&bare_opening(), &[401]);
    world.deny(&bare_opening().keyed(), &[401]);
    world.deny(&bare_opening().keyed().bearing("a.b.c"), &[401]);
    world.advance(300);
    let mark = world.upstream.mark();
    assert_eq!(world.answer(&opening()).status(), 401);
    assert_eq!(world.upstream.bytes_since(&mark).concat(), b"");
}

#[test]
fn what_is_sent_before_the_answer_waits_for_it() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |_, _| {
        vec![Step::Wait(theirs.clone()), Step::text(&agreement()), Step::Silence]
    });
    let world = setup(upstream).start();
    let mut client = world.connect();
    client.send(&[&opening().bytes(), FROM_CLIENT].concat());
    world.upstream.wait("the opening", |seen| seen.heads() == 1);
    let sent = world.upstream.raw().concat();
    assert!(sent.ends_with(b"\r\n\r\n"), "{}", sent.escape_ascii());
    gate.open();
    client.until(b"\r\n\r\n").unwrap();
    world.upstream.wait("the frame", |seen| seen.has(FROM_CLIENT));
}

#[test]
fn what_is_sent_before_a_refusal_never_arrives() {
    let world = setup(Upstream::answering("HTTP/1.1 403 no\r\nContent-Length: 0\r\n\r\n")).start();
    let mut client = world.connect();
    let smuggled = b"GET /api/admin HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(&[&opening().bytes(), &smuggled[..]].concat());
    assert_eq!(client.answer("GET").unwrap().status(), 403);
    assert_eq!(client.answer("GET").unwrap().status(), 401);
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn a_wrong_agreement_is_no_tunnel() {
    let good = agreement();
    let accept = good.rsplit_once(": ").unwrap().1.trim();
    for wrong in [
        good.replace(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        good.replace(&format!("Sec-WebSocket-Accept: {accept}\r\n"), ""),
        good.replace("Upgrade: websocket\r\n", ""),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: Upgrade\r\n", ""),
        good.replace("Connection: Upgrade", "Connection: close"),
    ] {
        let script = wrong.clone();
        let upstream = Upstream::scripted(move |_, _| vec![Step::text(&script), Step::Silence]);
        let world = setup(upstream).start();
        let mut client = world.connect();
        client.send(&[&opening().bytes(), FROM_CLIENT].concat());
        assert_eq!(client.answer("GET").unwrap().status(), 502, "{wrong}");
        world.upstream.wait("the end", |seen| seen.ended() == 1);
        assert!(!world.upstream.look(|seen| seen.has(FROM_CLIENT)), "{wrong}");
    }
}

#[test]
fn an_answer_that_does_not_switch_is_an_answer() {
    let world = setup(Upstream::echo()).start();
    let mut client = world.connect();
    for _ in 0..2 {
        client.send(&opening().bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200);
    }
    assert_eq!(world.upstream.look(crate::world::Record::connections), 1);
}

#[test]
fn elsewhere_and_otherwise_nothing_is_upgraded() {
    let agrees = || Upstream::scripted(|_, _| vec![Step::text(&agreement()), Step::Silence]);
    let without = |name: &str| opening().without(name);
    for ask in [
        Ask::get("/api/other")
            .field("Connection", "Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Version", 13)
            .field("Sec-WebSocket-Key", KEY)
            .signed(),
        without("Upgrade"),
        without("Sec-WebSocket-Key"),
        opening().instead("Connection", "close"),
        opening().instead("Upgrade", "h2c"),
        opening().instead("Sec-WebSocket-Version", 8),
        opening().field("Content-Length", 4).body("body"),
    ] {
        let world = setup(Upstream::echo()).start();
        let sent = world.pass(&ask);
        assert!(sent.fields.lacks("upgrade") && sent.fields.lacks("connection"), "{sent:?}");
        let world = setup(agrees()).start();
        assert_eq!(world.answer(&ask).status(), 502, "{ask:?}");
    }
}

#[test]
fn a_half_that_ended_leaves_the_other_open() {
    let gate = Gate::default();
    let world = setup(server(&gate)).start();
    let mut client = opened(&world);
    client.send(FROM_CLIENT);
    client.finish_sending();
    world.upstream.wait("their end", |seen| seen.ended() == 1 && seen.has(FROM_CLIENT));
    gate.open();
    client.until(FROM_SERVER).unwrap();
}

/// A server that agrees to one opening and does with the socket as it is told.
fn raw_server(serve: impl Fn(TcpStream) + Send + 'static) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(agreement().as_bytes()).unwrap();
        serve(stream);
    });
    (url, thread)
}

/// An open socket to a server of its own.
fn opened_before(url: &str) -> (World, TcpStream) {
    let mut setup = setup(Upstream::echo());
    setup.more_upstreams = format!(", raw: {{ url: \"{url}\" }}");
    setup.routes = ROUTES.replace("to: api, upgrade", "to: raw, upgrade");
    let world = setup.start();
    let mut stream = TcpStream::connect(world.public()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&opening().bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    (world, stream)
}

#[test]
fn a_server_may_end_its_half_first() {
    let (url, server) = raw_server(|mut stream| {
        stream.write_all(FROM_SERVER).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, FROM_CLIENT);
    });
    let (_world, mut client) = opened_before(&url);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, FROM_SERVER);
    client.write_all(FROM_CLIENT).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.join().unwrap();
}

/// Numbers that do not repeat soon, the same for the same seed.
fn fill(seed: &mut u64, block: &mut [u8]) {
    for bytes in block.chunks_mut(8) {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.copy_from_slice(&seed.to_le_bytes()[..bytes.len()]);
    }
}

const BLOCK: usize = 64 * 1024;
const BLOCKS: usize = 100 * 1024 * 1024 / BLOCK;

fn send_all(mut stream: TcpStream, mut seed: u64) {
    let mut block = vec![0; BLOCK];
    for _ in 0..BLOCKS {
        fill(&mut seed, &mut block);
        stream.write_all(&block).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn expect_all(mut stream: TcpStream, mut seed: u64) {
    let (mut block, mut wanted) = (vec![0; BLOCK], vec![0; BLOCK]);
    for number in 0..BLOCKS {
        fill(&mut seed, &mut wanted);
        stream.read_exact(&mut block).unwrap();
        assert!(block == wanted, "block {number}");
    }
    assert_eq!(stream.read(&mut block).unwrap(), 0);
}

#[test]
fn a_hundred_mebibytes_arrive_both_ways_as_they_were_sent() {
    let (url, server) = raw_server(|stream| {
        let writer = stream.try_clone().unwrap();
        let sending = thread::spawn(move || send_all(writer, 1));
        expect_all(stream, 2);
        sending.join().unwrap();
    });
    let (world, client) = opened_before(&url);
    let writer = client.try_clone().unwrap();
    let sending = thread::spawn(move || send_all(writer, 2));
    expect_all(client, 1);
    sending.join().unwrap();
    server.join().unwrap();
    drop(world);
}

#[test]
fn a_socket_ends_with_its_token() {
    let gate = Gate::default();
    let world = setup(server(&gate)).start();
    let mut client = opened(&world);
    world.advance(299);
    gate.open();
    client.until(FROM_SERVER).unwrap();
    world.advance(1);
    let began = Instant::now();
    assert_eq!(client.end().unwrap().0, End::Reset);
    assert!(began.elapsed() < Duration::from_secs(3));
    world.upstream.wait("the end", |seen| seen.ended() == 1);
    let series = "portcullis_streams_cut_total{reason=\"expired_token\",route=\"GET /api/socket\"}";
    assert!((world.metric(series) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_socket_on_which_nobody_speaks_ends() {
    let gate = Gate::default();
    let world = setup(server(&gate)).extra("streams: { idle: 1s }").start();
    let mut client = opened(&world);
    let began = Instant::now();
    assert_eq!(client.end().unwrap().0, End::Reset);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    world.upstream.wait("the end", |seen| seen.ended() == 1);
}

#[test]
fn a_stop_lets_sockets_go_on_until_its_grace() {
    for closes in [true, false] {
        let gate = Gate::default();
        let mut setup = setup(server(&gate));
        setup.grace = if closes { "10s" } else { "1s" }.into();
        let world = setup.start();
        let mut client = opened(&world);
        let mut idle = world.connect();
        idle.send(&Ask::get("/api/x").signed().bytes());
        assert_eq!(idle.answer("GET").unwrap().status(), 200);
        let (running, _upstream) = world.stopping();
        let began = Instant::now();
        let stop = thread::spawn(move || running.drain());
        // Closed because of the stop, which has therefore begun.
        idle.end().unwrap();
        gate.open();
        client.until(FROM_SERVER).unwrap();
        if closes {
            client.reset();
        } else {
            client.end().unwrap();
        }
        stop.join().unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(closes || took >= Duration::from_millis(900), "{took:?}");
    }
}

#[test]
fn nothing_but_a_websocket_can_be_upgraded_to() {
    for wrong in ["h2c", "WebSocket", ""] {
        let routes = ROUTES.replace("upgrade: websocket", &format!("upgrade: \"{wrong}\""));
        let error = setup(Upstream::echo()).routes(&routes).try_start().err().unwrap();
        assert!(error.contains("cannot be upgraded to"), "{error}");
    }
}
