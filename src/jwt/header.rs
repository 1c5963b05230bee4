//! The header of a token (RFC 7515 §4), read straight into what is used of it.
//!
//! Keys that a token brings along (`jwk`, `x5c`, `jku`, `x5u`) are skipped, so that nobody can vouch
//! for himself.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::TokenError;
use super::algorithm::Algorithm;

/// A key id may have this many bytes.
const MAX_KID_BYTES: usize = 256;
/// Members that are not used may be this many.
const MAX_OTHERS: usize = 32;
/// The member of the header of a token of our own that names its session.
pub(super) const SESSION: &str = "sid";
/// The member that names its user.
pub(super) const USER: &str = "uid";

/// What of a header is used.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    /// The session, in tokens of our own.
    pub(super) session: Option<String>,
    /// The id of the user, in tokens of our own.
    pub(super) user: Option<String>,
}

impl Header {
    pub(super) fn read(text: &[u8]) -> Result<Self, TokenError> {
        // serde_json looks for broken UTF-8 only in what it keeps, and most members are skipped.
        let Members { algorithm, kid, typ, session, user } = std::str::from_utf8(text)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(TokenError::Malformed("the header is not one unambiguous object"))?;
        // Control characters have no place in an id, and would travel into logs.
        let is_odd = |kid: &String| kid.len() > MAX_KID_BYTES || kid.contains(char::is_control);
        if kid.as_ref().is_some_and(is_odd) {
            return Err(TokenError::Malformed("the key id is too long or not printable"));
        }
        let algorithm =
            algorithm.and_then(|name| name.0).ok_or(TokenError::UnsupportedAlgorithm)?;
        // Other issuers may mean by these names what they like: of no use here is no fault there.
        let session = session.and_then(Loose::into_text).filter(|text| !is_odd(text));
        let user = user.and_then(Loose::into_text).filter(|text| !is_odd(text));
        Ok(Self { algorithm, kid, typ, session, user })
    }
}

#[derive(Default)]
struct Members {
    algorithm: Option<AlgorithmName>,
    kid: Option<String>,
    typ: Option<String>,
    session: Option<Loose>,
    user: Option<Loose>,
}

/// A value whose form only tokens of our own promise.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Text(String),
    Other(IgnoredAny),
}

impl Loose {
    fn into_text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

enum Name {
    Algorithm,
    Kid,
    Typ,
    Session,
    User,
    /// Changes what the other bytes mean: critical extensions (RFC 7515 §4.1.11), unencoded payload
    /// (RFC 7797), encryption and compression (RFC 7516). None is implemented.
    Refused,
    Other(String),
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
        let mut read = Members::default();
        let mut others: Vec<String> = Vec::new();
        while let Some(name) = members.next_key::<Name>()? {
            let is_repeated = match name {
                Name::Algorithm => read.algorithm.replace(members.next_value()?).is_some(),
                Name::Kid => read.kid.replace(members.next_value()?).is_some(),
                Name::Typ => read.typ.replace(members.next_value()?).is_some(),
                Name::Session => read.session.replace(members.next_value()?).is_some(),
                Name::User => read.user.replace(members.next_value()?).is_some(),
                Name::Refused => return Err(A::Error::custom("an extension")),
                Name::Other(name) => {
                    members.next_value::<IgnoredAny>()?;
                    let is_repeated = others.contains(&name);
                    others.push(name);
                    is_repeated
                }
            };
            if is_repeated || others.len() > MAX_OTHERS {
                return Err(A::Error::custom("a repeated name, or too many members"));
            }
        }
        Ok(read)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(match name {
            "alg" => Name::Algorithm,
            "kid" => Name::Kid,
            "typ" => Name::Typ,
            SESSION => Name::Session,
            USER => Name::User,
            "crit" | "b64" | "enc" | "zip" => Name::Refused,
            other => Name::Other(other.to_owned()),
        })
    }
}

/// The algorithm that was named, unless it is not a known one.
struct AlgorithmName(Option<Algorithm>);

impl<'de> Deserialize<'de> for AlgorithmName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AlgorithmVisitor)
    }
}

struct AlgorithmVisitor;

impl Visitor<'_> for AlgorithmVisitor {
    type Value = AlgorithmName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an algorithm")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AlgorithmName, E> {
        Ok(AlgorithmName(name.parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(header: &str) {
        let read = Header::read(header.as_bytes());
        assert!(matches!(read, Err(TokenError::Malformed(_))), "{header} {read:?}");
    }

    #[test]
    fn reads_what_is_used_and_skips_the_rest() {
        let text = r#"{"jwk":{"a":[1]},"alg":"ES256","typ":"JWT","kid":"k\u0061","jku":"x"}"#;
        let header = Header::read(text.as_bytes()).unwrap();
        assert_eq!(header.algorithm, Algorithm::Es256);
        assert_eq!(header.kid.as_deref(), Some("ka"));
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        let header = Header::read(br#"{"alg":"ES256"}"#).unwrap();
        assert_eq!((header.kid, header.typ), (None, None));
    }

    #[test]
    fn refuses_headers_with_two_readings_or_extensions() {
        for header in [
            r#"{"alg":"ES256","alg":"HS256"}"#,
            r#"{"alg":"none","alg":"ES256"}"#,
            r#"{"alg":"ES256","\u0061lg":"HS256"}"#,
            r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
            r#"{"alg":"ES256","typ":"a","typ":"a"}"#,
            r#"{"alg":"ES256","x":1,"x":1}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"crit":[],"alg":"none"}"#,
            r#"{"alg":"ES256","b64":true}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
            r#"{"alg":"ES256","enc":"A256GCM"}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES256","typ":1}"#,
            r#"{"alg":"ES256","typ":null}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","kid":null}"#,
            r#"{"alg":"ES256","kid":{}}"#,
            r#"{"alg":"ES256","kid":"a\u0000"}"#,
            r#"{"alg":"ES256","kid":"a\r\nb"}"#,
            r#"{"alg":"ES256"}{}"#,
            r#"["ES256"]"#,
            "\"ES256\"",
            "",
        ] {
            refused(header);
        }
    }

    #[test]
    fn refuses_algorithms_that_are_none_or_not_known() {
        for header in [
            "{}",
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"ES512"}"#,
            r#"{"alg":"ES256K"}"#,
        ] {
            let read = Header::read(header.as_bytes()).err();
            assert_eq!(read, Some(TokenError::UnsupportedAlgorithm), "{header}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let named = |n: usize| format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(n));
        assert!(Header::read(named(256).as_bytes()).is_ok());
        refused(&named(257));
        refused(&named(65_536));
        let wide = |n: usize| {
            let others: Vec<_> = (0..n).map(|n| format!("\"{n}\":0")).collect();
            format!(r#"{{"alg":"ES256",{}}}"#, others.join(","))
        };
        assert!(Header::read(wide(32).as_bytes()).is_ok());
        refused(&wide(33));
    }

    #[test]
    fn a_deeply_nested_member_is_skipped_without_a_deep_stack() {
        let deep =
            format!(r#"{{"alg":"ES256","x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Header::read(deep.as_bytes()).is_ok());
    }
}
