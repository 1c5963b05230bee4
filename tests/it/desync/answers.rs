//! Answers that are not exactly one: refused, cut honestly, and never followed by somebody else's.

use crate::desync::POISON;
use crate::desync::answering;
use crate::desync::asked;
use crate::desync::bad;
use crate::desync::behind;
use crate::desync::nothing_is_left;
use crate::world::End;
use crate::world::Gate;
use crate::world::Step;
use crate::world::find;

#[test]
fn a_head_that_is_not_exactly_one_is_refused_and_ends_its_connection() {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\nhello");
    let many = "X: y\r\n".repeat(10_000);
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    for answer in [
        head("Content-Length: 5\r\nContent-Length: 6\r\n"),
        head("Content-Length: 5, 5\r\n"),
        head("Content-Length: 5\r\nContent-Length: 05\r\n"),
        head("Content-Length: -5\r\n"),
        head("Content-Length: 0x5\r\n"),
        head("Content-Length: 5 5\r\n"),
        head("Content-Length: 18446744073709551616\r\n"),
        head("Content-Length:\r\n"),
        head("Content-Length: 5\r\nTransfer-Encoding: gzip\r\n"),
        head("Transfer-Encoding: gzip, chunked\r\n"),
        head("Transfer-Encoding: chunked, chunked\r\n"),
        head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        head("Transfer-Encoding: chunked;q=1\r\n"),
        head("Transfer-Encoding: identity\r\n"),
        head("Transfer-Encoding:\r\n"),
        head("Content-Length : 5\r\n"),
        head("Content-Length\t: 5\r\n"),
        head(" Content-Length: 5\r\n"),
        head("X: y\r\n Content-Length: 5\r\n"),
        head("X: y\r\n\tfolded\r\nContent-Length: 5\r\n"),
        head("X: a\0b\r\nContent-Length: 5\r\n"),
        head("X\0: y\r\nContent-Length: 5\r\n"),
        head("X: a\rb\r\nContent-Length: 5\r\n"),
        head("X: a\r\rContent-Length: 5\r\n"),
        head(": y\r\nContent-Length: 5\r\n"),
        head("no field\r\nContent-Length: 5\r\n"),
        head(&many),
        head(&long),
        "HTTP/1.1 99 x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 099 x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 1000 x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 abc x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 -20 x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 2 0\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 100 x\r\n\r\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n".into(),
        "HTTP/1.1 100 x\r\nContent-Length: 5\r\n\r\nhello".into(),
        "HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".into(),
        "HTTP/1.1 100 x\r\n\r\n".repeat(5_000),
        "HTTP/1.1 103 x\r\nLink: y\r\n\r\n".repeat(5_000),
    ] {
        let what = &answer[..answer.len().min(80)];
        let world = answering(&format!("{answer}{POISON}"));
        let (client, answer) = asked(&world, &bad("POST").field("Content-Length", 0));
        let answer = answer.unwrap_or_else(|fault| panic!("{what:?}: {fault}"));
        assert_eq!(answer.status(), 502, "{what:?}: {answer:?}");
        assert_eq!(answer.fields.one("content-type"), "application/problem+json");
        world.upstream.wait("the end of the bad connection", |seen| seen.ended() == 1);
        nothing_is_left(&world, client, what);
    }
}

