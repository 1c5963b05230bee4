//! An API with events and sockets: tells back what it is sent, and keeps what it was asked.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::PATIENCE;

/// A server on a port of its own, until the tests end.
pub struct Api {
    address: SocketAddr,
    asked: Arc<Asked>,
}

/// Methods and targets, in their order.
#[derive(Default)]
struct Asked {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

/// A request, whole.
pub struct Heard {
    /// Method and target.
    pub line: String,
    /// Its body.
    pub body: String,
    key: Option<String>,
}

impl Api {
    /// Starts it.
    pub fn start() -> Self {
        let asked = Arc::<Asked>::default();
        let theirs = Arc::clone(&asked);
        let address = each_on_a_thread(move |stream| theirs.serve(stream));
        Self { address, asked }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lines.lock().unwrap().clone()
    }
}

/// Accepts connections for as long as the tests run.
pub fn each_on_a_thread(
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            // Whoever leaves early is missed by nobody.
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads a request; none is the end of the connection.
pub fn hear(from: &mut impl BufRead) -> io::Result<Option<Heard>> {
    let mut first = String::new();
    from.read_line(&mut first)?;
    let Some((line, _)) = first.rsplit_once(' ') else { return Ok(None) };
    let (mut length, mut key) = (0, None);
    loop {
        let mut field = String::new();
        from.read_line(&mut field)?;
        let Some((name, value)) = field.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "sec-websocket-key" => key = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Heard { line: line.to_owned(), body, key }))
}

impl Asked {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let Some(Heard { line, body, key }) = hear(&mut reader)? else { return Ok(()) };
        self.lines.lock().unwrap().push(line.clone());
        self.changed.notify_all();
        match (line.as_str(), key) {
            ("GET /events", _) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")?;
                stream.write_all(b"data: one\n\n")?;
                self.wait_for("GET /api/next");
                stream.write_all(b"data: two\n\n")
            }
            (_, Some(key)) => converse(&key, &mut reader, &mut stream),
            (_, None) => {
                let text = format!("{line} {body}");
                let length = text.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\nX-Total: 7\r\n\
                     X-Hidden: 8\r\nAccess-Control-Allow-Origin: *\r\n\r\n{text}"
                )
            }
        }
    }

    fn wait_for(&self, line: &str) {
        let asked = self.lines.lock().unwrap();
        let is_missing = |lines: &mut Vec<String>| !lines.iter().any(|asked| asked == line);
        drop(self.changed.wait_timeout_while(asked, PATIENCE, is_missing).unwrap());
    }
}

/// Agrees to a WebSocket and sends back each frame (RFC 6455).
fn converse(key: &str, from: &mut impl Read, to: &mut TcpStream) -> io::Result<()> {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept =
        STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    write!(
        to,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    loop {
        let (first, payload) = frame(from)?;
        match first & 15 {
            CLOSE => {
                send(to, first, &payload)?;
                return to.shutdown(Shutdown::Write);
            }
            PING => send(to, first & 0xf0 | PONG, &payload)?,
            PONG => {}
            _ => send(to, first, &payload)?,
        }
    }
}

/// Reads a masked frame: its first byte, and what it says.
fn frame(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head)?;
    assert!(head[1] >= 128, "clients mask what they send");
    let length = match head[1] & 127 {
        126 => {
            let mut length = [0; 2];
            from.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            from.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    from.read_exact(&mut mask)?;
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut payload)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((head[0], payload))
}

fn send(to: &mut impl Write, first: u8, payload: &[u8]) -> io::Result<()> {
    let length = payload.len();
    let mut bytes = vec![first];
    match u16::try_from(length) {
        Ok(short @ ..126) => bytes.push(u8::try_from(short).unwrap()),
        Ok(length) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(127);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
