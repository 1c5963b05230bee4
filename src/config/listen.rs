//! Where traffic is accepted and what is shown there: that part of the document, and its settings.
//!
//! The certificates themselves are read where the listener is compiled.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::bounds;
use super::finding::Findings;
use super::scalar::{At, Length, Place, SecretRef};

/// An address and port, or those with what belongs to them.
#[derive(Debug)]
pub struct PublicListener(pub PublicEntry);

/// Where traffic is accepted, with what belongs to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicEntry {
    /// Address and port, or `unix:/PATH`.
    pub address: At<String>,
    /// Who may connect to a Unix socket: the permission bits of its file, in octal; `660` by default.
    #[serde(default)]
    pub mode: Option<At<String>>,
    /// How it speaks TLS; without it, it speaks in clear.
    #[serde(default)]
    pub tls: Option<At<TlsEntry>>,
}

/// How a listener speaks TLS. Its files are read again when they change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsEntry {
    /// The certificate and its chain, PEM: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub certificate: Option<At<SecretRef>>,
    /// The private key of that certificate, PEM: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub key: Option<At<SecretRef>>,
    /// More pairs, chosen by the name that a client asks for; the first of all is the default.
    #[serde(default)]
    pub certificates: Vec<At<PairEntry>>,
    /// Authorities that certify clients, PEM: `file:PATH` or `env:NAME`; clients are asked for a certificate.
    #[serde(default)]
    pub client_ca: Option<At<SecretRef>>,
    /// Whether a client must show a certificate (`required`, the default) or may (`optional`).
    #[serde(default)]
    pub client_certificates: Option<At<ClientCertificates>>,
    /// The oldest version that is spoken: `1.2` (the default) or `1.3`.
    #[serde(default)]
    pub min_version: Option<At<TlsVersion>>,
    /// How long a handshake may take.
    #[serde(default)]
    pub handshake_timeout: Option<At<Length>>,
    /// Handshakes under way at once; further ones wait their turn.
    #[serde(default)]
    pub handshakes: Option<At<u32>>,
}

/// A certificate and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairEntry {
    /// The certificate and its chain, PEM: `file:PATH` or `env:NAME`.
    pub certificate: At<SecretRef>,
    /// Its private key, PEM: `file:PATH` or `env:NAME`.
    pub key: At<SecretRef>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// A client without one is turned away.
    Required,
    /// A client without one is served, one with a bad one is not.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl<'de> Deserialize<'de> for PublicListener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PublicEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an address and port, `unix:/PATH`, or a map with `address`, `mode` and `tls`",
                )
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PublicEntry, E> {
                let address = At { value: text.to_owned(), place: Place::default() };
                Ok(PublicEntry { address, mode: None, tls: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PublicEntry, A::Error> {
                PublicEntry::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either).map(Self)
    }
}

impl JsonSchema for PublicListener {
    fn schema_name() -> Cow<'static, str> {
        "PublicListener".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = PublicEntry::json_schema(generator);
        json_schema!({"oneOf": [{"type": "string"}, entry]})
    }
}

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// What it shows; the first one to clients that ask for no name, or for an unknown one.
    pub pairs: Vec<PairSettings>,
    /// Whose certificates it asks clients for, if it does.
    pub clients: Option<ClientSettings>,
    /// The oldest version it speaks.
    pub min_version: TlsVersion,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once, of all workers.
    pub handshakes: usize,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct PairSettings {
    /// Where the chain is.
    pub certificate: At<SecretRef>,
    /// Where the key is.
    pub key: At<SecretRef>,
}

/// Which certificates of clients are believed.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where the certificates of their authorities are.
    pub authorities: At<SecretRef>,
    /// Whether a client without one is turned away.
    pub is_required: bool,
}

impl TlsSettings {
    pub(super) fn resolve(tls: &At<TlsEntry>, findings: &mut Findings) -> Option<Self> {
        let handshake_timeout =
            bounds::TLS_HANDSHAKE_TIMEOUT.time(tls.handshake_timeout.as_ref(), findings);
        let handshakes = bounds::TLS_HANDSHAKES.count(tls.handshakes.as_ref(), findings);
        let clients = ClientSettings::resolve(tls, findings);
        let pairs = pairs(tls, findings)?;
        let min_version = tls.min_version.as_deref().copied().unwrap_or(TlsVersion::V1_2);
        Some(Self { pairs, clients, min_version, handshake_timeout, handshakes })
    }
}

impl ClientSettings {
    fn resolve(tls: &TlsEntry, findings: &mut Findings) -> Option<Self> {
        let mode = tls.client_certificates.as_ref();
        let Some(authorities) = tls.client_ca.clone() else {
            if let Some(mode) = mode {
                findings
                    .error(mode.place, "nobody is named who certifies clients")
                    .help("write `client_ca: file:PATH` beside it");
            }
            return None;
        };
        let is_required = mode.is_none_or(|mode| mode.value == ClientCertificates::Required);
        Some(Self { authorities, is_required })
    }
}

fn pairs(tls: &At<TlsEntry>, findings: &mut Findings) -> Option<Vec<PairSettings>> {
    let alone = match (&tls.certificate, &tls.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(PairSettings { certificate: certificate.clone(), key: key.clone() })
        }
        (Some(half), None) | (None, Some(half)) => {
            findings.error(half.place, "`certificate` and `key` go together");
            return None;
        }
    };
    let listed = tls
        .certificates
        .iter()
        .map(|pair| PairSettings { certificate: pair.certificate.clone(), key: pair.key.clone() });
    let pairs: Vec<_> = alone.into_iter().chain(listed).collect();
    if pairs.is_empty() {
        findings
            .error(tls.place, "there is no certificate to show")
            .help("write `certificate: file:PATH` and `key: file:PATH`, or a list `certificates`");
        return None;
    }
    if let Some(beyond) = tls.certificates.get(MOST_PAIRS) {
        findings.error(beyond.place, format!("there are more than {MOST_PAIRS} certificates"));
        return None;
    }
    Some(pairs)
}

