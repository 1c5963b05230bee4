//! The login services of the document, read: where each is offered, and how passwords are kept.
//!
//! What a dialect says is read from its preset, by whoever compiles it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::bounds;
use super::checks;
use super::document::Check;
use super::document::Document;
use super::document::JwtEntry;
use super::document::LoginEntry;
use super::document::Passwords;
use super::finding::Findings;
use super::issuers;
use super::preset::PRESETS;
use super::scalar::At;
use super::scalar::Place;

/// A login service that the gateway itself offers.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Where the entry was written.
    pub place: Place,
    /// How it speaks: a preset by its name, or `file:PATH`.
    pub dialect: At<String>,
    /// Its name in checks, metrics and logs; no other service has it.
    pub name: String,
    /// The host on which it is offered; none is every host.
    pub host: Option<At<String>>,
    /// Which checks of applications must pass before a call is read.
    pub require: Option<At<String>>,
    /// How long a token is good, instead of the dialect's own time.
    pub lifetime: Option<Duration>,
    /// The generation of the dialect.
    pub generation: Option<At<String>>,
    /// `iss` of tokens that name one.
    pub issuer: String,
    /// `aud` of tokens that name one.
    pub audience: String,
    /// Sessions that one user may have at once.
    pub sessions: usize,
}

/// How passwords are judged and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordSettings {
    /// Memory for each hash, in bytes.
    pub memory: u64,
    /// Passes over that memory.
    pub passes: usize,
    /// Lanes of one hash.
    pub lanes: usize,
    /// Fewest characters of a new password.
    pub min_length: usize,
    /// Hashes computed at once, if the operator fixed their number.
    pub concurrent: Option<usize>,
    /// Logins that wait for a hash.
    pub queue: usize,
}

impl LoginSettings {
    pub(super) fn resolve_all(entries: &[At<LoginEntry>], findings: &mut Findings) -> Vec<Self> {
        let mut names = HashMap::new();
        let mut resolved = Vec::new();
        for entry in entries {
            let login = Self::resolve(entry, findings);
            if let Some(line) = names.insert(login.name.clone(), entry.place.line) {
                let place = entry.name.as_ref().map_or(entry.dialect.place, |name| name.place);
                findings
                    .error(place, format!("`{}` is already the name of line {line}", login.name))
                    .help("give one of them another `name`");
            }
            resolved.push(login);
        }
        resolved
    }

    fn resolve(entry: &At<LoginEntry>, findings: &mut Findings) -> Self {
        let name = match &entry.name {
            Some(name) => {
                checks::judge_name("login", name, name.place, findings);
                name.value.clone()
            }
            None => default_name(&entry.dialect).to_owned(),
        };
        if let Some(host) = entry.host.as_ref().filter(|host| !is_host(host)) {
            findings
                .error(host.place, format!("`{}` is not the name of a host", **host))
                .help("write it as it stands in `Host`, without scheme, port and path");
        }
        let issuer = match (&entry.issuer, &entry.host) {
            (Some(issuer), _) => issuer.value.clone(),
            (None, Some(host)) => format!("https://{}", **host),
            (None, None) => DEFAULT_ISSUER.to_owned(),
        };
        for text in [&entry.issuer, &entry.audience].into_iter().flatten() {
            if text.is_empty() {
                findings.error(text.place, "an issuer or audience is not empty");
            }
        }
        let audience = entry.audience.as_ref().map_or(&issuer, |audience| &audience.value).clone();
        Self {
            place: entry.place,
            dialect: entry.dialect.clone(),
            name,
            host: entry.host.clone(),
            require: entry.require.clone(),
            lifetime: bounds::LOGIN_LIFETIME.time_if(entry.lifetime.as_ref(), findings),
            generation: entry.generation.clone(),
            issuer,
            audience,
            sessions: bounds::LOGIN_SESSIONS.count(entry.sessions.as_ref(), findings),
        }
    }
}

/// The issuer of a service that is offered on every host.
const DEFAULT_ISSUER: &str = "urn:portcullis";

/// The name of a preset, or that of its file.
fn default_name(dialect: &str) -> &str {
    match dialect.strip_prefix("file:") {
        Some(path) => Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or(path),
        None => dialect,
    }
}

/// Whether a text can be a host; whether a route can have it is decided where routes are compiled.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

/// Whose tokens an entry with `issuer: self` accepts.
pub(super) fn dialect_of(
    entry: &At<JwtEntry>,
    logins: &[At<LoginEntry>],
    findings: &mut Findings,
) -> Option<At<String>> {
    let Some(written) = &entry.dialect else {
        if let [only] = logins {
            return Some(only.name.as_ref().unwrap_or(&only.dialect).clone());
        }
        findings
            .error(entry.issuer.place, "whose tokens these are is not certain")
            .help("write `dialect:` with the name of one `login` entry");
        return None;
    };
    let names = logins.iter().flat_map(|login| {
        let name = login.name.as_ref().map(|name| name.value.as_str());
        [name, Some(default_name(&login.dialect)), Some(login.dialect.value.as_str())]
    });
    let presets = PRESETS.iter().map(|(name, _)| *name);
    let known: Vec<&str> = names.flatten().chain(presets).collect();
    if !known.contains(&written.value.as_str()) {
        findings
            .error(written.place, format!("no login and no dialect is named `{}`", **written))
            .suggest(written, known);
        return None;
    }
    Some(written.clone())
}

/// What users of our own need: a store that keeps them, and the key that seals what is kept.
pub(super) fn judge_needs(document: &Document, findings: &mut Findings) {
    let own = document.checks.values().find_map(|check| match &check.value {
        Check::Basic(users) => Some(users.place),
        Check::Jwt(entries) => entries
            .iter()
            .find(|entry| entry.issuer.value == issuers::SELF)
            .map(|entry| entry.issuer.place),
        Check::AppKey(_) | Check::Header(_) => None,
    });
    let login = document.login.first().map(|login| login.dialect.place);
    if let Some(place) = login.or(own).filter(|_| document.store.is_none()) {
        findings
            .error(place, "there is no `store` that could keep users")
            .help("write `store: sqlite:portcullis.db`, for example");
    }
    if let Some(place) = login.or(own).filter(|_| document.secrets.master.is_none()) {
        findings.error(place, "there is no key that seals what the store keeps").help(
            "write `secrets: { master: \"file:master.key\" }`: 32 random bytes in hexadecimal",
        );
    }
}

impl PasswordSettings {
    /// Reads how passwords are kept.
    pub fn resolve(passwords: &Passwords, findings: &mut Findings) -> Self {
        Self {
            memory: bounds::PASSWORD_MEMORY.bytes(passwords.memory.as_ref(), findings),
            passes: bounds::PASSWORD_PASSES.count(passwords.passes.as_ref(), findings),
            lanes: bounds::PASSWORD_LANES.count(passwords.lanes.as_ref(), findings),
            min_length: bounds::PASSWORD_MIN_LENGTH.count(passwords.min_length.as_ref(), findings),
            concurrent: bounds::PASSWORD_CONCURRENT
                .count_if(passwords.concurrent.as_ref(), findings),
            queue: bounds::PASSWORD_QUEUE.count(passwords.queue.as_ref(), findings),
        }
    }
}
