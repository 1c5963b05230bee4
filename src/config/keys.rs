//! Where the keys of an issuer are, read from the document.
//!
//! Which places make sense is decided here; whether a key is any good is decided by whoever reads it.

use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;

use super::document::JwtEntry;
use super::finding::Findings;
use super::scalar::At;
use super::scalar::Place;
use super::scalar::SecretRef;

/// Where the keys of an issuer are.
#[derive(Clone, Debug)]
pub enum KeyLocation {
    /// A key set in a file, its path as written.
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

impl KeyLocation {
    pub(super) fn resolve(entry: &JwtEntry, place: Place, findings: &mut Findings) -> Option<Self> {
        match (&entry.jwks, &entry.key, &entry.secret) {
            (Some(jwks), None, None) => Self::jwks(jwks, entry, findings),
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

    fn jwks(jwks: &At<String>, entry: &JwtEntry, findings: &mut Findings) -> Option<Self> {
        if let Some(path) = jwks.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Some(Self::JwksFile(PathBuf::from(path)));
        }
        let is_discovered = jwks.value == "discover";
        let written = if is_discovered { &entry.issuer } else { jwks };
        let Some(uri) = address(written) else {
            let remark = findings.error(
                jwks.place,
                if is_discovered {
                    "the issuer is not an address that can be asked"
                } else {
                    "not a key set: expected `file:PATH`, an address, or `discover`"
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
    pub(super) fn judge(&self, algorithms: &[At<String>], findings: &mut Findings) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::issuers::tests::resolved;
    use crate::config::issuers::tests::said;

    #[test]
    fn keys_come_from_exactly_one_place() {
        let file = resolved(&["jwks: file:keys.json"]).keys;
        let path = std::path::Path::new("keys.json");
        assert!(matches!(file, KeyLocation::JwksFile(found) if found == path));
        let url = resolved(&["jwks: https://id.example.com/k"]).keys;
        assert!(matches!(url, KeyLocation::JwksUrl(uri) if uri == "https://id.example.com/k"));
        assert!(matches!(resolved(&["-jwks", "key: file:a.pem"]).keys, KeyLocation::Key(_)));
        let shared = resolved(&["-jwks", "algorithms: [HS256]", "secret: env:S"]).keys;
        assert!(matches!(shared, KeyLocation::Secret(_)));

        let one = ["the keys of an issuer come from exactly one place"];
        assert_eq!(said(&["-jwks"]), one);
        assert_eq!(said(&["key: file:a.pem"]), one);
        assert_eq!(said(&["key: file:a.pem", "secret: env:S"]), one);
    }

    #[test]
    fn keys_over_plain_http_need_loopback_or_a_written_exception() {
        let plain = ["keys over plain `http:` can be replaced by anybody on the way"];
        for host in ["127.0.0.1:1", "localhost", "[::1]:8080", "127.9.9.9"] {
            assert_eq!(said(&[&format!("jwks: http://{host}/k")]), [""; 0], "{host}");
        }
        for host in ["id.example.com", "10.0.0.1", "localhost.example.com", "[::2]", "128.0.0.1"] {
            assert_eq!(said(&[&format!("jwks: http://{host}/k")]), plain, "{host}");
        }
        assert_eq!(said(&["issuer: http://id.example.com"]), plain);
        assert_eq!(
            said(&["jwks: http://id.example.com/k", "insecure: true"]),
            ["`insecure: true` believes keys from whoever sits on the network"]
        );
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let none = ["not a key set: expected `file:PATH`, an address, or `discover`"];
        for jwks in
            ["keys.json", "\"file:\"", "ftp://a/k", "/k", "https://u:p@a/k", "\"\"", "dicsover"]
        {
            assert_eq!(said(&[&format!("jwks: {jwks}")]), none, "{jwks}");
        }
        assert_eq!(said(&["issuer: me"]), ["the issuer is not an address that can be asked"]);
    }
}
