//! A client of HTTP/2 that sends the frames it is told, whatever they are, and reads answers strictly.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use super::Ask;
use super::DEADLINE;
use super::Fault;
use super::Framing;
use super::Line;
use super::Message;
use super::hpack;
use super::wire::Fields;

/// One connection and what has arrived on it.
#[derive(Debug)]
pub struct Http2 {
    line: Line,
    buffer: Vec<u8>,
    next: u32,
    /// Whether what arrives is granted anew at once.
    pub grants: bool,
    /// Whether pings come back.
    pub answers_pings: bool,
    arrived: HashMap<u32, Arrived>,
    /// What the other side allows, by the number of the setting.
    pub allowed: HashMap<u16, u32>,
    /// The last GOAWAY: the last stream served, and why.
    pub farewell: Option<(u32, u32)>,
    /// Pings of ours that came back.
    pub pongs: usize,
    is_closed: bool,
}

#[derive(Clone, Debug, Default)]
struct Arrived {
    heads: Vec<Vec<(String, String)>>,
    body: Vec<u8>,
    is_whole: bool,
    reset: Option<u32>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// The stream was reset, with this code.
    Reset(u32),
    /// The connection ended, perhaps after a GOAWAY with this code.
    Closed(Option<u32>),
    /// Something else.
    Fault(Fault),
}

/// A frame as it is on the wire.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &stream, &self.payload].concat()
    }
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The fields of a request as a block.
pub fn head_of(ask: &Ask) -> Vec<u8> {
    hpack::encode(&ask.over_http2().0)
}

/// Fields as a block.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    hpack::encode(fields)
}

