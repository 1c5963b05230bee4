//! The PROXY protocol towards an upstream: each connection tells for whom it was opened.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::thread::JoinHandle;

use super::*;

/// Answers one request on each of so many connections; what came on each.
fn recorder(connections: usize) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let recording = thread::spawn(move || {
        let serve = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut seen, mut byte) = (Vec::new(), [0]);
            // A header of version 2 has an empty line of its own.
            let is_whole = |seen: &[u8]| {
                crate::world::find(seen, b"get ").is_some() && seen.ends_with(b"\r\n\r\n")
            };
            while !is_whole(&seen) && stream.read(&mut byte).unwrap() == 1 {
                seen.push(byte[0].to_ascii_lowercase());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            // Until the gateway ends it: nobody else is told of on this connection.
            stream.read_to_end(&mut seen).unwrap();
            seen
        };
        (0..connections).map(serve).collect()
    });
    (address, recording)
}

#[test]
fn each_connection_tells_of_its_client_and_serves_nobody_else() {
    let v1 = b"proxy tcp4 127.0.0.1 0.0.0.0 0 0\r\nget ".to_vec();
    let v2 = b"\r\n\r\n\0\r\nquit\n\x21\x11\0\x0c\x7f\0\0\x01\0\0\0\0\0\0\0\0get ".to_vec();
    for (version, start) in [("v1", v1), ("v2", v2)] {
        let (address, recording) = recorder(2);
        let url = format!("http://{address}");
        let world = before(&[url], &format!(", proxy_protocol: {version}"));
        let mut client = world.connect();
        for _ in 0..2 {
            client.send(&get().bytes());
            assert_eq!(client.answer("GET").unwrap().status(), 200);
        }
        for seen in recording.join().unwrap() {
            assert!(seen.starts_with(&start), "{version}: {}", seen.escape_ascii());
            assert!(seen.ends_with(b"\r\n\r\n"), "{version}: one request, and nothing behind it");
        }
    }
}
