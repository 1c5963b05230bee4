//! Messages of HTTP/1.1, read the strict way and by a parser of our own.
//!
//! This is an oracle: whatever two servers could read differently is a [`Fault`] here. It never
//! repairs, skips or guesses.

use std::fmt;

/// A message that strict reading refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// The answer to a request that lets it have a body.
    Response,
    /// The answer to HEAD.
    HeadResponse,
}

/// How the end of the body was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body and no field that frames one.
    Bare,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// Header or trailer fields in the order of the wire, values as Latin-1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Every value under a name, in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that occurs exactly once.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} must occur once in {self:?}");
        all[0]
    }

    /// Every field whose name is none of these, in an order of its own.
    pub fn lines_but(&self, names: &[&str]) -> Vec<String> {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        let mut lines: Vec<String> = kept.map(|(name, value)| format!("{name}: {value}")).collect();
        lines.sort_unstable();
        lines
    }

    /// Whether the field is absent.
    pub fn lacks(&self, name: &str) -> bool {
        self.all(name).is_empty()
    }
}

/// One request or answer, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub line: String,
    /// The header fields.
    pub fields: Fields,
    /// How the body was framed.
    pub framing: Framing,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Fields,
}

impl Message {
    /// Reads one message from the start of `bytes`: itself and its length on the wire, or nothing
    /// when more bytes must come first. `ended` says that none will.
    pub fn read(bytes: &[u8], kind: Kind, ended: bool) -> Result<Option<(Self, usize)>, Fault> {
        let Some(head) = find(bytes, b"\r\n\r\n") else {
            return if ended { fault("the message ends within its head", bytes) } else { Ok(None) };
        };
        let mut lines = split_lines(&bytes[..head])?.into_iter();
        let line = latin1(lines.next().unwrap_or_default());
        let fields = Fields(lines.map(field).collect::<Result<_, _>>()?);
        let start = head + 4;
        let framing = match kind {
            Kind::Request => request_framing(&line, &fields)?,
            Kind::Response | Kind::HeadResponse => response_framing(&line, &fields, kind)?,
        };
        let mut message = Self { line, fields, framing, body: vec![], trailers: Fields::default() };
        let rest = &bytes[start..];
        match framing {
            Framing::Bare => Ok(Some((message, start))),
            Framing::Length(_) if kind == Kind::HeadResponse => Ok(Some((message, start))),
            Framing::Chunked if kind == Kind::HeadResponse => Ok(Some((message, start))),
            Framing::Length(length) if rest.len() >= length => {
                message.body = rest[..length].to_vec();
                Ok(Some((message, start + length)))
            }
            Framing::Length(_) if ended => fault("the message ends within its body", rest),
            Framing::Length(_) => Ok(None),
            Framing::Close if ended => {
                message.body = rest.to_vec();
                Ok(Some((message, bytes.len())))
            }
            Framing::Close => Ok(None),
            Framing::Chunked => match chunked(rest)? {
                Some((body, trailers, length)) => {
                    (message.body, message.trailers) = (body, trailers);
                    Ok(Some((message, start + length)))
                }
                None if ended => fault("the message ends within its chunks", rest),
                None => Ok(None),
            },
        }
    }

    /// Reads all of `bytes` as messages, one after the other.
    pub fn read_all(mut bytes: &[u8], kind: Kind) -> Result<Vec<Self>, Fault> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let Some((message, length)) = Self::read(bytes, kind, false)? else {
                return fault("the last message is not whole", bytes);
            };
            all.push(message);
            bytes = &bytes[length..];
        }
        Ok(all)
    }

    /// An answer without content that says 400.
    pub fn bad_request() -> Self {
        let (fields, trailers) = (Fields::default(), Fields::default());
        let line = "HTTP/1.1 400 Bad Request".into();
        Self { line, fields, framing: Framing::Bare, body: vec![], trailers }
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.line[9..12].parse().unwrap()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line)?;
        for (name, value) in self.fields.0.iter().chain(&self.trailers.0) {
            writeln!(f, "  {name}: {}", &value[..value.len().min(300)])?;
        }
        write!(f, "  ({:?}) {}", self.framing, self.body[..self.body.len().min(600)].escape_ascii())
    }
}

fn request_framing(line: &str, fields: &Fields) -> Result<Framing, Fault> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return fault("bad request line", line.as_bytes());
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return fault("bad method", line.as_bytes());
    }
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fault("bad target", line.as_bytes());
    }
    if fields.all("host").len() != 1 {
        return fault("not exactly one Host", format!("{fields:?}").as_bytes());
    }
    framing(fields).map(|framing| framing.unwrap_or(Framing::Bare))
}

fn response_framing(line: &str, fields: &Fields, kind: Kind) -> Result<Framing, Fault> {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let Some(Ok(code)) = code.map(str::parse::<u16>) else {
        return fault("bad status line", line.as_bytes());
    };
    if line.as_bytes().get(12).is_some_and(|byte| *byte != b' ') {
        return fault("bad status line", line.as_bytes());
    }
    let told = framing(fields)?;
    if code < 200 || code == 204 {
        // RFC 9110 section 8.6 and RFC 9112 section 6.1: neither field may stand here.
        return match told {
            None => Ok(Framing::Bare),
            Some(_) => fault("a framed body where none may be", line.as_bytes()),
        };
    }
    if code == 304 {
        return Ok(Framing::Bare);
    }
    if kind == Kind::HeadResponse {
        return Ok(told.unwrap_or(Framing::Bare));
    }
    Ok(told.unwrap_or(Framing::Close))
}

