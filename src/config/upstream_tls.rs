//! How an upstream is spoken to: over TLS or in clear, in which version of HTTP. That part of the document,
//! and its settings.
//!
//! The certificates themselves are read where the upstream is compiled.

use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::Findings;
use super::scalar::{At, SecretRef};
use super::upstream_entry::Upstream;
use super::upstreams::{EndpointAddress, EndpointSettings};

/// TLS to an upstream. Its files are read again when they change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// Authorities that certify the upstream, PEM: `file:PATH` or `env:NAME`; those of the system by default.
    #[serde(default)]
    pub ca: Option<At<SecretRef>>,
    /// The certificate that the gateway shows, with its chain, PEM: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub certificate: Option<At<SecretRef>>,
    /// The private key of that certificate, PEM: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub key: Option<At<SecretRef>>,
    /// The name that the upstream's certificate must bear; the host of its address by default.
    #[serde(default)]
    pub server_name: Option<At<String>>,
}

/// Whether HTTP/2 is spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamHttp2 {
    /// HTTP/1.1 only.
    #[default]
    Never,
    /// What both sides agree on while they set up TLS.
    Auto,
    /// HTTP/2 only.
    Always,
}

/// How an upstream is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSettings {
    /// Over TLS, or in clear.
    pub tls: Option<UpstreamTlsSettings>,
    /// In which version of HTTP.
    pub http2: UpstreamHttp2,
}

/// Whom to believe, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// Where its authorities are; none stands for those of the system.
    pub ca: Option<At<SecretRef>>,
    /// Where the certificate and the key are that it is shown, if it is shown any.
    pub pair: Option<[At<SecretRef>; 2]>,
    /// The name it must prove; none stands for its host.
    pub server_name: Option<At<String>>,
}

impl TransportSettings {
    pub(super) fn resolve(
        upstream: &At<Upstream>,
        endpoints: Option<&[EndpointSettings]>,
        findings: &mut Findings,
    ) -> Self {
        let Some(endpoints) = endpoints else { return Self::default() };
        let is_https = |endpoint: &EndpointSettings| match &endpoint.address {
            EndpointAddress::Http(address) => address.is_https,
            EndpointAddress::Unix(_) => false,
        };
        let sealed = endpoints.iter().filter(|endpoint| is_https(endpoint)).count();
        if sealed > 0 && sealed < endpoints.len() {
            findings
                .error(upstream.place, "some endpoints are at `https://` and some are not")
                .help(
                    "make two upstreams of them: what is sealed for one would be open for another",
                );
        }
        let is_https = sealed > 0;
        let tls = match (&upstream.tls, is_https) {
            (Some(written), true) => Some(UpstreamTlsSettings::resolve(written, findings)),
            (None, true) => Some(UpstreamTlsSettings::default()),
            (Some(written), false) => {
                findings
                    .error(written.place, "`tls` is for an upstream at `https://`")
                    .help("without it, everything goes over the network in clear");
                None
            }
            (None, false) => None,
        };
        if let Some(written) = &upstream.http2
            && written.value == UpstreamHttp2::Auto
            && !is_https
        {
            findings
                .error(written.place, "over `http://` nobody can agree on a version of HTTP")
                .help("write `http2: always` if the upstream speaks HTTP/2 in clear, or nothing");
        }
        let http2 = upstream.http2.as_ref().map(|http2| http2.value).unwrap_or_default();
        if http2 != UpstreamHttp2::Never
            && upstream.proxy_protocol.is_some()
            && let Some(written) = &upstream.http2
        {
            findings
                .error(
                    written.place,
                    "a connection of HTTP/2 serves many clients, and a PROXY header tells of one",
                )
                .help("write `proxy_protocol` or `http2`, not both");
        }
        Self { tls, http2 }
    }
}

impl UpstreamTlsSettings {
    fn resolve(written: &At<UpstreamTls>, findings: &mut Findings) -> Self {
        let pair = match (&written.certificate, &written.key) {
            (Some(certificate), Some(key)) => Some([certificate.clone(), key.clone()]),
            (None, None) => None,
            (Some(alone), None) => {
                findings
                    .error(alone.place, "the certificate has no key")
                    .help("write `key: file:PATH` too");
                None
            }
            (None, Some(alone)) => {
                findings
                    .error(alone.place, "the key has no certificate")
                    .help("write `certificate: file:PATH` too");
                None
            }
        };
        let server_name = written.server_name.clone();
        Self { ca: written.ca.clone(), pair, server_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Source, parse};

    fn resolve(upstream: &str) -> (Vec<String>, Option<TransportSettings>) {
        let text = format!(
            "listen: {{ public: 127.0.0.1:80 }}\nupstreams: {{ api: {upstream} }}\nroutes: []\n"
        );
        let loaded = parse(Source::new("p.yaml", text)).unwrap();
        let mut findings = Findings::new();
        let settings = Settings::resolve(&loaded, &mut findings);
        let found = findings.iter().map(|finding| finding.message.clone()).collect();
        let upstream = settings.and_then(|mut settings| settings.upstreams.remove("api"));
        (found, upstream.map(|upstream| upstream.transport))
    }

    #[test]
    fn https_alone_is_tls_with_the_roots_of_the_system() {
        let (found, transport) = resolve("{ url: \"https://a\" }");
        let transport = transport.unwrap();
        assert_eq!(found, [""; 0]);
        assert_eq!(transport.tls, Some(UpstreamTlsSettings::default()));
        assert_eq!(transport.http2, UpstreamHttp2::Never);
        let (found, transport) = resolve("{ url: \"http://a\" }");
        assert_eq!((found.len(), transport.unwrap().tls), (0, None));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (upstream, expected) in [
            ("{ url: \"http://a\", tls: {} }", "`tls` is for an upstream at `https://`"),
            (
                "{ url: \"http://a\", http2: auto }",
                "over `http://` nobody can agree on a version of HTTP",
            ),
            (
                "{ url: \"http://a\", http2: always, proxy_protocol: v2 }",
                "a connection of HTTP/2 serves many clients, and a PROXY header tells of one",
            ),
            ("{ url: \"https://a\", tls: { key: \"file:k\" } }", "the key has no certificate"),
            (
                "{ url: \"https://a\", tls: { certificate: \"file:c\" } }",
                "the certificate has no key",
            ),
        ] {
            assert_eq!(resolve(upstream).0, [expected], "{upstream}");
        }
        for upstream in [
            "{ url: \"http://a\", http2: always }",
            "{ url: \"http://a\", http2: never, proxy_protocol: v1 }",
            "{ url: \"https://a\", proxy_protocol: v2 }",
            "{ url: \"https://a\", http2: auto, tls: { certificate: \"file:c\", key: \"env:K\" } }",
        ] {
            assert_eq!(resolve(upstream).0, [""; 0], "{upstream}");
        }
    }
}
