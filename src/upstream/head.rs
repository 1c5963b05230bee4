//! Heads on the wire to an upstream: the request's written, the answer's read (RFC 9112).
//!
//! What an answer's framing says is settled here, once; an answer that two readers could frame in two
//! ways is refused, since what follows it would be taken for the answer to somebody else's request.

use std::io::Write as _;
use std::mem::MaybeUninit;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// When the connection ends; only of an answer.
    UntilClose,
    /// The connection is no longer HTTP's.
    Tunnel,
}

/// An answer whose head could be read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// Whether another request may follow on the connection.
    pub(super) keeps_alive: bool,
}

/// Why an answer's head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// Not the syntax of HTTP/1.
    #[error("it is not HTTP/1")]
    Syntax,
    /// Larger than heads may be.
    #[error("its head is too large")]
    TooLarge,
    /// Its length is contradictory or not a number.
    #[error("its length is ambiguous")]
    Length,
    /// A transfer coding other than `chunked`.
    #[error("its transfer coding is not chunked")]
    Coding,
    /// More interim answers than anybody needs.
    #[error("it has too many interim answers")]
    Interim,
    /// It switches protocols although nobody asked, or to something else.
    #[error("it switches protocols, and not as it was asked")]
    Upgrade,
}

/// Appends a request's head to `out`.
pub(super) fn write(
    out: &mut Vec<u8>,
    parts: &Parts,
    ours: &[(HeaderName, HeaderValue)],
    has_body: bool,
) -> Framing {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    for piece in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let mut length = None;
    for (name, value) in &parts.headers {
        // Framing is written below, once, from what the body really is.
        if *name == header::CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse().ok());
        } else if *name != header::TRANSFER_ENCODING {
            write_field(out, name, value);
        }
    }
    for (name, value) in ours {
        write_field(out, name, value);
    }
    // RFC 9110 §8.6: a method that expects content says that there is none.
    let expects_content = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    let framing = match (has_body, length) {
        (false, None) if !expects_content => Framing::Empty,
        (false, _) => {
            out.extend_from_slice(b"content-length: 0\r\n");
            Framing::Empty
        }
        (true, Some(length)) => {
            let _ = write!(out, "content-length: {length}\r\n");
            Framing::Length(length)
        }
        (true, None) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    framing
}

/// Appends one field line.
pub(super) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Takes a whole head off `read`, whose bytes from `fresh` on were not looked at yet; `None` when more
/// are needed. Interim answers are dropped, and counted in `interim`.
pub(super) fn take(
    read: &mut BytesMut,
    fresh: usize,
    method: &Method,
    interim: &mut u32,
) -> Result<Option<Head>, HeadFault> {
    // Without the end of a line nothing can have become whole. An upstream that sends its head byte by
    // byte costs one parse for each line, and there are few of those: an empty one before the status
    // line, of which the parser would take any number, is refused.
    if !read.iter().skip(fresh).any(|byte| *byte == b'\n') {
        return more(read);
    }
    loop {
        if read.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(HeadFault::Syntax);
        }
        let Some((status, version, headers)) = parse(read)? else { return more(read) };
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(switch(headers)));
        }
        if !status.is_informational() {
            return judge(status, version, headers, method).map(Some);
        }
        // RFC 9110 §15.2 sets no number; but a flood of them would keep its reader from looking at
        // the clock.
        *interim += 1;
        if *interim > MOST_INTERIM {
            return Err(HeadFault::Interim);
        }
    }
}

/// Whether anybody asked for it is judged by whoever knows.
fn switch(mut headers: HeaderMap) -> Head {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Head { response, framing: Framing::Tunnel, keeps_alive: false }
}

/// Says that bytes are missing, while a head may still grow.
fn more(read: &BytesMut) -> Result<Option<Head>, HeadFault> {
    if read.len() >= LARGEST_HEAD { Err(HeadFault::TooLarge) } else { Ok(None) }
}

type Parsed = (StatusCode, u8, HeaderMap);

