//! A preset: how one documented login API speaks, as data with places.
//!
//! No meaning is judged here: templates, pointers and statuses are compiled by `dialect`. A preset is
//! a file of its own, and each of its findings shows an excerpt of that file.

mod choice;
mod read;
mod table;
mod tree;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{At, Length, TextOrList};

pub use choice::CallChoice;
pub use read::read_preset;
pub use table::PRESETS;
pub use tree::Tree;
pub use words::{CallKind, Failure, Refusal};

/// How a login API speaks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub dialect: At<String>,
    /// Another preset, which holds where this one says nothing: a name, or `file:PATH`.
    #[serde(default)]
    pub extends: Option<At<String>>,
    /// Presets of one family accept each other's tokens; the own name by default.
    #[serde(default)]
    pub family: Option<At<String>>,
    /// What it stands in for, in a sentence.
    #[serde(default)]
    pub about: Option<String>,
    /// Headers in which a verified application tells about its own client.
    #[serde(default)]
    pub client: Option<At<ClientEntry>>,
    /// How a second factor is asked for on routes that want one.
    #[serde(default)]
    pub second_factor: Option<At<SecondFactorEntry>>,
    /// When an account is locked.
    #[serde(default)]
    pub lockout: Option<At<LockoutEntry>>,
    /// How long a session can be refreshed.
    #[serde(default)]
    pub refresh: Option<At<RefreshEntry>>,
    /// What a token is made of.
    #[serde(default)]
    pub token: TokenEntry,
    /// What can be called; `none` leaves out a call of the preset that is extended.
    #[serde(default)]
    pub calls: BTreeMap<CallKind, At<CallChoice>>,
    /// What a call that fails answers.
    #[serde(default)]
    pub answers: BTreeMap<Failure, At<AnswerEntry>>,
    /// What a protected route answers when it refuses.
    #[serde(default)]
    pub refusals: BTreeMap<Refusal, At<AnswerEntry>>,
    /// The generation that is spoken unless another is chosen.
    #[serde(default)]
    pub generation: Option<At<String>>,
    /// Variants of the same API, by name.
    #[serde(default)]
    pub generations: BTreeMap<String, At<GenerationEntry>>,
}

/// What one generation says differently.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerationEntry {
    /// What it stands in for, in a sentence.
    #[serde(default)]
    pub about: Option<String>,
    /// What a token is made of.
    #[serde(default)]
    pub token: TokenEntry,
    /// What can be called; `none` leaves out a call of the preset that is extended.
    #[serde(default)]
    pub calls: BTreeMap<CallKind, At<CallChoice>>,
    /// What a call that fails answers.
    #[serde(default)]
    pub answers: BTreeMap<Failure, At<AnswerEntry>>,
    /// What a protected route answers when it refuses.
    #[serde(default)]
    pub refusals: BTreeMap<Refusal, At<AnswerEntry>>,
}

/// Headers in which a verified application tells about its own client.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// The header with the client's address.
    pub address: At<String>,
    /// The header with the client's user agent.
    pub agent: At<String>,
    /// Whether a request without them is refused.
    #[serde(default)]
    pub required: bool,
}

/// How a second factor is asked for on routes that want one: the request is repeated with two members
/// more in its JSON body.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorEntry {
    /// The member that repeats the key of the challenge.
    pub challenge: At<String>,
    /// The member with the code.
    pub code: At<String>,
}

/// When an account is locked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockoutEntry {
    /// Failures after which it is; 0 never locks.
    pub failures: At<u32>,
    /// How long a failure is remembered.
    pub window: At<Length>,
    /// How long the lock holds.
    pub lock: At<Length>,
}

/// How long a session can be refreshed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshEntry {
    /// After the last refresh.
    pub idle: At<Length>,
    /// After the login.
    pub absolute: At<Length>,
    /// How long the answer to a refresh is repeated for a client that lost it; 30s by default.
    #[serde(default)]
    pub grace: Option<At<Length>>,
    /// Whether refresh tokens of other dialects' logins are good here too; false by default.
    #[serde(default)]
    pub any: bool,
}

/// What a token is made of.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// The signature algorithm by its JOSE name.
    #[serde(default)]
    pub algorithm: Option<At<String>>,
    /// `typ` in the token's header; `none` leaves it out.
    #[serde(default)]
    pub typ: Option<At<String>>,
    /// How long a token is good.
    #[serde(default)]
    pub lifetime: Option<At<Length>>,
    /// The claims, in their order.
    #[serde(default)]
    pub claims: Option<At<Tree>>,
    /// JSON pointer to the claim that names the user.
    #[serde(default)]
    pub identity: Option<At<String>>,
    /// Accepted schemes in `Authorization`; `none` is a bare token.
    #[serde(default)]
    pub schemes: Option<At<Vec<At<String>>>>,
}

/// One call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallEntry {
    /// `METHODS /path`, one or several.
    #[serde(rename = "match")]
    pub matches: At<Vec<At<String>>>,
    /// Who calls is proved by `fields`, `basic`, `token`, or not at all (`anyone`).
    #[serde(default)]
    pub caller: Option<At<String>>,
    /// The request's body.
    #[serde(default)]
    pub body: Option<At<BodyEntry>>,
    /// What the call reads from its body.
    #[serde(default)]
    pub fields: BTreeMap<String, At<FieldEntry>>,
    /// Attributes of the user that the call reads from its body, by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, At<FieldEntry>>,
    /// What is answered when all went well.
    pub success: At<AnswerEntry>,
    /// What this call answers otherwise than the dialect's `answers` do.
    #[serde(default)]
    pub answers: BTreeMap<Failure, At<AnswerEntry>>,
}

/// The body of a call's request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyEntry {
    /// Whether there must be one; by default when a field is required.
    #[serde(default)]
    pub required: Option<bool>,
    /// Accepted media types; `application/json` by default.
    #[serde(default)]
    pub types: Option<At<TextOrList>>,
}

/// One value of a call's body.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldEntry {
    /// JSON pointer to it.
    pub at: At<String>,
    /// `string`, `integer`, `boolean` or `any`.
    #[serde(rename = "type")]
    pub kind: At<String>,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// Whether nobody can choose what another user has, in `attributes` of the type `string`; operators
    /// can set it. False by default.
    #[serde(default)]
    pub unique: bool,
    /// The smallest number, or the least bytes of a text.
    #[serde(default)]
    pub min: Option<At<u64>>,
    /// The largest number, or the most bytes of a text.
    #[serde(default)]
    pub max: Option<At<u64>>,
    /// What an empty text and null mean: `refuse` (the default), `accept`, or `remove` the attribute.
    #[serde(default)]
    pub blank: Option<At<String>>,
}

/// One answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerEntry {
    /// The status.
    pub status: At<u16>,
    /// Headers beside those of every answer.
    #[serde(default)]
    pub headers: BTreeMap<String, At<String>>,
    /// A JSON body.
    #[serde(default)]
    pub body: Option<At<Tree>>,
    /// A body of plain text.
    #[serde(default)]
    pub text: Option<At<String>>,
    /// The media type, if not the usual one of `body` or `text`.
    #[serde(rename = "type", default)]
    pub media_type: Option<At<String>>,
}
