//! What no request from outside can bring about: a panic while one is served.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;

use super::*;

/// Called for every request that a unit test sends.
pub(super) fn panic_if_asked(request: &Request<Incoming>) {
    assert!(request.uri().path() != "/open/panic", "asked to");
}

/// Answers each request with 200; one to `/open/held` tells that it arrived, and waits.
fn upstream(arrived: Sender<()>, go_on: Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let held = Arc::new((arrived, std::sync::Mutex::new(go_on)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let held = Arc::clone(&held);
            thread::spawn(move || answer_all(stream.unwrap(), &held.0, &held.1));
        }
    });
    address
}

fn answer_all(stream: TcpStream, arrived: &Sender<()>, go_on: &std::sync::Mutex<Receiver<()>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut stream = stream;
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        if first.contains("/held") {
            arrived.send(()).unwrap();
            go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

fn ask(running: &Running, path: &str) -> TcpStream {
    let mut stream =
        TcpStream::connect_timeout(&running.public().socket().unwrap(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(mut from: TcpStream) -> String {
    let mut answer = String::new();
    // A connection that is closed with unread bytes ends in a reset.
    let _reset = from.read_to_string(&mut answer);
    answer
}

#[test]
fn a_panic_ends_one_connection_and_is_counted() {
    let (arrived, arrivals) = mpsc::channel();
    let (go, go_on) = mpsc::channel();
    let upstream = upstream(arrived, go_on);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yaml");
    let configuration = format!(
        "listen: {{ public: \"127.0.0.1:0\" }}\nworkers: 1\n\
         upstreams: {{ api: {{ url: \"http://{upstream}\" }} }}\n\
         routes: [ {{ match: \"* /open/**\", to: api, public: true }} ]\n"
    );
    std::fs::write(&path, configuration).unwrap();
    let running = Server::start(&path, Options::default()).unwrap();
    let held = ask(&running, "/open/held");
    arrivals.recv_timeout(PATIENCE).unwrap();
    for count in 1..=3 {
        assert_eq!(answer(ask(&running, "/open/panic")), "", "cut without an answer");
        let good = answer(ask(&running, "/open/x"));
        assert!(good.starts_with("HTTP/1.1 200"), "{good}");
        assert_eq!(running.metrics().panics.get(), count);
    }
    go.send(()).unwrap();
    let good = answer(held);
    assert!(good.starts_with("HTTP/1.1 200"), "one that was under way meanwhile: {good}");
    let deadline = Instant::now() + PATIENCE;
    while running.metrics().connections.get() != 0 {
        assert!(Instant::now() < deadline, "a connection that panicked is counted as open");
        thread::yield_now();
    }
    running.drain();
}

const PATIENCE: Duration = Duration::from_secs(10);
