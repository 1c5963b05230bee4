//! The host a request names: lower case, no trailing dot, no default port.

use std::borrow::Cow;
use std::fmt;

use super::InquiryError;

/// A host in canonical form, with its port when that is not the default one.
#[derive(Clone, Debug)]
pub struct Host<'r> {
    name: Cow<'r, str>,
    port: Option<u16>,
    is_as_written: bool,
}

impl<'r> Host<'r> {
    /// Reads `name`, `name:port`, `[v6]` or `[v6]:port`.
    pub fn parse(bytes: &'r [u8]) -> Result<Self, InquiryError> {
        let text = std::str::from_utf8(bytes).map_err(|_| InquiryError::HostForm)?;
        let (name, port) = split_port(text)?;
        check_name(name)?;
        let short = name.strip_suffix('.').unwrap_or(name);
        let name = if short.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(short.to_ascii_lowercase())
        } else {
            Cow::Borrowed(short)
        };
        let port = port.filter(|port| *port != DEFAULT_PORT);
        let is_as_written = matches!(name, Cow::Borrowed(_))
            && name.len() + port.map_or(0, |_| text.len() - text.rfind(':').unwrap_or(text.len()))
                == text.len();
        Ok(Self { name, port, is_as_written })
    }

    /// The name without its port: what routes are matched against.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the text in the request was canonical already.
    pub const fn is_as_written(&self) -> bool {
        self.is_as_written
    }
}

/// Two spellings of one host are one host.
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.port) == (&other.name, other.port)
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), InquiryError> {
    let after_bracket = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(InquiryError::HostForm)? + 2,
        None => 0,
    };
    let tail = text.get(after_bracket..).ok_or(InquiryError::HostForm)?;
    let Some(colon) = tail.find(':') else { return Ok((text, None)) };
    let (name, port) =
        text.split_at_checked(after_bracket + colon).ok_or(InquiryError::HostForm)?;
    let digits = port.strip_prefix(':').unwrap_or(port);
    // A leading zero or sign would give one port two spellings.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.starts_with('0') {
        return Err(InquiryError::HostForm);
    }
    let port = digits.parse().map_err(|_| InquiryError::HostForm)?;
    Ok((name, Some(port)))
}

fn check_name(name: &str) -> Result<(), InquiryError> {
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal
            .parse::<std::net::Ipv6Addr>()
            .map(|_| ())
            .map_err(|_| InquiryError::HostForm);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut after_dot = true;
    for byte in name.bytes() {
        match byte {
            b'.' if after_dot => return Err(InquiryError::HostForm),
            b'.' => after_dot = true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => after_dot = false,
            _ => return Err(InquiryError::HostForm),
        }
    }
    if after_dot || name.len() > LONGEST_NAME { Err(InquiryError::HostForm) } else { Ok(()) }
}

/// RFC 9110 §4.2.1.
const DEFAULT_PORT: u16 = 80;
/// RFC 1035 §2.3.4, without the root's dot.
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, canonical: &str, is_as_written: bool) {
        let host = Host::parse(text.as_bytes()).unwrap();
        assert_eq!(host.to_string(), canonical);
        assert_eq!(host.is_as_written(), is_as_written, "{text}");
    }

    #[test]
    fn one_host_has_one_spelling() {
        reads("gw.test", "gw.test", true);
        reads("GW.Test", "gw.test", false);
        reads("gw.test.", "gw.test", false);
        reads("gw.test:80", "gw.test", false);
        reads("gw.test:8080", "gw.test:8080", true);
        reads("gw.test.:8080", "gw.test:8080", false);
        reads("[::1]:8080", "[::1]:8080", true);
        reads("[::1]", "[::1]", true);
        reads("127.0.0.1:65535", "127.0.0.1:65535", true);
        reads("a_b-c", "a_b-c", true);
    }

    #[test]
    fn refuses_what_is_not_one_host() {
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "gw.test, evil.test",
            "gw.test:80:81",
            "gw.test:",
            "gw.test:+80",
            "gw.test:080",
            "gw.test:65536",
            "user@gw.test",
            "gw.test/x",
            "[::1",
            "[::1]x",
            "[gw]",
            "::1",
            "g%77",
            "a\\b",
            "ä.test",
            "gw.test:8o",
            "a..",
        ] {
            assert_eq!(Host::parse(text.as_bytes()), Err(InquiryError::HostForm), "{text}");
        }
        assert!(Host::parse("a".repeat(253).as_bytes()).is_ok());
        assert!(Host::parse("a".repeat(254).as_bytes()).is_err());
    }
}
