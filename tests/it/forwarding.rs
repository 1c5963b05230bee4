//! What is forwarded, what stays, and how answers are framed.

use crate::world::Ask;
use crate::world::Client;
use crate::world::Framing;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;

#[test]
fn end_to_end_fields_pass_unchanged() {
    let world = World::usual();
    let fields = [
        ("Accept", "text/html;q=0.5, */*"),
        ("Accept-Encoding", "gzip, br"),
        ("Cookie", "a=b; c=\"d e\""),
        ("User-Agent", "curl/8.0 (x; y)"),
        ("X-Custom", "a, b,c"),
        ("X-Empty", ""),
        ("If-None-Match", "W/\"x\""),
        ("Range", "bytes=0-1"),
        ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Upgrade-Insecure-Requests", "1"),
    ];
    let ask = fields
        .iter()
        .fold(Ask::get("/api/x").signed(), |ask, (name, value)| ask.field(name, value));
    let forwarded = world.pass(&ask.field("X-Many", "1").field("X-Many", "2"));
    for (name, value) in fields {
        assert_eq!(forwarded.fields.one(name), value);
    }
    assert_eq!(forwarded.fields.all("x-many"), ["1", "2"]);
}

#[test]
fn fields_of_one_hop_end_here() {
    let world = World::usual();
    let ask = Ask::get("/api/x")
        .signed()
        .field("Connection", "keep-alive, X-Hop")
        .field("X-Hop", "1")
        .field("Keep-Alive", "timeout=5")
        .field("Proxy-Connection", "keep-alive")
        .field("Proxy-Authorization", "Basic eDp5")
        .field("TE", "gzip")
        .field("Upgrade", "h2c")
        .field("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA");
    let forwarded = world.pass(&ask);
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
    ] {
        assert!(forwarded.fields.lacks(name), "{name}: {forwarded:?}");
    }
    for te in forwarded.fields.all("te") {
        assert_eq!(te, "trailers");
    }
}

#[test]
fn fields_of_one_hop_in_an_answer_end_here_too() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Stay: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi";
    let world = Setup::before(Upstream::answering(answer)).start();
    let answer = world.answer(&Ask::get("/api/x").signed());
    for name in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(answer.fields.lacks(name), "{name}: {answer:?}");
    }
    assert_eq!(
        (answer.fields.one("x-stay"), answer.fields.all("set-cookie")),
        ("1", vec!["a", "b"])
    );
    assert_eq!(answer.text(), "hi");
}

#[test]
fn bodies_pass_in_either_framing() {
    let world = World::usual();
    let by_length = world.pass(&Ask::post("/api/x", "hello").signed());
    assert_eq!((by_length.framing, by_length.text()), (Framing::Length(5), "hello".into()));
    let chunked = Ask::new("POST", "/api/x").signed().field("Transfer-Encoding", "chunked");
    let chunked = world.pass(&chunked.body("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"));
    assert_eq!((chunked.framing, chunked.text()), (Framing::Chunked, "hello".into()));
    let empty = world.pass(&Ask::post("/api/x", "").signed());
    assert_eq!((empty.framing, empty.text()), (Framing::Length(0), String::new()));
    let large = "x".repeat(3_000_000);
    assert_eq!(world.pass(&Ask::post("/api/x", &large).signed()).body.len(), large.len());
    let get = world.pass(&Ask::get("/api/x").signed());
    assert_eq!(get.framing, Framing::Bare);
    let with_body =
        world.pass(&Ask::new("GET", "/api/x").signed().field("Content-Length", 2).body("hi"));
    assert_eq!(with_body.text(), "hi");
}

#[test]
fn a_body_beyond_its_limit_is_refused() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /api/small\", to: api, body: 8B }\n";
    let world = Setup::new().routes(routes).extra("limits: { body: 1KiB }").start();
    world.pass(&Ask::post("/api/x", &"x".repeat(1024)).signed());
    world.deny(&Ask::post("/api/x", &"x".repeat(1025)).signed(), &[413]);
    world.deny(
        &Ask::new("POST", "/api/x").signed().field("Content-Length", u64::MAX),
        &[400, 413, 431],
    );
    world.deny(&Ask::new("POST", "/api/x").signed().field("Content-Length", 1025), &[413]);
    world.pass(&Ask::post("/api/small", "12345678").signed());
    world.deny(&Ask::post("/api/small", "123456789").signed(), &[413]);
    world.deny(&Ask::post("/api/small", "123456789"), &[401]);
    let mut client = world.connect();
    let ask = Ask::new("POST", "/api/small").signed().field("Transfer-Encoding", "chunked");
    client.send(&ask.body("9\r\n123456789\r\n0\r\n\r\n").bytes());
    assert_eq!(client.answer("POST").unwrap().status(), 413);
    let whole =
        world.upstream.raw().iter().any(|raw| crate::world::find(raw, b"123456789").is_some());
    assert!(!whole, "what was too much went upstream");
}

