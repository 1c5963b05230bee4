//! The entries of `checks`, with the keys and secrets they name read and judged.

use std::sync::Arc;

use http::HeaderName;

use crate::config::AppKeySettings;
use crate::config::At;
use crate::config::AudienceSettings;
use crate::config::Carrier;
use crate::config::CheckSettings;
use crate::config::Findings;
use crate::config::JwtSettings;
use crate::config::KeyLocation as KeyPlace;
use crate::config::Loaded;
use crate::config::Place;
use crate::config::SecretRef;
use crate::config::Secrets;
use crate::config::Settings;
use crate::config::TypSettings;
use crate::credentials::AppKeys;
use crate::credentials::ConfiguredApp;
use crate::credentials::KeyLocation;
use crate::credentials::Location;
use crate::credentials::LocationError;
use crate::credentials::Locations;
use crate::credentials::Scheme;
use crate::fetch::Address;
use crate::fetch::Plain;
use crate::gateway::checks::{AppGate, Check, Gate, MOST_CHECKS, UserGate};
use crate::gateway::kept::Kept;
use crate::id::CheckName;
use crate::jwt::{
    Algorithm, Audience, IssuerSettings, KeySet, KeySource, Pointer, RemoteKeys, RemoteSettings,
    RemoteSource, TokenVerifier, TypRule,
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

/// What every check is compiled against.
struct Ground<'g> {
    settings: &'g Settings,
    kept: &'g Kept,
    secrets: Secrets,
    apps: Arc<AppKeys>,
    compiled: Compiled,
}

/// `None` when a check is missing: requirements number them, so that none may be left out.
pub(super) fn compile(
    loaded: &mut Loaded,
    settings: &Settings,
    kept: &Kept,
    findings: &mut Findings,
) -> Option<Compiled> {
    let apps = apps(settings, kept, findings)?;
    let secrets = Secrets::new(loaded.source.folder());
    let mut ground =
        Ground { settings, kept, secrets, apps: Arc::new(apps), compiled: Compiled::default() };
    for (name, written) in &loaded.document.checks {
        let Some(check) = settings.checks.get(name) else { continue };
        let gate = match check {
            CheckSettings::AppKey(app) => ground.app_gate(app, written.place, findings),
            CheckSettings::Jwt(entries) => ground.user_gate(name, entries, written.place, findings),
        };
        if let Some(gate) = gate {
            let name = CheckName::new(name.as_str());
            ground.compiled.checks.push(Check { name, gate });
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
    let Ground { secrets, compiled, .. } = ground;
    loaded.named_files.extend(secrets.into_named_files());
    (compiled.checks.len() == declared).then_some(compiled)
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

    fn user_gate(
        &mut self,
        name: &str,
        entries: &[JwtSettings],
        place: Place,
        findings: &mut Findings,
    ) -> Option<Gate> {
        let mut issuers = Vec::with_capacity(entries.len());
        let mut by_entry = Vec::with_capacity(entries.len());
        let mut all = Vec::new();
        for (id, entry) in entries.iter().enumerate() {
            let places = self.places(entry, findings);
            let issuer = self.issuer(id, entry, findings);
            if let (Some(places), Some(issuer)) = (places, issuer) {
                by_entry.push(Locations::new(places.clone()));
                all.extend(places);
                issuers.push(issuer);
            }
        }
        if issuers.len() != entries.len() {
            return None;
        }
        let cache = self.kept.tokens(self.settings.cache.tokens);
        let longest = self.settings.limits.token;
        let verifier = TokenVerifier::new(CheckName::new(name), issuers, cache, longest)
            .map_err(|error| findings.error(place, error.to_string()))
            .ok()?;
        Some(Gate::User(UserGate { locations: Locations::new(all), by_entry, verifier }))
    }

    /// Where tokens of this entry are taken from; those that the upstream must not see are noted.
    fn places(&mut self, entry: &JwtSettings, findings: &mut Findings) -> Option<Vec<Location>> {
        let mut schemes = Vec::with_capacity(entry.schemes.len());
        for scheme in &entry.schemes {
            let Some(parsed) = Scheme::parse(scheme) else {
                findings.error(scheme.place, format!("`{}` is no scheme", **scheme));
                return None;
            };
            schemes.push(parsed);
        }
        let authorization = (!schemes.is_empty()).then(|| Ok(Location::authorization(schemes)));
        let header = entry.header.as_ref().map(|name| Location::header(name.as_str()));
        let cookie = entry.cookie.as_deref().map(Location::cookie);
        let query = entry.query.as_deref().map(Location::query);
        let places: Result<Vec<Location>, LocationError> =
            [authorization, header, cookie, query.clone()].into_iter().flatten().collect();
        let places = places.map_err(|error| findings.error(entry.place, error.to_string())).ok()?;
        if !entry.keep {
            self.compiled.tokens.push(Locations::new(places.clone()));
            return Some(places);
        }
        self.compiled.kept.extend(entry.header.clone());
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

fn pointer(text: &At<String>, findings: &mut Findings) -> Option<Pointer> {
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
