//! Who is calling: checked facts about an application and a user.
//!
//! Nothing here checks anything: a value of these types exists because a check passed.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::id::{AppId, Digest, SessionId, UserId};

/// What the checks of a route established; on a public route both sides stay empty.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// The calling program, when an application key was presented and good.
    pub app: Option<Arc<App>>,
    /// The person on whose behalf, when a token was presented and good.
    pub user: Option<Arc<Subject>>,
    /// What the store knows about that user, where it is the one to say what the user may do.
    pub facts: Option<Arc<Facts>>,
    /// The certificate by which one of them was identified.
    pub certificate: Option<Arc<Certificate>>,
}

impl Principal {
    /// What the user may do; nothing when there is none.
    pub fn permissions(&self) -> &Permissions {
        match (&self.user, &self.facts) {
            (Some(_), Some(facts)) => &facts.permissions,
            (Some(user), None) => &user.permissions,
            (None, _) => &Permissions::None,
        }
    }
}

/// An application whose key was verified.
#[derive(Debug, PartialEq, Eq)]
pub struct App {
    /// Its public id.
    pub id: AppId,
    /// What it may be used for, as the operator listed it.
    pub scopes: Vec<String>,
}

/// The user whom a verified token speaks of.
#[derive(Debug)]
pub struct Subject {
    /// The text at the check's identity pointer; a number in decimal.
    pub identity: String,
    /// The token's `iss`; empty when the token has none and its entry allows that.
    pub issuer: String,
    /// Every claim, as the token has it.
    pub claims: Map<String, Value>,
    /// What the user may do, read from the claim that the check names.
    pub permissions: Permissions,
    /// From this instant on the token is expired (leeway not included).
    pub expires_at: Timestamp,
    /// The digest of the certificate that the token may be used with, if it is bound to one.
    pub bound_to: Option<Digest>,
    /// What the header of a token of our own says besides.
    pub own: Option<Own>,
}

/// Whom and what a token of our own belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The session whose end ends the token.
    pub session: SessionId,
    /// The user in the store.
    pub user: UserId,
}

/// What the store knows about a user now, whatever a token of theirs said when it was signed.
#[derive(Debug, PartialEq)]
pub struct Facts {
    /// The user.
    pub id: UserId,
    /// The number of the user.
    pub number: i64,
    /// The name under which the user signs in.
    pub login: String,
    /// Counts changes of state, passwords and second factor.
    pub revision: i64,
    /// What else is known.
    pub attributes: Map<String, Value>,
    /// What the user may do.
    pub permissions: Permissions,
}

/// What a user may do: plain names, or resources each with its verbs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Permissions {
    /// The check names no claim, or the token has none there.
    #[default]
    None,
    /// A list of strings, or the words of a `scope`.
    Names(Vec<String>),
    /// A map from a resource to its verbs.
    Verbs(Vec<(String, Vec<String>)>),
}

impl Permissions {
    /// Reads the forms in which claims hold permissions; anything else is no permission at all.
    pub fn of_claim(claim: &Value) -> Self {
        match claim {
            Value::String(words) => {
                Self::Names(words.split_ascii_whitespace().map(str::to_owned).collect())
            }
            Value::Array(items) => Self::Names(strings(items)),
            Value::Object(map) => Self::Verbs(
                map.iter()
                    .filter_map(|(resource, verbs)| {
                        Some((resource.clone(), strings(verbs.as_array()?)))
                    })
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::None,
        }
    }

    /// Whether `name` is granted: `orders`, or `Users:edit` as a whole name or as resource and verb.
    pub fn grants(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Names(names) => names.iter().any(|granted| granted == name),
            Self::Verbs(map) => name.rsplit_once(':').is_some_and(|(resource, verb)| {
                map.iter().any(|(key, verbs)| key == resource && verbs.iter().any(|v| v == verb))
            }),
        }
    }
}

fn strings(items: &[Value]) -> Vec<String> {
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn permissions_are_read_from_each_documented_form() {
        let scope = Permissions::of_claim(&json!("read write"));
        assert!(scope.grants("write") && !scope.grants("writ") && !scope.grants(""));
        let list = Permissions::of_claim(&json!(["Users:edit", 7]));
        assert!(list.grants("Users:edit") && !list.grants("Users") && !list.grants("7"));
        let map = Permissions::of_claim(&json!({"Things": ["view", "edit"], "Tags": "view"}));
        assert!(map.grants("Things:edit"));
        assert!(!map.grants("Things:delete") && !map.grants("Things") && !map.grants("Tags:view"));
        assert!(!Permissions::of_claim(&json!(null)).grants("x"));
    }
}
