//! The issuers of a `jwt` check, read: whose tokens, for whom, and where the keys are.
//!
//! Which combinations make sense is decided here; whether a key is any good is decided by whoever
//! reads it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::Uri;

use super::bounds;
use super::checks;
use super::document::JwtEntry;
use super::finding::Findings;
use super::scalar::At;
use super::scalar::Place;
use super::scalar::SecretRef;

/// Tokens of one issuer.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// Where the entry was written.
    pub place: Place,
    /// The exact `iss`; none accepts tokens without one.
    pub issuer: Option<String>,
    /// Accepted `aud`.
    pub audience: AudienceSettings,
    /// Accepted algorithms by their JOSE names, each one of [`ALGORITHMS`].
    pub algorithms: Vec<At<String>>,
    /// Accepted `typ`.
    pub typ: TypSettings,
    /// Where the keys are.
    pub keys: KeyLocation,
    /// JSON pointer to the identity.
    pub identity: At<String>,
    /// JSON pointer to the permissions.
    pub permissions: Option<At<String>>,
    /// For how long after `exp` (before `nbf`) a token is still good.
    pub leeway: Duration,
    /// Accepted schemes in `Authorization`; `none` is a bare token.
    pub schemes: Vec<At<String>>,
    /// Another header that holds the bare token.
    pub header: Option<HeaderName>,
    /// A cookie that holds the token.
    pub cookie: Option<String>,
    /// A query parameter that holds the token.
    pub query: Option<String>,
    /// Whether the upstream gets the credential too.
    pub keep: bool,
    /// Whether keys may be fetched over plain `http:` beyond loopback.
    pub insecure: bool,
    /// How old a key set may grow while its issuer cannot be reached.
    pub max_stale: Duration,
}

/// Accepted `aud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudienceSettings {
    /// Whatever it is: written out as `none`.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

/// Accepted `typ` header values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypSettings {
    /// Absent, `JWT` and `at+jwt`.
    Default,
    /// Whatever it is.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug)]
pub enum KeyLocation {
    /// A key set in a file.
    JwksFile(PathBuf),
    /// A key set at an address.
    JwksUrl(Uri),
    /// A key set at the address that the issuer's discovery document names.
    Discover,
    /// One public key.
    Key(At<SecretRef>),
    /// A shared secret.
    Secret(At<SecretRef>),
}

/// The JOSE names of the algorithms that can be accepted.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

