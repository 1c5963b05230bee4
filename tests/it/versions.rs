//! Every version of HTTP before the gateway with every one behind it: bodies and trailers both ways, and ends
//! that are told to the other side.

use bytes::Bytes;
use h2::Reason;

use crate::world::Ask;
use crate::world::Client;
use crate::world::Fault;
use crate::world::Http2;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::h2_upstream::H2Upstream;
use crate::world::h2_upstream::Plan;
use crate::world::h2_upstream::Stream;
use crate::world::http2::{END_HEADERS, END_STREAM, Frame, HEADERS, block};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}
use Version::{One, Two};

/// Of the client, and of the upstream.
const PAIRS: [(Version, Version); 4] = [(One, One), (One, Two), (Two, One), (Two, Two)];

/// What the upstream does.
#[derive(Clone, Debug)]
enum Act {
    /// Reads everything and sends this back, with the trailer `X-Sum: up` if it is told so.
    Return(Vec<u8>, bool),
    /// Answers with this status and length, and no body.
    Bare(u16, Option<&'static str>),
    /// Answers before it has read anything.
    Early,
    /// Answers nothing.
    Silence,
    /// Sends a part of an answer, and no more.
    Half,
    /// Sends a part of an answer, and breaks off when the request has ended.
    Cut,
}

enum Behind {
    One(Upstream),
    Two(H2Upstream),
}

const HALF: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";

impl Behind {
    fn new(version: Version, act: &Act) -> Self {
        match version {
            One => {
                let steps = steps(act);
                Self::One(Upstream::scripted(move |_, _| steps.clone()))
            }
            Two => {
                let half = Bytes::from_static(b"half");
                let plan = match act {
                    Act::Return(..) => Plan::Echo,
                    Act::Bare(status, length) => {
                        let length = length.map(|length| ("content-length", length));
                        Plan::Answer(*status, length.into_iter().collect(), Bytes::new())
                    }
                    Act::Early => Plan::Early(half),
                    Act::Silence => Plan::Silence,
                    Act::Half => Plan::Half(half),
                    Act::Cut => Plan::Cut(half),
                };
                Self::Two(H2Upstream::scripted(move |_, _| plan.clone()))
            }
        }
    }

    fn keys(&self) -> String {
        match self {
            Self::One(upstream) => format!("url: \"{}\"", upstream.url()),
            Self::Two(upstream) => format!("url: \"{}\", http2: always", upstream.url()),
        }
    }

    /// Waits until the head of a request has come.
    #[track_caller]
    fn begun(&self) {
        match self {
            Self::One(upstream) => upstream.wait("a head", |seen| seen.heads() == 1),
            Self::Two(upstream) => {
                upstream.wait("a head", |seen| seen.streams.len() == 1);
            }
        }
    }

    /// Waits until these bytes of a body have come.
    #[track_caller]
    fn got(&self, part: &'static [u8]) {
        match self {
            Self::One(upstream) => upstream.wait("a part", |seen| seen.has(part)),
            Self::Two(upstream) => {
                let has_come = |stream: &Stream| stream.body == part;
                upstream.wait("a part", |seen| seen.streams.first().is_some_and(has_come));
            }
        }
    }

    /// Waits until the request is given up: its connection is closed, or its stream reset.
    #[track_caller]
    fn abandoned(&self) {
        match self {
            Self::One(upstream) => upstream.wait("an end", |seen| seen.ended() == 1),
            Self::Two(upstream) => {
                let record = upstream.wait("a reset", |seen| seen.streams[0].reset.is_some());
                assert_eq!(record.streams[0].reset, Some(Reason::CANCEL));
            }
        }
    }

