//! What a dialect's tokens are made of; signing them is for whoever has the keys.

use std::time::Duration;

use serde_json::{Map, Value};

use super::parts::TokenParts;
use super::parts::Typ;
use super::scope::Name;
use super::scope::Scope;
use super::template::Template;
use crate::config::At;
use crate::config::Findings;
use crate::config::Place;
use crate::json::Pointer;

/// What tokens are made of.
#[derive(Clone, Debug)]
pub struct TokenRecipe {
    /// The signature algorithm by its JOSE name.
    pub algorithm: String,
    /// `typ` in the token's header; none leaves it out.
    pub typ: Option<String>,
    /// How long a token is good unless the call or the operator says otherwise.
    pub lifetime: Duration,
    /// The claim that names the user.
    pub identity: Identity,
    /// Accepted schemes in `Authorization`; `none` is a bare token.
    pub schemes: Vec<String>,
    /// Whether the claims name their issuer (`iss`).
    pub names_issuer: bool,
    /// Whether the claims name their audience (`aud`).
    pub names_audience: bool,
    pub(super) claims: Template,
}

/// The claim that names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// JSON pointer to it.
    pub pointer: String,
    /// What stands there, behind the prefix.
    pub kind: IdentityKind,
    /// A text that stands before it.
    pub prefix: String,
}

/// By what a claim names a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// The user's number, as a number.
    Number,
    /// The user's number, as a text.
    NumberText,
    /// The user's id.
    Id,
    /// The user's login name, which can change.
    Login,
}

impl TokenRecipe {
    /// The claims, in the order of the preset.
    pub fn claims(&self, scope: &Scope<'_>) -> Map<String, Value> {
        match self.claims.render(scope) {
            Value::Object(claims) => claims,
            // A recipe is made of a map.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }

    /// Whether one secret signs and verifies.
    pub fn is_shared(&self) -> bool {
        self.algorithm.starts_with("HS")
    }
}

/// A whole recipe; `place` is where the dialect is named, for what is missing.
pub(super) fn assemble(
    parts: TokenParts,
    place: Place,
    findings: &mut Findings,
) -> Option<TokenRecipe> {
    let mut lacks = |what: &str, is_there: bool| {
        if !is_there {
            findings.error(place, format!("the dialect's `token` has no `{what}`"));
        }
    };
    lacks("algorithm", parts.algorithm.is_some());
    lacks("lifetime", parts.lifetime.is_some());
    lacks("claims", parts.claims.is_some());
    lacks("identity", parts.identity.is_some());
    let (claims, pointer) = (parts.claims?, parts.identity?);
    let identity = Identity::of(&claims, &pointer, findings);
    let has_end = claims.member(["exp"]).is_some_and(|node| node.is_exactly(Name::Expires));
    if !has_end {
        findings
            .error(claims.place, "a token without its end is good for ever")
            .help("write `exp: \"${expires}\"` among the claims");
    }
    let mut names = |claim: &str, name: Name| {
        let member = claims.member([claim]);
        if member.as_ref().is_some_and(|node| !node.is_exactly(name)) {
            let text = name.text();
            findings.error(claims.place, format!("`{claim}` is checked and must be `${{{text}}}`"));
        }
        member.is_some()
    };
    let (names_issuer, names_audience) = (names("iss", Name::Issuer), names("aud", Name::Audience));
    let schemes = parts.schemes.unwrap_or_else(|| vec!["Bearer".to_owned()]);
    Some(TokenRecipe {
        algorithm: parts.algorithm?,
        typ: match parts.typ {
            None => Some("JWT".to_owned()),
            Some(Typ::Absent) => None,
            Some(Typ::Present(text)) => Some(text),
        },
        lifetime: parts.lifetime?,
        identity: identity?,
        schemes,
        names_issuer,
        names_audience,
        claims: claims.value,
    })
}

impl Identity {
    /// Which user a token speaks of must be certain: the claim is one name and nothing optional.
    fn of(claims: &Template, pointer: &At<Pointer>, findings: &mut Findings) -> Option<Self> {
        let found = claims.member(pointer.names());
        let parts = found.as_ref().and_then(Template::prefix_and_name);
        let kind = parts.and_then(|(prefix, name)| match name {
            Name::UserNumber if prefix.is_empty() => Some(IdentityKind::Number),
            Name::UserNumber | Name::UserNumberText => Some(IdentityKind::NumberText),
            Name::UserId => Some(IdentityKind::Id),
            Name::UserLogin => Some(IdentityKind::Login),
            _ => None,
        });
        let Some((kind, (prefix, _))) = kind.zip(parts) else {
            findings
                .error(pointer.place, "`identity` points to no claim that names the user")
                .help("the claim is `${user.number}`, `${user.number_text}`, `${user.id}` or `${user.login}`");
            return None;
        };
        let mut text = String::new();
        for name in pointer.names() {
            text.push('/');
            text.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        Some(Self { pointer: text, kind, prefix: prefix.to_owned() })
    }
}