pub(super) fn resolve(
    entries: &[At<JwtEntry>],
    place: Place,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Vec<JwtSettings>> {
    if entries.is_empty() {
        findings.error(place, "a `jwt` check without issuers accepts no token");
        return None;
    }
    let mut seen = HashMap::new();
    for entry in entries {
        if let Some(line) = seen.insert(entry.issuer.value.as_str(), entry.issuer.place.line) {
            findings
                .error(entry.issuer.place, format!("this issuer already stands in line {line}"))
                .help("the token's `iss` must pick exactly one entry");
        }
    }
    let resolved: Vec<_> = entries
        .iter()
        .map(|entry| JwtSettings::resolve(entry, entry.place, folder, findings))
        .collect();
    resolved.into_iter().collect()
}

impl JwtSettings {
    fn resolve(
        entry: &JwtEntry,
        place: Place,
        folder: &Path,
        findings: &mut Findings,
    ) -> Option<Self> {
        warn_of_exceptions(entry, findings);
        let algorithms = algorithms(&entry.algorithms, findings);
        let keys = KeyLocation::resolve(entry, place, folder, findings);
        if let (Some(keys), Some(algorithms)) = (&keys, &algorithms) {
            keys.judge(algorithms, findings);
        }
        let header = optional(entry.header.as_ref(), |name| checks::header(name, findings));
        let cookie = optional(entry.cookie.as_ref(), |name| checks::cookie(name, findings));
        let query = optional(entry.query.as_ref(), |name| checks::parameter(name, findings));
        let audience = AudienceSettings::resolve(entry, findings);
        let typ = TypSettings::resolve(entry, findings);
        let leeway = bounds::JWT_LEEWAY.time(entry.leeway.as_ref(), findings);
        let max_stale = bounds::JWT_MAX_STALE.time(entry.max_stale.as_ref(), findings);
        if entry.issuer.is_empty() {
            findings
                .error(entry.issuer.place, "an issuer is the exact `iss` of its tokens")
                .help("`issuer: none` accepts tokens that name none");
        }
        judge_locations(entry, place, findings);
        let fallback = |text: &str| At { value: text.to_owned(), place };
        let issuer = (entry.issuer.value != NONE).then(|| entry.issuer.value.clone());
        Some(Self {
            place,
            issuer,
            audience: audience?,
            algorithms: algorithms?,
            typ: typ?,
            keys: keys?,
            identity: entry.identity.clone().unwrap_or_else(|| fallback("/sub")),
            permissions: entry.permissions.clone(),
            leeway,
            schemes: entry
                .schemes
                .as_ref()
                .map_or_else(|| vec![fallback("Bearer")], |schemes| schemes.value.clone()),
            header: header.ok()?,
            cookie: cookie.ok()?,
            query: query.ok()?,
            keep: entry.keep.unwrap_or(true),
            insecure: entry.insecure,
            max_stale,
        })
    }
}

/// A token must be looked for somewhere, and `Authorization` in one way only.
fn judge_locations(entry: &JwtEntry, place: Place, findings: &mut Findings) {
    let no_scheme = entry.schemes.as_ref().is_some_and(|schemes| schemes.is_empty());
    if no_scheme && entry.header.is_none() && entry.cookie.is_none() && entry.query.is_none() {
        findings.error(place, "no place is left in which a token could be carried").help(
            "leave out `schemes` for `Authorization: Bearer`, or name `header`, `cookie` or `query`",
        );
    }
    if let Some(name) = entry.header.as_ref().filter(|n| n.eq_ignore_ascii_case("authorization")) {
        findings
            .error(name.place, "`Authorization` is read by `schemes`")
            .help("for a token without a scheme write `schemes: [none]`");
    }
}

/// Reads what is written, if anything is.
fn optional<T, U>(
    written: Option<T>,
    read: impl FnOnce(T) -> Option<U>,
) -> Result<Option<U>, Unusable> {
    written.map(|written| read(written).ok_or(Unusable)).transpose()
}

/// Something was written and cannot be used; a finding says why.
struct Unusable;

const NONE: &str = "none";
const ANY: &str = "any";

/// What the operator wrote out as an exception is listed each time, so that nobody forgets it.
fn warn_of_exceptions(entry: &JwtEntry, findings: &mut Findings) {
    if entry.issuer.value == NONE {
        findings.warn(entry.issuer.place, "`issuer: none` accepts tokens that name no issuer");
    }
    if entry.audience.0 == [NONE] {
        findings.warn(
            entry.audience.place,
            "`audience: none` accepts tokens that were meant for another service",
        );
    }
    if let Some(typ) = entry.typ.as_ref().filter(|typ| typ.0 == [ANY]) {
        findings.warn(typ.place, "`typ: any` accepts tokens that were made for another purpose");
    }
    if entry.insecure {
        let place = entry.jwks.as_ref().map_or(entry.issuer.place, |jwks| jwks.place);
        findings.warn(place, "`insecure: true` believes keys from whoever sits on the network");
    }
}

impl AudienceSettings {
    fn resolve(entry: &JwtEntry, findings: &mut Findings) -> Option<Self> {
        let list = &entry.audience.0;
        if list == &[NONE] {
            return Some(Self::Any);
        }
        if list.is_empty() || list.iter().any(|text| text.is_empty() || text == NONE) {
            findings
                .error(entry.audience.place, "an audience is one text or several, none empty")
                .help("`audience: none` alone does not look at it");
            return None;
        }
        Some(Self::OneOf(list.clone()))
    }
}

impl TypSettings {
    fn resolve(entry: &JwtEntry, findings: &mut Findings) -> Option<Self> {
        let Some(typ) = &entry.typ else {
            return Some(Self::Default);
        };
        if typ.0 == [ANY] {
            return Some(Self::Any);
        }
        if typ.0.is_empty() || typ.0.iter().any(|text| text.is_empty() || text == ANY) {
            findings
                .error(typ.place, "a `typ` is one text or several, none empty")
                .help("`typ: any` alone does not look at it");
            return None;
        }
        Some(Self::OneOf(typ.0.clone()))
    }
}

fn algorithms(written: &At<Vec<At<String>>>, findings: &mut Findings) -> Option<Vec<At<String>>> {
    if written.is_empty() {
        findings.error(written.place, "an issuer without algorithms proves nothing");
        return None;
    }
    let mut is_known = true;
    for name in &written.value {
        if !ALGORITHMS.contains(&name.value.as_str()) {
            is_known = false;
            let remark =
                findings.error(name.place, format!("`{}` is not a known algorithm", name.value));
            match name.value.to_ascii_lowercase().as_str() {
                NONE => remark.help("an unsigned token proves nothing"),
                _ => remark.help(format!("known are {}", ALGORITHMS.join(", "))),
            }
        }
    }
    let shared = written.iter().filter(|name| name.starts_with("HS")).count();
    if is_known && shared != 0 && shared != written.len() {
        findings
            .error(written.place, "a shared secret and public keys cannot prove the same issuer")
            .help("else a public key could be used as the secret: make it one family per entry");
        return None;
    }
    is_known.then(|| written.value.clone())
}

impl KeyLocation {
    fn resolve(
        entry: &JwtEntry,
        place: Place,
        folder: &Path,
        findings: &mut Findings,
    ) -> Option<Self> {
        match (&entry.jwks, &entry.key, &entry.secret) {
            (Some(jwks), None, None) => Self::jwks(jwks, entry, folder, findings),
            (None, Some(key), None) => Some(Self::Key(key.clone())),
            (None, None, Some(secret)) => Some(Self::Secret(secret.clone())),
            _ => {
                findings
                    .error(place, "the keys of an issuer come from exactly one place")
                    .help("write one of `jwks`, `key` and `secret`");
                None
            }
        }
    }

    fn jwks(
        jwks: &At<String>,
        entry: &JwtEntry,
        folder: &Path,
        findings: &mut Findings,
    ) -> Option<Self> {
        if let Some(path) = jwks.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Some(Self::JwksFile(folder.join(path)));
        }
        let is_discovered = jwks.value == "discover";
        let written = if is_discovered { &entry.issuer } else { jwks };
        let Some(uri) = address(written) else {
            let remark = findings.error(
                jwks.place,
                if is_discovered {
                    format!("`{}` is not an address that can be asked", written.value)
                } else {
                    "not a key set: expected `file:PATH`, an address, or `discover`".to_owned()
                },
            );
            if !is_discovered {
                remark.suggest(&jwks.value, ["discover"]);
            }
            return None;
        };
        if uri.scheme_str() == Some("http") && !is_loopback(&uri) && !entry.insecure {
            findings
                .error(jwks.place, "keys over plain `http:` can be replaced by anybody on the way")
                .help("use `https:`, or write `insecure: true` beside it");
            return None;
        }
        Some(if is_discovered { Self::Discover } else { Self::JwksUrl(uri) })
    }

    /// A shared secret goes with HS algorithms, a public key never does.
    fn judge(&self, algorithms: &[At<String>], findings: &mut Findings) {
        let is_shared = algorithms.iter().all(|name| name.starts_with("HS"));
        match self {
            Self::Secret(secret) if !is_shared => findings
                .error(secret.place, "a shared secret proves HS algorithms only")
                .help("use `key` or `jwks` for public keys"),
            Self::Key(key) if is_shared => findings
                .error(key.place, "a public key cannot prove HS algorithms")
                .help("use `secret` for a shared secret"),
            Self::JwksUrl(_) | Self::Discover if is_shared => {
                if let Some(first) = algorithms.first() {
                    findings
                        .error(first.place, "a shared secret is never fetched from an address")
                        .help("use `secret`");
                }
            }
            Self::Secret(_)
            | Self::Key(_)
            | Self::JwksFile(_)
            | Self::JwksUrl(_)
            | Self::Discover => {}
        }
    }
}

fn address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    // A password in an address would travel in logs and metrics.
    (is_web && !authority.as_str().contains('@')).then_some(uri)
}

fn is_loopback(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    })
}
