//! The entries of `checks`, with the keys and secrets they name read and judged.

use std::sync::Arc;

use http::HeaderName;

use super::Common;
use super::own::{Carried, OwnTokens, carried, verifier};
use crate::config::AppKeySettings;
use crate::config::At;
use crate::config::AudienceSettings;
use crate::config::Carrier;
use crate::config::CertificateSettings;
use crate::config::CheckSettings;
use crate::config::Findings;
use crate::config::HeaderSettings;
use crate::config::JwtSettings;
use crate::config::KeyLocation as KeyPlace;
use crate::config::Loaded;
use crate::config::OwnPermissions;
use crate::config::OwnSettings;
use crate::config::Place;
use crate::config::SecretRef;
use crate::config::Secrets;
use crate::config::Settings;
use crate::config::TokenSettings;
use crate::config::TypSettings;
use crate::credentials::AppKeys;
use crate::credentials::ConfiguredApp;
use crate::credentials::KeyLocation;
use crate::credentials::Location;
use crate::credentials::LocationError;
use crate::credentials::Locations;
use crate::credentials::Scheme;
use crate::dialect::Dialect;
use crate::fetch::Address;
use crate::fetch::Plain;
use crate::gateway::basic::BasicGate;
use crate::gateway::certificate::CertificateGate;
use crate::gateway::checks::{AppGate, Check, Gate, HeaderGate, MOST_CHECKS, UserGate};
use crate::gateway::door::Service;
use crate::gateway::kept::Kept;
use crate::id::CheckName;
use crate::jwt::{
    Algorithm, Audience, IssuerSettings, KeySet, KeySource, Pointer, RemoteKeys, RemoteSettings,
    RemoteSource, TypRule,
};

#[derive(Default)]
pub(super) struct Compiled {
    pub(super) checks: Vec<Check>,
    pub(super) keys: Vec<KeyLocation>,
    pub(super) tokens: Vec<Locations>,
    /// Headers with credentials that upstreams get.
    pub(super) kept: Vec<HeaderName>,
    /// Headers in which applications tell their clients' addresses.
    pub(super) addresses: Vec<HeaderName>,
    pub(super) remotes: Vec<Arc<RemoteKeys>>,
}

/// One entry of a `jwt` check; what is missing of it was reported.
struct Entry {
    places: Option<Vec<Location>>,
    issuer: Option<IssuerSettings>,
    /// Whether the store is the one to say what a user may do.
    is_stored: bool,
}

/// What every check is compiled against.
struct Ground<'g> {
    settings: &'g Settings,
    kept: &'g Kept,
    secrets: &'g mut Secrets,
    services: &'g [Arc<Service>],
    apps: Arc<AppKeys>,
    compiled: Compiled,
}

/// `None` when a check is missing: requirements number them, so that none may be left out.
pub(super) fn compile(
    loaded: &Loaded,
    common: Common<'_>,
    services: &[Arc<Service>],
    findings: &mut Findings,
) -> Option<Compiled> {
    let Common { settings, kept, secrets } = common;
    let apps = Arc::new(apps(settings, kept, findings)?);
    let compiled = Compiled::default();
    let mut ground = Ground { settings, kept, secrets, services, apps, compiled };
    for (name, written) in &loaded.document.checks {
        let Some(check) = settings.checks.get(name) else { continue };
        let gate = match check {
            CheckSettings::AppKey(app) => ground.app_gate(app, written.place, findings),
            CheckSettings::Jwt(entries) => ground.user_gate(name, entries, written.place, findings),
            CheckSettings::Header(header) => {
                if !knows_users(settings) {
                    findings
                        .warn(written.place, "no request could ever pass this check")
                        .help("the store has to know the user: add a check with `issuer: self` or `basic: self`");
                }
                let HeaderSettings { name, attribute } = header.clone();
                ground.compiled.kept.push(name.clone());
                Some(Gate::Header(HeaderGate { name, attribute }))
            }
            CheckSettings::Basic => Some(ground.basic_gate()),
            CheckSettings::Certificate(certificate) => {
                ground.certificate_gate(*certificate, written.place, findings)
            }
        };
        if let Some(gate) = gate {
            let number = ground.kept.check_number(name);
            let name = CheckName::new(name.as_str());
            ground.compiled.checks.push(Check { name, number, gate });
        }
    }
    let declared = loaded.document.checks.len();
    if declared > MOST_CHECKS {
        let place = loaded.document.checks.values().nth(MOST_CHECKS).map(|check| check.place);
        findings.error(
            place.unwrap_or_default(),
            format!("{declared} checks are declared; at most {MOST_CHECKS} can be"),
        );
    }
    let compiled = ground.compiled;
    (compiled.checks.len() == declared).then_some(compiled)
}