#[test]
fn what_follows_an_answer_is_not_the_answer_to_the_next_request() {
    for (method, head, body) in [
        ("GET", "200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("POST", "200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("GET", "200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("GET", "200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            "hello",
        ),
        (
            "GET",
            "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        ("GET", "204 No\r\n\r\n", ""),
        ("GET", "204 No\r\nContent-Length: 5\r\n\r\n", ""),
        ("GET", "204 No\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("GET", "304 Not\r\n\r\n", ""),
        ("GET", "304 Not\r\nContent-Length: 5\r\n\r\nhello", ""),
        ("GET", "304 Not\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ""),
        ("HEAD", "200 OK\r\nContent-Length: 5\r\n\r\nhello", ""),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ""),
        ("HEAD", "200 OK\r\n\r\nhello", ""),
    ] {
        let world = answering(&format!("HTTP/1.1 {head}{POISON}"));
        let ask =
            if method == "POST" { bad(method).field("Content-Length", 0) } else { bad(method) };
        let (client, answer) = asked(&world, &ask);
        let answer = answer.unwrap_or_else(|fault| panic!("{method} {head:?}: {fault}"));
        assert_eq!(answer.line.get(9..12), head.get(..3), "{method} {head:?}");
        assert_eq!(answer.text(), body, "{method} {head:?}");
        nothing_is_left(&world, client, head);
        world.upstream.wait("the end of the poisoned connection", |seen| seen.ended() == 1);
    }
}

#[test]
fn an_answer_of_http_1_0_ends_its_connection() {
    for head in [
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let world = answering(head);
        let (client, answer) = asked(&world, &bad("GET"));
        assert_eq!(answer.unwrap().text(), "hello");
        world.upstream.wait("the end of its connection", |seen| seen.ended() == 1);
        nothing_is_left(&world, client, head);
    }
}

#[test]
fn an_answer_nobody_asked_for_ends_the_connection_it_comes_on() {
    let gate = Gate::default();
    let world = behind(vec![Step::Body, Step::Echo, Step::Wait(gate.clone()), Step::text(POISON)]);
    let (client, answer) = asked(&world, &bad("GET"));
    assert_eq!(answer.unwrap().status(), 200);
    gate.open();
    world.upstream.wait("the connection swept away", |seen| seen.ended() == 1);
    nothing_is_left(&world, client, "an answer on an unused connection");
}

#[test]
fn broken_chunks_are_never_given_a_good_end() {
    let fields = |count: usize| "X: y\r\n".repeat(count);
    for chunks in [
        "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        "00000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        "-5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "+5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5 x\r\nhello\r\n0\r\n\r\n".to_owned(),
        " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5,5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "g\r\nhello\r\n0\r\n\r\n".to_owned(),
        "\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "5\nhello\r\n0\r\n\r\n".to_owned(),
        "5\r\nhello\n0\r\n\r\n".to_owned(),
        "5\r\nhello0\r\n\r\n".to_owned(),
        "5\r\nhelloXX0\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\n\n".to_owned(),
        "5\r\nhello\r\n0\r\nX: y\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nno field\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n".to_owned(),
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n".to_owned(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5_000)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", fields(33)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", fields(10_000)),
        format!("5\r\nhello\r\n0\r\nX: {}", "y".repeat(1 << 20)),
    ] {
        let what = &chunks[..chunks.len().min(60)];
        let world = answering(&format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{POISON}"
        ));
        let (mut client, answer) = asked(&world, &bad("GET"));
        let is_honest = answer.as_ref().map_or(true, |answer| answer.status() == 502);
        assert!(is_honest, "{what:?}: {answer:?}");
        let rest = client.end().unwrap().1;
        assert!(find(&rest, b"\r\n0\r\n\r\n").is_none(), "{what:?}: {}", rest.escape_ascii());
        world.upstream.wait("the end of the bad connection", |seen| seen.ended() == 1);
        nothing_is_left(&world, client, what);
    }
}

#[test]
fn an_answer_cut_anywhere_is_not_given_a_good_end() {
    for part in [
        "Content-Length: 5\r\n\r\n",
        "Content-Length: 5\r\n\r\nhell",
        "Content-Length: 18446744073709551615\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    ] {
        for end in [Step::Close, Step::Reset] {
            let text = Step::text(&format!("HTTP/1.1 200 OK\r\n{part}"));
            let world = behind(vec![Step::Body, text, end]);
            let (client, answer) = asked(&world, &bad("GET"));
            let is_honest = answer.as_ref().map_or(true, |answer| answer.status() == 502);
            assert!(is_honest, "{part:?}: {answer:?}");
            nothing_is_left(&world, client, part);
        }
    }
    // Where the end of the connection is the end of the body, a reset is none.
    let text = Step::text("HTTP/1.1 200 OK\r\n\r\nhello");
    let world = behind(vec![Step::Body, text, Step::Reset]);
    let (client, answer) = asked(&world, &bad("GET"));
    assert!(answer.as_ref().map_or(true, |answer| answer.status() == 502), "{answer:?}");
    nothing_is_left(&world, client, "a reset");
}

#[test]
fn a_cut_answer_to_a_client_of_http_1_0_ends_in_a_reset() {
    for framing in ["", "Transfer-Encoding: chunked\r\n", "Content-Length: 10\r\n"] {
        let gate = Gate::default();
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        let part = if framing.starts_with('T') { "5\r\nhello\r\n" } else { "hello" };
        let text = Step::text(&(head + part));
        let world = behind(vec![Step::Body, text, Step::Wait(gate.clone()), Step::Reset]);
        let mut client = world.connect();
        client.send(&bad("GET").with_line("GET /api/bad HTTP/1.0").bytes());
        client.until(b"hello").unwrap();
        gate.open();
        // The end of the connection is all that tells such a client where an answer ends.
        assert_eq!(client.end().unwrap().0, End::Reset, "{framing:?}");
    }
}
