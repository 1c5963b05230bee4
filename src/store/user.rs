//! What the store keeps about users, as values; the acts on them are in `users`, `passwords` and
//! `second_factors`.

use std::fmt;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::id::UserId;
use crate::secret::Secret;

/// The name under which a user signs in, in its one canonical spelling.
///
/// Visible ASCII in lower case, 1 to 254 bytes, at most one `@`: two spellings of one name cannot be
/// two accounts, and one spelling cannot be read as two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login(String);

impl Login {
    /// Takes a text that can be a user name, whatever the case of its letters.
    pub fn parse(text: &str) -> Option<Self> {
        let is_login = (1..=254).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
            && text.bytes().filter(|&b| b == b'@').count() <= 1;
        is_login.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands between a user with the right password and a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    /// Nothing.
    Active,
    /// An operator locked it.
    Locked,
    /// The password is too old and has to be changed first.
    Expired,
    /// It was invited and has not accepted yet.
    Invited,
    /// An operator switched it off; its sessions have ended.
    Disabled,
}

impl UserState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Locked, Self::Expired, Self::Invited, Self::Disabled];

    /// The word that is kept and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Expired => "expired",
            Self::Invited => "invited",
            Self::Disabled => "disabled",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A user to be created.
#[derive(Debug)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// The name under which it signs in, which no other user has.
    pub login: Login,
    /// Its state.
    pub state: UserState,
    /// What else is known about it.
    pub attributes: Map<String, Value>,
    /// Attributes whose text no other user has.
    pub unique: Vec<String>,
    /// What it may do, in the form of its dialect.
    pub permissions: Value,
    /// The hash of its first password, in the PHC format; without one it cannot sign in.
    pub password: Option<Secret<String>>,
}

/// What is to be altered of a user; what is `None` stays.
#[derive(Debug, Default)]
pub struct UserChange {
    /// Another name to sign in with.
    pub login: Option<Login>,
    /// Attributes to set; `null` removes one, those not named stay.
    pub attributes: Option<Map<String, Value>>,
    /// Attributes whose text no other user may have, where it is set.
    pub unique: Vec<String>,
    /// Other permissions, in place of all there were.
    pub permissions: Option<Value>,
}

/// Whose credentials an act alters. Named by a record, they must be as they were when it was read: who
/// may alter them is judged before a hash is computed, and another change may come in between.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub(super) id: &'a UserId,
    pub(super) revision: Option<i64>,
}

/// As an operator names them: whatever they are by now.
impl<'a> From<&'a UserId> for Whose<'a> {
    fn from(id: &'a UserId) -> Self {
        Self { id, revision: None }
    }
}

impl<'a> From<&'a UserRecord> for Whose<'a> {
    fn from(user: &'a UserRecord) -> Self {
        Self { id: &user.id, revision: Some(user.revision) }
    }
}

/// A user as it is kept, without secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRecord {
    /// Its number, counted from 1 and never given twice.
    pub number: i64,
    /// Its id.
    pub id: UserId,
    /// The name under which it signs in.
    pub login: Login,
    /// Its state.
    pub state: UserState,
    /// What else is known about it.
    pub attributes: Map<String, Value>,
    /// What it may do.
    pub permissions: Value,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a password was last set, added or removed.
    pub password_changed_at: Option<Timestamp>,
    /// Whether a second factor is in force; one that awaits its first code is not.
    pub has_totp: bool,
    /// How many passwords it has.
    pub password_count: u32,
    /// Counts changes of state, passwords and second factor: a session is opened only by a sign-in
    /// that saw the latest.
    pub revision: i64,
}

/// What is needed to judge a sign-in, read at one instant.
#[derive(Debug)]
pub struct Credentials {
    /// Whose they are.
    pub user: UserRecord,
    /// Its passwords, oldest first.
    pub passwords: Vec<PasswordRecord>,
    /// Its second factor, in force or awaiting its first code.
    pub totp: Option<TotpRecord>,
}

/// A password as it is kept.
#[derive(Debug)]
pub struct PasswordRecord {
    /// Its number within the user, from 1; never given twice.
    pub number: u32,
    /// Its hash in the PHC format.
    pub phc: Secret<String>,
    /// When it was set.
    pub created_at: Timestamp,
}

/// A second factor as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotpRecord {
    /// The seed, encrypted.
    pub sealed: Vec<u8>,
    /// The latest step whose code was spent.
    pub last_step: Option<i64>,
    /// Whether a first code was shown, so that it is in force.
    pub confirmed: bool,
    /// Recovery codes not used yet.
    pub recovery_codes: u32,
}
