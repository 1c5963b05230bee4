//! One small HTTP request over a plain connection, bounded, for commands that ask a gateway.
//!
//! Blocking, HTTP/1.1, one answer per connection. Not for the data path, and not for anything that
//! comes from afar.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status of the answer.
    pub(super) status: u16,
    /// Its body, cut after [`MOST_BYTES`].
    pub(super) body: String,
}

/// Sends a request to `authority` (`HOST:PORT`, which is its host unless a header says otherwise, or
/// `unix:/PATH`).
pub(super) fn send(
    authority: &str,
    request: &str,
    headers: &[(String, String)],
    body: &str,
    patience: Duration,
) -> io::Result<Answer> {
    let is_unix = authority.starts_with("unix:");
    let mut head = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name == "Host") {
        head.extend(["Host: ", if is_unix { "localhost" } else { authority }, "\r\n"]);
    }
    if !body.is_empty() {
        head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
    }
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.extend(["\r\n", body]);
    let stream = connect(authority, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    (&stream).write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    read(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn connect(authority: &str, patience: Duration) -> io::Result<Socket> {
    if let Some(path) = authority.strip_prefix("unix:") {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // It bounds the wait for room in the queue, too.
        socket.set_write_timeout(Some(patience))?;
        return socket.connect(&SockAddr::unix(path)?).map(|()| socket);
    }
    let address = authority.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    TcpStream::connect_timeout(&address, patience).map(Socket::from)
}

fn read(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// Bytes of an answer that are read.
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_is_asked_like_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let authority = format!("unix:{}", path.display());
        let patience = Duration::from_secs(10);
        let ask = || send(&authority, "GET /a", &[], "", patience);
        assert_eq!(ask().unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let expected = "GET /a HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n";
            let mut head = vec![0; expected.len()];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(String::from_utf8(head).unwrap(), expected);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nyes").unwrap();
        });
        let answer = ask().unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "yes"));
        answering.join().unwrap();
        assert_eq!(ask().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_answer_is_read_and_anything_else_is_none() {
        let answer = read("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, &*answer.body), (503, "body"));
        for other in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2\r\n\r\n"] {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
