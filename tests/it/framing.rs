//! One request in is at most one request out: no framing lets a second one be smuggled.

use crate::world::Ask;
use crate::world::Client;
use crate::world::Kind;
use crate::world::Message;
use crate::world::World;

/// A complete request to open ground: if anybody ever parses it, it will be forwarded.
const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: gw.test\r\n\r\n";

fn post(lines: &[&str], body: &str) -> Ask {
    let ask = Ask::new("POST", "/api/x").signed().body(body);
    lines.iter().fold(ask, |ask, line| ask.raw_line(*line))
}

/// Refused before anything reached the upstream, and the connection is over.
#[track_caller]
fn refused(world: &World, lines: &[&str], body: &str, statuses: &[u16]) {
    let ask = post(lines, &format!("{body}{SMUGGLED}"));
    world.deny_and_close(&ask, statuses);
    let anonymous =
        lines.iter().fold(Ask::new("POST", "/api/x").body(body), |ask, line| ask.raw_line(*line));
    world.deny(&anonymous, &[statuses, &[401]].concat());
    let public = lines
        .iter()
        .fold(Ask::new("POST", "/public/x").body(format!("{body}{SMUGGLED}")), |ask, line| {
            ask.raw_line(*line)
        });
    world.deny_and_close(&public, statuses);
}

#[test]
fn a_length_with_two_readings_is_refused() {
    let world = World::usual();
    for lines in [
        &["Content-Length: 5", "Content-Length: 6"][..],
        &["Content-Length: 6", "Content-Length: 5"],
        &["Content-Length: 5", "content-length: 0"],
        &["Content-Length: 5, 6"],
        &["Content-Length: +5"],
        &["Content-Length: -1"],
        &["Content-Length: -0"],
        &["Content-Length: 0x5"],
        &["Content-Length: 5;a"],
        &["Content-Length: 5 5"],
        &["Content-Length: 5.0"],
        &["Content-Length: 5e0"],
        &["Content-Length: five"],
        &["Content-Length:"],
        &["Content-Length: ,5"],
        &["Content-Length: \"5\""],
        &["Content-Length: 5\x0b"],
        &["Content-Length: 18446744073709551616"],
        &["Content-Length: 18446744073709551621"],
        &["Content-Length: 99999999999999999999999999"],
        &["Content-Length : 5"],
        &["Content-Length\t: 5"],
        &["Content-Length: 5", " 6"],
    ] {
        refused(&world, lines, "hello", &[400]);
    }
}

#[test]
fn a_length_written_twice_alike_is_refused_or_becomes_one() {
    let world = World::usual();
    for lines in [
        &["Content-Length: 5", "Content-Length: 5"][..],
        &["Content-Length: 5, 5"],
        &["Content-Length: 05"],
        &["Content-Length: 5 "],
        &["Content-Length: \t5"],
    ] {
        let mark = world.upstream.mark();
        let answer = world.answer(&post(lines, "hello"));
        let requests = world.upstream.since(&mark).unwrap();
        match answer.status() {
            400 => assert_eq!(requests, []),
            200 => {
                assert_eq!(requests.len(), 1);
                assert_eq!(
                    (requests[0].text(), requests[0].fields.one("content-length")),
                    ("hello".into(), "5")
                );
            }
            _ => panic!("{lines:?}: {answer:?}"),
        }
    }
}

#[test]
fn a_coding_other_than_chunked_is_refused() {
    let world = World::usual();
    for lines in [
        &["Transfer-Encoding: xchunked"][..],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: identity, chunked"],
        &["Transfer-Encoding: gzip, chunked"],
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        &["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: cow"],
        &["Transfer-Encoding: \x0bchunked"],
        &["Transfer-Encoding: \"chunked\""],
        &["Transfer-Encoding: chunked;q=1"],
        &["Transfer-Encoding: chunked,"],
        &["Transfer-Encoding: ,chunked"],
        &["Transfer-Encoding: gzip"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding:"],
        &["Transfer-Encoding: chunked\x00"],
        &["Transfer-Encoding : chunked"],
        &["Transfer-Encoding\t: chunked"],
        &["Transfer-Encoding: x", " chunked"],
        &["X: y", " Transfer-Encoding: chunked"],
        &["Transfer-Encoding:", " chunked"],
    ] {
        refused(&world, lines, "5\r\nhello\r\n0\r\n\r\n", &[400, 501]);
    }
}

#[test]
fn a_length_beside_chunks_never_frames_anything() {
    let world = World::usual();
    let body = format!("5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    for lines in [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["content-length: 200", "TRANSFER-ENCODING: chunked"],
    ] {
        let mark = world.upstream.mark();
        let mut client = world.connect();
        client.send(&post(&lines, &body).bytes());
        let answer = client.answer("POST").unwrap();
        let (_, rest) =
            client.end().unwrap_or_else(|fault| panic!("{lines:?} must close: {fault}"));
        assert_eq!(rest, b"", "{lines:?}: a second answer");
        let requests = world.upstream.since(&mark).unwrap();
        match answer.status() {
            400 => assert_eq!(requests, [], "{lines:?}"),
            200 => {
                assert_eq!((requests.len(), requests[0].text()), (1, "hello".into()), "{lines:?}");
                assert!(requests[0].fields.lacks("content-length"));
            }
            _ => panic!("{lines:?}: {answer:?}"),
        }
    }
}

#[test]
fn a_coding_in_a_message_of_http_1_0_is_refused() {
    let world = World::usual();
    for line in ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"] {
        let ask = post(&[line], "5\r\nhello\r\n0\r\n\r\n").with_line("POST /api/x HTTP/1.0");
        world.deny_and_close(&ask, &[400, 501, 505]);
    }
}