fn parse(read: &mut BytesMut) -> Result<Option<Parsed>, HeadFault> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, read, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
        Err(_) => return Err(HeadFault::Syntax),
    };
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(HeadFault::Syntax);
    };
    let status = StatusCode::from_u16(code).map_err(|_| HeadFault::Syntax)?;
    // Values become slices of the one buffer they came in; only their places are noted for now,
    // because the buffer is still borrowed.
    let start = read.as_ptr().addr();
    let mut named = Vec::with_capacity(response.headers.len());
    for field in &*response.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadFault::Syntax)?;
        let from = field.value.as_ptr().addr().wrapping_sub(start);
        named.push((name, from, from.wrapping_add(field.value.len())));
    }
    let mut headers = HeaderMap::with_capacity(named.len());
    let head = read.split_to(length).freeze();
    for (name, from, to) in named {
        headers.append(name, value_of(&head, from, to)?);
    }
    Ok(Some((status, version, headers)))
}

fn value_of(head: &Bytes, from: usize, to: usize) -> Result<HeaderValue, HeadFault> {
    // An empty value may point anywhere.
    let value = if from < to && to <= head.len() { head.slice(from..to) } else { Bytes::new() };
    HeaderValue::from_maybe_shared(value).map_err(|_| HeadFault::Syntax)
}

/// RFC 9112 §6.3.
fn judge(
    status: StatusCode,
    version: u8,
    mut headers: HeaderMap,
    method: &Method,
) -> Result<Head, HeadFault> {
    let is_chunked = is_chunked(&headers)?;
    if is_chunked {
        headers.remove(header::TRANSFER_ENCODING);
    }
    let length = length_of(&mut headers)?;
    if is_chunked && length.is_some() {
        // Which of the two a cache or client behind us would believe cannot be known.
        headers.remove(header::CONTENT_LENGTH);
    }
    let is_bodiless = *method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match (is_bodiless, is_chunked, length) {
        (true, _, _) | (false, false, Some(0)) => Framing::Empty,
        (false, true, _) => Framing::Chunked,
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::UntilClose,
    };
    let closes = headers.get_all(header::CONNECTION).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tokens.any(|token| token.eq_ignore_ascii_case(b"close"))
    });
    // Of HTTP/1.0 nothing is expected, and of an answer with two lengths neither.
    let keeps_alive = version == 1
        && !closes
        && framing != Framing::UntilClose
        && !(is_chunked && length.is_some());
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Head { response, framing, keeps_alive })
}

/// Several codings are refused whether one line names them or several do: a list may be split
/// (RFC 9110 §5.3).
fn is_chunked(headers: &HeaderMap) -> Result<bool, HeadFault> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err(HeadFault::Coding),
    }
}

/// The one length, written once; equal repetitions are merged (RFC 9112 §6.3, rule 5).
pub(super) fn length_of(headers: &mut HeaderMap) -> Result<Option<u64>, HeadFault> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let first = first.clone();
    let mut is_repeated = false;
    for value in values {
        is_repeated = true;
        if *value != first {
            return Err(HeadFault::Length);
        }
    }
    if !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::Length);
    }
    let length = first.to_str().ok().and_then(|text| text.parse().ok()).ok_or(HeadFault::Length)?;
    if is_repeated {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(Some(length))
}

