//! The text of a route's `match`: `METHODS [host]/path`, read into its parts.
//!
//! Methods are `*` or a comma list (`GET,POST`); `GET` also stands for `HEAD`, which a server must
//! answer alike (RFC 9110 §9.3.2). The host is exact, `*.example.com` (one or more labels before
//! the suffix), or left out for any host; a port is no part of it. A path segment is a literal,
//! `{name}` or `*` (one segment, never empty), and the last may be `**` (zero or more segments).
//! Literals take the canonical form of requests: unreserved characters are percent-decoded,
//! other escapes are written in capitals. How patterns compare is the matter of the table.

use std::net::Ipv6Addr;
use std::ops::Range;

use thiserror::Error;

use super::params::MAX_PARAMS;

/// The most bytes that a pattern may have.
const MAX_TEXT_BYTES: usize = 2048;
/// The most path segments that a pattern may have, `**` included; bounds the search's recursion.
const MAX_SEGMENTS: usize = 64;
/// The most bytes of one literal segment; bounds the buffer in which case is folded.
pub(super) const MAX_LITERAL_BYTES: usize = 255;
/// The most bytes of a host name (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// A parsed `match`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    pub(super) methods: Methods,
    pub(super) host: Host,
    pub(super) segments: Vec<Segment>,
    pub(super) rest: bool,
}

/// The methods of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Any,
    Listed(Vec<Box<str>>),
}

/// The host of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Any,
    Exact(Box<str>),
    /// The suffix after `*.`.
    Below(Box<str>),
}

/// One path segment of a pattern; `**` is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    /// `{name}`, or `*` without a name.
    One(Option<Box<str>>),
}

/// Why a text is no pattern, and which of its bytes are to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong, for the operator.
    pub message: String,
    /// The bytes of the text to blame.
    pub range: Range<usize>,
}

impl Pattern {
    /// Reads the text of a `match`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT_BYTES {
            return refuse(format!("a pattern has at most {MAX_TEXT_BYTES} bytes"), 0..text.len());
        }
        let Some((methods, target)) = text.split_once(' ') else {
            return refuse("write methods, one space, then the path: `GET /orders`", 0..text.len());
        };
        let target_at = methods.len() + 1;
        let Some(slash) = target.find('/') else {
            return refuse("a path, beginning with `/`, is missing", target_at..text.len());
        };
        let (host, path) = target.split_at(slash);
        let methods = Methods::parse(methods)?;
        let host = Host::parse(host, target_at)?;
        let (segments, rest) = segments(path, target_at + slash)?;
        Ok(Self { text: text.to_owned(), methods, host, segments, rest })
    }

    /// The text as the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of the segments that the pattern captures, in the order of [`Params`].
    ///
    /// [`Params`]: super::Params
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::One(Some(name)) => Some(&**name),
            Segment::One(None) | Segment::Literal(_) => None,
        })
    }
}

impl Methods {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let mut listed: Vec<Box<str>> = Vec::new();
        for (method, range) in pieces(text, ',', 0) {
            if method.is_empty() || !method.bytes().all(is_token) {
                return refuse("not a method: write `*`, or tokens such as `GET,POST`", range);
            }
            if method.bytes().any(|b| b.is_ascii_lowercase()) {
                return refuse("methods are written in capitals", range);
            }
            if matches!(method, "CONNECT" | "TRACE") {
                return refuse(format!("`{method}` is never forwarded"), range);
            }
            if listed.iter().any(|other| **other == *method) {
                return refuse(format!("`{method}` is listed twice"), range);
            }
            listed.push(method.into());
        }
        Ok(Self::Listed(listed))
    }
}

impl Host {
    fn parse(text: &str, at: usize) -> Result<Self, PatternError> {
        let range = at..at + text.len();
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match address.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self::Exact(format!("[{address}]").into())),
                Err(_) => refuse("not an IPv6 address", range),
            };
        }
        if text.contains(':') {
            return refuse("a port is no part of a pattern", range);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, text),
        };
        if !is_host_name(name) {
            let message = "not a host: write a name, `*.` and a name, or nothing for any host";
            return refuse(message, range);
        }
        let name = name.to_ascii_lowercase().into();
        Ok(if below { Self::Below(name) } else { Self::Exact(name) })
    }
}

