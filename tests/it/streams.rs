//! What takes its time arrives piece by piece, and silence in between ends nothing.

use std::time::Duration;
use std::time::Instant;

use crate::world::Ask;
use crate::world::Client;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
/// Every time that could be meant for something else, none of them too short for a busy machine.
const TIMEOUT: &str = "timeout: 1s";
const TIMEOUTS: &str = "timeouts: { header: 1s, body: 1s, idle: 1s }";
/// Longer than each of them.
const SILENCE: Duration = Duration::from_millis(1600);

/// Sends the pieces, each when its gate opens.
fn piecewise(head: &str, pieces: &[(Gate, &'static str)]) -> Upstream {
    let (head, pieces) = (head.to_owned(), pieces.to_vec());
    Upstream::scripted(move |_, _| {
        let mut steps = vec![Step::text(&head)];
        for (gate, piece) in &pieces {
            steps.extend([Step::Wait(gate.clone()), Step::text(piece)]);
        }
        steps.push(Step::Close);
        steps
    })
}

/// Waits, by asking for something else, until `patience` is over.
#[track_caller]
fn outwait(world: &World, patience: Duration) {
    let began = Instant::now();
    while began.elapsed() < patience {
        assert_eq!(world.admin("/healthz").status(), 200);
    }
}

fn begun(world: &World) -> Client {
    let mut client = world.connect();
    client.send(&Ask::get("/api/events").signed().bytes());
    client.until(b"\r\n\r\n").unwrap();
    client
}

#[test]
fn events_arrive_one_by_one_with_any_silence_between() {
    for (framing, texts) in [
        (
            "Transfer-Encoding: chunked\r\n",
            ["8\r\ndata: a\n\r\n", "8\r\ndata: b\n\r\n", "8\r\ndata: c\n\r\n0\r\n\r\n"],
        ),
        ("Content-Length: 24\r\n", ["data: a\n", "data: b\n", "data: c\n"]),
        ("", ["data: a\n", "data: b\n", "data: c\n"]),
    ] {
        let gates: [Gate; 3] = Default::default();
        let pieces: Vec<_> = gates.iter().cloned().zip(texts).collect();
        let upstream = piecewise(&format!("{HEAD}{framing}\r\n"), &pieces);
        let setup = Setup::before(upstream).upstream_keys(TIMEOUT);
        let world = setup.extra(TIMEOUTS).start();
        let mut client = begun(&world);
        for (gate, piece) in gates.iter().zip(["data: a", "data: b", "data: c"]) {
            // Once longer than any time there is; after that, one silence is as good as another.
            if piece == "data: a" {
                outwait(&world, SILENCE);
            }
            gate.open();
            client.until(piece.as_bytes()).unwrap_or_else(|fault| panic!("{framing}{fault}"));
        }
    }
}

#[test]
fn events_arrive_one_by_one_over_http2() {
    let gates: [Gate; 3] = Default::default();
    let pieces: Vec<_> =
        gates.iter().cloned().zip(["data: a\n", "data: b\n", "data: c\n"]).collect();
    let setup = Setup::before(piecewise(&format!("{HEAD}\r\n"), &pieces)).upstream_keys(TIMEOUT);
    let world = setup.extra(TIMEOUTS).http2().start();
    let mut client = world.connect_http2();
    let stream = client.ask(&Ask::get("/api/events").signed());
    client.wait(stream, 0).unwrap();
    outwait(&world, SILENCE);
    for (gate, so_far) in gates.iter().zip(["data: a\n", "data: a\ndata: b\n"]) {
        gate.open();
        assert_eq!(client.wait(stream, so_far.len()).unwrap(), so_far.as_bytes());
    }
    gates[2].open();
    assert_eq!(client.answer(stream).unwrap().text(), "data: a\ndata: b\ndata: c\n");
}

#[test]
fn a_poll_may_wait_as_long_as_its_route_says() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews";
    let upstream =
        Upstream::scripted(move |_, _| vec![Step::Wait(theirs.clone()), Step::text(answer)]);
    let routes = "\n  - { match: \"* /api/**\", to: api, timeout: 1m }\n";
    let setup = Setup::before(upstream).upstream_keys(TIMEOUT).routes(routes);
    let world = setup.extra(TIMEOUTS).start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/poll").signed().bytes());
    outwait(&world, SILENCE);
    gate.open();
    assert_eq!(client.answer("GET").unwrap().text(), "news");
}

#[test]
fn an_upstream_that_says_nothing_at_all_has_its_time() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let world = Setup::before(upstream).upstream_keys(TIMEOUT).start();
    let began = Instant::now();
    let answer = world.answer(&Ask::get("/api/poll").signed());
    assert_eq!(answer.status(), 504);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_client_that_leaves_ends_its_stream_upstream() {
    let gate = Gate::default();
    let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let world = Setup::before(piecewise(&head, &[(gate, "")])).start();
    let client = begun(&world);
    client.reset();
    world.upstream.wait("the end", |seen| seen.ended() == 1);
}
