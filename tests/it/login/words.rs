//! Placeholders: what is written into requests, and what is expected of answers.
//!
//! `{{name}}` is a value known already, `{{now+300}}` the time in 300 seconds. In an answer, `{{number}}`,
//! `{{text}}`, `{{uuid}}`, `{{token}}` and `{{any}}` stand for whatever is of that kind; with a name behind
//! a colon the value is kept under it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::world::people;

const KINDS: [&str; 5] = ["any", "number", "text", "uuid", "token"];

/// Values by their names, and the time.
#[derive(Debug, Default)]
pub struct Words {
    /// What was kept so far.
    pub known: HashMap<String, Value>,
    /// Seconds since the epoch.
    pub now: i64,
}

impl Words {
    /// Keeps a value.
    pub fn keep(&mut self, name: &str, value: impl Into<Value>) {
        self.known.insert(name.to_owned(), value.into());
    }

    /// A text with every placeholder replaced.
    #[track_caller]
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").expect("a placeholder ends");
            filled += before;
            match self.value(name) {
                Value::String(text) => filled += &text,
                other => filled += &other.to_string(),
            }
            rest = behind;
        }
        filled + rest
    }

    /// What a placeholder stands for.
    #[track_caller]
    fn value(&self, name: &str) -> Value {
        if let Some(value) = self.known.get(name) {
            return value.clone();
        }
        let (word, rest) = name.split_once(' ').unwrap_or((name, ""));
        match word {
            "base64" => STANDARD.encode(self.inner(rest)).into(),
            "code" => self.code(rest, 0),
            "earlier" => self.code(rest, -30),
            "later" => self.code(rest, 30),
            "stale" => self.code(rest, -60),
            _ => {
                let seconds = name.strip_prefix("now").map(|rest| rest.parse().unwrap_or(0));
                seconds
                    .map_or_else(|| panic!("{name} is not known"), |by: i64| json!(self.now + by))
            }
        }
    }

    /// `base64 [jane.login]:[jane.password]`.
    fn inner(&self, text: &str) -> String {
        self.fill(&text.replace('[', "{{").replace(']', "}}"))
    }

    /// What an app shows whose clock is off by so many seconds.
    fn code(&self, seed: &str, off: i64) -> Value {
        let seed = base32(self.known[seed].as_str().expect("a seed is a text"));
        people::code(seed.try_into().expect("160 bits"), self.now + off).into()
    }

    /// Compares, name for name, type for type and in the order of members; says where it differs.
    pub fn judge(&mut self, expected: &Value, found: &Value, at: &str) -> Result<(), String> {
        let differs = || Err(format!("{at}: expected {expected}, found {found}"));
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                let names = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect();
                let (wanted, there): (Vec<_>, Vec<_>) = (names(expected), names(found));
                if wanted != there {
                    return Err(format!("{at}: expected {wanted:?}, found {there:?}"));
                }
                expected.iter().zip(found.values()).try_for_each(|((name, expected), found)| {
                    self.judge(expected, found, &format!("{at}/{name}"))
                })
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                expected.iter().zip(found).enumerate().try_for_each(|(place, (expected, found))| {
                    self.judge(expected, found, &format!("{at}/{place}"))
                })
            }
            (Value::String(text), _) => match whole(text) {
                Some(name) if self.is_one(name, found) => Ok(()),
                Some(_) => differs(),
                None if json!(self.fill(text)) == *found => Ok(()),
                None => differs(),
            },
            (expected, found) if expected == found => Ok(()),
            _ => differs(),
        }
    }

    /// The same for a text outside JSON, where a number is its digits.
    pub fn judge_text(&mut self, expected: &str, found: &str, at: &str) -> Result<(), String> {
        let value = match whole(expected).filter(|name| KINDS.contains(&kind(name).0)) {
            Some("number") => serde_json::from_str(found).unwrap_or_default(),
            Some(_) => Value::from(found),
            None if self.fill(expected) == found => return Ok(()),
            None => Value::Null,
        };
        self.judge(&Value::from(expected), &value, at)
            .map_err(|_| format!("{at}: expected {expected}, found {found}"))
    }

    fn is_one(&mut self, placeholder: &str, found: &Value) -> bool {
        let (kind, name) = kind(placeholder);
        if !KINDS.contains(&kind) {
            return self.value(placeholder) == *found;
        }
        let is_it = match (kind, found) {
            ("any", _) | ("number", Value::Number(_)) | ("text", Value::String(_)) => true,
            ("uuid", Value::String(text)) => is_uuid(text),
            ("token", Value::String(text)) => {
                let parts: Vec<_> = text.split('.').collect();
                parts.len() == 3 && parts.iter().all(|part| URL_SAFE_NO_PAD.decode(part).is_ok())
            }
            _ => false,
        };
        if is_it && !name.is_empty() {
            self.keep(name, found.clone());
        }
        is_it
    }
}

/// What a placeholder of an answer stands for, and the name that it is kept under.
fn kind(placeholder: &str) -> (&str, &str) {
    placeholder.split_once(':').unwrap_or((placeholder, ""))
}

/// The name within a text that is one placeholder and nothing else.
fn whole(text: &str) -> Option<&str> {
    let name = text.strip_prefix("{{")?.strip_suffix("}}")?;
    (!name.contains("{{")).then_some(name)
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 4648 §6, without padding.
pub fn base32(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).expect("a letter of Base32");
        bits = bits << 5 | u32::try_from(value).unwrap();
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
        }
    }
    bytes
}
