//! From what the operator wrote to a TLS that can be put in force; every finding at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp as Written;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::sync::Semaphore;

use super::names::ByName;
use super::outcomes::Outcomes;
use super::{HTTP2, Shown, Tls};
use crate::certificate::{Certificate, Pair, PairError, own_roots, provider};
use crate::clock::{Clock, Timestamp};
use crate::config::{
    At, ClientSettings, Findings, Loaded, PairSettings, Place, SecretRef, Secrets, Settings,
    TlsSettings, TlsVersion,
};
use crate::id::Digest;
use crate::telemetry::Metrics;

/// What a TLS is compiled against.
pub(in crate::server) struct Ground<'g> {
    pub(in crate::server) metrics: &'g Metrics,
    pub(in crate::server) clock: &'g Clock,
    /// What is in force now, whose tickets and turns go on.
    pub(in crate::server) before: Option<&'g Tls>,
}

/// `None` when the listener speaks in clear, and when there is an error among `findings`.
pub(in crate::server) fn compile(
    loaded: &mut Loaded,
    settings: &Settings,
    ground: &Ground<'_>,
    findings: &mut Findings,
) -> Option<Tls> {
    let tls = settings.listen.tls.as_ref()?;
    let mut secrets = Secrets::new(loaded.source.folder());
    let now = ground.clock.now();
    let pairs = pairs(&tls.pairs, now, &mut secrets, findings);
    let clients = match &tls.clients {
        None => Some(None),
        Some(clients) => Clients::read(clients, &mut secrets)
            .map_err(|why| findings.error(clients.authorities.place, why))
            .ok()
            .map(Some),
    };
    loaded.named_files.extend(secrets.into_named_files());
    let (pairs, clients) = (pairs?, clients?);
    let rules = clients.as_ref().map(|clients| clients.rules);
    let set_up = || {
        let tickets = tickets(rules, ground)?;
        let mut config = config(tls, &pairs, (clients, ground.clock), Arc::clone(&tickets))?;
        let skipped = usize::from(!settings.http2.alpn);
        config.alpn_protocols = PROTOCOLS.iter().skip(skipped).map(|name| name.to_vec()).collect();
        Ok((config, tickets))
    };
    let (config, tickets) = set_up()
        .map_err(|error: rustls::Error| {
            findings.error(Place::default(), format!("TLS cannot be set up: {error}"))
        })
        .ok()?;
    Some(Tls {
        config: Arc::new(config),
        deadline: tls.handshake_timeout,
        turns: turns(tls.handshakes, ground),
        most_turns: tls.handshakes,
        tickets,
        clients: rules,
        shown: pairs.iter().map(|pair| Shown::of(&pair.leaf)).collect(),
        outcomes: Outcomes::new(ground.metrics),
    })
}

/// All pairs, or nothing when one of them cannot be used.
fn pairs(
    written: &[PairSettings],
    now: Timestamp,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(written.len());
    for (at, settings) in written.iter().enumerate() {
        let Some(pair) = pair(settings, secrets, findings) else { continue };
        let place = settings.certificate.place;
        if let Some(remark) = remark(&pair.leaf, now) {
            findings
                .warn(place, format!("the certificate for {} {remark}", Shown::of(&pair.leaf).name))
                .help("clients will not believe it; once it is replaced, it is read again");
        } else if pair.leaf.dns.is_empty() && at > 0 {
            findings
                .warn(place, "this certificate names no server, so no client is ever shown it")
                .help("the names that count are those under subjectAltName");
        }
        pairs.push(pair);
    }
    (pairs.len() == written.len()).then_some(pairs)
}

fn pair(settings: &PairSettings, secrets: &mut Secrets, findings: &mut Findings) -> Option<Pair> {
    let PairSettings { certificate, key } = settings;
    let mut read = |part: &At<SecretRef>| {
        secrets.read_chain(part).map_err(|error| findings.error(part.place, error.to_string())).ok()
    };
    let (chain, private) = (read(certificate), read(key));
    let error = match Pair::read(&chain?, &private?) {
        Ok(pair) => return Some(pair),
        Err(error) => error,
    };
    let part = if matches!(error, PairError::Certificate(_)) { certificate } else { key };
    findings.error(part.place, format!("{}: {error}", name_of(part)));
    None
}

/// What stands in the way of a certificate today.
fn remark(leaf: &Certificate, now: Timestamp) -> Option<String> {
    let written = |instant: Timestamp| {
        Written::from_second(instant.seconds()).map_or_else(|_| "?".to_owned(), |at| at.to_string())
    };
    if now > leaf.good_until {
        return Some(format!("expired at {}", written(leaf.good_until)));
    }
    (now < leaf.good_from).then(|| format!("is not good before {}", written(leaf.good_from)))
}

/// Whose certificates are believed, ready for use.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    rules: Digest,
}

impl Clients {
    fn read(settings: &ClientSettings, secrets: &mut Secrets) -> Result<Self, String> {
        let ClientSettings { authorities, is_required } = settings;
        let pem = secrets.read_chain(authorities).map_err(|error| error.to_string())?;
        let wrong = |error: String| format!("{}: {error}", name_of(authorities));
        let roots = own_roots(&pem).map_err(|error| wrong(error.to_string()))?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = if *is_required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self { verifier, rules: Digest::of(&[&pem, &[u8::from(*is_required)][..]].concat()) })
    }
}

/// How an operator knows a file or variable.
fn name_of(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(path) => format!("`{path}`"),
        SecretRef::Env(name) => format!("the environment variable `{name}`"),
    }
}

/// A ticket holds what the client proved when it was given out, and is not proved again: it must not
/// outlive the rules that it was given under.
fn tickets(
    rules: Option<Digest>,
    ground: &Ground<'_>,
) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    match ground.before {
        Some(before) if before.clients == rules => Ok(Arc::clone(&before.tickets)),
        _ => Ticketer::new(),
    }
}

fn turns(most: usize, ground: &Ground<'_>) -> Arc<Semaphore> {
    match ground.before {
        Some(before) if before.most_turns == most => Arc::clone(&before.turns),
        _ => Arc::new(Semaphore::new(most)),
    }
}

fn config(
    tls: &TlsSettings,
    pairs: &[Pair],
    (clients, clock): (Option<Clients>, &Clock),
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let by_name = ByName::new(pairs).ok_or(rustls::Error::NoCertificatesPresented)?;
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Told(clock.clone())));
    let builder = builder.with_protocol_versions(versions)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients.verifier),
    };
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
    // All suites are good, and scanners hold it against a server to let clients choose.
    config.ignore_client_order = true;
    // Tickets are good on every worker and need no memory here.
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // What is sent before the handshake ends can be sent again by anybody (RFC 8446 §8).
    config.max_early_data_size = 0;
    Ok(config)
}

/// Certificates are judged by the gateway's own clock.
#[derive(Debug)]
struct Told(Clock);

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl Shown {
    fn of(leaf: &Certificate) -> Self {
        let name = leaf.dns.first().or(leaf.common_name.as_ref()).unwrap_or(&leaf.subject);
        Self { name: name.clone(), good_until: leaf.good_until }
    }
}

/// What a client is offered, the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