fn segments(path: &str, at: usize) -> Result<(Vec<Segment>, bool), PatternError> {
    let mut segments = Vec::new();
    let (mut rest, mut named) = (false, 0);
    // The first piece is the emptiness before the leading slash.
    let mut pieces = pieces(path, '/', at).skip(1).peekable();
    while let Some((piece, range)) = pieces.next() {
        let last = pieces.peek().is_none();
        if piece == "**" {
            if !last {
                return refuse("`**` stands for the rest of the path: it comes last", range);
            }
            rest = true;
            break;
        }
        if piece.is_empty() && !last {
            return refuse("an empty segment: requests with `//` are refused", range);
        }
        if segments.len() == MAX_SEGMENTS {
            return refuse(format!("more than {MAX_SEGMENTS} segments"), range);
        }
        let segment = Segment::parse(piece, range.clone())?;
        if let Segment::One(Some(name)) = &segment {
            if segments.contains(&segment) {
                return refuse(format!("`{{{name}}}` occurs twice"), range);
            }
            named += 1;
            if named > MAX_PARAMS {
                return refuse(format!("more than {MAX_PARAMS} named segments"), range);
            }
        }
        segments.push(segment);
    }
    Ok((segments, rest))
}

impl Segment {
    fn parse(text: &str, range: Range<usize>) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::One(None));
        }
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return if is_name(name) {
                Ok(Self::One(Some(name.into())))
            } else {
                refuse("not a name: letters, digits and `_`, not a digit first", range)
            };
        }
        if text.contains('*') {
            return refuse("`*` and `**` stand for whole segments", range);
        }
        if text.contains(['{', '}']) {
            return refuse("`{name}` stands for a whole segment", range);
        }
        match canonical(text) {
            Ok(literal) if literal.len() > MAX_LITERAL_BYTES => {
                refuse(format!("a segment has at most {MAX_LITERAL_BYTES} bytes"), range)
            }
            Ok(literal) if matches!(&*literal, "." | "..") => {
                refuse("requests with dot segments are refused", range)
            }
            Ok(literal) => Ok(Self::Literal(literal.into())),
            Err(message) => refuse(message, range),
        }
    }
}

/// Puts a literal into the form that requests have once they are normalised. What no normalised
/// request can contain is refused: such a route would never be taken.
fn canonical(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_path_char(byte) {
                return Err("a character that no path contains; percent-encode it");
            }
            out.push(char::from(byte));
            continue;
        }
        let (Some(high), Some(low)) = (hex_digit(bytes.next()), hex_digit(bytes.next())) else {
            return Err("`%` without two hexadecimal digits");
        };
        let decoded = high << 4 | low;
        match decoded {
            _ if is_unreserved(decoded) => out.push(char::from(decoded)),
            b'/' | b'\\' | 0..0x20 | 0x7f => {
                return Err("requests with an encoded slash, backslash or control are refused");
            }
            _ => {
                out.push('%');
                out.extend([high, low].map(|digit| {
                    char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()
                }));
            }
        }
    }
    Ok(out)
}

/// The pieces of `text` between separators, each with its bytes counted from `at`.
fn pieces(text: &str, separator: char, at: usize) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut start = at;
    text.split(separator).map(move |piece| {
        let range = start..start + piece.len();
        start = range.end + separator.len_utf8();
        (piece, range)
    })
}

