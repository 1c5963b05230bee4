//! Ends that do not read: the other end waits, memory does not fill, and nobody else notices.

use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;

#[test]
fn an_upstream_that_never_reads_is_given_up_and_harms_nobody_else() {
    let gate = Gate::default();
    let good = Upstream::echo();
    let routes =
        "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /good/**\", to: good }\n";
    let world = Setup::before(Upstream::reading_after(&gate))
        .routes(routes)
        .upstream_keys("timeout: 500ms")
        .extra("workers: 1\nlimits: { body: 1GiB }")
        .start_with_upstream("good", &good);
    let size = 64 << 20;
    let begun = Instant::now();
    let mut client = world.connect();
    client.send(&Ask::new("POST", "/api/x").signed().field("Content-Length", size).bytes());
    let sent = client.send_until_stuck(&vec![b'x'; size], Duration::from_millis(100));
    assert!(sent < size / 2, "{sent} bytes went in while nobody read");
    assert_eq!(world.answer(&Ask::get("/good/x").signed()).status(), 200);
    if let Ok(answer) = client.answer("POST") {
        assert_eq!(answer.status(), 504, "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    gate.open();
    world.upstream.wait("the end of the connection", |seen| seen.ended() == 1);
    assert!(world.upstream.try_requests().is_err(), "half a body became a whole request");
}

/// Answers one request with a body as long as it is taken; tells how much it was when it got stuck,
/// and whether the connection was ended then.
fn firehose() -> (String, mpsc::Receiver<usize>, mpsc::Receiver<bool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ((stuck, stuck_at), (over, ended)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        let length = u64::MAX;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (chunk, mut sent) = (vec![b'x'; 64 * 1024], 0);
        while sent < 1 << 30
            && let Ok(count) = stream.write(&chunk)
        {
            sent += count;
        }
        let _ = stuck.send(sent);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = over.send(is_end(&stream.read(&mut head)));
    });
    (url, stuck_at, ended)
}

fn is_end(read: &io::Result<usize>) -> bool {
    match read {
        Ok(count) => *count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn a_client_that_never_reads_is_given_up_and_frees_its_upstream() {
    let (url, stuck_at, ended) = firehose();
    let setup = Setup::new();
    let live = setup.upstream.url();
    let world = setup.extra("workers: 1\ntimeouts: { header: 300ms, idle: 1s }").start();
    world.reload_with(&live, &url).unwrap();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    stuck_at.recv_timeout(DEADLINE * 3).unwrap();
    assert!(ended.recv_timeout(DEADLINE).unwrap(), "the upstream is held by a client that is deaf");
    world.reload_with(&url, &live).unwrap();
    assert_eq!(world.answer(&Ask::get("/api/y").signed()).status(), 200);
}

#[test]
fn an_answer_that_pauses_is_not_the_fault_of_its_client() {
    let gate = Gate::default();
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
    let upstream = Upstream::scripted({
        let gate = gate.clone();
        move |_, _| {
            vec![Step::Body, Step::text(text), Step::Wait(gate.clone()), Step::text("later")]
        }
    });
    let world =
        Setup::before(upstream).extra("workers: 1\ntimeouts: { header: 300ms, idle: 1s }").start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    client.until(b"first").unwrap();
    // Two others that stay idle for as long as may be, one after the other, measure the pause.
    for _ in 0..2 {
        let mut idle = world.connect();
        idle.send(&Ask::get("/nowhere").signed().bytes());
        assert_eq!(idle.answer("GET").unwrap().status(), 404);
        idle.end().unwrap();
    }
    gate.open();
    assert_eq!(client.answer("GET").unwrap().text(), "firstlater");
}

#[test]
fn a_client_that_never_reads_slows_the_upstream_instead_of_filling_memory() {
    let (url, stuck_at, ended) = firehose();
    let setup = Setup::new();
    let live = setup.upstream.url();
    let world = setup.extra("workers: 1").start();
    world.reload_with(&live, &url).unwrap();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().bytes());
    let sent = stuck_at.recv_timeout(DEADLINE * 3).unwrap();
    // Loopback sockets hold a few MiB on each side.
    assert!(sent < 64 << 20, "{sent} bytes were taken while nobody read");
    world.reload_with(&url, &live).unwrap();
    assert_eq!(world.answer(&Ask::get("/api/y").signed()).status(), 200);
    client.reset();
    assert!(ended.recv_timeout(DEADLINE * 2).unwrap());
}