#[test]
fn answers_pass_in_every_framing() {
    for (answer, framing, body) in [
        ("200 OK\r\nContent-Length: 5\r\n\r\nhello", Framing::Length(5), "hello"),
        ("200 OK\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), ""),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            Framing::Chunked,
            "hello",
        ),
        ("404 Not Found\r\nContent-Length: 4\r\n\r\nnope", Framing::Length(4), "nope"),
        ("500 Oh\r\nContent-Length: 2\r\n\r\nno", Framing::Length(2), "no"),
        ("204 No Content\r\n\r\n", Framing::Bare, ""),
        ("304 Not Modified\r\nETag: \"x\"\r\n\r\n", Framing::Bare, ""),
        ("304 Not Modified\r\nContent-Length: 99\r\n\r\n", Framing::Bare, ""),
        ("205 Reset\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), ""),
    ] {
        let world = Setup::before(Upstream::answering(&format!("HTTP/1.1 {answer}"))).start();
        let mut client = world.connect();
        for _ in 0..2 {
            client.send(&Ask::get("/api/x").signed().bytes());
            let got = client.answer("GET").unwrap();
            assert_eq!(got.status().to_string(), answer[..3]);
            assert_eq!((got.framing, got.text().as_str()), (framing, body), "{answer}");
        }
        assert_eq!(
            world.upstream.look(crate::world::Record::connections),
            1,
            "{answer}: not reused"
        );
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_passed_whole() {
    let upstream = Upstream::scripted(|_, _| {
        vec![Step::Body, Step::text("HTTP/1.1 200 OK\r\n\r\nhello"), Step::Close]
    });
    let world = Setup::before(upstream).start();
    assert_eq!(world.answer(&Ask::get("/api/x").signed()).text(), "hello");
}

#[test]
fn an_answer_to_head_has_a_head_only() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n",
    ] {
        let world = Setup::before(Upstream::answering(answer)).start();
        let mut client = world.connect();
        for _ in 0..2 {
            client.send(&Ask::new("HEAD", "/api/x").signed().bytes());
            let got = client.answer("HEAD").unwrap();
            assert_eq!(got.status().to_string(), answer[9..12]);
        }
        let denied = world.answer(&Ask::new("HEAD", "/api/x"));
        assert_eq!((denied.status(), denied.text().as_str()), (401, ""));
        let mut client = world.connect();
        client.send(&Ask::new("HEAD", "/api/x").bytes());
        client.send(&Ask::get("/nowhere").signed().bytes());
        assert_eq!(client.answer("HEAD").unwrap().status(), 401);
        assert_eq!(client.answer("GET").unwrap().status(), 404);
    }
}

#[test]
fn interim_answers_do_not_end_a_request() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let world = Setup::before(Upstream::answering(answer)).start();
    let mut client = world.connect();
    for _ in 0..2 {
        client.send(&Ask::get("/api/x").signed().bytes());
        assert_eq!(client.answer("GET").unwrap().text(), "hi");
    }
}

#[test]
fn trailers_pass_where_they_were_announced() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
    let world = Setup::before(Upstream::answering(answer)).start();
    let got = world.answer(&Ask::get("/api/x").signed().field("TE", "trailers"));
    assert_eq!((got.text().as_str(), got.trailers.one("x-sum")), ("hi", "7"));
    let echo = World::usual();
    let ask = Ask::new("POST", "/api/x")
        .signed()
        .field("Transfer-Encoding", "chunked")
        .field("Trailer", "X-Sum");
    let sent = echo.pass(&ask.body("2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"));
    assert_eq!((sent.text().as_str(), sent.trailers.one("x-sum")), ("hi", "7"));
}

#[test]
fn continue_is_not_said_before_the_decision() {
    let world = World::usual();
    let expecting = |ask: Ask| ask.field("Expect", "100-continue").field("Content-Length", 5);
    for (ask, status) in [
        (expecting(Ask::new("POST", "/api/x")), 401),
        (expecting(Ask::new("POST", "/api/admin/x").signed()), 403),
        (expecting(Ask::new("POST", "/nowhere").signed()), 404),
    ] {
        let mark = world.upstream.mark();
        let mut client = world.connect();
        client.send(&ask.bytes());
        assert_eq!(client.answer("POST").unwrap().status(), status);
        assert!(client.interim.is_empty(), "{:?}", client.interim);
        assert_eq!(world.upstream.since(&mark).unwrap(), []);
    }
    let mut client = world.connect();
    client.send(&expecting(Ask::new("POST", "/api/x").signed()).bytes());
    client.until(b"HTTP/1.1 100").unwrap();
    client.send(b"hello");
    assert_eq!(client.answer("POST").unwrap().status(), 200);
    assert_eq!(world.upstream.requests().last().unwrap().text(), "hello");
}

