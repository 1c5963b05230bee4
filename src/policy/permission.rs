//! The short form of a policy: a permission by its name.

use thiserror::Error;

use crate::principal::Permissions;

use super::Facts;
use super::Forbidden;

/// The most bytes of a permission's name.
const MAX_NAME_BYTES: usize = 256;

/// A permission that a route requires: `orders`, `Users:edit`, or a resource without a verb.
///
/// A name without a verb means, for users whose permissions are resources with verbs, the verb that
/// the method implies: `view` for GET and HEAD, `edit` for POST, PUT and PATCH, `delete` for DELETE;
/// any other method is refused. For users whose permissions are plain names it is the whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionRule {
    name: String,
    /// The name with each verb appended, when it has none of its own.
    implied: Option<Implied>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Implied {
    view: String,
    edit: String,
    delete: String,
}

/// Why a text is no permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a permission is a name such as `orders` or `Users:edit`: 1 to {MAX_NAME_BYTES} bytes, no spaces"
)]
pub struct PermissionError;

impl PermissionRule {
    /// Reads the name of a permission.
    pub fn parse(name: &str) -> Result<Self, PermissionError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        let halves_are_named =
            name.rsplit_once(':').is_none_or(|(left, right)| !left.is_empty() && !right.is_empty());
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(is_odd) {
            return Err(PermissionError);
        }
        if !halves_are_named {
            return Err(PermissionError);
        }
        let implied = (!name.contains(':')).then(|| Implied {
            view: format!("{name}:view"),
            edit: format!("{name}:edit"),
            delete: format!("{name}:delete"),
        });
        Ok(Self { name: name.to_owned(), implied })
    }

    /// The name as the operator wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn permit(&self, facts: &Facts<'_>) -> Result<(), Forbidden> {
        let permissions = facts.principal.permissions();
        let name = match (permissions, &self.implied) {
            (Permissions::Verbs(_), Some(implied)) => implied.of(facts.method),
            _ => Some(&*self.name),
        };
        match name {
            Some(name) if permissions.grants(name) => Ok(()),
            _ => Err(Forbidden::MissingPermission(name.unwrap_or(&self.name).to_owned())),
        }
    }
}

impl Implied {
    fn of(&self, method: &str) -> Option<&str> {
        match method {
            "GET" | "HEAD" => Some(&self.view),
            "POST" | "PUT" | "PATCH" => Some(&self.edit),
            "DELETE" => Some(&self.delete),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use serde_json::Map;
    use serde_json::json;

    use crate::clock::Timestamp;
    use crate::principal::Principal;
    use crate::principal::Subject;

    use super::*;

    fn refusal(rule: &str, method: &str, principal: &Principal) -> Option<String> {
        let facts = Facts {
            principal,
            method,
            host: "h",
            path: "/",
            params: &[],
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        match PermissionRule::parse(rule).unwrap().permit(&facts) {
            Ok(()) => None,
            Err(Forbidden::MissingPermission(name)) => Some(name),
            Err(other) => panic!("{other}"),
        }
    }

    fn user(permissions: &serde_json::Value) -> Principal {
        let user = Subject {
            identity: "u1".into(),
            issuer: "i".into(),
            claims: Map::new(),
            permissions: Permissions::of_claim(permissions),
            expires_at: Timestamp::from_seconds(0),
            bound_to: None,
            own: None,
        };
        Principal { app: None, user: Some(Arc::new(user)), facts: None, certificate: None }
    }

    #[test]
    fn a_resource_without_a_verb_means_the_verb_of_the_method() {
        let user = user(&json!({"Things": ["view", "edit"], "Tags": ["delete"]}));
        for (rule, method, refused) in [
            ("Things", "GET", None),
            ("Things", "HEAD", None),
            ("Things", "POST", None),
            ("Things", "PUT", None),
            ("Things", "PATCH", None),
            ("Things", "DELETE", Some("Things:delete")),
            ("Things", "OPTIONS", Some("Things")),
            ("Things", "get", Some("Things")),
            ("Tags", "DELETE", None),
            ("Tags", "GET", Some("Tags:view")),
            ("Users", "GET", Some("Users:view")),
            ("Things:view", "DELETE", None),
            ("Things:delete", "GET", Some("Things:delete")),
            ("things:view", "GET", Some("things:view")),
        ] {
            let refused = refused.map(str::to_owned);
            assert_eq!(refusal(rule, method, &user), refused, "{method} {rule}");
        }
    }

    #[test]
    fn plain_names_are_compared_whole() {
        let user = user(&json!(["orders", "Users:edit"]));
        assert_eq!(refusal("orders", "PROPFIND", &user), None);
        assert_eq!(refusal("Users:edit", "GET", &user), None);
        for rule in ["Users", "order", "orders2", "Orders", "orders:view"] {
            assert_eq!(refusal(rule, "GET", &user), Some(rule.to_owned()));
        }
    }

    #[test]
    fn nobody_is_granted_anything() {
        for rule in ["orders", "Things:view"] {
            assert!(refusal(rule, "GET", &Principal::default()).is_some());
            assert!(refusal(rule, "GET", &user(&json!(null))).is_some());
        }
    }

    #[test]
    fn names_are_bounded_and_free_of_spaces() {
        for name in ["", " ", "a b", "a\n", ":", "a:", ":a", &"a".repeat(MAX_NAME_BYTES + 1)] {
            assert_eq!(PermissionRule::parse(name), Err(PermissionError), "{name}");
        }
        for name in ["a", "a:b", "urn:x:read", &"a".repeat(MAX_NAME_BYTES)] {
            assert!(PermissionRule::parse(name).is_ok(), "{name}");
        }
    }
}
