//! The methods of a pattern: which it takes, and how closely it names them.

use super::pattern::PatternError;
use super::pattern::pieces;
use super::pattern::refuse;

/// What `*` takes. A method beyond these is forwarded only where a route names it: what it does to
/// an upstream is nobody's guess.
pub(super) const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The methods of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Any,
    Listed(Vec<Box<str>>),
}

impl Methods {
    /// Reads `*` or a comma list, which begins the text of a pattern.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
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

    /// How closely the list names `method`, more being closer; `None` when it does not take it.
    pub(super) fn closeness(&self, method: &str) -> Option<u8> {
        match self {
            Self::Any => KNOWN.contains(&method).then_some(0),
            Self::Listed(listed) if listed.iter().any(|name| **name == *method) => Some(2),
            Self::Listed(listed)
                if method == "HEAD" && listed.iter().any(|name| &**name == "GET") =>
            {
                Some(1)
            }
            Self::Listed(_) => None,
        }
    }

    /// Whether some method is named equally closely by both.
    pub(super) fn tie(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Listed(left), Self::Listed(right)) => {
                left.iter().any(|name| right.contains(name))
            }
            (Self::Any, Self::Listed(_)) | (Self::Listed(_), Self::Any) => false,
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_method_is_closer_than_an_implied_one_and_that_than_any() {
        for (methods, method, closeness) in [
            ("*", "GET", Some(0)),
            ("*", "PURGE", None),
            ("*", "get", None),
            ("PURGE", "PURGE", Some(2)),
            ("GET,PUT", "GET", Some(2)),
            ("GET,PUT", "HEAD", Some(1)),
            ("GET,HEAD", "HEAD", Some(2)),
            ("HEAD", "GET", None),
            ("PUT", "HEAD", None),
            ("GET", "get", None),
            ("GET", "GE", None),
        ] {
            let closest = Methods::parse(methods).unwrap().closeness(method);
            assert_eq!(closest, closeness, "{method} by {methods}");
        }
    }

    #[test]
    fn methods_tie_when_one_is_named_equally_by_both() {
        for (left, right, ties) in [
            ("*", "*", true),
            ("GET", "PUT,GET", true),
            ("GET", "HEAD", false),
            ("*", "GET", false),
            ("PUT", "POST", false),
        ] {
            let (left, right) = (Methods::parse(left).unwrap(), Methods::parse(right).unwrap());
            assert_eq!(left.tie(&right), ties);
            assert_eq!(right.tie(&left), ties);
        }
    }
}
