//! Floods, bombs and half-truths: each ends its stream or its connection, and nobody else notices.

use super::others_are_served;
use super::worlds;
use crate::world::Ask;
use crate::world::Frame;
use crate::world::Gone;
use crate::world::Record;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, head_of,
};

fn world() -> World {
    Setup::new().http2().start()
}

/// The frame that asks for a resource, with good credentials.
fn asking(stream: u32, flags: u8) -> Vec<u8> {
    let block = head_of(&Ask::get("/api/x").signed());
    Frame::new(HEADERS, flags | END_HEADERS, stream, block).bytes()
}

fn reset(stream: u32) -> Vec<u8> {
    Frame::new(RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes()
}

#[test]
fn a_rapid_reset_ends_the_connection() {
    for world in worlds() {
        for _ in 0..3 {
            let mut client = world.connect_http2();
            let streams = (0..5_000).map(|n| 2 * n + 1);
            let flood: Vec<u8> = streams
                .flat_map(|stream| [asking(stream, END_STREAM), reset(stream)].concat())
                .collect();
            client.send(&flood);
            assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
            others_are_served(&world);
        }
        assert!(world.upstream.look(Record::connections) < 100, "{:?}", world.upstream);
    }
}

#[test]
fn requests_that_are_only_begun_end_the_connection() {
    let upstream = Upstream::scripted(|_, head| {
        if head.contains("/control") { vec![Step::Body, Step::Echo] } else { vec![Step::Silence] }
    });
    let world = Setup::before(upstream).http2().start();
    let mut client = world.connect_http2();
    let mut begun = 0;
    // Each reset comes after its request was looked at, so that h2 does not count it.
    while client.settle().is_ok() {
        let stream = client.ask(&Ask::get("/api/x").signed());
        if client.settle().is_err() {
            break;
        }
        client.reset(stream);
        begun += 1;
        assert!(begun < 1_000, "never ended");
    }
    assert!(begun > 400, "{begun}");
    others_are_served(&world);
    assert!(world.metric("portcullis_http2_abandoned_total") > 400.0);
}

#[test]
fn a_head_without_an_end_ends_the_connection() {
    for world in worlds() {
        let before = world.upstream.bytes_seen();
        let mut client = world.connect_http2();
        let block = head_of(&Ask::get("/api/x").signed());
        client.frame(&Frame::new(HEADERS, END_STREAM, 1, block));
        let piece =
            Frame::new(CONTINUATION, 0, 1, head_of_field("x-a", &"v".repeat(16_000))).bytes();
        for _ in 0..10_000 {
            if client.try_send(&piece).is_err() {
                break;
            }
        }
        assert!(client.end().is_some_and(|code| code != 0), "{client:?}");
        assert_eq!(world.upstream.bytes_seen(), before);
        others_are_served(&world);
    }
}

#[test]
fn many_empty_continuations_end_the_connection() {
    for world in worlds() {
        let mut client = world.connect_http2();
        client.frame(&Frame::new(HEADERS, END_STREAM, 1, head_of(&Ask::get("/api/x").signed())));
        let piece = Frame::new(CONTINUATION, 0, 1, []).bytes().repeat(1_000);
        for _ in 0..100 {
            if client.try_send(&piece).is_err() {
                break;
            }
        }
        assert!(client.end().is_some_and(|code| code != 0), "{client:?}");
        others_are_served(&world);
    }
}

#[test]
fn empty_pieces_of_a_body_end_the_connection() {
    for world in worlds() {
        let mut client = world.connect_http2();
        client.send(&asking(1, 0));
        let pieces = Frame::new(DATA, 0, 1, []).bytes().repeat(1_000);
        for _ in 0..100 {
            if client.try_send(&pieces).is_err() {
                break;
            }
        }
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
        others_are_served(&world);
    }
}

#[test]
fn a_flood_of_control_frames_is_not_kept() {
    for world in worlds() {
        let settings = Frame::new(SETTINGS, 0, 0, [0, 4, 0, 1, 0, 0]);
        let floods = [
            ("ping", Frame::new(PING, 0, 0, [1; 8])),
            ("settings", settings),
            ("priority", Frame::new(PRIORITY, 0, 1, [0, 0, 0, 3, 1])),
            ("window", Frame::new(WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes())),
        ];
        for (name, frame) in floods {
            let mut client = world.connect_http2();
            let bytes = frame.bytes().repeat(1_000);
            // Nothing is read meanwhile: what it would be answered with must not pile up.
            let mut sent = 0;
            while sent < 20 && client.try_send(&bytes).is_ok() {
                sent += 1;
            }
            others_are_served(&world);
            drop((name, client));
        }
    }
}

#[test]
fn a_small_block_that_grows_large_is_refused() {
    for world in worlds() {
        let before = world.upstream.bytes_seen();
        let mut client = world.connect_http2();
        let mut block = head_of(&Ask::get("/api/x").signed());
        // One entry of the dynamic table, and 4000 references to it: 16 MiB in 4 KiB.
        block.extend([0x40, 1, b'x', 127, 0x81, 0x1e]);
        block.extend([b'v'; 4_000]);
        block.extend([0xbe; 4_000]);
        client.frame(&Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, block));
        let outcome = client.answer(1).map(|answer| answer.status());
        let is_refused = matches!(outcome, Ok(431) | Err(Gone::Closed(Some(ENHANCE_YOUR_CALM))));
        assert!(is_refused, "{outcome:?}");
        assert_eq!(world.upstream.bytes_seen(), before);
        others_are_served(&world);
    }
}