/// Where the fault stands in the body, the head may be on its way already; what must not happen
/// is that the upstream sees a whole request, a second one, or the client a good answer.
#[track_caller]
fn broken_body(world: &World, chunks: &str) {
    let mark = world.upstream.mark();
    let mut client = world.connect();
    client.send(&post(&["Transfer-Encoding: chunked"], &format!("{chunks}{SMUGGLED}")).bytes());
    if let Ok(answer) = client.answer("POST") {
        assert!([400, 413, 431].contains(&answer.status()), "{chunks:?}: {answer:?}");
    }
    client.end().unwrap_or_else(|fault| panic!("{chunks:?} must close: {fault}"));
    let target = Ask::get("/api/control").signed();
    assert_eq!(world.answer(&target).status(), 200, "a good request after {chunks:?}");
    for raw in world.upstream.bytes_since(&mark) {
        assert!(
            crate::world::find(&raw, b"smuggled").is_none(),
            "{chunks:?}: {}",
            raw.escape_ascii()
        );
        let whole = match Message::read(&raw, Kind::Request, false).unwrap() {
            Some((message, _)) => message.target().to_owned(),
            None => continue,
        };
        assert_eq!(whole, "/api/control", "{chunks:?} became a whole request");
    }
}

#[test]
fn a_broken_chunk_never_becomes_a_whole_request() {
    let world = World::usual();
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello world\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5\x0b\r\nhello\r\n0\r\n\r\n",
        "5\x00\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\n: x\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
    ] {
        broken_body(&world, chunks);
    }
    broken_body(&world, &format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(70_000)));
    broken_body(&world, &format!("5\r\nhello\r\n0\r\nA: {}\r\n\r\n", "x".repeat(70_000)));
}

#[test]
fn chunks_are_framed_anew_without_their_extensions() {
    let world = World::usual();
    for chunks in [
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\n000\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
    ] {
        let forwarded = world.pass(&post(&["Transfer-Encoding: chunked"], chunks));
        assert_eq!(forwarded.text(), "hello", "{chunks}");
        let raw = world.upstream.raw().concat();
        assert!(crate::world::find(&raw, b"a=").is_none(), "an extension went through");
    }
    let forwarded = world.pass(&post(&["Transfer-Encoding: Chunked"], "0\r\n\r\n"));
    assert_eq!(forwarded.text(), "");
}

#[test]
fn a_blank_after_a_chunk_size_is_refused_or_framed_anew() {
    let world = World::usual();
    let mark = world.upstream.mark();
    let answer = world.answer(&post(&["Transfer-Encoding: chunked"], "5 \r\nhello\r\n0\r\n\r\n"));
    match answer.status() {
        200 => assert_eq!(world.upstream.since(&mark).unwrap()[0].text(), "hello"),
        status => assert_eq!(status, 400),
    }
}

#[test]
fn bytes_after_a_request_without_a_body_are_the_next_request() {
    let world = World::usual();
    let mark = world.upstream.mark();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().body(format!("hello{SMUGGLED}")).bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    let second = client.answer("GET").unwrap().status();
    assert!([400, 405, 501].contains(&second), "{second}");
    let targets: Vec<_> =
        world.upstream.since(&mark).unwrap().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(targets, ["/api/x"]);
}

#[test]
fn pipelined_requests_are_each_judged_and_answered_in_order() {
    let world = World::usual();
    let mark = world.upstream.mark();
    let mut client = world.connect();
    let all = [
        Ask::get("/api/1").signed(),
        Ask::get("/api/2"),
        Ask::get("/api/admin/3").signed(),
        Ask::post("/api/4", "hello").signed(),
        Ask::get("/nowhere").signed(),
        Ask::get("/api/6").signed(),
    ];
    client.send(&all.iter().flat_map(Ask::bytes).collect::<Vec<_>>());
    let statuses: Vec<_> =
        all.iter().map(|ask| client.answer(ask.method()).unwrap().status()).collect();
    assert_eq!(statuses, [200, 401, 403, 200, 404, 200]);
    let mut targets: Vec<_> =
        world.upstream.since(&mark).unwrap().iter().map(|r| r.target().to_owned()).collect();
    targets.sort();
    assert_eq!(targets, ["/api/1", "/api/4", "/api/6"]);
}

#[test]
fn a_refused_request_with_a_body_leaves_nothing_behind_on_its_connection() {
    let world = World::usual();
    let mark = world.upstream.mark();
    for smuggled in [SMUGGLED.to_owned(), SMUGGLED.repeat(2000)] {
        let mut client = world.connect();
        client.send(&Ask::post("/api/x", &smuggled).bytes());
        assert_eq!(client.answer("POST").unwrap().status(), 401);
        follow_up(&mut client);
    }
    let requests = world.upstream.since(&mark).unwrap();
    assert!(requests.iter().all(|request| request.target() == "/api/next"), "{requests:?}");
}

/// Either the connection is over, or the next request on it is understood as what it is.
fn follow_up(client: &mut Client) {
    client.send(&Ask::get("/api/next").signed().bytes());
    if let Ok(answer) = client.answer("GET") {
        assert_eq!(answer.status(), 200);
    }
}
