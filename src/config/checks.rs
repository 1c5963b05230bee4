//! The checks of the document, read: what they are called, and where an application key is carried.
//!
//! What an issuer's entry means is read by `issuers`.

use std::collections::BTreeMap;

use http::HeaderName;

use super::certificates::CertificateSettings;
use super::document::AppKeyCheck;
use super::document::Check;
use super::document::HeaderCheck;
use super::document::LoginEntry;
use super::finding::Findings;
use super::issuers;
use super::issuers::TokenSettings;
use super::scalar::At;
use super::scalar::Place;

/// One credential to check.
#[derive(Clone, Debug)]
pub enum CheckSettings {
    /// The key of an application.
    AppKey(AppKeySettings),
    /// The token of a user, one entry per issuer.
    Jwt(Vec<TokenSettings>),
    /// HTTP Basic, judged by the users in the store.
    Basic,
    /// A header that must equal something of the user's.
    Header(HeaderSettings),
    /// The certificate of a client.
    Certificate(CertificateSettings),
}

/// A header that must equal something of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSettings {
    /// The header.
    pub name: HeaderName,
    /// The attribute of the user that it must equal.
    pub attribute: String,
}

/// Where an application key is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKeySettings {
    /// The place itself.
    pub carrier: Carrier,
    /// The header in which a verified application tells its own client's address.
    pub client_address: Option<HeaderName>,
    /// Whether the upstream gets the credential too.
    pub keep: bool,
}

/// One place for a whole key, or a pair of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A header with the whole key.
    Header(HeaderName),
    /// A query parameter with the whole key.
    Query(String),
    /// A cookie with the whole key.
    Cookie(String),
    /// Two headers.
    Pair {
        /// The header with the public id.
        id: HeaderName,
        /// The header with the secret.
        secret: HeaderName,
    },
}

impl CheckSettings {
    pub(super) fn resolve_all(
        checks: &BTreeMap<String, At<Check>>,
        logins: &[At<LoginEntry>],
        findings: &mut Findings,
    ) -> BTreeMap<String, Self> {
        let mut resolved = BTreeMap::new();
        for (name, check) in checks {
            judge_name("check", name, check.place, findings);
            let settings = match &check.value {
                Check::AppKey(key) => {
                    AppKeySettings::resolve(key, check.place, findings).map(Self::AppKey)
                }
                Check::Jwt(entries) => {
                    issuers::resolve(entries, logins, check.place, findings).map(Self::Jwt)
                }
                Check::Basic(users) => is_self(users, findings).then_some(Self::Basic),
                Check::Header(header) => {
                    HeaderSettings::resolve(header, findings).map(Self::Header)
                }
                Check::ClientCertificate(check) => Some(Self::Certificate(check.settings())),
            };
            if let Some(settings) = settings {
                resolved.insert(name.clone(), settings);
            }
        }
        resolved
    }
}

/// Names stand in `require`, in metrics and in logs.
pub(super) fn judge_name(what: &str, name: &str, place: Place, findings: &mut Findings) {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_word {
        findings
            .error(place, format!("`{name}` cannot be the name of a {what}"))
            .help("a name begins with a letter and has up to 64 letters, digits, `-` and `_`");
    } else if matches!(name, "and" | "or") {
        findings.error(place, format!("`{name}` is a word of `require` and cannot be a name"));
    }
}

fn is_self(users: &At<String>, findings: &mut Findings) -> bool {
    let is_self = users.value == issuers::SELF;
    if !is_self {
        findings
            .error(users.place, format!("`{}` keeps no users that could be asked", **users))
            .help("`basic: self` asks the users in the store");
    }
    is_self
}

impl HeaderSettings {
    fn resolve(check: &HeaderCheck, findings: &mut Findings) -> Option<Self> {
        let name = header(&check.name, findings);
        let attribute = check.equals.strip_prefix("user.").filter(|name| is_attribute(name));
        if attribute.is_none() {
            findings
                .error(check.equals.place, format!("`{}` is nothing of the user's", *check.equals))
                .help("write `user.` and the name of an attribute, such as `user.CustomerId`");
        }
        let attribute = attribute?.to_owned();
        Some(Self { name: name?, attribute })
    }
}

/// Whether a text can be the name of an attribute of a user.
pub fn is_attribute(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= MAX_ATTRIBUTE_BYTES && name.bytes().all(is_word)
}

const MAX_ATTRIBUTE_BYTES: usize = 64;

