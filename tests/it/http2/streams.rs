//! Streams side by side: bodies, trailers, cancellation, breaks, and the end of a connection.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::others_are_served;
use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Framing;
use crate::world::Gate;
use crate::world::Gone;
use crate::world::Record;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::http2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, block};

const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/// Holds every request but those for `/control`.
fn holding(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::scripted(move |_, head| {
        if head.contains("/control") {
            return vec![Step::Body, Step::Echo];
        }
        vec![Step::Body, Step::Wait(gate.clone()), Step::text(DONE)]
    })
}

fn get() -> Ask {
    Ask::get("/api/x").signed()
}

#[test]
fn many_requests_share_a_connection_and_none_waits_for_another() {
    let gate = Gate::default();
    let world = Setup::before(holding(&gate)).http2().start();
    let mut client = world.connect_http2();
    let held: Vec<u32> = (0..50).map(|_| client.ask(&get())).collect();
    world.upstream.wait("all of them", |seen| seen.heads() == 50);
    let quick = client.ask(&Ask::get("/api/control").signed());
    assert_eq!(client.answer(quick).unwrap().status(), 200);
    assert!((world.metric("portcullis_http2_connections") - 1.0).abs() < 0.1);
    gate.open();
    for stream in held {
        assert_eq!(client.answer(stream).unwrap().text(), "done");
    }
    assert!((world.metric("portcullis_http2_requests_total") - 51.0).abs() < 0.1);
    assert!(world.metric("portcullis_http2_abandoned_total") < 0.1);
    client.finish_sending();
    client.end();
    let deadline = Instant::now() + DEADLINE;
    while world.metric("portcullis_http2_connections") > 0.1 {
        assert!(Instant::now() < deadline, "still counted");
    }
}

#[test]
fn bodies_pass_both_ways_whole() {
    let body: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), &body].concat();
    let upstream = Upstream::scripted(move |_, _| vec![Step::Body, Step::Send(answer.clone())]);
    let world = Setup::before(upstream).http2().start();
    let mut client = world.connect_http2();
    let down = client.ask(&get());
    let answer = client.answer(down).unwrap();
    assert!(answer.body == body, "{} bytes", answer.body.len());
    for length in [0, 1, 16_384, 60_000] {
        let mark = world.upstream.mark();
        let up = client.headers(0, &Ask::new("POST", "/api/x").signed().over_http2().0);
        for piece in body[..length].chunks(16_384) {
            client.data(up, piece, false);
        }
        client.data(up, b"", true);
        assert_eq!(client.answer(up).unwrap().status(), 200);
        let seen = world.upstream.since(&mark).unwrap();
        assert!(seen[0].body == body[..length], "{length}");
        assert_eq!(seen[0].framing, Framing::Chunked);
    }
}

#[test]
fn trailers_of_a_request_pass_and_are_no_second_head() {
    let world = Setup::new().http2().start();
    let mut client = world.connect_http2();
    let stream = client.headers(0, &Ask::new("POST", "/api/x").signed().over_http2().0);
    client.data(stream, b"hi", false);
    let trailers = [
        ("x-sum", "7"),
        ("x-auth-user", "root"),
        ("authorization", "Bearer x"),
        ("x-app-key", "k"),
    ];
    client.frame(&Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, block(&trailers)));
    assert_eq!(client.answer(stream).unwrap().status(), 200);
    let seen = world.upstream.requests();
    assert_eq!((seen[0].text().as_str(), seen[0].trailers.one("x-sum")), ("hi", "7"));
    for name in ["x-auth-user", "authorization", "x-app-key"] {
        assert!(seen[0].trailers.lacks(name), "{name}");
    }
}

#[test]
fn a_pseudo_field_in_a_trailer_changes_nothing() {
    let world = Setup::new().http2().start();
    let mut client = world.connect_http2();
    let stream = client.headers(0, &Ask::new("POST", "/api/x").signed().over_http2().0);
    let trailers = block(&[(":path", "/api/admin/x")]);
    client.frame(&Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, trailers));
    // It goes no further, whether the stream is reset or not.
    let _ = client.answer(stream);
    for request in world.upstream.requests() {
        assert_eq!(request.target(), "/api/x");
        assert!(request.trailers.0.is_empty(), "{request:?}");
    }
    others_are_served(&world);
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let upstream = Upstream::scripted(|_, head| {
        if head.contains("/control") {
            return vec![Step::Body, Step::Echo];
        }
        vec![
            Step::Body,
            Step::text("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            Step::Close,
        ]
    });
    let world = Setup::before(upstream).http2().start();
    let mut client = world.connect_http2();
    let (broken, control) = (client.ask(&get()), client.ask(&Ask::get("/api/control").signed()));
    assert!(matches!(client.answer(broken), Err(Gone::Reset(code)) if code != 0));
    assert_eq!(client.answer(control).unwrap().status(), 200);
}

#[test]
fn a_client_that_resets_a_stream_ends_its_request_upstream() {
    let gate = Gate::default();
    let world = Setup::before(holding(&gate)).http2().start();
    let mut client = world.connect_http2();
    let (one, other) = (client.ask(&get()), client.ask(&get()));
    world.upstream.wait("both", |seen| seen.heads() == 2);
    client.reset(one);
    world.upstream.wait("the end of one", |seen| seen.ended() == 1);
    gate.open();
    assert_eq!(client.answer(other).unwrap().text(), "done");
    assert_eq!(world.upstream.look(Record::ended), 1);
}

