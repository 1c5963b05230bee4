//! From what the operator wrote to a gateway that can be put in force; every finding at once.
//!
//! `check` is this and nothing more; a reload is this and a swap.

mod checks;
mod logins;
mod own;
mod rates;
mod requirements;
mod routes;
mod transports;

use std::sync::Arc;

use super::AccessLogRules;
use super::Gateway;
use super::checks::Checks;
use super::cors::Cors;
use super::identity::IdentityNames;
use super::kept::Kept;
use super::route::Destination;
use super::strip::Stripping;
use crate::config::Findings;
use crate::config::Loaded;
use crate::config::Secrets;
use crate::config::Settings;
use crate::inquiry::Bounds;
use crate::jwt::RemoteKeys;
use crate::telemetry::RouteMetrics;
use requirements::Names;

/// A gateway and what has to run beside it.
#[derive(Debug)]
pub struct Built {
    /// Ready to be put in force.
    pub gateway: Gateway,
    /// Key sets that somebody has to keep fresh.
    pub remotes: Vec<Arc<RemoteKeys>>,
    /// Upstreams that somebody has to watch.
    pub destinations: Vec<Arc<Destination>>,
}

/// What every part is compiled against.
struct Common<'c> {
    settings: &'c Settings,
    kept: &'c Kept,
    secrets: &'c mut Secrets,
}

impl Gateway {
    /// Compiles a configuration; `None` when there is an error among `findings`.
    pub fn build(
        loaded: &mut Loaded,
        settings: &Settings,
        kept: &Kept,
        findings: &mut Findings,
    ) -> Option<Built> {
        let mut secrets = Secrets::new(loaded.source.folder());
        let mut common = Common { settings, kept, secrets: &mut secrets };
        let services = logins::compile(&mut common, findings);
        let offered = services.as_deref().unwrap_or_default();
        let transports = transports::compile(loaded, settings, &mut common, findings);
        let compiled = checks::compile(loaded, common, offered, findings);
        loaded.named_files.extend(secrets.into_named_files());
        let names = Names::new(loaded);
        let rates = rates::Known::new(loaded, settings, kept);
        let everywhere = rates.everywhere(loaded, findings);
        let cors = settings.cors.clone().map(|cors| Arc::new(Cors::new(cors)));
        let calls = logins::routes(&names, (offered, cors.as_ref()), (settings, kept), findings);
        let known = compiled.as_ref().map_or(&[][..], |compiled| &compiled.checks);
        let routes = routes::compile(
            (&names, known, &rates),
            loaded,
            (settings, kept, &transports),
            (calls, cors.as_ref()),
            findings,
        );
        let (_, compiled, routes) = (services?, compiled?, routes?);
        if findings.has_errors() {
            return None;
        }
        // An address that nobody vouches for is removed like an identity that was made up.
        let reserved = routes.identity_names.iter().chain(&compiled.addresses);
        let gateway = Self {
            bounds: Bounds {
                target: settings.limits.target,
                headers: settings.limits.headers,
                header_count: settings.limits.header_count,
            },
            trusted_proxies: settings.trusted_proxies.clone(),
            routes: routes.table,
            checks: Checks(compiled.checks),
            fallback: routes.fallback,
            reserved: Arc::new(IdentityNames::new(reserved).with_credentials(&compiled.kept)),
            stripping: Arc::new(Stripping {
                keys: compiled.keys,
                tokens: compiled.tokens,
                kept: compiled.kept,
            }),
            has_cors: routes.has_cors,
            cors,
            unmatched: Arc::new(RouteMetrics::new(&kept.metrics, "")),
            body_timeout: settings.timeouts.body,
            slowest_body: settings.limits.slowest_body,
            rates: everywhere,
            tells_rates: settings.limits.tell_rates,
            metrics: kept.metrics.clone(),
            stream_idle: settings.streams.idle,
            stream_grace: settings.streams.grace,
            vouching: kept.vouching.clone(),
            access_log: AccessLogRules {
                enabled: settings.access_log.enabled,
                query: settings.access_log.query,
            },
        };
        Some(Built { gateway, remotes: compiled.remotes, destinations: routes.destinations })
    }
}
