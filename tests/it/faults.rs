//! Upstreams that fail, clients that go away, and deadlines: never a false good end.

use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;

/// A gateway whose upstream plays these steps for every request to `/api/bad`.
fn behind(steps: Vec<Step>) -> World {
    let upstream = Upstream::scripted(move |_, head| {
        if head.contains(" /api/bad ") { steps.clone() } else { vec![Step::Body, Step::Echo] }
    });
    Setup::before(upstream).upstream_keys("timeout: 300ms").extra("workers: 1").start()
}

#[track_caller]
fn problem(answer: &Message) -> Value {
    assert_eq!(answer.fields.one("content-type"), "application/problem+json");
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn an_upstream_that_fails_is_a_bad_gateway() {
    for (what, steps) in [
        ("closes before the head", vec![Step::Body, Step::Close]),
        ("resets before the head", vec![Step::Body, Step::Reset]),
        (
            "closes within the head",
            vec![Step::Body, Step::text("HTTP/1.1 200 OK\r\nContent-"), Step::Close],
        ),
        (
            "sends garbage",
            vec![Step::Body, Step::text("\x15\x03\x01\x00\x02\x02\r\n\r\n"), Step::Close],
        ),
        (
            "speaks another protocol",
            vec![Step::Body, Step::text("220 mail ESMTP\r\n\r\n"), Step::Close],
        ),
        (
            "has two lengths",
            vec![
                Step::Body,
                Step::text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
                Step::Close,
            ],
        ),
        (
            "has a bad length",
            vec![
                Step::Body,
                Step::text("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab"),
                Step::Close,
            ],
        ),
        (
            "has an endless head",
            vec![
                Step::Body,
                Step::Send([b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat()),
                Step::Close,
            ],
        ),
        (
            "switches protocols",
            vec![
                Step::Body,
                Step::text("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
                Step::Close,
            ],
        ),
    ] {
        let world = behind(steps);
        for method in ["POST", "PUT"] {
            let answer =
                world.answer(&Ask::new(method, "/api/bad").signed().field("Content-Length", 0));
            assert_eq!(answer.status(), 502, "{what}: {answer:?}");
            assert_eq!(problem(&answer)["status"], 502);
        }
        assert_eq!(world.answer(&Ask::get("/api/good").signed()).status(), 200, "after: {what}");
    }
}

#[test]
fn an_upstream_that_does_not_listen_is_a_bad_gateway_at_once() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let setup = Setup::new();
    let live = setup.upstream.url();
    let world = setup.start();
    world.reload_with(&live, &format!("http://{address}")).unwrap();
    let begun = Instant::now();
    for ask in
        [Ask::get("/api/x").signed(), Ask::post("/api/x", "hi").signed(), Ask::get("/public/x")]
    {
        let answer = world.answer(&ask);
        assert!([502, 503].contains(&answer.status()), "{answer:?}");
        problem(&answer);
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(world.answer(&Ask::get("/api/x")).status(), 401, "who may not pass learns nothing");
}

#[test]
fn an_upstream_that_never_answers_is_a_gateway_timeout() {
    let world = behind(vec![Step::Silence]);
    for ask in [Ask::get("/api/bad").signed(), Ask::post("/api/bad", "hi").signed()] {
        let begun = Instant::now();
        let answer = world.answer(&ask);
        assert_eq!(answer.status(), 504, "{answer:?}");
        problem(&answer);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(4), "{took:?}");
    }
    world.upstream.wait("both connections given up", |seen| seen.ended() == 2);
    assert_eq!(world.answer(&Ask::get("/api/good").signed()).status(), 200);
}

#[test]
fn an_answer_cut_short_is_not_given_a_good_end() {
    let cut =
        |head: &str| vec![Step::Body, Step::text(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))];
    for (what, head, part) in [
        ("a length", "Content-Length: 10", "hello"),
        ("chunks", "Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("a chunk", "Transfer-Encoding: chunked", "9\r\nhello"),
    ] {
        for end in [Step::Close, Step::Reset] {
            let world = behind([cut(head), vec![Step::text(part), end]].concat());
            let mut client = world.connect();
            client.send(&Ask::get("/api/bad").signed().bytes());
            let answer = client.answer("GET");
            let honest = match &answer {
                Err(_) => true,
                Ok(answer) => answer.status() == 502,
            };
            assert!(honest, "{what}: {answer:?}");
            assert_eq!(world.answer(&Ask::get("/api/good").signed()).status(), 200);
        }
    }
}

#[test]
fn a_pooled_connection_that_died_is_replaced_without_a_word() {
    let world = Setup::new().extra("workers: 1").start();
    for round in 0..10 {
        let mark = world.upstream.mark();
        assert_eq!(world.answer(&Ask::get("/api/x").signed()).status(), 200, "round {round}");
        assert_eq!(world.upstream.since(&mark).unwrap().len(), 1, "round {round}: sent twice");
        world.upstream.hang_up();
    }
}

/// Accepts the second request of each connection and closes without an answer: the race in which
/// a sender cannot know whether its request was looked at.
fn drops_second_requests() -> Upstream {
    let first_seen = std::sync::Mutex::new(false);
    Upstream::scripted(move |_, _| {
        let mut first = first_seen.lock().unwrap();
        *first = !*first;
        if *first { vec![Step::Body, Step::Echo] } else { vec![Step::Body, Step::Close] }
    })
}

#[test]
fn a_post_is_never_sent_twice() {
    for method in ["POST", "PATCH"] {
        let world = Setup::before(drops_second_requests()).extra("workers: 1").start();
        assert_eq!(
            world.answer(&Ask::new(method, "/api/1").signed().field("Content-Length", 0)).status(),
            200
        );
        let answer = world
            .answer(&Ask::new(method, "/api/2").signed().field("Content-Length", 2).body("hi"));
        assert_eq!(answer.status(), 502);
        let targets: Vec<_> =
            world.upstream.requests().iter().map(|r| r.target().to_owned()).collect();
        assert_eq!(targets, ["/api/1", "/api/2"]);
    }
}

#[test]
fn a_get_on_a_connection_that_dies_is_sent_at_most_once_more() {
    let world = Setup::before(drops_second_requests()).extra("workers: 1").start();
    assert_eq!(world.answer(&Ask::get("/api/1").signed()).status(), 200);
    let answer = world.answer(&Ask::get("/api/2").signed());
    let tries =
        world.upstream.requests().iter().filter(|request| request.target() == "/api/2").count();
    assert!(matches!((answer.status(), tries), (200, 2) | (502, 1)), "{answer:?} after {tries}");
    let never = behind(vec![Step::Body, Step::Close]);
    assert_eq!(never.answer(&Ask::get("/api/good").signed()).status(), 200);
    assert_eq!(never.answer(&Ask::get("/api/bad").signed()).status(), 502);
    let tries =
        never.upstream.requests().iter().filter(|request| request.target() == "/api/bad").count();
    assert!((1..=2).contains(&tries), "{tries} tries");
}

#[test]
fn a_client_that_goes_away_frees_its_upstream() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let world = Setup::before(upstream).start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    client.reset();
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
}

#[test]
fn a_client_that_goes_away_within_its_body_leaves_no_whole_request() {
    let world = World::usual();
    let mut client = world.connect();
    client.send(
        &Ask::new("POST", "/api/x").signed().field("Content-Length", 100).body("begun").bytes(),
    );
    world.upstream.wait("the beginning", |seen| seen.has(b"begun"));
    client.reset();
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
    assert!(world.upstream.try_requests().is_err(), "half a body became a whole request");
}

#[test]
fn a_client_that_goes_away_within_an_answer_frees_its_upstream() {
    let upstream = Upstream::scripted(|_, _| {
        vec![
            Step::Body,
            Step::text("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"),
            Step::Silence,
        ]
    });
    let world = Setup::before(upstream).start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    client.until(b"begun").unwrap();
    client.reset();
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let world = World::usual();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    client.finish_sending();
    // Either is documented behaviour; a hang or a cut answer is not.
    if let Ok(answer) = client.answer("GET") {
        assert_eq!(answer.status(), 200);
    }
    client.end().unwrap();
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let world = Setup::new().extra("timeouts: { header: 300ms, body: 300ms, idle: 1s }").start();
    for start in
        [&b"GET /api/x HTTP/1.1\r\nHost: gw"[..], b"G", b"GET /api/x HTTP/1.1\r\nHost: gw.test\r\n"]
    {
        let begun = Instant::now();
        let mut client = world.connect();
        client.send(start);
        if let Ok(answer) = client.answer("GET") {
            assert_eq!(answer.status(), 408);
        }
        client.end().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(world.upstream.bytes_seen(), 0);
}

#[test]
fn a_body_that_stalls_is_given_up_and_frees_its_upstream() {
    let world = Setup::new().extra("timeouts: { header: 300ms, body: 300ms, idle: 1s }").start();
    let begun = Instant::now();
    let mut client = world.connect();
    client.send(
        &Ask::new("POST", "/api/x").signed().field("Content-Length", 100).body("begun").bytes(),
    );
    if let Ok(answer) = client.answer("POST") {
        assert!([408, 400].contains(&answer.status()), "{answer:?}");
    }
    client.end().unwrap();
    world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(world.upstream.try_requests().is_err(), "half a body became a whole request");
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let world = Setup::new().extra("timeouts: { header: 300ms, idle: 1s }").start();
    let mut silent = world.connect();
    let mut used = world.connect();
    used.send(&Ask::get("/api/x").signed().bytes());
    assert_eq!(used.answer("GET").unwrap().status(), 200);
    assert_eq!(used.end().unwrap().1, b"");
    assert_eq!(silent.end().unwrap().1, b"");
}

#[test]
fn connections_beyond_the_limit_do_not_hang() {
    let world = Setup::new().extra("workers: 1\nlimits: { connections: 4 }").start();
    let mut held: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for client in &mut held {
        client.send(&Ask::get("/api/x").signed().bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200);
    }
    let mut extra = world.connect();
    extra.send(&Ask::get("/api/x").signed().bytes());
    if let Ok(answer) = extra.answer("GET") {
        assert_eq!(answer.status(), 503, "{answer:?}");
    }
    drop(extra);
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut client = world.connect();
        client.send(&Ask::get("/api/x").signed().bytes());
        match client.answer("GET") {
            Ok(answer) if answer.status() == 200 => break,
            _ => assert!(Instant::now() < deadline, "never recovered"),
        }
    }
}
