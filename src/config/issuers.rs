//! The issuers of a `jwt` check, read: whose tokens, for whom, and how they are carried.
//!
//! Where the keys are is read by `keys`.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;

use super::bounds;
use super::checks;
use super::document::JwtEntry;
use super::document::LoginEntry;
use super::finding::Findings;
use super::keys::KeyLocation;
use super::own_tokens::OwnSettings;
use super::scalar::At;
use super::scalar::Place;

/// Tokens that are accepted.
#[derive(Clone, Debug)]
pub enum TokenSettings {
    /// Those of another issuer.
    Other(JwtSettings),
    /// Those that the gateway mints.
    Own(OwnSettings),
}

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

/// The JOSE names of the algorithms that can be accepted.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

pub(super) fn resolve(
    entries: &[At<JwtEntry>],
    logins: &[At<LoginEntry>],
    place: Place,
    findings: &mut Findings,
) -> Option<Vec<TokenSettings>> {
    if entries.is_empty() {
        findings.error(place, "a `jwt` check without issuers accepts no token");
        return None;
    }
    let mut seen = HashMap::new();
    for entry in entries {
        let dialect = entry.dialect.as_ref().map(|dialect| dialect.value.as_str());
        let issuer = (entry.issuer.value.as_str(), dialect);
        if let Some(line) = seen.insert(issuer, entry.issuer.place.line) {
            findings
                .error(entry.issuer.place, format!("this issuer already stands in line {line}"))
                .help("the token's `iss` must pick exactly one entry");
        }
    }
    let resolved: Vec<_> = entries
        .iter()
        .map(|entry| {
            if entry.issuer.value == SELF {
                OwnSettings::resolve(entry, logins, findings).map(TokenSettings::Own)
            } else {
                JwtSettings::resolve(entry, entry.place, findings).map(TokenSettings::Other)
            }
        })
        .collect();
    resolved.into_iter().collect()
}

impl TokenSettings {
    /// A header that holds the bare token.
    pub const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Other(entry) => entry.header.as_ref(),
            Self::Own(entry) => entry.header.as_ref(),
        }
    }

    /// A query parameter that holds the token.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Other(entry) => entry.query.as_deref(),
            Self::Own(entry) => entry.query.as_deref(),
        }
    }
}