impl AppKeySettings {
    fn resolve(check: &AppKeyCheck, place: Place, findings: &mut Findings) -> Option<Self> {
        let carrier = Carrier::resolve(check, place, findings);
        let client_address = match &check.client_address {
            Some(name) => Some(address_header(name, check, findings)?),
            None => None,
        };
        Some(Self { carrier: carrier?, client_address, keep: check.keep })
    }
}

impl Carrier {
    fn resolve(check: &AppKeyCheck, place: Place, findings: &mut Findings) -> Option<Self> {
        match (&check.header, &check.query, &check.cookie, &check.id, &check.secret) {
            (Some(name), None, None, None, None) => header(name, findings).map(Self::Header),
            (None, Some(name), None, None, None) => parameter(name, findings).map(Self::Query),
            (None, None, Some(name), None, None) => cookie(name, findings).map(Self::Cookie),
            (None, None, None, Some(id), Some(secret)) => {
                let (id_name, secret_name) =
                    (header(id, findings), secret_header(secret, findings));
                if id_name.is_some() && id_name == secret_name {
                    findings.error(secret.place, "id and secret cannot share a header");
                }
                Some(Self::Pair { id: id_name?, secret: secret_name? })
            }
            (None, None, None, Some(_), None) => {
                findings.error(place, "`id` without `secret` proves nothing");
                None
            }
            (None, None, None, None, Some(_)) => {
                findings
                    .error(place, "`secret` names the second header of a pair, and `id` is missing")
                    .help("use `header` for a single header with the whole key");
                None
            }
            _ => {
                findings.error(place, "an application key is carried in exactly one place").help(
                    "write one of `header`, `query`, `cookie`, or `id` together with `secret`",
                );
                None
            }
        }
    }
}

/// The name of the header with the secret; what stands there may be the secret itself.
fn secret_header(name: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    if HeaderName::try_from(name.value.as_str()).is_err() {
        findings
            .error(name.place, "`secret` is not the name of a header")
            .hidden()
            .help("callers send their secret in a header: write the name of that header");
        return None;
    }
    header(name, findings)
}

fn address_header(
    name: &At<String>,
    check: &AppKeyCheck,
    findings: &mut Findings,
) -> Option<HeaderName> {
    let parsed = header(name, findings)?;
    if is_ours(&parsed) {
        findings
            .error(name.place, format!("`{}` is written by the gateway itself", name.value))
            .help("`trusted_proxies` says whose is believed; name another header here");
        return None;
    }
    let keys = [&check.header, &check.id, &check.secret].into_iter().flatten();
    if keys.into_iter().any(|key| parsed.as_str().eq_ignore_ascii_case(key))
        || NO_ADDRESS.contains(&parsed.as_str())
    {
        findings.error(name.place, format!("`{}` holds something else than an address", **name));
        return None;
    }
    Some(parsed)
}

/// Whether the gateway writes this header itself, in a spelling that servers may fold together with
/// ours: removing the one would remove the other.
pub fn is_ours(name: &HeaderName) -> bool {
    let letters = || name.as_str().bytes().filter(u8::is_ascii_alphanumeric);
    OURS.iter().any(|ours| letters().eq(ours.bytes()))
}

pub(super) fn header(name: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::try_from(name.value.as_str()) else {
        findings.error(name.place, format!("`{}` is not the name of a header", name.value));
        return None;
    };
    if FRAMING.contains(&parsed.as_str()) {
        findings
            .error(name.place, format!("`{}` cannot carry a credential", name.value))
            .help("it steers the connection and is never what the client alone wrote");
        return None;
    }
    Some(parsed)
}

/// Headers by which the upstream learns how a request came and what it is called; letters only.
const OURS: [&str; 4] = ["xforwardedfor", "xforwardedhost", "xforwardedproto", "xrequestid"];
/// Headers with a form of their own, from which a bare address could never be read.
const NO_ADDRESS: [&str; 4] = ["authorization", "cookie", "forwarded", "proxy-authorization"];
/// Headers that every hop reads or rewrites.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn cookie(name: &At<String>, findings: &mut Findings) -> Option<String> {
    // The grammar of a cookie's name is that of a header's (RFC 6265 §4.1.1).
    if HeaderName::try_from(name.value.as_str()).is_err() {
        findings.error(name.place, format!("`{}` is not the name of a cookie", name.value));
        return None;
    }
    Some(name.value.clone())
}

