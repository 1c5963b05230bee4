//! The entries of `login`: dialects loaded, their keys named, their calls made into routes.

use std::sync::Arc;

use super::Common;
use super::own::{OwnTokens, verifier};
use super::requirements;
use super::requirements::Names;
use crate::config::At;
use crate::config::Findings;
use crate::config::LoginSettings;
use crate::config::OwnPermissions;
use crate::config::Place;
use crate::config::Settings;
use crate::credentials::Location;
use crate::credentials::Locations;
use crate::credentials::Scheme;
use crate::dialect::Call;
use crate::dialect::CallKind;
use crate::dialect::Caller;
use crate::dialect::Dialect;
use crate::gateway::checks::UserGate;
use crate::gateway::cors::Cors;
use crate::gateway::denial::Kind;
use crate::gateway::door::{Door, Service};
use crate::gateway::kept::Kept;
use crate::gateway::rates::Rates;
use crate::gateway::route::{Access, Route, Target};
use crate::gateway::voice::Voice;
use crate::id::{CheckName, RouteId};
use crate::jwt::OwnKeys;
use crate::policy::Policy;
use crate::route::Pattern;
use crate::telemetry::RouteMetrics;

/// The services of a configuration; `None` when one of them is missing.
pub(super) fn compile(
    common: &mut Common<'_>,
    findings: &mut Findings,
) -> Option<Vec<Arc<Service>>> {
    let logins = &common.settings.logins;
    let mut services = Vec::with_capacity(logins.len());
    for login in logins {
        let generation = login.generation.as_ref();
        let dialect = Dialect::load(&login.dialect, generation, common.secrets, findings);
        let Some(dialect) = dialect else { continue };
        let Some(keys) = keys(&dialect, common.kept, login.dialect.place, findings) else {
            continue;
        };
        services.push(Arc::new(Service {
            name: login.name.clone(),
            keys,
            lifetime: login.lifetime.unwrap_or(dialect.token.lifetime),
            issuer: login.issuer.clone(),
            audience: login.audience.clone(),
            sessions: login.sessions,
            dialect: Arc::new(dialect),
        }));
    }
    (services.len() == logins.len()).then_some(services)
}

/// The keys of the dialect's family.
pub(super) fn keys(
    dialect: &Dialect,
    kept: &Kept,
    place: Place,
    findings: &mut Findings,
) -> Option<Arc<OwnKeys>> {
    let algorithm = dialect.token.algorithm.parse().ok();
    let keys = algorithm.and_then(|algorithm| kept.own_keys(&dialect.family, algorithm));
    if keys.is_none() {
        findings.error(
            place,
            format!(
                "the family `{}` cannot sign with {}: one family has one algorithm",
                dialect.family, dialect.token.algorithm
            ),
        );
    }
    keys
}

/// The routes that lead to the calls of all services.
pub(super) fn routes(
    names: &Names,
    (services, cors): (&[Arc<Service>], Option<&Arc<Cors>>),
    (settings, kept): (&Settings, &Kept),
    findings: &mut Findings,
) -> Vec<(Pattern, Arc<Route>, At<String>)> {
    let mut routes = Vec::new();
    for (login, service) in settings.logins.iter().zip(services) {
        let Some(access) = access(names, login, findings) else { continue };
        warn_of_registering(login, service, findings);
        for call in service.dialect.calls.values() {
            let demands = call.caller == Caller::Token;
            let user = if demands { user(service, settings, kept) } else { None };
            if demands && user.is_none() {
                // A call without a judge would take whoever comes.
                let text = format!("nothing can judge the tokens for `{}`", call.kind.name());
                findings.error(login.dialect.place, text);
                continue;
            }
            let door = Arc::new(Door { service: Arc::clone(service), kind: call.kind, user });
            let host = login.host.as_ref().map(|host| host.value.as_str());
            let texts = call.matches.iter().map(|place| place.pattern(host));
            routes.extend(texts.filter_map(|text| {
                let text = At { value: text, place: login.dialect.place };
                let route = Arc::new(route(&door, access.clone(), cors, kept));
                Some((pattern(&text, findings)?, route, text))
            }));
        }
    }
    routes
}

/// All services share the users of one store, so whoever registers at one can log in at all.
fn warn_of_registering(login: &LoginSettings, service: &Service, findings: &mut Findings) {
    let calls = service.dialect.calls.values();
    let mut places = calls.filter(|call| call.kind == CallKind::Register).flat_map(|c| &c.matches);
    let Some(place) = places.next() else { return };
    let who = if login.require.is_some() { "who meets `require`" } else { "anybody" };
    let call = place.pattern(login.host.as_ref().map(|host| host.value.as_str()));
    findings
        .warn(
            login.dialect.place,
            format!("{who} can become a user of the store: `{}` serves `{call}`", service.name),
        )
        .help("every login service lets the users of the store in; a dialect of your own that `extends` this one can leave it out: `calls: { register: none }`");
}

fn pattern(text: &At<String>, findings: &mut Findings) -> Option<Pattern> {
    Pattern::parse(text)
        .map_err(|error| {
            let message = format!("`{}` cannot be offered: {}", **text, error.message);
            findings.error(text.place, message);
        })
        .ok()
}

fn access(names: &Names, login: &LoginSettings, findings: &mut Findings) -> Option<Access> {
    let Some(text) = &login.require else { return Some(Access::Public) };
    let require = requirements::compile(names, text, findings)?;
    let asks_users = |kind| kind != Some(Kind::App);
    if require.checks().iter().any(|index| asks_users(names.kind(*index))) {
        findings
            .error(text.place, "who logs in cannot be asked for a token first")
            .help("`require` of a login names checks of applications only");
        return None;
    }
    Some(Access::Guarded(require))
}

fn route(door: &Arc<Door>, access: Access, cors: Option<&Arc<Cors>>, kept: &Kept) -> Route {
    let id = format!("{}:{}", door.service.name, door.kind.name());
    Route {
        // Their own limits count failures, in `account`.
        rates: Rates::default(),
        cors: cors.cloned(),
        websocket_idle: None,
        metrics: RouteMetrics::new(&kept.metrics, &id),
        id: RouteId::new(id),
        target: Target::Door(Arc::clone(door)),
        voice: Voice::Door(Arc::clone(door)),
        access,
        second_factor: None,
        policy: Policy::default(),
        forward: Vec::new(),
        params: Vec::new(),
        response_timeout: std::time::Duration::ZERO,
        body_limit: u64::try_from(Call::MAX_BODY_BYTES).unwrap_or(u64::MAX),
    }
}

/// What judges the tokens of callers who have to bring one.
fn user(service: &Service, settings: &Settings, kept: &Kept) -> Option<UserGate> {
    let own = OwnTokens::of(service);
    let schemes = service.dialect.token.schemes.iter();
    let schemes: Vec<_> = schemes.filter_map(|scheme| Scheme::parse(scheme)).collect();
    let locations = Locations::new([Location::authorization(schemes)]);
    let rules = (std::time::Duration::ZERO, &OwnPermissions::Store);
    let issuer = own.issuer(0, rules, kept, &mut Findings::new())?;
    let name = CheckName::new(format!("login {}", service.name));
    let verifier = verifier(name, vec![issuer], (settings, kept)).ok()?;
    let by_entry = vec![locations.clone()];
    let users = kept.users.clone();
    let dialect = Some(Arc::clone(&service.dialect));
    Some(UserGate { locations, by_entry, verifier, by_store: vec![true], dialect, users })
}
