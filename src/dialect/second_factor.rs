//! The second factor on routes that want one: two members of a JSON body, taken out before it goes on.
//!
//! What stays is sent as it was written, number for number: it is read here by its names only.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::ReadError;
use crate::config::Failure;
use crate::secret::Secret;

/// The two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// The member that repeats the key of the challenge.
    pub challenge: String,
    /// The member with the code.
    pub code: String,
}

/// A body without the two members.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The key of the challenge and the code, when the body had both.
    pub answer: Option<(Secret<String>, Secret<String>)>,
    /// What is left, to be sent on.
    pub rest: Vec<u8>,
    /// What is left, alike with the members and without them: the same call is known by it.
    pub compared: Vec<u8>,
}

impl SecondFactor {
    /// The most bytes of a body from which the members are taken.
    pub const MAX_BODY_BYTES: usize = 64 << 10;

    /// Takes the members out of a JSON object; a body that is no object, or has a name twice, is refused.
    pub fn take(&self, body: &[u8]) -> Result<Taken, ReadError> {
        if body.len() > Self::MAX_BODY_BYTES {
            return Err(Failure::TooLarge.into());
        }
        let Members(members) = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
        let (mut challenge, mut code) = (None, None);
        let mut rest = Vec::with_capacity(body.len());
        for (name, value) in members {
            if name == self.challenge {
                challenge = Some(text(value).ok_or_else(|| wrong_type(&self.challenge))?);
            } else if name == self.code {
                code = Some(text(value).ok_or_else(|| wrong_type(&self.code))?);
            } else {
                append(&mut rest, name, value);
            }
        }
        rest.extend_from_slice(if rest.is_empty() { b"{}" } else { b"}" });
        let missing =
            |name: &String| ReadError { failure: Failure::MissingField, field: Some(name.clone()) };
        match (challenge, code) {
            (None, None) => Ok(Taken { answer: None, rest: body.to_vec(), compared: rest }),
            (Some(challenge), Some(code)) => {
                let compared = rest.clone();
                Ok(Taken { answer: Some((challenge, code)), rest, compared })
            }
            (Some(_), None) => Err(missing(&self.code)),
            (None, Some(_)) => Err(missing(&self.challenge)),
        }
    }
}

fn append(body: &mut Vec<u8>, name: String, value: &RawValue) {
    body.push(if body.is_empty() { b'{' } else { b',' });
    body.extend_from_slice(Value::String(name).to_string().as_bytes());
    body.push(b':');
    body.extend_from_slice(value.get().as_bytes());
}

fn text(value: &RawValue) -> Option<Secret<String>> {
    serde_json::from_str(value.get()).ok().map(Secret::new)
}

fn wrong_type(name: &str) -> ReadError {
    ReadError { failure: Failure::WrongType, field: Some(name.to_owned()) }
}

/// The members of an object in their order, none of them twice.
struct Members<'b>(Vec<(String, &'b RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        let mut names = HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a repeated name"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shown = (Option<(String, String)>, String);

    fn take(body: &str) -> Result<Shown, Failure> {
        let members = SecondFactor { challenge: "pub".to_owned(), code: "priv".to_owned() };
        let taken = members.take(body.as_bytes()).map_err(|error| error.failure)?;
        let answer = taken.answer.map(|(key, code)| (key.expose().clone(), code.expose().clone()));
        Ok((answer, String::from_utf8_lossy(&taken.rest).into_owned()))
    }

    #[test]
    fn the_two_members_are_taken_and_the_rest_stays_as_it_was_written() {
        let both = Some(("k".to_owned(), "123456".to_owned()));
        for (body, rest) in [
            (r#"{"pub":"k","priv":"123456"}"#, "{}"),
            (r#"{"a":1e999,"pub":"k","b":[1, 2],"priv":"123456"}"#, r#"{"a":1e999,"b":[1, 2]}"#),
            (
                r#" { "priv" : "123456" , "n" : 12345678901234567890123 , "\u0070ub":"k" } "#,
                r#"{"n":12345678901234567890123}"#,
            ),
            (r#"{"x":{"pub":"inner"},"pub":"k","priv":"123456"}"#, r#"{"x":{"pub":"inner"}}"#),
        ] {
            assert_eq!(take(body), Ok((both.clone(), rest.to_owned())), "{body}");
        }
    }

    #[test]
    fn a_body_without_them_goes_on_byte_for_byte() {
        for body in ["{}", "{ \"a\" : 1 }", r#"{"Pub":"k"}"#] {
            assert_eq!(take(body), Ok((None, body.to_owned())));
        }
    }

    #[test]
    fn a_call_is_the_same_with_the_members_and_without_them() {
        let members = SecondFactor { challenge: "pub".to_owned(), code: "priv".to_owned() };
        let compared = |body: &str| members.take(body.as_bytes()).unwrap().compared;
        let first = r#"{ "a": 1.50, "b": [1, 2] }"#;
        let again = r#"{ "a": 1.50, "b": [1, 2], "pub": "k", "priv": "123456" }"#;
        assert_eq!(compared(first), compared(again));
        for other in [r#"{ "a": 1.5, "b": [1, 2] }"#, r#"{ "b": [1, 2], "a": 1.50 }"#, "{}"] {
            assert_ne!(compared(first), compared(other), "{other}");
        }
    }

    #[test]
    fn half_an_answer_and_a_body_of_two_readings_are_refused() {
        for (body, failure) in [
            (r#"{"pub":"k"}"#, Failure::MissingField),
            (r#"{"priv":"1"}"#, Failure::MissingField),
            (r#"{"pub":1,"priv":"1"}"#, Failure::WrongType),
            (r#"{"pub":"k","priv":null}"#, Failure::WrongType),
            (r#"{"pub":"k","priv":"1","pub":"l"}"#, Failure::Malformed),
            (r#"{"pub":"k","priv":"1","\u0070ub":"l"}"#, Failure::Malformed),
            (r#"{"a":1,"a":2}"#, Failure::Malformed),
            ("[]", Failure::Malformed),
            ("", Failure::Malformed),
            ("{} {}", Failure::Malformed),
            (&format!("{{\"a\":\"{}\"}}", "x".repeat(64 << 10)), Failure::TooLarge),
        ] {
            assert_eq!(take(body), Err(failure), "{body:.40}");
        }
    }
}