/// Largest head of an answer, in bytes.
const LARGEST_HEAD: usize = 128 * 1024;
/// Interim answers before one final answer.
const MOST_INTERIM: u32 = 100;
/// Fields in the head of an answer.
pub(super) const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(text: &str, method: &Method) -> Result<Option<(Head, usize)>, HeadFault> {
        let mut bytes = BytesMut::from(text.as_bytes());
        take(&mut bytes, 0, method, &mut 0).map(|head| head.map(|head| (head, bytes.len())))
    }

    /// What comes of `text` handed over in pieces of `step` bytes, and after how many of them.
    fn read_in_pieces(text: &[u8], step: usize) -> (Result<bool, HeadFault>, usize) {
        let (mut bytes, mut interim) = (BytesMut::new(), 0);
        for piece in text.chunks(step) {
            let fresh = bytes.len();
            bytes.extend_from_slice(piece);
            match take(&mut bytes, fresh, &Method::GET, &mut interim) {
                Ok(None) => {}
                Ok(Some(_)) => return (Ok(true), fresh + piece.len()),
                Err(fault) => return (Err(fault), fresh + piece.len()),
            }
        }
        (Ok(false), text.len())
    }

    #[track_caller]
    fn frames(fields: &str, framing: Framing, keeps_alive: bool) {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\nrest");
        let (head, left) = read(&text, &Method::GET).unwrap().unwrap();
        assert_eq!((head.framing, head.keeps_alive, left), (framing, keeps_alive, 4), "{fields}");
        assert!(!head.response.headers().contains_key("transfer-encoding"));
        assert!(head.response.headers().get_all("content-length").iter().count() <= 1);
    }

    #[test]
    fn frames_an_answer_as_the_standard_says() {
        frames("Content-Length: 5\r\n", Framing::Length(5), true);
        frames("Content-Length: 5\r\nContent-Length: 5\r\n", Framing::Length(5), true);
        frames("Content-Length: 0\r\n", Framing::Empty, true);
        frames("Transfer-Encoding: Chunked\r\n", Framing::Chunked, true);
        frames("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Framing::Chunked, false);
        frames("Content-Length: 5\r\nConnection: x, Close\r\n", Framing::Length(5), false);
        frames("X: y\r\n", Framing::UntilClose, false);
        frames("X:\r\nContent-Length: 1\r\n", Framing::Length(1), true);
    }

    #[test]
    fn an_answer_that_can_have_no_body_has_none() {
        for (status, method) in [(204, Method::GET), (304, Method::GET), (200, Method::HEAD)] {
            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 9\r\n\r\n");
            let (head, _) = read(&text, &method).unwrap().unwrap();
            assert_eq!(head.framing, Framing::Empty);
            assert_eq!(head.response.headers()["content-length"], "9");
            assert!(head.keeps_alive);
        }
    }

    #[test]
    fn refuses_what_two_readers_would_frame_in_two_ways() {
        let of = |fields: &str| {
            read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET).map(|_| ()).unwrap_err()
        };
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 18446744073709551616\r\n",
        ] {
            assert_eq!(of(fields), HeadFault::Length, "{fields}");
        }
        for coding in ["gzip, chunked", "identity", "chunked, chunked", ""] {
            assert_eq!(of(&format!("Transfer-Encoding: {coding}\r\n")), HeadFault::Coding);
        }
        for second in ["gzip", "chunked", "identity"] {
            let fields = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
            assert_eq!(of(&fields), HeadFault::Coding, "{second}");
        }
        assert_eq!(of("X : y\r\n"), HeadFault::Syntax);
        assert_eq!(of("X: y\r\n folded\r\n"), HeadFault::Syntax);
        let garbage = read("SSH-2.0-x\r\n\r\n", &Method::GET).map(|_| ());
        assert_eq!(garbage, Err(HeadFault::Syntax));
        let switched = "HTTP/1.1 101 x\r\nContent-Length: 5\r\n\r\nframe";
        let (head, left) = read(switched, &Method::GET).unwrap().unwrap();
        assert_eq!((head.framing, head.keeps_alive, left), (Framing::Tunnel, false, 5));
        assert!(head.response.headers().is_empty());
    }

    #[test]
    fn drops_interim_answers_and_waits_for_the_rest() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n";
        assert!(read(text, &Method::GET).unwrap().is_none());
        let text = format!("{text}HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = read(&text, &Method::GET).unwrap().unwrap();
        assert_eq!((head.response.status().as_u16(), head.keeps_alive), (200, false));
    }

    #[test]
    fn bounds_the_interim_answers_however_they_are_cut() {
        let interim = |count: u32| "HTTP/1.1 100 x\r\n\r\n".repeat(usize::try_from(count).unwrap());
        let last = "HTTP/1.1 200 OK\r\n\r\n";
        let text = format!("{}{last}", interim(MOST_INTERIM));
        assert!(read(&text, &Method::GET).unwrap().is_some());
        let text = format!("{}{last}", interim(MOST_INTERIM + 1));
        assert_eq!(read(&text, &Method::GET).map(|_| ()), Err(HeadFault::Interim));
        let mut count = 0;
        for _ in 0..MOST_INTERIM {
            let mut bytes = BytesMut::from(interim(1).as_bytes());
            assert!(take(&mut bytes, 0, &Method::GET, &mut count).unwrap().is_none());
        }
        let mut bytes = BytesMut::from(interim(1).as_bytes());
        let one_more = take(&mut bytes, 0, &Method::GET, &mut count);
        assert_eq!(one_more.map(|_| ()), Err(HeadFault::Interim));
    }

    #[test]
    fn bounds_the_head() {
        let fields = |count: usize| "X: y\r\n".repeat(count);
        let text = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", fields(count));
        assert!(read(&text(MOST_FIELDS), &Method::GET).unwrap().is_some());
        let many = read(&text(MOST_FIELDS + 1), &Method::GET).map(|_| ());
        assert_eq!(many, Err(HeadFault::TooLarge));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LARGEST_HEAD));
        assert_eq!(read(&long, &Method::GET).map(|_| ()), Err(HeadFault::TooLarge));
    }

    #[test]
    fn reads_a_head_however_it_is_cut() {
        let text = b"HTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        for step in 1..=text.len() {
            assert_eq!(read_in_pieces(text, step).0, Ok(true), "{step}");
            let (cut, _) = text.split_at(text.len() - 1);
            assert_eq!(read_in_pieces(cut, step).0, Ok(false), "{step}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LARGEST_HEAD));
        assert_eq!(read_in_pieces(endless.as_bytes(), 1), (Err(HeadFault::TooLarge), LARGEST_HEAD));
    }

    #[test]
    fn looks_at_a_head_only_when_a_line_has_ended() {
        let garbage = b"SSH-2.0-x SSH-2.0-x\nSSH";
        assert_eq!(read_in_pieces(garbage, 1), (Err(HeadFault::Syntax), 20));
        // What ends no line in the new bytes was looked at before.
        let mut bytes = BytesMut::from(&b"HTTP/1.1 200 OK\r\n: y"[..]);
        for fresh in [17, bytes.len()] {
            assert!(take(&mut bytes, fresh, &Method::GET, &mut 0).unwrap().is_none());
        }
        let seen = take(&mut bytes, 16, &Method::GET, &mut 0);
        assert_eq!(seen.map(|_| ()), Err(HeadFault::Syntax));
    }

    #[test]
    fn refuses_empty_lines_before_an_answer() {
        for before in ["\r\n", "\n", "\r\n\r\n", "HTTP/1.1 100 x\r\n\r\n\r\n", "\r\nHTTP/1.1"] {
            let text = format!("{before}HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!(read(&text, &Method::GET).map(|_| ()), Err(HeadFault::Syntax), "{before:?}");
        }
        // However many there are, the first one ends the matter.
        assert_eq!(read_in_pieces(b"\n\n\n", 1), (Err(HeadFault::Syntax), 1));
    }

    #[track_caller]
    fn writes(request: http::request::Builder, has_body: bool, expected: &str, framing: Framing) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &parts, &[], has_body), framing);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn writes_one_framing_field_or_none() {
        let get = || Request::get("/a?b").header("host", "h");
        writes(get(), false, "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n", Framing::Empty);
        let post = || Request::post("/").header("host", "h");
        let zero = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";
        writes(post(), false, zero, Framing::Empty);
        writes(post().header("content-length", "0"), false, zero, Framing::Empty);
        let five = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n";
        writes(post().header("content-length", "5"), true, five, Framing::Length(5));
        let chunked = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
        writes(post(), true, chunked, Framing::Chunked);
        let doubled = post().header("transfer-encoding", "chunked");
        writes(doubled, true, chunked, Framing::Chunked);
        writes(post().header("content-length", "5"), false, zero, Framing::Empty);
    }
}