    /// The body and the trailer of the one request, if it is whole.
    fn request(&self) -> Option<(Vec<u8>, Option<String>)> {
        match self {
            Self::One(upstream) => {
                let request = upstream.try_requests().ok()?.pop()?;
                let trailer = request.trailers.all("x-sum").first().map(ToString::to_string);
                Some((request.body, trailer))
            }
            Self::Two(upstream) => {
                let stream = upstream.record().streams.pop().filter(|stream| stream.is_whole)?;
                let trailers = stream.trailers.unwrap_or_default();
                let trailer = trailers.get("x-sum").map(|value| value.to_str().unwrap().to_owned());
                Some((stream.body, trailer))
            }
        }
    }
}

fn steps(act: &Act) -> Vec<Step> {
    match act {
        Act::Return(body, has_trailer) => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            let mut answer = head.as_bytes().to_vec();
            for piece in body.chunks(10_000) {
                answer.extend(format!("{:x}\r\n", piece.len()).bytes());
                answer.extend_from_slice(piece);
                answer.extend_from_slice(b"\r\n");
            }
            let trailer = if *has_trailer { "X-Sum: up\r\n" } else { "" };
            answer.extend(format!("0\r\n{trailer}\r\n").bytes());
            vec![Step::Body, Step::Send(answer)]
        }
        Act::Bare(status, length) => {
            let length = length.map_or(String::new(), |it| format!("Content-Length: {it}\r\n"));
            vec![Step::Body, Step::text(&format!("HTTP/1.1 {status} X\r\n{length}\r\n"))]
        }
        Act::Early => vec![Step::text("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf")],
        Act::Silence => vec![Step::Silence],
        Act::Half => vec![Step::Body, Step::text(HALF), Step::Silence],
        Act::Cut => vec![Step::text(HALF), Step::Body, Step::Close],
    }
}

fn before(behind: &Behind) -> World {
    let routes = "\n  - { match: \"* /open/**\", to: shared, public: true }\n";
    let mut setup = Setup::new().routes(routes).extra("workers: 1").http2();
    setup.more_upstreams = format!(", shared: {{ {} }}", behind.keys());
    setup.start()
}

/// A client in the middle of a request.
enum Caller {
    One { client: Client, is_chunked: bool },
    Two { client: Http2, stream: u32 },
}

impl Caller {
    /// Sends a head that announces a body, of this length if it is known.
    fn begin(world: &World, version: Version, length: Option<usize>) -> Self {
        let written = length.map(|length| length.to_string());
        match version {
            One => {
                let mut client = world.connect();
                let framing = written.map_or("Transfer-Encoding: chunked".into(), |length| {
                    format!("Content-Length: {length}")
                });
                let start = "POST /open/a HTTP/1.1\r\nHost: gw.test\r\nTE: trailers";
                client.send(format!("{start}\r\n{framing}\r\n\r\n").as_bytes());
                Self::One { client, is_chunked: length.is_none() }
            }
            Two => {
                let mut client = world.connect_http2();
                let mut fields = vec![
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "gw.test"),
                    (":path", "/open/a"),
                    ("te", "trailers"),
                ];
                fields.extend(written.iter().map(|length| ("content-length", length.as_str())));
                let stream = client.headers(0, &fields);
                Self::Two { client, stream }
            }
        }
    }

    fn send(&mut self, body: &[u8]) {
        for piece in body.chunks(16_384) {
            match self {
                Self::One { client, is_chunked: true } => {
                    let size = format!("{:x}\r\n", piece.len());
                    client.send(&[size.as_bytes(), piece, b"\r\n"].concat());
                }
                Self::One { client, is_chunked: false } => client.send(piece),
                Self::Two { client, stream } => client.data(*stream, piece, false),
            }
        }
    }

    fn finish(&mut self, has_trailer: bool) {
        match self {
            Self::One { client, is_chunked: true } => {
                let trailer = if has_trailer { "X-Sum: up\r\n" } else { "" };
                client.send(format!("0\r\n{trailer}\r\n").as_bytes());
            }
            Self::One { is_chunked: false, .. } => {}
            Self::Two { client, stream } if has_trailer => {
                let flags = END_STREAM | END_HEADERS;
                client.frame(&Frame::new(HEADERS, flags, *stream, block(&[("x-sum", "up")])));
            }
            Self::Two { client, stream } => client.data(*stream, b"", true),
        }
    }

    fn answer(&mut self) -> Result<Message, Fault> {
        match self {
            Self::One { client, .. } => client.answer("POST"),
            Self::Two { client, stream } => {
                client.answer(*stream).map_err(|gone| Fault(format!("{gone:?}")))
            }
        }
    }

    /// Waits until a part of the answer has come.
    #[track_caller]
    fn half(&mut self) {
        match self {
            Self::One { client, .. } => assert!(client.until(b"half").is_ok()),
            Self::Two { client, stream } => assert_eq!(client.wait(*stream, 4).unwrap(), b"half"),
        }
    }

    /// Gives the request up; a connection that others use too goes on.
    fn go_away(self) -> Option<Http2> {
        match self {
            Self::One { client, .. } => {
                client.reset();
                None
            }
            Self::Two { mut client, stream } => {
                client.reset(stream);
                Some(client)
            }
        }
    }
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    for (client, upstream) in PAIRS {
        for size in [0, 1, 16_384, 16_385, 60_000] {
            for (has_length, has_trailer) in [(true, false), (false, false), (false, true)] {
                let body: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
                let behind = Behind::new(upstream, &Act::Return(body.clone(), has_trailer));
                let world = before(&behind);
                let mut caller = Caller::begin(&world, client, has_length.then_some(size));
                caller.send(&body);
                caller.finish(has_trailer);
                let answer = caller.answer().unwrap();
                let why = format!("{client:?} {upstream:?} {size} {has_length} {has_trailer}");
                assert_eq!((answer.status(), answer.body == body), (200, true), "{why}");
                let trailer = has_trailer.then(|| "up".to_owned());
                let down = answer.trailers.all("x-sum").first().map(ToString::to_string);
                assert_eq!(down, trailer, "{why}");
                assert!(behind.request() == Some((body, trailer)), "{why}");
            }
        }
    }
}

