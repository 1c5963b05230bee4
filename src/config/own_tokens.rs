//! The tokens of our own in a `jwt` check, read: what the dialect leaves open.
//!
//! What their dialect fixes is not said again, and an entry that tries is refused.

use std::time::Duration;

use http::HeaderName;

use super::bounds;
use super::checks;
use super::document::JwtEntry;
use super::document::LoginEntry;
use super::finding::Findings;
use super::issuers::{STORE, judge_locations, optional};
use super::logins;
use super::scalar::At;
use super::scalar::Place;
use super::scalar::SecretRef;

/// Tokens that the gateway mints; what the dialect fixes is not said again.
#[derive(Clone, Debug)]
pub struct OwnSettings {
    /// Where the entry was written.
    pub place: Place,
    /// The `name` or `dialect` of a login service, or the name of a preset.
    pub dialect: At<String>,
    /// Where the user's permissions are looked for.
    pub permissions: OwnPermissions,
    /// For how long after `exp` a token is still good.
    pub leeway: Duration,
    /// Accepted schemes in `Authorization`, instead of the dialect's.
    pub schemes: Option<Vec<At<String>>>,
    /// Another header that holds the bare token.
    pub header: Option<HeaderName>,
    /// A cookie that holds the token.
    pub cookie: Option<String>,
    /// A query parameter that holds the token.
    pub query: Option<String>,
    /// Whether the upstream gets the credential too.
    pub keep: bool,
}

/// Where the permissions of a user of our own are looked for.
#[derive(Clone, Debug)]
pub enum OwnPermissions {
    /// In the store, each time: a change acts at once.
    Store,
    /// Among the claims, by a JSON pointer.
    Claim(At<String>),
}

impl OwnSettings {
    pub(super) fn resolve(
        entry: &At<JwtEntry>,
        logins: &[At<LoginEntry>],
        findings: &mut Findings,
    ) -> Option<Self> {
        judge_fixed(entry, findings);
        judge_locations(entry, entry.place, findings);
        let dialect = logins::dialect_of(entry, logins, findings);
        let header = optional(entry.header.as_ref(), |name| checks::header(name, findings));
        let cookie = optional(entry.cookie.as_ref(), |name| checks::cookie(name, findings));
        let query = optional(entry.query.as_ref(), |name| checks::parameter(name, findings));
        let leeway = bounds::JWT_LEEWAY.time(entry.leeway.as_ref(), findings);
        let permissions = match &entry.permissions {
            Some(pointer) if pointer.value != STORE => OwnPermissions::Claim(pointer.clone()),
            Some(_) | None => OwnPermissions::Store,
        };
        Some(Self {
            place: entry.place,
            dialect: dialect?,
            permissions,
            leeway,
            schemes: entry.schemes.as_ref().map(|schemes| schemes.value.clone()),
            header: header.ok()?,
            cookie: cookie.ok()?,
            query: query.ok()?,
            keep: entry.keep.unwrap_or(true),
        })
    }
}

/// What the dialect of our own tokens fixes cannot be said otherwise.
fn judge_fixed(entry: &At<JwtEntry>, findings: &mut Findings) {
    let audience = entry.audience.as_ref().map(|at| at.place);
    let algorithms = entry.algorithms.as_ref().map(|at| at.place);
    let place = |text: &Option<At<String>>| text.as_ref().map(|at| at.place);
    let secret = |secret: &Option<At<SecretRef>>| secret.as_ref().map(|at| at.place);
    for (key, place) in [
        ("audience", audience),
        ("algorithms", algorithms),
        ("typ", entry.typ.as_ref().map(|at| at.place)),
        ("jwks", place(&entry.jwks)),
        ("key", secret(&entry.key)),
        ("secret", secret(&entry.secret)),
        ("identity", place(&entry.identity)),
        ("insecure", entry.insecure.then_some(entry.place)),
        ("max_stale", entry.max_stale.as_ref().map(|at| at.place)),
    ] {
        if let Some(place) = place {
            findings
                .error(place, format!("`{key}` of our own tokens is not written here"))
                .help("the dialect fixes it, and the keys are the gateway's: leave it out");
        }
    }
}
