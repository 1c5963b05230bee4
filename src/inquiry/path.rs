//! The path in canonical form: needless escapes undone, ambiguous ones refused.

use std::borrow::Cow;

use super::InquiryError;

/// A path that every reader reads alike.
///
/// It begins with `/`, has no empty segment but a last one, no dot segment and no parameter; every
/// unreserved character stands for itself and every other escape is valid UTF-8 in upper-case digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'r>(Cow<'r, str>);

impl<'r> CanonicalPath<'r> {
    /// Judges and rewrites the path of a request.
    pub fn of(path: &'r str) -> Result<Self, InquiryError> {
        if !path.starts_with('/') {
            return Err(InquiryError::TargetForm);
        }
        let has_escape = scan(path.as_bytes())?;
        let path = if has_escape { unescape(path)? } else { Cow::Borrowed(path) };
        check_segments(&path)?;
        Ok(Self(path))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path in the request was canonical already.
    pub const fn is_as_written(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }
}

/// Puts one segment of an operator's pattern through the same rule as the paths it will meet.
pub fn canonical_segment(segment: &str) -> Result<String, InquiryError> {
    let path = format!("/{segment}");
    let canonical = CanonicalPath::of(&path)?;
    Ok(canonical.as_str().strip_prefix('/').unwrap_or_default().to_owned())
}

/// Refuses raw bytes; tells whether there is an escape at all.
fn scan(path: &[u8]) -> Result<bool, InquiryError> {
    let mut has_escape = false;
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {}
            b'%' => has_escape = true,
            // Tomcat and others cut `;…` off a segment after the proxy has matched it.
            b';' => return Err(InquiryError::PathParameter),
            _ => return Err(InquiryError::RawByte),
        }
    }
    Ok(has_escape)
}

fn unescape(path: &str) -> Result<Cow<'_, str>, InquiryError> {
    let bytes = path.as_bytes();
    let mut canonical = Vec::with_capacity(bytes.len());
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            canonical.push(byte);
            decoded.push(byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(InquiryError::BrokenEscape) };
        let byte = (hex(*high)? << 4) | hex(*low)?;
        decoded.push(byte);
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                canonical.push(byte);
            }
            b'/' | b'\\' | b';' | b'#' | 0..=0x1f | 0x7f => {
                return Err(InquiryError::AmbiguousEscape);
            }
            b'%' if looks_like_escape(after) => return Err(InquiryError::DoubleEscape),
            _ => canonical.extend([b'%', upper_hex(byte >> 4), upper_hex(byte & 15)]),
        }
        rest = after;
    }
    // Overlong forms such as C0 AE, which old decoders take for a dot, are not UTF-8.
    std::str::from_utf8(&decoded).map_err(|_| InquiryError::NotUtf8)?;
    if canonical == bytes {
        return Ok(Cow::Borrowed(path));
    }
    String::from_utf8(canonical).map(Cow::Owned).map_err(|_| InquiryError::NotUtf8)
}

fn check_segments(path: &str) -> Result<(), InquiryError> {
    let bytes = path.as_bytes();
    let mut segments = 0_usize;
    let mut rest = bytes.strip_prefix(b"/").unwrap_or(bytes);
    loop {
        segments += 1;
        let end = rest.iter().position(|byte| *byte == b'/');
        let (segment, after) = match end.and_then(|end| rest.split_at_checked(end)) {
            Some((segment, after)) => (segment, after.strip_prefix(b"/")),
            None => (rest, None),
        };
        match segment {
            b"." | b".." => return Err(InquiryError::DotSegment),
            b"" if after.is_some() => return Err(InquiryError::EmptySegment),
            _ => {}
        }
        let Some(after) = after else { break };
        rest = after;
    }
    if segments > DEEPEST { Err(InquiryError::TooDeep) } else { Ok(()) }
}

fn looks_like_escape(after: &[u8]) -> bool {
    matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

fn hex(digit: u8) -> Result<u8, InquiryError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(InquiryError::BrokenEscape),
    }
}