fn framing(fields: &Fields) -> Result<Option<Framing>, Fault> {
    match (&fields.all("content-length")[..], &fields.all("transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([], [coding]) if *coding == "chunked" => Ok(Some(Framing::Chunked)),
        ([length], []) => {
            let canonical = length.parse::<usize>().is_ok_and(|n| n.to_string() == *length);
            if canonical {
                return Ok(Some(Framing::Length(length.parse().unwrap())));
            }
            fault("bad Content-Length", length.as_bytes())
        }
        _ => fault("more than one framing", format!("{fields:?}").as_bytes()),
    }
}

fn field(line: &[u8]) -> Result<(String, String), Fault> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return fault("a field without a colon", line);
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return fault("bad field name", line);
    }
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return fault("a control byte in a field", line);
    }
    Ok((latin1(name), latin1(value).trim_matches([' ', '\t']).to_owned()))
}

type Chunks = (Vec<u8>, Fields, usize);

fn chunked(bytes: &[u8]) -> Result<Option<Chunks>, Fault> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        if line.is_empty() || line.len() > 8 || !line.iter().all(u8::is_ascii_hexdigit) {
            return fault("bad chunk size", line);
        }
        let size = usize::from_str_radix(&latin1(line), 16).unwrap();
        at += end + 2;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if &data[size..] != b"\r\n" {
            return fault("a chunk that does not end in CRLF", data);
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some((body, Fields::default(), at + 2)));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    let trailers = split_lines(&bytes[at..at + end])?.into_iter().map(field);
    Ok(Some((body, Fields(trailers.collect::<Result<_, _>>()?), at + end + 4)))
}

fn split_lines(mut head: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let mut lines = Vec::new();
    while let Some(end) = find(head, b"\r\n") {
        lines.push(&head[..end]);
        head = &head[end + 2..];
    }
    lines.push(head);
    match lines.iter().find(|line| line.contains(&b'\r') || line.contains(&b'\n')) {
        Some(line) => fault("a bare CR or LF", line),
        None => Ok(lines),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Each byte as the character of the same number, so that nothing is lost.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn fault<T>(what: &str, bytes: &[u8]) -> Result<T, Fault> {
    Err(Fault(format!("{what}: {}", bytes[..bytes.len().min(200)].escape_ascii())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_unambiguous() {
        for (bytes, body) in [
            (&b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"[..], &b""[..]),
            (b"POST /a HTTP/1.1\r\nhost:x\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
            (b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
            (b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n", b"hi"),
        ] {
            let (message, length) = Message::read(bytes, Kind::Request, false).unwrap().unwrap();
            assert_eq!((message.body.as_slice(), length), (body, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(Message::read(&bytes[..cut], Kind::Request, false), Ok(None), "{cut}");
            }
        }
    }

    #[test]
    fn refuses_what_two_servers_could_read_differently() {
        for head in [
            "GET /a HTTP/1.0\r\nHost: x",
            "GET  /a HTTP/1.1\r\nHost: x",
            "GET /a\tb HTTP/1.1\r\nHost: x",
            "GET /a HTTP/1.1",
            "GET /a HTTP/1.1\r\nHost: x\r\nHost: x",
            "GET /a HTTP/1.1\r\nHost: x\nX: y",
            "GET /a HTTP/1.1\r\nHost: x\r\n folded",
            "GET /a HTTP/1.1\r\nHost: x\r\nX : y",
            "GET /a HTTP/1.1\r\nHost: x\r\nX: y\0",
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +2",
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 02",
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2",
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
        ] {
            let bytes = format!("{head}\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
            assert!(Message::read(bytes.as_bytes(), Kind::Request, false).is_err(), "{head}");
        }
        for chunks in ["2 \r\nhi", "0x2\r\nhi", "2;a\r\nhi", "2\r\nhiX\r\n", "\r\n"] {
            let bytes = format!("{chunks}\r\n0\r\n\r\n");
            assert!(chunked(bytes.as_bytes()).is_err(), "{chunks}");
        }
    }

    #[test]
    fn knows_which_answers_have_no_body() {
        let read = |bytes: &str, kind| Message::read(bytes.as_bytes(), kind, false);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(head, Kind::HeadResponse).unwrap().unwrap().1, head.len());
        assert_eq!(read(head, Kind::Response), Ok(None));
        let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
        assert!(read(not_modified, Kind::Response).unwrap().is_some());
        assert!(read("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", Kind::Response).is_err());
        assert!(read("HTTP/1.1 2000 OK\r\n\r\n", Kind::Response).is_err());
        let open = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(Message::read(open, Kind::Response, false), Ok(None));
        assert_eq!(Message::read(open, Kind::Response, true).unwrap().unwrap().0.body, b"abc");
    }
}