/// Certificates of one listener.
const MOST_PAIRS: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::parse;
    use crate::config::settings::Settings;
    use crate::config::source::Source;

    #[track_caller]
    fn resolve(public: &str) -> Result<Option<TlsSettings>, Vec<String>> {
        let text = format!("listen: {{ public: {public} }}\nupstreams: {{}}\nroutes: []\n");
        let loaded = match parse(Source::new("p.yaml", text)) {
            Ok(loaded) => loaded,
            Err(report) => {
                return Err(report.to_string().lines().take(2).map(str::to_owned).collect());
            }
        };
        let mut findings = Findings::new();
        let settings = Settings::resolve(&loaded, &mut findings);
        let place = |at: Place| format!("{}:{}", at.line, at.column);
        let found: Vec<_> =
            findings.iter().map(|one| format!("{} {}", place(one.place), one.message)).collect();
        if found.is_empty() { Ok(settings.unwrap().listen.tls) } else { Err(found) }
    }

    fn tls(keys: &str) -> Result<TlsSettings, Vec<String>> {
        resolve(&format!("{{ address: \"127.0.0.1:0\", tls: {{ {keys} }} }}")).map(Option::unwrap)
    }

    const PAIR: &str = "certificate: file:a.crt, key: file:a.key";

    #[track_caller]
    fn refused(keys: &str, found: &str) {
        assert_eq!(tls(keys).unwrap_err(), [found], "{keys}");
    }

    #[test]
    fn an_address_stands_alone_or_in_a_map() {
        for plain in ["127.0.0.1:80", "\"127.0.0.1:80\"", "{ address: 127.0.0.1:80 }"] {
            assert!(resolve(plain).unwrap().is_none(), "{plain}");
        }
        let place = |public| resolve(public).unwrap_err();
        assert_eq!(place("localhost:80"), ["1:19 `localhost:80` is not an address and port"]);
        assert_eq!(place("{ address: a }"), ["1:30 `a` is not an address and port"]);
        let unknown = place("{ address: 127.0.0.1:80, tsl: {} }");
        assert_eq!(unknown, ["error: unknown key `tsl`", " --> p.yaml:1:44"]);
        assert_eq!(place("{ tls: {} }")[0], "error: missing key `address`");
        assert!(place("[a]")[0].starts_with("error: "));
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let tls = tls(PAIR).unwrap();
        assert_eq!(tls.pairs.len(), 1);
        assert!(tls.clients.is_none());
        assert_eq!(tls.min_version, TlsVersion::V1_2);
        assert_eq!(tls.handshake_timeout, Duration::from_secs(10));
        assert_eq!(tls.handshakes, 1000);
    }

    #[test]
    fn what_is_written_holds() {
        let two = "certificates: [ { certificate: file:b.crt, key: env:B } ]";
        let read = tls(&format!(
            "{PAIR}, {two}, min_version: 1.3, client_ca: file:ca.crt, \
             handshake_timeout: 100ms, handshakes: 1"
        ))
        .unwrap();
        let first: Vec<_> = read.pairs.iter().map(|pair| pair.certificate.value.clone()).collect();
        let file = |path: &str| SecretRef::File(path.to_owned());
        assert_eq!(first, [file("a.crt"), file("b.crt")]);
        assert_eq!(read.min_version, TlsVersion::V1_3);
        assert!(read.clients.unwrap().is_required);
        assert_eq!((read.handshake_timeout, read.handshakes), (Duration::from_millis(100), 1));
        for (mode, is_required) in [("required", true), ("optional", false)] {
            let keys = format!("{two}, client_ca: file:a, client_certificates: {mode}");
            assert_eq!(tls(&keys).unwrap().clients.unwrap().is_required, is_required);
        }
    }

    #[test]
    fn halves_and_numbers_out_of_bounds_are_refused() {
        refused("certificate: file:a", "1:65 `certificate` and `key` go together");
        refused("key: file:a", "1:57 `certificate` and `key` go together");
        refused("handshakes: 2", "1:50 there is no certificate to show");
        let mode = format!("{PAIR}, client_certificates: optional");
        refused(&mode, "1:115 nobody is named who certifies clients");
        let few = format!("{PAIR}, handshakes: 0");
        refused(&few, "1:106 `handshakes` is 0, which is out of bounds");
        let short = format!("{PAIR}, handshake_timeout: 99ms");
        refused(&short, "1:113 `handshake_timeout` is 99ms, which is out of bounds");
        let version = tls(&format!("{PAIR}, min_version: 1.1")).unwrap_err();
        assert_eq!(version[0], "error: unknown name `1.1`");
        let mode = tls(&format!("{PAIR}, client_certificates: maybe")).unwrap_err();
        assert_eq!(mode[0], "error: unknown name `maybe`");
        let many = |count: usize| {
            tls(&format!(
                "certificates: [{}]",
                "{ certificate: file:a, key: file:b }, ".repeat(count)
            ))
        };
        assert_eq!(many(MOST_PAIRS).unwrap().pairs.len(), MOST_PAIRS);
        assert_eq!(many(MOST_PAIRS + 1).unwrap_err().len(), 1);
    }
}