const fn upper_hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + (nibble - 10) }
}

/// Segments in a path; a bound on the work of matching.
const DEEPEST: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn becomes(path: &str, canonical: &str) {
        assert_eq!(CanonicalPath::of(path).unwrap().as_str(), canonical);
    }

    #[track_caller]
    fn refused(path: &str, error: InquiryError) {
        assert_eq!(CanonicalPath::of(path), Err(error), "{path}");
    }

    #[test]
    fn undoes_needless_escapes_and_keeps_the_rest() {
        becomes("/", "/");
        becomes("/a/b/", "/a/b/");
        becomes("/api/%61dmin/x", "/api/admin/x");
        becomes("/a%2Db%2e%5F%7e", "/a-b._~");
        becomes("/a%20b", "/a%20b");
        becomes("/%c3%a4", "/%C3%A4");
        becomes("/100%25", "/100%25");
        becomes("/100%25/x", "/100%25/x");
        becomes("/...", "/...");
        becomes("/a.b/..c", "/a.b/..c");
        becomes("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,=");
    }

    #[test]
    fn refuses_every_form_with_two_readings() {
        use InquiryError::{
            AmbiguousEscape, BrokenEscape, DotSegment, DoubleEscape, EmptySegment, NotUtf8,
            PathParameter, RawByte, TargetForm,
        };
        refused("api", TargetForm);
        refused("*", TargetForm);
        for path in ["/public/../api", "/..", "/a/..", "/./a", "/a/.", "/a/%2e%2E/b", "/%2e"] {
            refused(path, DotSegment);
        }
        for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%00", "/a%0d%0aX", "/a%7F", "/a%3Bb", "/a%23"]
        {
            refused(path, AmbiguousEscape);
        }
        for path in ["/%252e%252e/a", "/a%252fb", "/%2561", "/a%2500"] {
            refused(path, DoubleEscape);
        }
        for path in ["/%zz", "/%2", "/%", "/a%2/b", "/%+1"] {
            refused(path, BrokenEscape);
        }
        for path in ["//a", "/a//b", "/a//", "//"] {
            refused(path, EmptySegment);
        }
        for path in ["/a;x=1/b", "/a;", "/;"] {
            refused(path, PathParameter);
        }
        for path in ["/a\\b", "/a b", "/a\"", "/ä", "/a|b", "/a\u{7f}", "/a^", "/a`"] {
            refused(path, RawByte);
        }
        for path in ["/%c0%ae%c0%ae/x", "/%ff", "/%e4", "/%ed%a0%80"] {
            refused(path, NotUtf8);
        }
    }

    #[test]
    fn bounds_the_depth() {
        becomes(&"/a".repeat(DEEPEST), &"/a".repeat(DEEPEST));
        refused(&"/a".repeat(DEEPEST + 1), InquiryError::TooDeep);
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays_as_it_is(path in "/([a-z%0-9A-F./;]|%[0-9a-fA-F]{2}){0,24}") {
            if let Ok(canonical) = CanonicalPath::of(&path) {
                let again = CanonicalPath::of(canonical.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), canonical.as_str());
                prop_assert!(again.is_as_written());
            }
        }

        #[test]
        fn no_two_decodings_change_where_a_canonical_path_leads(
            path in "/(a|/|%2e|%2f|%25|2e|\\.|%61|;|%5c|%3b){0,12}"
        ) {
            if let Ok(canonical) = CanonicalPath::of(&path) {
                let twice = decode(&decode(canonical.as_str()));
                prop_assert_eq!(twice.matches('/').count(), canonical.as_str().matches('/').count());
                prop_assert!(twice.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!twice.contains([';', '\\']));
            }
        }
    }

    fn decode(text: &str) -> String {
        let mut out = Vec::new();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let rest: Vec<u8> = bytes.clone().take(2).collect();
            let code = std::str::from_utf8(&rest).ok().filter(|_| byte == b'%' && rest.len() == 2);
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                Some(decoded) => {
                    out.push(decoded);
                    bytes.nth(1);
                }
                None => out.push(byte),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