/// On one connection: the second answer tells whether the first was framed well.
#[track_caller]
fn ask_twice(world: &World, version: Version, ask: &Ask) -> [Message; 2] {
    match version {
        One => {
            let mut client = world.connect();
            [(); 2].map(|()| {
                client.send(&ask.bytes());
                client.answer(ask.method()).unwrap()
            })
        }
        Two => {
            let mut client = world.connect_http2();
            [(); 2].map(|()| {
                let stream = client.ask(ask);
                client.answer(stream).unwrap()
            })
        }
    }
}

#[test]
fn an_answer_without_a_body_keeps_the_length_that_it_tells_of() {
    for (client, upstream) in PAIRS {
        for (method, status, length) in [
            ("HEAD", 200, Some("5")),
            ("HEAD", 200, None),
            ("GET", 304, None),
            ("GET", 204, None),
            ("GET", 200, Some("0")),
        ] {
            let behind = Behind::new(upstream, &Act::Bare(status, length));
            let world = before(&behind);
            for answer in ask_twice(&world, client, &Ask::new(method, "/open/a")) {
                let why =
                    format!("{client:?} {upstream:?} {method} {status} {length:?} {answer:?}");
                assert_eq!((answer.status(), answer.body.as_slice()), (status, &b""[..]), "{why}");
                let told = answer.fields.all("content-length");
                assert_eq!(told.first().copied(), length, "{why}");
            }
        }
    }
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    for (client, upstream) in PAIRS {
        let behind = Behind::new(upstream, &Act::Early);
        let world = before(&behind);
        let mut caller = Caller::begin(&world, client, Some(100));
        caller.send(b"part");
        let answer = caller.answer().unwrap();
        assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"half"[..]));
        assert_eq!(behind.request(), None, "{client:?} {upstream:?}");
    }
}

#[test]
fn a_client_that_goes_away_while_it_waits_gives_the_request_up() {
    for (client, upstream) in PAIRS {
        let behind = Behind::new(upstream, &Act::Silence);
        let world = before(&behind);
        let mut caller = Caller::begin(&world, client, None);
        caller.send(b"all of it");
        caller.finish(false);
        behind.begun();
        let _kept = caller.go_away();
        behind.abandoned();
    }
}

#[test]
fn a_client_that_goes_away_within_the_answer_gives_the_request_up() {
    for (client, upstream) in PAIRS {
        let behind = Behind::new(upstream, &Act::Half);
        let world = before(&behind);
        let mut caller = Caller::begin(&world, client, None);
        caller.finish(false);
        caller.half();
        let _kept = caller.go_away();
        behind.abandoned();
    }
}

#[test]
fn a_client_that_goes_away_within_its_body_leaves_no_whole_request() {
    for (client, upstream) in PAIRS {
        for length in [None, Some(100)] {
            let behind = Behind::new(upstream, &Act::Return(Vec::new(), false));
            let world = before(&behind);
            let mut caller = Caller::begin(&world, client, length);
            caller.send(b"a part of it");
            behind.got(b"a part of it");
            let _kept = caller.go_away();
            behind.abandoned();
            assert_eq!(behind.request(), None, "{client:?} {upstream:?} {length:?}");
        }
    }
}

#[test]
fn half_an_answer_is_never_taken_for_a_whole_one() {
    for (client, upstream) in PAIRS {
        let behind = Behind::new(upstream, &Act::Cut);
        let world = before(&behind);
        let mut caller = Caller::begin(&world, client, None);
        caller.half();
        caller.finish(false);
        caller.answer().expect_err("half of it");
        assert!(behind.request().is_some(), "{client:?} {upstream:?}");
    }
}