pub(super) fn parameter(name: &At<String>, findings: &mut Findings) -> Option<String> {
    let is_plain = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    if !is_plain {
        findings
            .error(name.place, format!("`{}` is not the name of a query parameter", name.value))
            .help("letters, digits, `-`, `.`, `_` and `~` need no encoding and have one spelling");
        return None;
    }
    Some(name.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::remarks;
    use crate::config::settings::tests::settings;

    #[track_caller]
    fn carrier(keys: &str) -> Carrier {
        let settings = settings(&format!("checks: {{ app: {{ app_key: {{ {keys} }} }} }}"));
        match &settings.checks["app"] {
            CheckSettings::AppKey(key) => key.carrier.clone(),
            _ => panic!("not a key"),
        }
    }

    #[track_caller]
    fn assert_refused(keys: &str, found: &str) {
        let found_here = remarks(&format!("checks: {{ app: {{ app_key: {{ {keys} }} }} }}"));
        assert_eq!(found_here, [found], "{keys}");
    }

    #[test]
    fn a_key_is_carried_in_one_place_or_a_pair_of_headers() {
        let name = HeaderName::from_static;
        assert_eq!(carrier("header: X-App-Key"), Carrier::Header(name("x-app-key")));
        assert_eq!(carrier("query: app_key"), Carrier::Query("app_key".to_owned()));
        assert_eq!(carrier("cookie: app_key"), Carrier::Cookie("app_key".to_owned()));
        let pair = Carrier::Pair { id: name("x-id"), secret: name("x-secret") };
        assert_eq!(carrier("id: X-Id, secret: X-Secret"), pair);
    }

    #[test]
    fn no_place_and_two_places_are_refused() {
        let one = "4:16 an application key is carried in exactly one place";
        for keys in [
            "",
            "client_address: X-Ip",
            "header: X-App-Key, query: app_key",
            "query: a, cookie: a",
            "header: X-App-Key, secret: X-Secret",
            "header: A, id: B, secret: C",
        ] {
            assert_refused(keys, one);
        }
        assert_refused("id: X-Id", "4:16 `id` without `secret` proves nothing");
        assert_refused(
            "secret: X-Secret",
            "4:16 `secret` names the second header of a pair, and `id` is missing",
        );
        assert_refused("id: X-Id, secret: x-id", "4:47 id and secret cannot share a header");
    }

    #[test]
    fn names_that_cannot_be_sent_are_refused() {
        assert_refused("header: \"X App\"", "4:37 `X App` is not the name of a header");
        assert_refused("header: \"\"", "4:37 `` is not the name of a header");
        assert_refused("header: Host", "4:37 `Host` cannot carry a credential");
        assert_refused(
            "header: A, client_address: Connection",
            "4:56 `Connection` cannot carry a credential",
        );
        assert_refused(
            "header: A, client_address: x-forwarded-FOR",
            "4:56 `x-forwarded-FOR` is written by the gateway itself",
        );
        for ours in ["X_Forwarded_For", "X-ForwardedHost", "x.forwarded-proto", "X-Request-Id"] {
            let found = format!("4:56 `{ours}` is written by the gateway itself");
            assert_refused(&format!("header: A, client_address: {ours}"), &found);
        }
        for other in ["Authorization", "cookie", "Forwarded", "a"] {
            let found = format!("4:56 `{other}` holds something else than an address");
            assert_refused(&format!("header: A, client_address: {other}"), &found);
        }
        let found = "4:73 `X-Secret` holds something else than an address";
        assert_refused("id: X-Id, secret: x-secret, client_address: X-Secret", found);
        // Removed on the way here when anybody else wrote them, and free for this.
        for free in ["X-Client-Ip", "X-Real-IP", "X-Forwarded-Client", "X-Request"] {
            carrier(&format!("header: A, client_address: {free}"));
        }
        assert_refused("cookie: \"a=b\"", "4:37 `a=b` is not the name of a cookie");
        assert_refused("query: \"a&b\"", "4:36 `a&b` is not the name of a query parameter");
        assert_refused("query: \"a%62\"", "4:36 `a%62` is not the name of a query parameter");
        assert_refused("id: A, secret: \"hunter 2\"", "4:44 `secret` is not the name of a header");
    }

    #[test]
    fn names_of_checks_are_words_of_require() {
        let named = |name: &str| {
            remarks(&format!("checks: {{ {name}: {{ app_key: {{ header: A }} }} }}")).len()
        };
        for name in ["app", "a", "App-2_x", &"a".repeat(64)] {
            assert_eq!(named(name), 0, "{name}");
        }
        for name in ["and", "or", "2a", "-a", "\"\"", "\"a b\"", "\"a?\"", "é", &"a".repeat(65)] {
            assert_eq!(named(name), 1, "{name}");
        }
    }
}