fn refuse<T>(message: impl Into<String>, range: Range<usize>) -> Result<T, PatternError> {
    Err(PatternError { message: message.into(), range })
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label)
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 §3.3, without the percent sign.
fn is_path_char(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte)
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn literal_path(text: &str) -> String {
        let pattern = Pattern::parse(text).unwrap();
        let mut path = String::new();
        for segment in &pattern.segments {
            path.push('/');
            match segment {
                Segment::Literal(literal) => path.push_str(literal),
                Segment::One(name) => path.push_str(name.as_deref().unwrap_or("*")),
            }
        }
        if pattern.rest {
            path.push_str("/**");
        }
        path
    }

    #[track_caller]
    fn blames(text: &str, blamed: &str) {
        let error = Pattern::parse(text).unwrap_err();
        assert_eq!(text.get(error.range.clone()), Some(blamed), "{text}: {error}");
    }

    #[test]
    fn reads_methods_host_and_path() {
        let pattern = Pattern::parse("GET,POST API.example.com/a/{id}/*/**").unwrap();
        assert_eq!(pattern.methods, Methods::Listed(vec!["GET".into(), "POST".into()]));
        assert_eq!(pattern.host, Host::Exact("api.example.com".into()));
        assert_eq!(pattern.params().collect::<Vec<_>>(), ["id"]);
        assert_eq!(pattern.segments.len(), 3);
        assert!(pattern.rest);
        let pattern = Pattern::parse("* *.example.com/").unwrap();
        assert_eq!(pattern.host, Host::Below("example.com".into()));
        assert_eq!(pattern.segments, [Segment::Literal("".into())]);
        assert_eq!(Pattern::parse("* /**").unwrap().host, Host::Any);
        assert_eq!(
            Pattern::parse("* [0:0::1]/x").unwrap().host,
            Host::Exact("[::1]".into()),
            "an address is written as canonical hosts are"
        );
    }

    #[test]
    fn literals_take_the_canonical_form() {
        for (text, canonical) in [
            ("* /%61%2D%7e", "/a-~"),
            ("* /a%20b", "/a%20b"),
            ("* /%c3%a9", "/%C3%A9"),
            ("* /a/", "/a/"),
            ("* /a:b@c;d=e", "/a:b@c;d=e"),
            ("* /A", "/A"),
        ] {
            assert_eq!(literal_path(text), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_pattern_and_says_where() {
        for (text, blamed) in [
            ("", ""),
            ("/orders", "/orders"),
            ("GET", "GET"),
            ("GET orders", "orders"),
            ("GET  /orders", " "),
            ("get /orders", "get"),
            ("GET,,POST /", ""),
            ("GET,GET /", "GET"),
            ("GET,P@ST /", "P@ST"),
            ("TRACE /", "TRACE"),
            ("GET,CONNECT /", "CONNECT"),
            ("GET a.example:80/x", "a.example:80"),
            ("GET *example.com/x", "*example.com"),
            ("GET a..b/x", "a..b"),
            ("GET example.com./x", "example.com."),
            ("GET a.*.b/x", "a.*.b"),
            ("GET [::g]/x", "[::g]"),
            ("GET /a//b", ""),
            ("GET /**/a", "**"),
            ("GET /**/", "**"),
            ("GET /a*/b", "a*"),
            ("GET /a{b}", "a{b}"),
            ("GET /{}", "{}"),
            ("GET /{1a}", "{1a}"),
            ("GET /{a}/{a}", "{a}"),
            ("GET /a/../b", ".."),
            ("GET /%2e", "%2e"),
            ("GET /a%2fb", "a%2fb"),
            ("GET /a%5Cb", "a%5Cb"),
            ("GET /%00", "%00"),
            ("GET /%1", "%1"),
            ("GET /%+1", "%+1"),
            ("GET /a b", "a b"),
            ("GET /é", "é"),
            ("GET /a?b", "a?b"),
        ] {
            blames(text, blamed);
        }
    }

    #[test]
    fn bounds_hold_at_their_neighbours() {
        let path = |segments: usize| format!("* {}", "/a".repeat(segments));
        assert!(Pattern::parse(&path(MAX_SEGMENTS)).is_ok());
        assert!(Pattern::parse(&path(MAX_SEGMENTS + 1)).is_err());
        let literal = |bytes: usize| format!("* /{}", "a".repeat(bytes));
        assert!(Pattern::parse(&literal(MAX_LITERAL_BYTES)).is_ok());
        assert!(Pattern::parse(&literal(MAX_LITERAL_BYTES + 1)).is_err());
        let named = |count: usize| {
            let path: String = (0..count).map(|n| format!("/{{p{n}}}")).collect();
            format!("* {path}")
        };
        assert!(Pattern::parse(&named(MAX_PARAMS)).is_ok());
        assert!(Pattern::parse(&named(MAX_PARAMS + 1)).is_err());
        assert!(Pattern::parse(&format!("* /{}", "a/".repeat(MAX_TEXT_BYTES))).is_err());
    }
}
