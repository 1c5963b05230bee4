//! The values that a call reads from its body: pointers, types and bounds.
//!
//! A body is judged whole before any value of it is used: one that has two readings is refused.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::Failure;
use crate::json::Pointer;
use crate::json::read_object;
use crate::secret::Secret;

/// What a call read from its body.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// The login name as it was written.
    pub login: Option<String>,
    /// The password.
    pub password: Option<Secret<String>>,
    /// The next password.
    pub new_password: Option<Secret<String>>,
    /// How long the token is asked to live.
    pub ttl: Option<Duration>,
    /// The refresh token.
    pub refresh_token: Option<Secret<String>>,
    /// The key of the challenge that is answered.
    pub challenge: Option<Secret<String>>,
    /// The code of the second factor.
    pub code: Option<Secret<String>>,
    /// Whether every session is meant.
    pub everywhere: bool,
    /// Attributes of the user; null removes one.
    pub attributes: Map<String, Value>,
}

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// What is wrong.
    pub failure: Failure,
    /// The value that is wrong, by the last part of its pointer.
    pub field: Option<String>,
}

/// What a value is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Login,
    Password,
    NewPassword,
    Ttl,
    RefreshToken,
    Challenge,
    Code,
    Everywhere,
    Attribute(String),
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct FieldRule {
    pub(super) slot: Slot,
    pub(super) pointer: Pointer,
    /// The last part of the pointer.
    pub(super) name: String,
    pub(super) kind: ValueKind,
    pub(super) is_required: bool,
    /// Whether no two users have the same.
    pub(super) is_unique: bool,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) blank: Blank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Text,
    Integer,
    Boolean,
    Any,
}

/// What an empty text and null mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blank {
    Refuse,
    Accept,
    Remove,
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self { failure, field: None }
    }
}

pub(super) fn read(rules: &[FieldRule], body: &[u8]) -> Result<Fields, ReadError> {
    let object = read_object(body).map_err(|_| Failure::Malformed)?;
    let mut fields = Fields::default();
    let mut worst: Option<ReadError> = None;
    for rule in rules {
        match rule.read(&object) {
            Ok(Some(value)) => fields.put(&rule.slot, value),
            Ok(None) => {}
            Err(failure) => {
                // What is no request at all is said before what is missing from it.
                if worst.as_ref().is_none_or(|known| failure < known.failure) {
                    worst = Some(ReadError { failure, field: Some(rule.name.clone()) });
                }
            }
        }
    }
    if let Some(error) = worst {
        return Err(error);
    }
    fields.both_or_none(rules)?;
    Ok(fields)
}

impl FieldRule {
    fn read(&self, object: &Map<String, Value>) -> Result<Option<Value>, Failure> {
        let Some(value) = self.pointer.resolve(object) else {
            return match (self.pointer.is_barred(object), self.is_required) {
                (true, _) => Err(Failure::WrongType),
                (false, true) => Err(Failure::MissingField),
                (false, false) => Ok(None),
            };
        };
        let is_blank = value.is_null() || value.as_str() == Some("");
        match (self.kind, self.blank, value) {
            (_, Blank::Remove, _) if is_blank => Ok(Some(Value::Null)),
            (ValueKind::Text | ValueKind::Any, Blank::Refuse, _) if is_blank => {
                Err(Failure::BlankField)
            }
            (ValueKind::Text, _, Value::String(text)) => {
                self.within(to_u64(text.len()))?;
                Ok(Some(value.clone()))
            }
            (ValueKind::Integer, _, Value::Number(number)) => {
                // A fraction and a number below zero are of another type than a count.
                self.within(number.as_u64().ok_or(Failure::BadOption)?)?;
                Ok(Some(value.clone()))
            }
            (ValueKind::Boolean, _, Value::Bool(_)) => Ok(Some(value.clone())),
            (ValueKind::Any, _, _) => {
                self.within(to_u64(value.to_string().len()))?;
                Ok(Some(value.clone()))
            }
            (ValueKind::Text | ValueKind::Integer | ValueKind::Boolean, _, _) => {
                Err(Failure::WrongType)
            }
        }
    }

    fn within(&self, size: u64) -> Result<(), Failure> {
        if (self.min..=self.max).contains(&size) { Ok(()) } else { Err(Failure::BadOption) }
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Fields {
    /// The value is of the type that the compiled rule demands of its slot.
    fn put(&mut self, slot: &Slot, value: Value) {
        let text = |value: Value| value.as_str().map(str::to_owned);
        let hidden = |value: Value| value.as_str().map(|text| Secret::new(text.to_owned()));
        match slot {
            Slot::Login => self.login = text(value),
            Slot::Password => self.password = hidden(value),
            Slot::NewPassword => self.new_password = hidden(value),
            Slot::Ttl => self.ttl = value.as_u64().map(Duration::from_secs),
            Slot::RefreshToken => self.refresh_token = hidden(value),
            Slot::Challenge => self.challenge = hidden(value),
            Slot::Code => self.code = hidden(value),
            Slot::Everywhere => self.everywhere = value.as_bool().unwrap_or_default(),
            Slot::Attribute(name) => drop(self.attributes.insert(name.clone(), value)),
        }
    }

    /// A challenge without a code, and a code without its challenge, is half an answer.
    fn both_or_none(&self, rules: &[FieldRule]) -> Result<(), ReadError> {
        let rule = |slot: &Slot| rules.iter().find(|rule| rule.slot == *slot);
        let (Some(challenge), Some(code)) = (rule(&Slot::Challenge), rule(&Slot::Code)) else {
            return Ok(());
        };
        let missing = match (&self.challenge, &self.code) {
            (Some(_), None) => code,
            (None, Some(_)) => challenge,
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        Err(ReadError { failure: Failure::MissingField, field: Some(missing.name.clone()) })
    }
}