/// Whether some check finds out who of the store's users calls; others' tokens never do.
fn knows_users(settings: &Settings) -> bool {
    let is_own = |entry: &TokenSettings| matches!(entry, TokenSettings::Own(_));
    settings.checks.values().any(|check| match check {
        CheckSettings::Basic => true,
        CheckSettings::Jwt(entries) => entries.iter().any(is_own),
        CheckSettings::AppKey(_) | CheckSettings::Header(_) | CheckSettings::Certificate(_) => {
            false
        }
    })
}

fn apps(settings: &Settings, kept: &Kept, findings: &mut Findings) -> Option<AppKeys> {
    let configured = settings
        .apps
        .iter()
        .map(|app| ConfiguredApp {
            id: app.id.clone(),
            digest: app.digest,
            scopes: app.scopes.clone(),
        })
        .collect();
    AppKeys::new(configured, kept.stored.clone())
        .map_err(|error| {
            findings.error(Place::default(), error.to_string());
        })
        .ok()
}

impl Ground<'_> {
    fn app_gate(
        &mut self,
        app: &AppKeySettings,
        place: Place,
        findings: &mut Findings,
    ) -> Option<Gate> {
        if self.settings.apps.is_empty() && self.settings.store.is_none() {
            findings
                .error(place, "no application could ever pass this check")
                .help("declare `apps`, or a `store` for `portcullis app create`");
            return None;
        }
        let whole = |location: Result<Location, LocationError>| {
            location.map(|location| KeyLocation::whole([location]))
        };
        let location = match &app.carrier {
            Carrier::Header(name) => whole(Location::header(name.as_str())),
            Carrier::Query(name) => whole(Location::query(name)),
            Carrier::Cookie(name) => whole(Location::cookie(name)),
            Carrier::Pair { id, secret } => KeyLocation::pair(id.as_str(), secret.as_str()),
        };
        let location = location.map_err(|error| findings.error(place, error.to_string())).ok()?;
        match &app.carrier {
            _ if !app.keep => self.compiled.keys.push(location.clone()),
            Carrier::Header(name) => self.compiled.kept.push(name.clone()),
            Carrier::Pair { id, secret } => {
                self.compiled.kept.extend([id, secret].map(Clone::clone));
            }
            Carrier::Query(_) | Carrier::Cookie(_) => {}
        }
        self.compiled.addresses.extend(app.client_address.clone());
        let keys = Arc::clone(&self.apps);
        Some(Gate::App(AppGate { location, keys, client_address: app.client_address.clone() }))
    }

    fn certificate_gate(
        &self,
        certificate: CertificateSettings,
        place: Place,
        findings: &mut Findings,
    ) -> Option<Gate> {
        let tls = self.settings.listen.tls.as_ref();
        if tls.and_then(|tls| tls.clients.as_ref()).is_none() {
            findings
                .error(place, "no client is ever asked for a certificate")
                .help("name who certifies clients: `listen.public.tls.client_ca`");
            return None;
        }
        Some(Gate::Certificate(CertificateGate(certificate)))
    }

    /// The upstream never sees a password.
    fn basic_gate(&mut self) -> Gate {
        let schemes: Vec<_> = Scheme::parse("Basic").into_iter().collect();
        let locations = Locations::new([Location::authorization(schemes)]);
        self.compiled.tokens.push(locations.clone());
        let users = self.kept.users.clone().zip(self.kept.vouching.clone());
        Gate::Basic(BasicGate { locations, users, ended: Arc::clone(&self.kept.ended) })
    }

    fn user_gate(
        &mut self,
        name: &str,
        entries: &[TokenSettings],
        place: Place,
        findings: &mut Findings,
    ) -> Option<Gate> {
        let mut issuers = Vec::with_capacity(entries.len());
        let (mut by_entry, mut by_store) = (Vec::new(), Vec::new());
        let (mut all, mut dialect) = (Vec::new(), None);
        for (id, entry) in entries.iter().enumerate() {
            let read = match entry {
                TokenSettings::Other(entry) => Some(self.foreign(id, entry, findings)),
                TokenSettings::Own(entry) => self.own(entry, findings).map(|own| {
                    dialect.get_or_insert_with(|| Arc::clone(&own.dialect));
                    self.of_ours(id, entry, &own, findings)
                }),
            };
            let Some(Entry { places, issuer, is_stored }) = read else { continue };
            if let (Some(places), Some(issuer)) = (places, issuer) {
                by_entry.push(Locations::new(places.clone()));
                by_store.push(is_stored);
                all.extend(places);
                issuers.push(issuer);
            }
        }
        if issuers.len() != entries.len() {
            return None;
        }
        let name = CheckName::new(name);
        let verifier = verifier(name, issuers, (self.settings, self.kept))
            .map_err(|error| findings.error(place, error.to_string()))
            .ok()?;
        let (locations, users) = (Locations::new(all), self.kept.users.clone());
        Some(Gate::User(UserGate { locations, by_entry, verifier, by_store, dialect, users }))
    }

    fn foreign(&mut self, id: usize, entry: &JwtSettings, findings: &mut Findings) -> Entry {
        let places = self.places(&entry.carried(), findings);
        Entry { places, issuer: self.issuer(id, entry, findings), is_stored: false }
    }

    fn of_ours(
        &mut self,
        id: usize,
        entry: &OwnSettings,
        own: &OwnTokens,
        findings: &mut Findings,
    ) -> Entry {
        let schemes = entry.schemes.clone();
        let schemes = schemes.unwrap_or_else(|| own.schemes(entry.dialect.place));
        let places = self.places(&carried(entry, &schemes), findings);
        let rules = (entry.leeway, &entry.permissions);
        let issuer = own.issuer(id, rules, self.kept, findings);
        Entry { places, issuer, is_stored: matches!(entry.permissions, OwnPermissions::Store) }
    }

    /// Whose tokens an entry with `issuer: self` means: those of a service, or of a preset that no
    /// service here speaks.
    fn own(&mut self, entry: &OwnSettings, findings: &mut Findings) -> Option<OwnTokens> {
        let text = entry.dialect.value.as_str();
        let logins = &self.settings.logins;
        // A file is named in both places alike, and the service is named after it.
        let written = logins.iter().find(|login| login.dialect.value == text);
        let means = |service: &&Arc<Service>| {
            let is_written = written.is_some_and(|login| login.name == service.name);
            service.name == text || service.dialect.name == text || is_written
        };
        if let Some(service) = self.services.iter().find(means) {
            return Some(OwnTokens::of(service));
        }
        if written.is_some() || logins.iter().any(|login| login.name == text) {
            // What is wrong with that service is said where it stands.
            return None;
        }
        let dialect = Dialect::load(&entry.dialect, None, self.secrets, findings)?;
        let place = entry.dialect.place;
        let keys = super::logins::keys(&dialect, self.kept, place, findings)?;
        Some(OwnTokens { dialect: Arc::new(dialect), keys, issuer: None, audience: None })
    }

    /// Where tokens of this entry are taken from; those that the upstream must not see are noted.
    fn places(&mut self, carried: &Carried<'_>, findings: &mut Findings) -> Option<Vec<Location>> {
        let mut schemes = Vec::with_capacity(carried.schemes.len());
        for scheme in carried.schemes {
            let Some(parsed) = Scheme::parse(scheme) else {
                findings.error(scheme.place, format!("`{}` is no scheme", **scheme));
                return None;
            };
            schemes.push(parsed);
        }
        let authorization = (!schemes.is_empty()).then(|| Ok(Location::authorization(schemes)));
        let header = carried.header.map(|name| Location::header(name.as_str()));
        let cookie = carried.cookie.map(Location::cookie);
        let query = carried.query.map(Location::query);
        let places: Result<Vec<Location>, LocationError> =
            [authorization, header, cookie, query.clone()].into_iter().flatten().collect();
        let places =
            places.map_err(|error| findings.error(carried.place, error.to_string())).ok()?;
        if !carried.keep {
            self.compiled.tokens.push(Locations::new(places.clone()));
            return Some(places);
        }
        self.compiled.kept.extend(carried.header.cloned());
        if let Some(Ok(query)) = query {
            // A token in a query ends up in the logs of whoever gets it.
            self.compiled.tokens.push(Locations::new([query]));
        }
        Some(places)
    }

    fn issuer(
        &mut self,
        id: usize,
        entry: &JwtSettings,
        findings: &mut Findings,
    ) -> Option<IssuerSettings> {
        let algorithms: Vec<Algorithm> =
            entry.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
        let keys = self.keys(entry, &algorithms, findings);
        let identity = pointer(&entry.identity, findings);
        let permissions = match &entry.permissions {
            Some(text) => Some(pointer(text, findings)?),
            None => None,
        };
        Some(IssuerSettings {
            id,
            issuer: entry.issuer.clone(),
            audience: match &entry.audience {
                AudienceSettings::Any => Audience::Any,
                AudienceSettings::OneOf(accepted) => Audience::OneOf(accepted.clone()),
            },
            algorithms,
            typ: match &entry.typ {
                TypSettings::Default => TypRule::Default,
                TypSettings::Any => TypRule::Any,
                TypSettings::OneOf(types) => TypRule::OneOf(types.clone()),
            },
            keys: keys?,
            identity: identity?,
            permissions,
            leeway: entry.leeway,
        })
    }

    fn keys(
        &mut self,
        entry: &JwtSettings,
        algorithms: &[Algorithm],
        findings: &mut Findings,
    ) -> Option<KeySource> {
        let plain = if entry.insecure { Plain::Anywhere } else { Plain::Loopback };
        let set = match &entry.keys {
            KeyPlace::JwksUrl(uri) => {
                let address = Address::parse(&uri.to_string(), plain);
                return self.remote(entry, algorithms, address.map(RemoteSource::Jwks), findings);
            }
            KeyPlace::Discover => {
                let issuer = entry.issuer.as_deref().unwrap_or_default();
                let source = RemoteSource::discover(issuer, plain);
                return self.remote(entry, algorithms, source, findings);
            }
            KeyPlace::JwksFile(path) => self.secrets.read_file(path).map(|bytes| {
                let text = String::from_utf8_lossy(&bytes);
                KeySet::from_jwks_text(&text, algorithms)
            }),
            KeyPlace::Key(reference) => self.secrets.read(reference).map(|bytes| {
                let text = String::from_utf8_lossy(bytes.expose());
                KeySet::from_pem_or_jwk(&text, algorithms)
            }),
            KeyPlace::Secret(reference) => self.secrets.read(reference).map(|bytes| {
                KeySet::from_secret(crate::secret::Secret::new(bytes.expose()), algorithms)
            }),
        };
        let place = place_of_keys(entry);
        match set {
            Ok(Ok(set)) => Some(KeySource::Fixed(Arc::new(set))),
            Ok(Err(error)) => {
                findings.error(place, format!("these keys cannot be used: {error}"));
                None
            }
            Err(error) => {
                findings.error(place, error.to_string());
                None
            }
        }
    }

    fn remote(
        &mut self,
        entry: &JwtSettings,
        algorithms: &[Algorithm],
        source: Result<RemoteSource, crate::fetch::AddressError>,
        findings: &mut Findings,
    ) -> Option<KeySource> {
        let source = source
            .map_err(|error| {
                findings
                    .error(entry.place, format!("the address of the key set is refused: {error}"))
                    .help("use https, or write `insecure: true` for plain http beyond loopback");
            })
            .ok()?;
        let label = entry.issuer.clone().unwrap_or_else(|| "none".to_owned());
        let mut settings = RemoteSettings::new(label, source, algorithms.to_vec());
        settings.max_stale = entry.max_stale;
        settings.seed = self.kept.seed;
        settings.writes_file = self.kept.writes_key_sets;
        settings.file = self.settings.cache.key_sets.as_ref().map(|folder| {
            let name = crate::id::Digest::of(format!("{:?}", settings.source).as_bytes());
            folder.join(format!("{}.json", name.short()))
        });
        let keys = self.kept.remote(settings);
        self.compiled.remotes.push(Arc::clone(&keys));
        Some(KeySource::Remote(keys))
    }
}

pub(super) fn pointer(text: &At<String>, findings: &mut Findings) -> Option<Pointer> {
    Pointer::parse(text)
        .map_err(|error| {
            findings
                .error(text.place, error.to_string())
                .help("a JSON pointer begins with a slash, for example `/sub`");
        })
        .ok()
}

fn place_of_keys(entry: &JwtSettings) -> Place {
    let of = |reference: &At<SecretRef>| reference.place;
    match &entry.keys {
        KeyPlace::Key(reference) | KeyPlace::Secret(reference) => of(reference),
        KeyPlace::JwksFile(_) | KeyPlace::JwksUrl(_) | KeyPlace::Discover => entry.place,
    }
}