#[test]
fn an_unknown_expectation_is_refused_or_ignored() {
    let world = World::usual();
    for expectation in ["200-ok", "100-continue, x", "100-continued"] {
        let answer = world.answer(&Ask::post("/api/x", "hi").signed().field("Expect", expectation));
        assert!([200, 417, 400].contains(&answer.status()), "{answer:?}");
        world.deny(&Ask::post("/api/x", "hi").field("Expect", expectation), &[401, 417, 400]);
    }
}

#[test]
fn an_upgrade_nobody_asked_the_gateway_for_is_not_made() {
    let world = World::usual();
    let ask = Ask::get("/api/x")
        .field("Connection", "Upgrade")
        .field("Upgrade", "websocket")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .field("Sec-WebSocket-Version", "13");
    world.deny(&ask.clone(), &[401]);
    let answer = world.answer(&ask.signed());
    assert_ne!(answer.status(), 101);
}

#[test]
fn a_preflight_is_a_request_like_any_other() {
    let world = World::usual();
    let preflight = |target: &str| {
        Ask::new("OPTIONS", target)
            .field("Origin", "https://evil.test")
            .field("Access-Control-Request-Method", "POST")
    };
    world.deny(&preflight("/api/x"), &[401]);
    world.deny(&preflight("/api/admin/x").signed(), &[403]);
    assert_eq!(world.pass(&preflight("/api/x").signed()).method(), "OPTIONS");
}

#[test]
fn the_upstream_gets_the_first_piece_before_the_client_sends_the_last() {
    let world = World::usual();
    let mut client = world.connect();
    let ask = Ask::new("POST", "/api/x").signed().field("Transfer-Encoding", "chunked");
    client.send(&ask.body("5\r\nfirst\r\n").bytes());
    world.upstream.wait("the first piece", |seen| seen.has(b"first"));
    client.send(b"4\r\nlast\r\n0\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().status(), 200);
    assert_eq!(world.upstream.requests()[0].text(), "firstlast");
}

#[test]
fn the_client_gets_the_first_piece_before_the_upstream_sends_the_last() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |_, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        vec![
            Step::Body,
            Step::text(head),
            Step::Wait(theirs.clone()),
            Step::text("4\r\nlast\r\n0\r\n\r\n"),
        ]
    });
    let world = Setup::before(upstream).start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    client.until(b"first").unwrap();
    gate.open();
    assert_eq!(client.answer("GET").unwrap().text(), "firstlast");
}

#[test]
fn a_slow_upstream_slows_the_client_instead_of_filling_memory() {
    let gate = Gate::default();
    let world = Setup::before(Upstream::reading_after(&gate)).start();
    let size = 64 * 1024 * 1024;
    let mut client = world.connect();
    client.send(&Ask::new("POST", "/api/x").signed().field("Content-Length", size).bytes());
    let body = vec![b'x'; size];
    // Loopback sockets hold a few MiB on each side; a gateway that buffers would take it all.
    let sent = client.send_until_stuck(&body, std::time::Duration::from_millis(500));
    assert!(sent < size / 2, "{sent} bytes went in while nobody read");
    gate.open();
    client.send(&body[sent..]);
    assert_eq!(client.answer("POST").unwrap().status(), 200);
    assert_eq!(world.upstream.requests()[0].body.len(), size);
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let early = "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno";
    let upstream = Upstream::scripted(move |_, _| vec![Step::text(early)]);
    let world = Setup::before(upstream).start();
    let mut client = world.connect();
    client.send(
        &Ask::new("POST", "/api/x").signed().field("Content-Length", 1_000).body("begun").bytes(),
    );
    let answer = client.answer("POST").unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    let mut other = world.connect();
    other.send(&Ask::get("/api/y").signed().bytes());
    assert_eq!(other.answer("GET").unwrap().status(), 403, "the early answer poisoned the pool");
}

#[test]
fn connections_are_reused_on_both_sides() {
    let world = Setup::new().extra("workers: 1").start();
    let mut client: Client = world.connect();
    for n in 0..20 {
        client.send(&Ask::get(&format!("/api/{n}")).signed().bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200);
    }
    assert_eq!(world.upstream.look(crate::world::Record::connections), 1);
    client.send(&Ask::get("/api/x").signed().field("Connection", "close").bytes());
    let answer = client.answer("GET").unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.end().unwrap().1, b"");
}