/// What begins every connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Http2 {
    /// Begins a connection with these settings and ours, without waiting for anything.
    pub fn over(line: Line, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(line);
        // No dynamic table towards us, and no pushes.
        let ours = [(1, 0), (2, 0)];
        let all = ours.iter().chain(settings);
        let payload: Vec<u8> = all
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        client.send(&[PREFACE, &Frame::new(SETTINGS, 0, 0, payload).bytes()].concat());
        client
    }

    /// A client that says nothing yet.
    pub fn silent(line: Line) -> Self {
        Self {
            line,
            buffer: vec![],
            next: 1,
            grants: true,
            answers_pings: true,
            arrived: HashMap::new(),
            allowed: HashMap::new(),
            farewell: None,
            pongs: 0,
            is_closed: false,
        }
    }

    /// Sends bytes for as long as the peer takes any; a second without one counts as an end.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.line.set_write_timeout(Duration::from_secs(1));
        self.line.write_all(bytes)
    }

    /// Sends bytes; a peer that has closed already is not an error.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.line.write_all(bytes);
    }

    /// Sends one frame.
    pub fn frame(&mut self, frame: &Frame) {
        self.send(&frame.bytes());
    }

    /// The number of a new stream.
    pub fn open(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Opens a stream with these fields.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, flags: u8, fields: &[(N, V)]) -> u32 {
        let stream = self.open();
        let block = hpack::encode(fields);
        let mut pieces = block.chunks(16_384).peekable();
        let mut kind = HEADERS;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let first = if kind == HEADERS { flags } else { 0 };
            bytes.extend(Frame::new(kind, first | end, stream, piece).bytes());
            kind = CONTINUATION;
        }
        self.send(&bytes);
        stream
    }

    /// Opens a stream with a request.
    pub fn ask(&mut self, ask: &Ask) -> u32 {
        let (fields, body) = ask.over_http2();
        if body.is_empty() {
            return self.headers(END_STREAM, &fields);
        }
        let stream = self.headers(0, &fields);
        self.data(stream, &body, true);
        stream
    }

    /// Sends a part of a body, in one piece of at most a frame.
    pub fn data(&mut self, stream: u32, body: &[u8], is_last: bool) {
        self.frame(&Frame::new(DATA, u8::from(is_last), stream, body));
    }

    /// Grants bytes to a stream, or to all of them for 0.
    pub fn grant(&mut self, stream: u32, bytes: u32) {
        self.frame(&Frame::new(WINDOW_UPDATE, 0, stream, bytes.to_be_bytes()));
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32) {
        self.frame(&Frame::new(RST_STREAM, 0, stream, CANCEL.to_be_bytes()));
    }

    /// Waits for the whole answer on a stream.
    pub fn answer(&mut self, stream: u32) -> Result<Message, Gone> {
        let until = Instant::now() + DEADLINE;
        loop {
            let so_far = self.arrived.get(&stream).map(|arrived| (arrived.reset, arrived.is_whole));
            match so_far {
                Some((Some(code), _)) => return Err(Gone::Reset(code)),
                Some((None, true)) => break,
                // Pings alone are no answer.
                Some((None, false)) | None if Instant::now() > until => {
                    return Err(Gone::Fault(Fault(format!("no end within {DEADLINE:?}"))));
                }
                Some((None, false)) | None => self.step()?,
            }
        }
        self.arrived.remove(&stream).unwrap().message().map_err(Gone::Fault)
    }

    /// Waits until a part of the answer has come: its head, and so many bytes.
    pub fn wait(&mut self, stream: u32, bytes: usize) -> Result<&[u8], Gone> {
        let has_come = |arrived: &Arrived| !arrived.heads.is_empty() && arrived.body.len() >= bytes;
        while !self.arrived.get(&stream).is_some_and(has_come) {
            if let Some(code) = self.arrived.get(&stream).and_then(|arrived| arrived.reset) {
                return Err(Gone::Reset(code));
            }
            self.step()?;
        }
        Ok(&self.arrived[&stream].body)
    }

    /// What has come of an answer, which is its head at least.
    pub fn begun(&mut self, stream: u32) -> Result<Message, Gone> {
        self.wait(stream, 0)?;
        self.arrived[&stream].clone().message().map_err(Gone::Fault)
    }

    /// The code with which a stream was reset, after its answer or before.
    pub fn reset_with(&self, stream: u32) -> Option<u32> {
        self.arrived.get(&stream)?.reset
    }

    /// The fields of an answer whose head has come.
    #[track_caller]
    pub fn fields(&self, stream: u32) -> Fields {
        Fields(self.arrived[&stream].heads[0].clone())
    }

    /// Reads until the other side closes; says with which GOAWAY.
    pub fn end(&mut self) -> Option<u32> {
        while self.step().is_ok() {}
        assert!(self.is_closed, "the connection did not end: {self:?}");
        self.farewell.map(|(_, code)| code)
    }

    /// Waits until a ping comes back: what was sent before has been read.
    pub fn settle(&mut self) -> Result<(), Gone> {
        let before = self.pongs;
        self.frame(&Frame::new(PING, 0, 0, [7; 8]));
        while self.pongs == before {
            self.step()?;
        }
        Ok(())
    }

    /// Waits for `patience`, or until anything arrives; whether nothing did.
    pub fn is_quiet(&self, patience: Duration) -> bool {
        self.line.is_quiet(patience)
    }

    /// Goes away, so that the other side reads an end.
    pub fn finish_sending(&mut self) {
        self.line.finish_sending();
    }

    /// Reads one frame and does what it asks for.
    fn step(&mut self) -> Result<(), Gone> {
        let frame = self.next_frame()?;
        let is_last = frame.flags & END_STREAM != 0;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                self.allowed.extend(frame.payload.chunks(6).map(|setting| {
                    let (id, value) = setting.split_at(2);
                    let id = u16::from_be_bytes(id.try_into().unwrap());
                    (id, u32::from_be_bytes(value.try_into().unwrap()))
                }));
                self.frame(&Frame::new(SETTINGS, ACK, 0, []));
            }
            PING if frame.flags & ACK == 0 && !self.answers_pings => {}
            PING if frame.flags & ACK == 0 => self.frame(&Frame::new(PING, ACK, 0, frame.payload)),
            PING => self.pongs += 1,
            GOAWAY => {
                let word =
                    |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
                self.farewell = Some((word(0), word(4)));
            }
            HEADERS => {
                if frame.flags & END_HEADERS == 0 {
                    return Err(Gone::Fault(Fault("a head in pieces".into())));
                }
                let head = hpack::decode(&frame.payload).map_err(Gone::Fault)?;
                let arrived = self.arrived.entry(frame.stream).or_default();
                arrived.heads.push(head);
                arrived.is_whole = is_last;
            }
            DATA => {
                let arrived = self.arrived.entry(frame.stream).or_default();
                arrived.body.extend_from_slice(&frame.payload);
                arrived.is_whole = is_last;
                let length = u32::try_from(frame.payload.len()).unwrap();
                if self.grants && length > 0 {
                    self.grant(0, length);
                }
                if self.grants && length > 0 && !is_last {
                    self.grant(frame.stream, length);
                }
            }
            RST_STREAM => {
                let code = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                self.arrived.entry(frame.stream).or_default().reset = Some(code);
            }
            _ => {}
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, Gone> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(frame);
            }
            if self.is_closed {
                return Err(Gone::Closed(self.farewell.map(|(_, code)| code)));
            }
            let mut chunk = [0; 16 * 1024];
            match self.line.read(&mut chunk) {
                Ok(count @ 1..) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Gone::Fault(Fault(format!("nothing came for {DEADLINE:?}"))));
                }
                Ok(0) | Err(_) => self.is_closed = true,
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let end = 9 + usize::try_from(length).unwrap();
        let payload = self.buffer.get(9..end)?.to_vec();
        self.buffer.drain(..end);
        Some(Frame { kind, flags, stream, payload })
    }
}

impl Arrived {
    /// As a message, whose line has the shape that others have.
    fn message(self) -> Result<Message, Fault> {
        let mut heads = self.heads.into_iter();
        let mut head = heads.next().ok_or(Fault("no head".into()))?;
        let has_others = head.iter().skip(1).any(|(name, _)| name.starts_with(':'));
        if has_others || head.first().is_none_or(|(name, _)| name != ":status") {
            return Err(Fault(format!("not :status first and alone: {head:?}")));
        }
        let line = format!("HTTP/2.0 {}", head.remove(0).1);
        let trailers = Fields(heads.next().unwrap_or_default());
        let (fields, framing) = (Fields(head), Framing::Bare);
        Ok(Message { line, fields, framing, body: self.body, trailers })
    }
}
