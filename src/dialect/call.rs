//! One call: where it is found, who may make it, what it reads and what it answers.

use super::answer::Answer;
use super::answer::Answers;
use super::fields;
use super::fields::FieldRule;
use super::fields::Fields;
use super::fields::ReadError;
use super::fields::Slot;
use crate::config::CallKind;
use crate::config::Failure;

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub kind: CallKind,
    /// Where it is found.
    pub matches: Vec<CallMatch>,
    /// How it is proved who calls.
    pub caller: Caller,
    /// What is answered when all went well.
    pub success: Answer,
    /// What is answered when not.
    pub answers: Answers,
    pub(super) body: BodyRule,
    pub(super) fields: Vec<FieldRule>,
}

/// Where a call is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallMatch {
    /// `POST`, or several: `GET,HEAD`.
    pub methods: String,
    /// The path, such as `/auth/sessions/{session}`.
    pub path: String,
}

/// How it is proved who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// By what stands in the body: a password, or a refresh token.
    Fields,
    /// By HTTP Basic.
    Basic,
    /// By a token of the family.
    Token,
    /// Not at all.
    Anyone,
}

/// The body of a call's request.
#[derive(Clone, Debug)]
pub(super) struct BodyRule {
    pub(super) is_required: bool,
    /// Accepted media types, in lower case.
    pub(super) types: Vec<String>,
}

impl CallMatch {
    /// The text of a route's pattern, on one host or on any.
    pub fn pattern(&self, host: Option<&str>) -> String {
        format!("{} {}{}", self.methods, host.unwrap_or_default(), self.path)
    }

    /// Whether some method is named by both for one path.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        self.path == other.path
            && self.methods.split(',').any(|one| other.methods.split(',').any(|two| one == two))
    }
}

impl Call {
    /// The most bytes that the body of a call may have.
    pub const MAX_BODY_BYTES: usize = 16 << 10;

    /// Whether a body means anything to this call.
    pub const fn reads_body(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The attributes that no two users have alike.
    pub fn unique(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|rule| rule.is_unique).map(|rule| rule.slot.name())
    }

    /// What this call itself calls the login name, the password that is to be set, and attributes.
    pub fn own_name<'n>(&'n self, field: &'n str) -> &'n str {
        let slots = match field {
            "login" => vec![Slot::Login],
            "password" => vec![Slot::NewPassword, Slot::Password],
            name => vec![Slot::Attribute(name.to_owned())],
        };
        let rule = slots.iter().find_map(|slot| self.fields.iter().find(|rule| rule.slot == *slot));
        rule.map_or(field, |rule| rule.name.as_str())
    }

    /// Reads a body; `content_type` is the header as it was sent, if it was.
    pub fn read(&self, content_type: Option<&[u8]>, body: &[u8]) -> Result<Fields, ReadError> {
        if !self.reads_body() {
            return Ok(Fields::default());
        }
        if body.len() > Self::MAX_BODY_BYTES {
            return Err(Failure::TooLarge.into());
        }
        if body.is_empty() && !self.body.is_required {
            return Ok(Fields::default());
        }
        if !self.body.accepts(content_type) {
            return Err(Failure::UnsupportedType.into());
        }
        fields::read(&self.fields, body)
    }
}

impl BodyRule {
    fn accepts(&self, content_type: Option<&[u8]>) -> bool {
        let Some(text) = content_type.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return false;
        };
        let mut parts = text.split(';');
        let media_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_utf8 = parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
        });
        is_utf8 && self.types.contains(&media_type)
    }
}
