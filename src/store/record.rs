//! What the store keeps about applications, as values; the acts on them are in `app`.

use std::fmt;

use crate::clock::Timestamp;
use crate::id::{AppId, Digest};

/// The name of an application, for people: 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppName(String);

impl AppName {
    /// Takes a text that can be a name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = (1..=64).contains(&text.chars().count())
            && !text.contains(char::is_control)
            && text.trim() == text;
        is_name.then(|| Self(text.to_owned()))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an application may be used for: a `scope-token` of RFC 6749 §3.3, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Takes a text that can be a scope.
    pub fn parse(text: &str) -> Option<Self> {
        let is_scope = (1..=64).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~'));
        is_scope.then(|| Self(text.to_owned()))
    }

    /// The text of the scope.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An application to be created, with its first secret.
#[derive(Debug)]
pub struct NewApp {
    /// Its public id.
    pub id: AppId,
    /// Its name, which no other live application has.
    pub name: AppName,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Its first secret.
    pub secret: NewSecret,
}

/// A secret to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewSecret {
    /// SHA-256 of the key as its application presents it.
    pub digest: Digest,
    /// From this instant on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// An application as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct AppRecord {
    /// Its public id.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was revoked with all its secrets.
    pub revoked_at: Option<Timestamp>,
    /// Its secrets, oldest first, dead ones included.
    pub secrets: Vec<SecretRecord>,
}

/// A secret as it is kept: everything but its digest.
#[derive(Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Its number within the application, from 1.
    pub number: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this instant on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When a gateway last accepted it, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

impl SecretRecord {
    /// Whether it is accepted at `now`, as far as the secret itself goes.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a gateway has to know about a presented key.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundSecret {
    /// Whose it is.
    pub app: AppId,
    /// Its number within the application.
    pub number: u32,
    /// What the application may be used for.
    pub scopes: Vec<String>,
    /// From this instant on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Whether it or its application was revoked.
    pub is_revoked: bool,
}

/// A key was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Whose it is.
    pub app: AppId,
    /// The number of the secret.
    pub number: u32,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_printable() {
        for good in ["a", "Mobile (iOS)", "Bücher", &"x".repeat(64)] {
            assert!(AppName::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", " a", "a ", "a\nb", "a\u{1b}[31m", &"x".repeat(65)] {
            assert!(AppName::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_scope_is_one_word_of_visible_ascii() {
        for good in ["orders", "orders:read", "!", "~", &"x".repeat(64)] {
            assert!(Scope::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a\"", "a\\", "ä", "a\t", &"x".repeat(65)] {
            assert!(Scope::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_dies_at_the_instant_it_expires() {
        let at = Timestamp::from_millis;
        let secret = |expires_at, revoked_at| SecretRecord {
            number: 1,
            created_at: at(0),
            expires_at,
            revoked_at,
            last_used_at: None,
        };
        assert!(secret(None, None).is_live(at(i64::MAX)));
        assert!(secret(Some(at(10)), None).is_live(at(9)));
        assert!(!secret(Some(at(10)), None).is_live(at(10)));
        assert!(!secret(None, Some(at(5))).is_live(at(4)));
    }
}
