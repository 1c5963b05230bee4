//! `cors:` made definite: which pages of other origins may read the answers.

use std::time::Duration;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Uri;

use super::bounds::Bound;
use super::document::Cors;
use super::finding::Findings;
use super::scalar::At;

/// Who may read answers, and what preflights are told; each list as the value of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsSettings {
    /// The origins named; none is `*`, everybody.
    pub origins: Option<Vec<OriginSetting>>,
    /// Methods; none means the one that is asked for.
    pub methods: Option<HeaderValue>,
    /// Request headers; none means only those that need no leave.
    pub headers: Option<HeaderValue>,
    /// Answer headers that scripts may read.
    pub expose: Option<HeaderValue>,
    /// Whether pages may send cookies and other credentials of the browser.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Option<Duration>,
}

/// Origins that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginSetting {
    /// This one: `https://app.example.com`.
    This(HeaderValue),
    /// Those of all names below a domain: `https://*.example.com`.
    Below {
        /// What they begin with, `https://`.
        scheme: String,
        /// What they end with, from the dot on: `.example.com`.
        domain: String,
    },
}

impl CorsSettings {
    /// Reads a block; what is wrong with it is added to `findings`.
    pub(crate) fn resolve(cors: &At<Cors>, max_age: &Bound, findings: &mut Findings) -> Self {
        let is_any = cors.origins.iter().any(|origin| origin.value == "*");
        if cors.origins.is_empty() {
            findings
                .error(cors.place, "`cors` names no origin")
                .help("write `origins: [\"https://app.example.com\"]`");
        }
        if is_any && cors.origins.len() > 1 {
            findings.error(cors.place, "`*` stands alone among `origins`");
        }
        if is_any && cors.credentials {
            findings
                .error(cors.place, "`*` and `credentials` do not go together")
                .help("name the origins: with `*` any page could act in the name of its visitors");
        }
        let origins =
            cors.origins.iter().filter_map(|text| origin(text, findings)).collect::<Vec<_>>();
        let is_method = |text: &str| text != "*" && Method::from_bytes(text.as_bytes()).is_ok();
        let is_name = |text: &str| text != "*" && HeaderName::from_bytes(text.as_bytes()).is_ok();
        Self {
            origins: (!is_any).then_some(origins),
            methods: list(&cors.methods, "method", is_method, findings),
            headers: list(&cors.headers, "header", is_name, findings),
            expose: list(&cors.expose, "header", is_name, findings),
            credentials: cors.credentials,
            max_age: max_age.time_if(cors.max_age.as_ref(), findings),
        }
    }
}

/// One entry of `origins`; none is `*` or an error.
fn origin(text: &At<String>, findings: &mut Findings) -> Option<OriginSetting> {
    if text.value == "*" {
        return None;
    }
    let read = match text.split_once("://*.") {
        // One label would be a whole top-level domain.
        Some((scheme, rest)) if rest.contains('.') && is_origin(&format!("{scheme}://{rest}")) => {
            let (scheme, domain) = (format!("{scheme}://"), format!(".{rest}"));
            Some(OriginSetting::Below { scheme, domain })
        }
        Some(_) => None,
        None if is_origin(text) => HeaderValue::from_str(text).ok().map(OriginSetting::This),
        None => None,
    };
    if read.is_none() {
        findings
            .error(text.place, format!("`{}` is no origin as browsers write it", **text))
            .help("write scheme, host in lower case, and a port that is not the scheme's own: `https://app.example.com`");
    }
    read
}

/// As browsers write it (RFC 6454 §6.2): another spelling would never be equal to theirs.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return false };
    let port = uri.port_u16();
    let is_own = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    !is_own
        && text == format!("{scheme}://{host}{port}")
        && !text.contains(|letter: char| letter.is_ascii_uppercase() || letter == '*')
}

fn list(
    items: &[At<String>],
    what: &str,
    is_good: impl Fn(&str) -> bool,
    findings: &mut Findings,
) -> Option<HeaderValue> {
    for item in items.iter().filter(|item| !is_good(item)) {
        findings.error(item.place, format!("`{}` is no {what}", **item));
    }
    let names: Vec<&str> = items.iter().map(|item| item.as_str()).collect();
    (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use crate::config::settings::tests::remarks;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        let found = |origins: &str, more: &str| {
            remarks(&format!("defaults: {{ cors: {{ origins: [{origins}]{more} }} }}"))
        };
        for good in [
            "'*'",
            "'https://a.test'",
            "'http://localhost:3000'",
            "'https://[::1]:8443'",
            "'app://x'",
            "'https://*.a.test'",
            "'https://*.b.a.test:8443'",
        ] {
            assert_eq!(found(good, ""), [""; 0], "{good}");
        }
        for bad in [
            "'https://a.test/'",
            "'https://A.test'",
            "a.test",
            "'null'",
            "'https://*.test'",
            "'https://*a.test'",
            "'https://a.*.test'",
            "'https://*.*.a.test'",
            "'https://*.a.test/'",
            "'*://a.test'",
            "'https://a.test:'",
            "'https://a.test:08443'",
            "'https://a.test:443'",
            "'http://a.test:80'",
            "'https://u@a.test'",
            "'https://a.test/path'",
            "''",
        ] {
            let found = found(bad, "");
            assert!(found.len() == 1 && found[0].contains("is no origin"), "{bad}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (block, expected) in [
            ("{ origins: [] }", "4:19 `cors` names no origin"),
            (
                "{ origins: ['*'], credentials: true }",
                "4:19 `*` and `credentials` do not go together",
            ),
            ("{ origins: ['*', 'https://a.test'] }", "4:19 `*` stands alone among `origins`"),
            ("{ origins: ['*'], methods: ['G T'] }", "4:47 `G T` is no method"),
            ("{ origins: ['*'], methods: ['*'] }", "4:47 `*` is no method"),
            ("{ origins: ['*'], headers: ['*'] }", "4:47 `*` is no header"),
            ("{ origins: ['*'], headers: ['a b'] }", "4:47 `a b` is no header"),
            ("{ origins: ['*'], expose: [''] }", "4:46 `` is no header"),
            ("{ origins: ['*'], max_age: 2d }", "4:46 `max_age` is 2d, which is out of bounds"),
        ] {
            assert_eq!(remarks(&format!("defaults: {{ cors: {block} }}")), [expected], "{block}");
        }
    }
}