impl JwtSettings {
    fn resolve(entry: &JwtEntry, place: Place, findings: &mut Findings) -> Option<Self> {
        warn_of_exceptions(entry, findings);
        judge_foreign(entry, place, findings);
        let algorithms =
            entry.algorithms.as_ref().and_then(|written| algorithms(written, findings));
        let keys = KeyLocation::resolve(entry, place, findings);
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

/// What another issuer's tokens are like must be written out.
fn judge_foreign(entry: &JwtEntry, place: Place, findings: &mut Findings) {
    for (key, is_missing) in
        [("audience", entry.audience.is_none()), ("algorithms", entry.algorithms.is_none())]
    {
        if is_missing {
            findings.error(place, format!("missing key `{key}`"));
        }
    }
    if let Some(dialect) = &entry.dialect {
        findings
            .error(dialect.place, "`dialect` goes with `issuer: self`")
            .help("other issuers are described by the keys beside it");
    }
    if let Some(store) = entry.permissions.as_ref().filter(|text| text.value == STORE) {
        findings
            .error(store.place, "`permissions: store` goes with `issuer: self`")
            .help("the store knows the permissions of its own users only");
    }
}

/// A token must be looked for somewhere, and `Authorization` in one way only.
pub(super) fn judge_locations(entry: &JwtEntry, place: Place, findings: &mut Findings) {
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
pub(super) fn optional<T, U>(
    written: Option<T>,
    read: impl FnOnce(T) -> Option<U>,
) -> Result<Option<U>, Unusable> {
    written.map(|written| read(written).ok_or(Unusable)).transpose()
}

/// Something was written and cannot be used; a finding says why.
pub(super) struct Unusable;

/// The issuer that is the gateway itself.
pub(super) const SELF: &str = "self";
pub(super) const STORE: &str = "store";
const NONE: &str = "none";
const ANY: &str = "any";

/// What the operator wrote out as an exception is listed each time, so that nobody forgets it.
fn warn_of_exceptions(entry: &JwtEntry, findings: &mut Findings) {
    if entry.issuer.value == NONE {
        findings.warn(entry.issuer.place, "`issuer: none` accepts tokens that name no issuer");
    }
    if let Some(audience) = entry.audience.as_ref().filter(|audience| audience.0 == [NONE]) {
        findings.warn(
            audience.place,
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
        let audience = entry.audience.as_ref()?;
        let list = &audience.0;
        if list == &[NONE] {
            return Some(Self::Any);
        }
        if list.is_empty() || list.iter().any(|text| text.is_empty() || text == NONE) {
            findings
                .error(audience.place, "an audience is one text or several, none empty")
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::checks::CheckSettings;
    use crate::config::settings::tests::remarks;
    use crate::config::settings::tests::settings;

    const GOOD: [(&str, &str); 4] = [
        ("issuer", "https://id.example.com"),
        ("audience", "api"),
        ("algorithms", "[ES256]"),
        ("jwks", "discover"),
    ];

    /// One entry: the good one with keys replaced, added (`key: value`) or left out (`-key`).
    fn entry(changes: &[&str]) -> String {
        let mut keys: Vec<(String, String)> =
            GOOD.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        for change in changes {
            let (key, value) = change.split_once(": ").unwrap_or((change, ""));
            keys.retain(|(known, _)| known != key.trim_start_matches('-'));
            if !value.is_empty() {
                keys.push((key.to_owned(), value.to_owned()));
            }
        }
        let lines: Vec<_> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        format!("    - {}\n", lines.join("\n      "))
    }

    fn check(entries: &[String]) -> String {
        format!("checks:\n  user:\n    jwt:\n{}", entries.concat())
    }

    #[track_caller]
    pub(in crate::config) fn resolved(changes: &[&str]) -> JwtSettings {
        let settings = settings(&check(&[entry(changes)]));
        match &settings.checks["user"] {
            CheckSettings::Jwt(entries) => match &entries[0] {
                TokenSettings::Other(entry) => entry.clone(),
                TokenSettings::Own(_) => panic!("of our own"),
            },
            _ => panic!("not a token"),
        }
    }

    /// What is said about an entry, without the places.
    #[track_caller]
    pub(in crate::config) fn said(changes: &[&str]) -> Vec<String> {
        let remarks = remarks(&check(&[entry(changes)]));
        remarks.iter().map(|one| one.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let entry = resolved(&[]);
        assert_eq!(entry.issuer.as_deref(), Some("https://id.example.com"));
        assert_eq!(entry.audience, AudienceSettings::OneOf(vec!["api".to_owned()]));
        assert_eq!(entry.typ, TypSettings::Default);
        assert_eq!(entry.identity.value, "/sub");
        assert_eq!(entry.schemes[0].value, "Bearer");
        assert_eq!(entry.leeway, Duration::ZERO);
        assert_eq!(entry.max_stale, Duration::from_hours(24));
        assert!(entry.keep && !entry.insecure && entry.permissions.is_none());
        assert!(matches!(entry.keys, KeyLocation::Discover));
    }

    #[test]
    fn the_kind_of_key_and_the_algorithms_must_agree() {
        assert_eq!(
            said(&["-jwks", "secret: env:S"]),
            ["a shared secret proves HS algorithms only"]
        );
        assert_eq!(
            said(&["-jwks", "algorithms: [HS512]", "key: file:a.pem"]),
            ["a public key cannot prove HS algorithms"]
        );
        assert_eq!(
            said(&["algorithms: [HS256]"]),
            ["a shared secret is never fetched from an address"]
        );
        assert_eq!(
            said(&["algorithms: [HS256, RS256]"]),
            ["a shared secret and public keys cannot prove the same issuer"]
        );
        assert_eq!(said(&["algorithms: []"]), ["an issuer without algorithms proves nothing"]);
        assert_eq!(
            said(&["algorithms: [none, es256, ES512]"]),
            ["`none`", "`es256`", "`ES512`"].map(|name| format!("{name} is not a known algorithm"))
        );
        assert_eq!(resolved(&["algorithms: [RS256, PS512, ES384, EdDSA]"]).algorithms.len(), 4);
    }

    #[test]
    fn written_exceptions_are_listed_each_time() {
        assert_eq!(
            said(&["issuer: none", "audience: none", "typ: any", "jwks: file:k.json"]),
            [
                "`issuer: none` accepts tokens that name no issuer",
                "`audience: none` accepts tokens that were meant for another service",
                "`typ: any` accepts tokens that were made for another purpose",
            ]
        );
        let entry = resolved(&["issuer: none", "audience: none", "typ: any", "jwks: file:k.json"]);
        assert_eq!((entry.issuer, entry.audience), (None, AudienceSettings::Any));
        assert_eq!(entry.typ, TypSettings::Any);
    }

    #[test]
    fn an_exception_stands_alone() {
        let audience = ["an audience is one text or several, none empty"];
        for text in ["[]", "\"\"", "[api, none]", "[api, \"\"]"] {
            assert_eq!(said(&[&format!("audience: {text}")]), audience, "{text}");
        }
        let typ = ["a `typ` is one text or several, none empty"];
        for text in ["[]", "\"\"", "[JWT, any]"] {
            assert_eq!(said(&[&format!("typ: {text}")]), typ, "{text}");
        }
        assert_eq!(
            said(&["issuer: \"\"", "jwks: file:k.json"]),
            ["an issuer is the exact `iss` of its tokens"]
        );
    }

    #[test]
    fn an_issuer_stands_once_in_a_check() {
        let other = entry(&["issuer: https://other.example.com"]);
        assert_eq!(remarks(&check(&[entry(&[]), other])), [""; 0]);
        assert_eq!(
            remarks(&check(&[entry(&[]), entry(&["-jwks", "key: file:k.pem"])])),
            ["11:15 this issuer already stands in line 7"]
        );
        let empty = remarks("checks: { user: { jwt: [] } }");
        assert_eq!(empty, ["4:17 a `jwt` check without issuers accepts no token"]);
    }

    #[test]
    fn a_token_is_looked_for_somewhere_and_in_authorization_by_scheme_only() {
        assert_eq!(said(&["schemes: []"]), ["no place is left in which a token could be carried"]);
        assert_eq!(said(&["schemes: []", "cookie: token"]), [""; 0]);
        assert_eq!(said(&["header: authorization"]), ["`Authorization` is read by `schemes`"]);
        assert_eq!(said(&["header: Host"]), ["`Host` cannot carry a credential"]);
        let entry = resolved(&["header: X-Token", "query: t", "keep: false"]);
        assert_eq!(entry.header, Some(HeaderName::from_static("x-token")));
        assert_eq!((entry.query.as_deref(), entry.keep), (Some("t"), false));
    }
}