#[test]
fn a_body_of_another_length_than_announced_resets_its_stream() {
    for world in worlds() {
        let post =
            |length: &str| Ask::new("POST", "/api/x").signed().field("Content-Length", length);
        let head = |stream, flags, length: &str| {
            Frame::new(HEADERS, flags | END_HEADERS, stream, head_of(&post(length))).bytes()
        };
        let data = |bytes: &str, flags| Frame::new(DATA, flags, 1, bytes).bytes();
        for bytes in [
            [head(1, 0, "5"), data("hel", END_STREAM)].concat(),
            [head(1, 0, "5"), data("hello!", END_STREAM)].concat(),
            [head(1, 0, "5"), data("hello!", 0)].concat(),
            [head(1, 0, "5"), data("hello", 0), data("!", END_STREAM)].concat(),
            [head(1, 0, "0"), data("GET /api/admin HTTP/1.1", END_STREAM)].concat(),
            head(1, END_STREAM, "5"),
        ] {
            let mark = world.upstream.mark();
            let mut client = world.connect_http2();
            client.send(&bytes);
            let outcome = client.answer(1);
            assert_eq!(outcome, Err(Gone::Reset(PROTOCOL_ERROR)), "{:?}", bytes.escape_ascii());
            let seen = world.upstream.bytes_since(&mark);
            assert!(seen.iter().all(Vec::is_empty), "{}", bytes.escape_ascii());
            others_are_served(&world);
        }
        for length in ["+5", "05", "5, 5", "x", "-1"] {
            let before = world.upstream.bytes_seen();
            let mut client = world.connect_http2();
            client.send(&[head(1, 0, length), data("hello", END_STREAM)].concat());
            let outcome = client.answer(1).map(|answer| answer.status());
            let is_refused = matches!(outcome, Ok(400) | Err(Gone::Reset(PROTOCOL_ERROR)));
            assert!(is_refused, "{length}: {outcome:?}");
            assert_eq!(world.upstream.bytes_seen(), before, "{length}");
        }
        let mut client = world.connect_http2();
        client.send(&[head(1, 0, "5"), data("hello", END_STREAM)].concat());
        assert_eq!(client.answer(1).map(|answer| answer.status()), Ok(200));
    }
}

#[test]
fn frames_that_only_a_server_sends_end_the_connection() {
    for world in worlds() {
        let mut pushing = world.connect_http2();
        pushing.send(&asking(1, 0));
        let promise = [&2_u32.to_be_bytes()[..], &head_of(&Ask::get("/api/x").signed())].concat();
        pushing.frame(&Frame::new(PUSH_PROMISE, END_HEADERS, 1, promise));
        assert_eq!(pushing.end(), Some(PROTOCOL_ERROR));
        for frame in [
            Frame::new(HEADERS, END_HEADERS | END_STREAM, 2, head_of(&Ask::get("/api/x").signed())),
            Frame::new(HEADERS, END_HEADERS | END_STREAM, 0, head_of(&Ask::get("/api/x").signed())),
            Frame::new(DATA, 0, 0, *b"x"),
            Frame::new(DATA, 0, 7, *b"x"),
            Frame::new(CONTINUATION, END_HEADERS, 1, []),
            Frame::new(RST_STREAM, 0, 9, 8_u32.to_be_bytes()),
            Frame::new(WINDOW_UPDATE, 0, 0, 0_u32.to_be_bytes()),
            Frame::new(SETTINGS, 0, 0, [0, 2, 0, 0, 0, 9]),
            Frame::new(PING, 0, 0, *b"short"),
            Frame::new(PING, 0, 0, vec![0; 17_000]),
        ] {
            let before = world.upstream.bytes_seen();
            let mut client = world.connect_http2();
            client.frame(&frame);
            assert!(client.end().is_some_and(|code| code != 0), "{frame:?}");
            assert_eq!(world.upstream.bytes_seen(), before, "{frame:?}");
        }
        others_are_served(&world);
    }
}

#[test]
fn more_streams_than_allowed_are_refused_and_nothing_else_is() {
    let upstream = Upstream::scripted(|_, head| {
        if head.contains("/control") { vec![Step::Body, Step::Echo] } else { vec![Step::Silence] }
    });
    let setup = Setup::before(upstream).extra("http2: { prior_knowledge: true, streams: 10 }");
    let world = setup.start();
    let mut client = world.connect_http2();
    // Once its settings have come, a client that asks for more than they allow breaks the protocol.
    client.settle().unwrap();
    let streams: Vec<u32> = (0..10).map(|_| client.ask(&Ask::get("/api/x").signed())).collect();
    world.upstream.wait("ten requests", |seen| seen.heads() == 10);
    let refused = client.ask(&Ask::get("/api/x").signed());
    assert!(matches!(client.answer(refused), Err(Gone::Reset(_) | Gone::Closed(Some(_)))));
    assert_eq!(world.upstream.look(Record::heads), 10);
    others_are_served(&world);
    drop(streams);
}

/// One field, as it stands in a block.
fn head_of_field(name: &str, value: &str) -> Vec<u8> {
    crate::world::http2::block(&[(name, value)])
}

#[test]
fn what_is_not_http2_after_its_first_bytes_ends_the_connection() {
    let world = world();
    let mut client = world.silent_http2();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: gw.test\r\n\r\n");
    client.end();
    // One byte short of the preface: HTTP/1.1 it is not either.
    let mut client = world.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
    let (_, answer) = client.end().unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
    others_are_served(&world);
    assert_eq!(world.answer(&Ask::post("/api/x", "hi").signed()).status(), 200, "P as in POST");
}
