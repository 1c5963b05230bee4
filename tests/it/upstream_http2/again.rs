//! What is asked again: what the upstream says that it did nothing about, with the body as far as it is kept.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;

use super::*;
use crate::world::find;

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
        let world = behind(&upstream, ", retry: { attempts: 2 }");
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
        first.write_all(SETTINGS).unwrap();
        let mut seen = Vec::new();
        let has_head =
            |seen: &[u8]| [4, 5].iter().any(|flags| find(seen, &[1, *flags, 0, 0, 0, 1]).is_some());
        while !has_head(&seen) {
            let mut chunk = [0; 4096];
            let count = first.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..count]);
        }
        first.write_all(&go_away).unwrap();
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
    assert_eq!(upstream.record().streams.len(), 2, "once");
}

#[test]
fn what_was_refused_is_asked_again_within_the_bounds_of_repetitions() {
    for (retry, requests, streams) in [
        ("attempts: 0", 1, 1),
        ("attempts: 1, budget: 0", 1, 1),
        ("attempts: 2", 1, 3),
        // Ten are saved up at the start, and each request adds a fifth.
        ("attempts: 1, budget: 20", 20, 20 + 10 + 3),
    ] {
        let upstream = H2Upstream::scripted(|_, _| Plan::Reset(Reason::REFUSED_STREAM));
        let world = behind(&upstream, &format!(", retry: {{ {retry} }}"));
        for _ in 0..requests {
            assert_eq!(world.answer(&get("/open/a")).status(), 502, "{retry}");
        }
        assert_eq!(upstream.record().streams.len(), streams, "{retry}");
    }
}

#[test]
fn what_one_endpoint_refused_is_asked_of_another() {
    let full = H2Upstream::scripted(|_, _| Plan::ReadAndReset(Reason::REFUSED_STREAM));
    let free = H2Upstream::echo();
    let endpoints = format!("endpoints: [\"{}\", \"{}\"]", full.url(), free.url());
    let keys =
        format!("{endpoints}, http2: always, balance: round_robin, eject: {{ failures: 1000 }}");
    let world = setup(&keys).start();
    for number in 0..6 {
        let target = format!("/open/{number}");
        let answer = world.answer(&post(&target, b"body"));
        assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"body"[..]));
    }
    let refused: Vec<_> = full.record().streams.into_iter().map(|one| one.head).collect();
    assert!(!refused.is_empty());
    let mut paths: Vec<_> = refused.iter().map(|head| head.uri().path()).collect();
    paths.dedup();
    assert_eq!(paths.len(), refused.len(), "none of it twice");
    assert_eq!(free.record().streams.len(), 6);
}

#[test]
fn a_burst_opens_no_more_streams_than_the_upstream_takes() {
    // It refuses whatever is more, as servers do that count themselves.
    let upstream = H2Upstream::allowing(2, |_, _| Plan::Echo);
    let world = behind(&upstream, ", retry: { attempts: 0 }");
    let mut clients: Vec<_> = (0..20).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.send(&post("/open/a", b"body").bytes());
    }
    for mut client in clients {
        assert_eq!(client.answer("POST").unwrap().body, b"body");
    }
    assert!(upstream.record().streams.iter().all(|stream| stream.is_whole));
}
