//! What a known caller may do: permissions by name, and one expression over the request.
//!
//! A policy is asked after the checks of its route have passed. It refuses; it never identifies
//! anybody, and it knows nothing of HTTP statuses. Whatever it cannot evaluate, it refuses.

mod expression;
mod permission;

use std::net::IpAddr;
use std::ops::Range;

use thiserror::Error;

use crate::principal::Principal;

pub use expression::Expression;
pub use expression::ExpressionError;
pub use permission::PermissionError;
pub use permission::PermissionRule;

/// The conditions of one route: every permission, and the expression.
#[derive(Debug, Default)]
pub struct Policy {
    /// What the user must have been granted, all of it.
    pub permissions: Vec<PermissionRule>,
    /// What must hold besides.
    pub allow: Option<Expression>,
}

/// What a policy judges by; all of it is canonical and checked.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who is calling.
    pub principal: &'a Principal,
    /// The method.
    pub method: &'a str,
    /// The host, without a port.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The bytes of `path` that the named segments of the route captured, in the pattern's order.
    pub params: &'a [Range<usize>],
    /// Who is at the other end.
    pub address: IpAddr,
}

/// Why a policy refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// The user was not granted this, or there is no user.
    #[error("permission `{0}` is not granted")]
    MissingPermission(String),
    /// The expression is false.
    #[error("the expression is false")]
    NotAllowed,
    /// The expression cannot be evaluated for this request.
    #[error("the expression cannot be evaluated")]
    ExpressionFailed,
}

/// How one term of a policy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermOutcome {
    /// It holds.
    Holds,
    /// It does not hold.
    Fails,
    /// It cannot be evaluated, which refuses; with the reason, free of values.
    Broken(String),
}

impl Policy {
    /// Passes a caller who meets every condition.
    pub fn permit(&self, facts: &Facts<'_>) -> Result<(), Forbidden> {
        for rule in &self.permissions {
            rule.permit(facts)?;
        }
        self.allow.as_ref().map_or(Ok(()), |allow| allow.permit(facts))
    }

    /// How each term ends on its own: the permissions, then what the expression joins by `&&`.
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<(String, TermOutcome)> {
        let permissions = self.permissions.iter().map(|rule| {
            let holds = rule.permit(facts).is_ok();
            let outcome = if holds { TermOutcome::Holds } else { TermOutcome::Fails };
            (format!("permission {}", rule.name()), outcome)
        });
        let terms = self.allow.iter().flat_map(|allow| allow.explain(facts));
        permissions.chain(terms).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use serde_json::Map;

    use crate::clock::Timestamp;
    use crate::principal::Permissions;
    use crate::principal::Subject;

    use super::*;

    fn policy(permissions: &[&str], allow: Option<&str>) -> Policy {
        Policy {
            permissions: permissions.iter().map(|n| PermissionRule::parse(n).unwrap()).collect(),
            allow: allow.map(|text| Expression::parse(text, &[]).unwrap()),
        }
    }

    fn user(permissions: Permissions) -> Principal {
        let user = Subject {
            identity: "u1".into(),
            issuer: "i".into(),
            claims: Map::new(),
            permissions,
            expires_at: Timestamp::from_seconds(0),
            bound_to: None,
            own: None,
        };
        Principal { app: None, user: Some(Arc::new(user)), facts: None, certificate: None }
    }

    fn facts<'a>(principal: &'a Principal, method: &'a str) -> Facts<'a> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Facts { principal, method, host: "h", path: "/", params: &[], address }
    }

    #[test]
    fn every_condition_must_be_met() {
        let principal = user(Permissions::Names(vec!["read".into(), "write".into()]));
        let facts = facts(&principal, "GET");
        let both = policy(&["read", "write"], Some("user.id == 'u1'"));
        assert_eq!(both.permit(&facts), Ok(()));
        let missing = policy(&["read", "admin"], Some("user.id == 'u1'"));
        let refusal = Err(Forbidden::MissingPermission("admin".into()));
        assert_eq!(missing.permit(&facts), refusal);
        let other = policy(&["read"], Some("user.id == 'u2'"));
        assert_eq!(other.permit(&facts), Err(Forbidden::NotAllowed));
        let broken = policy(&["read"], Some("app.id == 'x'"));
        assert_eq!(broken.permit(&facts), Err(Forbidden::ExpressionFailed));
        assert_eq!(Policy::default().permit(&facts), Ok(()));
    }

    #[test]
    fn terms_are_explained_one_by_one() {
        let principal = user(Permissions::Names(vec!["read".into()]));
        let policy = policy(
            &["read", "write"],
            Some("user.id == '&&' && (user.present && true) && app.id == 'x'"),
        );
        let explained = policy.explain(&facts(&principal, "GET"));
        let expected = [
            ("permission read", TermOutcome::Holds),
            ("permission write", TermOutcome::Fails),
            ("user.id == '&&'", TermOutcome::Fails),
            ("(user.present && true)", TermOutcome::Holds),
            ("app.id == 'x'", TermOutcome::Broken("there is no application".into())),
        ];
        assert_eq!(explained, expected.map(|(term, outcome)| (term.to_owned(), outcome)));
    }
}
