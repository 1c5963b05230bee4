//! What the store keeps about sessions, as values; the acts on them are in `sessions` and `refresh`.

use std::net::IpAddr;
use std::time::Duration;

use super::user::UserRecord;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId, UserId};

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The revision of the user that the sign-in judged.
    pub revision: i64,
    /// The application it is bound to.
    pub app: Option<AppId>,
    /// The dialect in which it was asked for.
    pub dialect: String,
    /// Where it was asked for.
    pub address: IpAddr,
    /// The program that asked, as it calls itself; the first 256 bytes are kept.
    pub agent: String,
    /// When its first token expires.
    pub tokens_until: Timestamp,
    /// For how long it can be refreshed; `None` when it cannot.
    pub refresh: Option<RefreshTerms>,
}

/// For how long a session can be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTerms {
    /// It ends after so long without a refresh.
    pub idle: Duration,
    /// It ends so long after it was opened, whatever happens.
    pub absolute: Duration,
}

/// A session as it is kept, as long as something of it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The application it is bound to.
    pub app: Option<AppId>,
    /// The dialect in which it was opened.
    pub dialect: String,
    /// Where it was opened.
    pub address: IpAddr,
    /// The program that opened it, as it calls itself.
    pub agent: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub refreshed_at: Option<Timestamp>,
    /// When its latest token expires.
    pub tokens_until: Timestamp,
    /// From here on it cannot be refreshed; `None` when it never could.
    pub refresh_until: Option<Timestamp>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its user signed out, or ended it from another session.
    Logout,
    /// An operator ended it.
    Operator,
    /// A refresh token was presented a second time: somebody else has it.
    Reuse,
    /// A refresh token was presented by another application.
    OtherApp,
    /// The user opened more sessions than allowed, and it was the oldest.
    TooMany,
    /// The password was changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// The application was revoked.
    AppRevoked,
}

impl EndReason {
    /// The word that is kept.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Operator => "operator",
            Self::Reuse => "reuse",
            Self::OtherApp => "other_app",
            Self::TooMany => "too_many",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::AppRevoked => "app_revoked",
        }
    }
}

/// A refresh token that was presented, authentic as far as its form goes.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The session it names.
    pub session: &'a SessionId,
    /// The generation it names; the first token of a session has 0.
    pub counter: i64,
    /// The application that presents it.
    pub app: Option<&'a AppId>,
    /// The dialect in which it is presented: a token of another one is none. None takes any.
    pub dialect: Option<&'a str>,
    /// When the token that will be minted for it expires.
    pub tokens_until: Timestamp,
    /// How long after a refresh the same token is answered the same, as its reply may have been lost.
    pub grace: Duration,
}

/// What came of asking for a further token of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// It may be minted.
    Granted,
    /// The session is over, or there is none.
    Ended,
    /// It belongs to another application: the session has ended in this act.
    OtherApp,
}

/// What came of presenting a refresh token.
#[derive(Debug, PartialEq)]
pub enum Rotation {
    /// It was the one in force, and a new one has replaced it.
    Next(Box<Renewed>),
    /// It was replaced a moment ago, by the same successor as now.
    Same(Box<Renewed>),
    /// It was replaced before: the session has ended in this act.
    Reused,
    /// The session is over, or there is none, or its user may not sign in.
    Ended,
    /// It was not refreshed in time.
    Expired,
    /// It belongs to another application: the session has ended in this act.
    OtherApp,
}

/// A session that was refreshed.
#[derive(Debug, PartialEq)]
pub struct Renewed {
    /// The generation of the refresh token in force now.
    pub counter: i64,
    /// The session.
    pub session: SessionRecord,
    /// Its user, as it is now.
    pub user: UserRecord,
}
