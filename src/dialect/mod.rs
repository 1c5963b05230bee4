//! How a login API speaks, compiled from its preset: calls and their fields, answers, tokens.
//!
//! A dialect is data: nothing here knows one by name. It reads bodies and makes answers; who may log
//! in is decided by the one sign-in above. It keeps nothing, asks no clock and draws nothing at random.

mod answer;
mod call;
mod client;
mod compile;
mod fields;
mod load;
#[cfg(test)]
mod own;
mod parts;
mod rules;
mod scope;
mod second_factor;
#[cfg(test)]
mod shipped;
mod template;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use crate::config::{CallKind, Failure, Refusal};
pub use answer::{Answer, Answers, Voice};
pub use call::{Call, CallMatch, Caller};
pub use client::{ClientHeaders, single};
pub use fields::{Fields, ReadError};
pub use scope::{Name, Scope};
pub use second_factor::{SecondFactor, Taken};
pub use template::Template;
pub use token::{Identity, IdentityKind, TokenRecipe};

/// A compiled preset.
#[derive(Debug)]
pub struct Dialect {
    /// Its name: that of the preset.
    pub name: String,
    /// The name that all dialects share that accept each other's tokens.
    pub family: String,
    /// What can be called.
    pub calls: BTreeMap<CallKind, Call>,
    /// What answers a request that belongs to no single call.
    pub answers: Answers,
    /// What a protected route answers when it refuses.
    pub voice: Voice,
    /// What its tokens are made of.
    pub token: TokenRecipe,
    /// Headers in which a verified application tells about its own client.
    pub client: Option<ClientHeaders>,
    /// How a second factor is asked for; without it the dialect has no way to ask.
    pub second_factor: Option<Arc<SecondFactor>>,
    /// When an account is locked.
    pub lockout: Lockout,
    /// How long a session can be refreshed; none when it cannot.
    pub refresh: Option<RefreshTerms>,
}

/// When an account is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Failures after which it is; 0 never locks.
    pub failures: u32,
    /// How long a failure is remembered.
    pub window: Duration,
    /// How long the lock holds.
    pub lock: Duration,
}

/// How long a session can be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTerms {
    /// After the last refresh.
    pub idle: Duration,
    /// After the login.
    pub absolute: Duration,
    /// How long the answer to a refresh is repeated for a client that lost it.
    pub grace: Duration,
    /// Whether sessions of other dialects can be refreshed here too.
    pub is_for_any: bool,
}

impl Lockout {
    /// What holds for a preset that says nothing.
    pub const DEFAULT: Self =
        Self { failures: 10, window: Duration::from_mins(15), lock: Duration::from_mins(15) };
}