#[test]
fn a_client_that_goes_away_ends_all_its_requests_upstream() {
    let gate = Gate::default();
    let world = Setup::before(holding(&gate)).http2().start();
    let mut client = world.connect_http2();
    for _ in 0..5 {
        client.ask(&get());
    }
    world.upstream.wait("all of them", |seen| seen.heads() == 5);
    drop(client);
    world.upstream.wait("their end", |seen| seen.ended() == 5);
    gate.open();
    others_are_served(&world);
}

#[test]
fn an_expectation_holds_nothing_up() {
    let world = Setup::new().http2().start();
    let mut client = world.connect_http2();
    let refused = Ask::new("POST", "/api/x").field("Expect", "100-continue");
    let stream = client.headers(0, &refused.over_http2().0);
    assert_eq!(client.answer(stream).unwrap().status(), 401, "before any body");
    let stream = client.headers(0, &refused.signed().over_http2().0);
    client.frame(&Frame::new(DATA, END_STREAM, stream, *b"hi"));
    assert_eq!(client.answer(stream).unwrap().status(), 200);
    assert!(world.upstream.requests()[0].fields.lacks("expect"));
}

#[test]
fn a_stop_finishes_what_was_begun_and_says_goodbye() {
    let gate = Gate::default();
    let world = Setup::before(holding(&gate)).http2().extra("workers: 1").start();
    let (mut busy, mut idle) = (world.connect_http2(), world.connect_http2());
    let streams: Vec<u32> = (0..5).map(|_| busy.ask(&get())).collect();
    world.upstream.wait("the requests", |seen| seen.heads() == 5);
    idle.settle().unwrap();
    let (running, upstream) = world.stopping();
    let stop = thread::spawn(move || running.drain());
    assert_eq!(idle.end(), Some(0), "an idle connection");
    gate.open();
    for stream in streams {
        assert_eq!(busy.answer(stream).unwrap().text(), "done");
    }
    assert_eq!(busy.end(), Some(0));
    stop.join().unwrap();
    assert_eq!(upstream.requests().len(), 5);
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_does_not_answer() {
    let world = Setup::new().http2().start();
    let mut silent = world.silent_http2();
    silent.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    others_are_served(&world);
    let (running, _upstream) = world.stopping();
    let begun = Instant::now();
    running.drain();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// h2 soon forgets a stream that it has reset, and holds against the client what still comes on it.
#[test]
fn uploads_that_nobody_reads_do_not_end_the_connection() {
    let early = Upstream::scripted(|_, _| vec![Step::text(DONE), Step::Body]);
    let world = Setup::before(early).http2().start();
    for (ask, status) in [
        (Ask::new("POST", "/api/x"), 401),
        (Ask::new("POST", "/api/x").signed(), 200),
        (Ask::new("POST", "/nowhere").signed(), 404),
    ] {
        loop {
            let mut client = world.connect_http2();
            let begun = Instant::now();
            let (fields, _) = ask.over_http2();
            // More than h2 remembers once they are reset, and than it forgives.
            let streams: Vec<u32> = (0..95).map(|_| client.headers(0, &fields)).collect();
            for stream in &streams {
                assert_eq!(client.answer(*stream).map(|answer| answer.status()), Ok(status));
            }
            // The rest of the bodies was on its way, or so the gateway must think.
            for stream in &streams {
                client.data(*stream, b"late", true);
            }
            if begun.elapsed() > Duration::from_secs(5) {
                // So late that it is not waited for; on another connection it may be in time.
                continue;
            }
            let next = client.ask(&Ask::get("/api/control").signed());
            assert_eq!(client.answer(next).map(|answer| answer.status()), Ok(200));
            assert!(client.settle().is_ok() && client.farewell.is_none());
            assert!(streams.iter().all(|stream| client.reset_with(*stream).is_none()));
            break;
        }
    }
}

#[test]
fn an_upload_that_does_not_end_after_its_answer_is_reset() {
    let world = Setup::new().http2().start();
    let mut client = world.connect_http2();
    let (fields, _) = Ask::new("POST", "/api/x").over_http2();
    // One that goes on and on, and one that says nothing more.
    let (more, silent) = (client.headers(0, &fields), client.headers(0, &fields));
    for stream in [more, silent] {
        assert_eq!(client.answer(stream).map(|answer| answer.status()), Ok(401));
    }
    let begun = Instant::now();
    while client.reset_with(more).is_none() || client.reset_with(silent).is_none() {
        assert!(begun.elapsed() < DEADLINE, "never reset");
        if client.reset_with(more).is_none() {
            client.data(more, &[0; 1_000], false);
        }
        assert!(client.settle().is_ok());
    }
    assert_eq!((client.reset_with(more), client.reset_with(silent)), (Some(0), Some(0)));
    let next = client.ask(&Ask::get("/api/control").signed());
    assert_eq!(client.answer(next).map(|answer| answer.status()), Ok(200));
}
