//! What large bodies cost on their way through, beside nginx.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::process_table::spent;
use crate::programs::Nginx;
use crate::programs::pin;
use crate::world::Ask;

/// Bytes of a body, and how often each way is gone.
const LENGTH: u64 = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };
const ROUNDS: usize = if cfg!(debug_assertions) { 1 } else { 5 };
const PIECE: usize = 1 << 18;

#[test]
fn a_gibibyte_down_costs_beside_nginx() {
    let upstream = Nginx::start("sendfile on;", "");
    // Not written: it reads as zeros.
    let file = File::create(upstream.folder.path().join("www/large")).unwrap();
    file.set_len(LENGTH).unwrap();
    let gateway = Gateway::start(&configuration(&upstream.url(), USERS, "workers: 1").replace(
        "{ match: \"* /public/**\", to: api, public: true }",
        "{ match: \"* /large\", to: api, public: true }",
    ));
    let nginx = Nginx::proxy(upstream.address, "proxy_max_temp_file_size 0;");
    pin(upstream.worker(), 1);
    let costs = compare("down", &gateway, &nginx, |to| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&signed(Ask::get("/large")).bytes()).unwrap();
        drained(&mut stream)
    });
    println!("{costs}");
}

#[test]
fn a_gibibyte_up_costs_beside_nginx() {
    let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = sink.local_addr().unwrap();
    // Ends with the process.
    thread::spawn(move || {
        for stream in sink.incoming() {
            thread::spawn(move || swallow(&mut stream.unwrap()));
        }
    });
    let extra = "workers: 1\nlimits: { body: 2GiB }";
    let gateway = Gateway::start(&configuration(&format!("http://{address}"), USERS, extra));
    let nginx = Nginx::proxy(address, "proxy_request_buffering off;");
    let costs = compare("up", &gateway, &nginx, |to| {
        let mut stream = TcpStream::connect(to).unwrap();
        let head = signed(Ask::new("POST", "/api/x")).field("Content-Length", LENGTH.to_string());
        stream.write_all(&head.bytes()).unwrap();
        let piece = vec![b'x'; PIECE];
        for _ in 0..LENGTH / u64::try_from(PIECE).unwrap() {
            stream.write_all(&piece).unwrap();
        }
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..read]);
        LENGTH
    });
    println!("{costs}");
}

/// Sends the same through both, in turns; what that costs each.
fn compare(way: &str, gateway: &Gateway, nginx: &Nginx, go: impl Fn(SocketAddr) -> u64) -> String {
    let contenders = [(gateway.id(), gateway.public), (nginx.worker(), nginx.address)];
    let mut costs = [vec![], vec![]];
    for (process, _) in contenders {
        pin(process, 0);
    }
    for _ in 0..ROUNDS {
        for ((process, address), costs) in contenders.iter().zip(&mut costs) {
            let before = spent(*process);
            assert_eq!(go(*address), LENGTH);
            costs.push(spent(*process).since(before).total().as_secs_f64());
        }
    }
    let [ours, theirs] = costs.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2]
    });
    let mebibytes = LENGTH >> 20;
    format!(
        "bodies: {mebibytes} MiB {way}, processor seconds: portcullis {ours:.2}, nginx {theirs:.2}; \
         {:.2} times its throughput",
        theirs / ours
    )
}

/// The bytes of a body that is answered; it is not looked at.
fn drained(stream: &mut TcpStream) -> u64 {
    let mut room = vec![0; PIECE];
    let mut head = Vec::new();
    let mut total = loop {
        let read = stream.read(&mut room).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&head));
        head.extend_from_slice(&room[..read]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break u64::try_from(head.len() - end - 4).unwrap();
        }
    };
    while total < LENGTH {
        let read = stream.read(&mut room).unwrap();
        assert!(read > 0, "after {total} bytes");
        total += u64::try_from(read).unwrap();
    }
    total
}

/// Reads a body of [`LENGTH`] bytes behind each head, and answers.
fn swallow(stream: &mut TcpStream) {
    let mut room = vec![0; PIECE];
    let mut head = Vec::new();
    let mut left = LENGTH;
    while let Ok(read @ 1..) = stream.read(&mut room) {
        let mut body = read;
        if left == LENGTH {
            head.extend_from_slice(&room[..read]);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            body = head.len() - end - 4;
        }
        left -= u64::try_from(body).unwrap();
        if left == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            head.clear();
            left = LENGTH;
        }
    }
}
