//! Answers before the request has ended, and bodies that break off: half a request is never a whole one.

use crate::desync::bad;
use crate::desync::behind;
use crate::desync::nothing_is_left;
use crate::desync::own_answer;
use crate::world::Client;
use crate::world::Step;
use crate::world::find;

#[test]
fn an_early_answer_leaves_no_half_sent_request_on_a_connection_in_use() {
    for (early, status) in [
        ("HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nearly", 413),
        ("HTTP/1.1 204 No\r\n\r\n", 204),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly", 200),
    ] {
        for (framing, rest) in [
            ("Content-Length: 100".to_owned(), "x".repeat(95)),
            (
                "Transfer-Encoding: chunked".to_owned(),
                "5f\r\n".to_owned() + &"x".repeat(95) + "\r\n0\r\n\r\n",
            ),
        ] {
            let begun = if framing.starts_with('C') { "begun" } else { "5\r\nbegun\r\n" };
            let world = behind(vec![Step::text(early)]);
            let mut client = world.connect();
            client.send(&bad("POST").raw_line(framing.as_str()).body(begun).bytes());
            let answer = client.answer("POST").unwrap();
            assert_eq!(answer.status(), status, "{early:?}");
            world.upstream.wait("the end of the half-used connection", |seen| seen.ended() == 1);
            client.send(rest.as_bytes());
            nothing_is_left(&world, client, early);
        }
    }
}

/// How a client spoils a chunked body that it has begun.
const SPOILT: [(&str, Spoil); 5] = [
    ("a broken chunk", |client| client.send(b"xx\r\n")),
    ("an end within the body", |client| client.finish_sending()),
    ("too much, then a good end", |client| {
        let chunk = [b"1400\r\n".to_vec(), vec![b'y'; 0x1400], b"\r\n0\r\n\r\n".to_vec()].concat();
        client.send(&chunk);
    }),
    ("too much, then a little and a good end", |client| {
        let chunk = [b"1400\r\n".to_vec(), vec![b'y'; 0x1400], b"\r\n1\r\nz\r\n0\r\n\r\n".to_vec()];
        client.send(&chunk.concat());
    }),
    ("silence", |_| {}),
];

type Spoil = fn(&mut Client);

#[test]
fn a_body_that_breaks_while_the_answer_comes_never_becomes_a_whole_request() {
    for (what, spoil) in SPOILT {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nanswered\r\n";
        let world =
            behind(vec![Step::text(text), Step::Body, Step::text("5\r\nwhole\r\n0\r\n\r\n")]);
        let mut client = world.connect();
        client.send(
            &bad("POST").field("Transfer-Encoding", "chunked").body("5\r\nhello\r\n").bytes(),
        );
        client.until(b"answered").unwrap();
        world.upstream.wait("the first piece", |seen| seen.has(b"hello"));
        spoil(&mut client);
        world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
        assert!(
            world.upstream.try_requests().is_err(),
            "{what}: half a body became a whole request"
        );
        let (_, got) = client.end().unwrap();
        let is_good = find(&got, b"whole").is_some() || find(&got, b"\r\n0\r\n\r\n").is_some();
        assert!(!is_good, "{what}: {}", got.escape_ascii());
        nothing_is_left(&world, client, what);
    }
}

#[test]
fn a_client_that_breaks_off_within_its_body_ends_the_upstream_connection() {
    for (framing, begun) in
        [("Content-Length: 100", "begun"), ("Transfer-Encoding: chunked", "5\r\nbegun\r\n")]
    {
        for is_reset in [true, false] {
            let world = behind(vec![Step::Body, Step::Echo]);
            let mut client = world.connect();
            // A connection that was used before and would be used again.
            own_answer(&mut client, 9, framing);
            let mark = world.upstream.mark();
            client.send(&bad("POST").raw_line(framing).body(begun).bytes());
            world.upstream.wait("the beginning", |seen| seen.has(b"begun"));
            if is_reset {
                client.reset();
            } else {
                client.finish_sending();
                let answer = client.answer("POST").map_err(|_| ());
                assert!(answer.map_or(true, |answer| answer.status() >= 400), "{framing}");
            }
            world.upstream.wait("the end of the upstream connection", |seen| seen.ended() == 1);
            assert!(world.upstream.since(&mark).is_err(), "half a body became a whole request");
            nothing_is_left(&world, world.connect(), framing);
        }
    }
}
