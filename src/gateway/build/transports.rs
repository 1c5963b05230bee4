//! How each upstream is spoken to: the authorities, certificate and key of those behind TLS are read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::Common;
use crate::certificate::{Pair, own_roots, provider};
use crate::config::At;
use crate::config::EndpointAddress;
use crate::config::Findings;
use crate::config::Loaded;
use crate::config::Place;
use crate::config::SecretRef;
use crate::config::Settings;
use crate::config::UpstreamHttp2;
use crate::config::UpstreamSettings;
use crate::config::UpstreamTlsSettings;
use crate::gateway::transport::{Secured, Transport};
use crate::id::Digest;

/// How each upstream is spoken to, by name; one with an error is left out.
pub(super) type Transports<'s> = BTreeMap<&'s str, Transport>;

pub(super) fn compile<'s>(
    loaded: &Loaded,
    settings: &'s Settings,
    common: &mut Common<'_>,
    findings: &mut Findings,
) -> Transports<'s> {
    let mut transports = Transports::new();
    for (name, upstream) in &settings.upstreams {
        let http2 = upstream.transport.http2;
        let written = loaded.document.upstreams.get(name);
        let place = written.map_or_else(Place::default, |written| written.place);
        let secured = match &upstream.transport.tls {
            None => Some(None),
            Some(tls) => secured((upstream, tls, place), common, findings).map(Some),
        };
        if let Some(secured) = secured {
            transports.insert(name, Transport { secured, http2 });
        }
    }
    transports
}

fn secured(
    (upstream, tls, place): (&UpstreamSettings, &UpstreamTlsSettings, Place),
    common: &mut Common<'_>,
    findings: &mut Findings,
) -> Option<Arc<Secured>> {
    let name = server_name((upstream, tls, place), findings);
    let mut material = Material::default();
    let roots = roots(tls.ca.as_ref(), place, (common, &mut material), findings);
    let pair = match &tls.pair {
        None => Some(None),
        Some(pair) => self::pair(pair, (common, &mut material), findings).map(Some),
    };
    let (name, roots, pair) = (name.ok()?, roots?, pair?);
    let protocols: &[&[u8]] = match upstream.transport.http2 {
        UpstreamHttp2::Never => &[b"http/1.1"],
        UpstreamHttp2::Auto => &[b"h2", b"http/1.1"],
        UpstreamHttp2::Always => &[b"h2"],
    };
    material.add(name.as_ref().map_or("".into(), ServerName::to_str).as_bytes());
    material.add(&protocols.concat());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| findings.error(place, format!("TLS cannot be set up: {error}")))
        .ok()?
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)))
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let made_from = Digest::of(&material.0);
    Some(common.kept.secured(Secured { config: Arc::new(config), name, made_from }))
}

/// The name that was written; none when that of each endpoint counts.
fn server_name(
    (upstream, tls, place): (&UpstreamSettings, &UpstreamTlsSettings, Place),
    findings: &mut Findings,
) -> Result<Option<ServerName<'static>>, Unusable> {
    let mut read = |text: &str, place| {
        let name = ServerName::try_from(text.to_owned());
        if name.is_err() {
            findings.error(place, format!("`{text}` is no name that a certificate can bear"));
        }
        name.map_err(|_| Unusable)
    };
    if let Some(written) = &tls.server_name {
        return read(written, written.place).map(Some);
    }
    let mut hosts = upstream.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
        EndpointAddress::Http(address) => Some(address.host.as_str()),
        EndpointAddress::Unix(_) => None,
    });
    hosts.try_for_each(|host| read(host, place).map(drop)).map(|()| None)
}

fn roots(
    ca: Option<&At<SecretRef>>,
    place: Place,
    (common, material): (&mut Common<'_>, &mut Material),
    findings: &mut Findings,
) -> Option<Arc<RootCertStore>> {
    let Some(ca) = ca else {
        material.add(b"system");
        return common
            .kept
            .system_roots()
            .map_err(|error| {
                findings
                    .error(place, format!("no roots of trust: {error}"))
                    .help("name the authorities of the upstream: `tls: { ca: file:PATH }`");
            })
            .ok();
    };
    let pem = read(ca, common, findings)?;
    material.add(b"own");
    material.add(&pem);
    own_roots(&pem)
        .map(Arc::new)
        .map_err(|error| {
            findings.error(ca.place, format!("these authorities cannot be used: {error}"));
        })
        .ok()
}

fn pair(
    [certificate, key]: &[At<SecretRef>; 2],
    (common, material): (&mut Common<'_>, &mut Material),
    findings: &mut Findings,
) -> Option<Pair> {
    let chain = read(certificate, common, findings);
    let secret = common.secrets.read(key);
    let secret = secret
        .map_err(|error| {
            findings.error(key.place, error.to_string());
        })
        .ok();
    let (chain, secret) = (chain?, secret?);
    material.add(&chain);
    material.add(secret.expose());
    let pair = Pair::read(&chain, secret.expose())
        .map_err(|error| {
            findings.error(certificate.place, format!("this certificate cannot be shown: {error}"));
        })
        .ok()?;
    if !pair.leaf.is_good(common.kept.clock.now()) {
        findings.warn(certificate.place, "the certificate is not good today");
    }
    Some(pair)
}

fn read(
    reference: &At<SecretRef>,
    common: &mut Common<'_>,
    findings: &mut Findings,
) -> Option<Vec<u8>> {
    common
        .secrets
        .read_chain(reference)
        .map_err(|error| {
            findings.error(reference.place, error.to_string());
        })
        .ok()
}

/// A name that no certificate can bear; reported already.
struct Unusable;

/// What a connection's security is made from, each part behind its length.
#[derive(Default)]
struct Material(Vec<u8>);

impl Material {
    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&part.len().to_be_bytes());
        self.0.extend_from_slice(part);
    }
}
