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
        Check::AppKey(_) | Check::Header(_) | Check::ClientCertificate(_) => None,
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

#[cfg(test)]
mod tests {
    use crate::config::checks::CheckSettings;
    use crate::config::issuers::TokenSettings;
    use crate::config::own_tokens::OwnPermissions;
    use crate::config::settings::tests::remarks;
    use crate::config::settings::tests::settings;

    /// A document with a store and a master key, and what is to be judged behind line 5.
    fn with_users(rest: &str) -> String {
        format!("store: sqlite:p.db\nsecrets: {{ master: env:M }}\n{rest}")
    }

    #[track_caller]
    fn assert_says(rest: &str, found: &[&str]) {
        assert_eq!(remarks(&with_users(rest)), found, "{rest}");
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let settings = settings(&with_users("login: [{ dialect: native, host: a.example }]"));
        let login = &settings.logins[0];
        assert_eq!((login.name.as_str(), login.sessions), ("native", 100));
        assert_eq!(login.issuer, "https://a.example");
        assert_eq!(login.audience, login.issuer);
        assert!(login.lifetime.is_none() && login.require.is_none());
        let passwords = settings.passwords;
        assert_eq!((passwords.memory, passwords.passes, passwords.lanes), (19 << 20, 2, 1));
        assert_eq!((passwords.min_length, passwords.queue), (8, 64));
        assert_eq!(passwords.concurrent, None);
    }

    #[test]
    fn a_hash_weaker_than_the_default_or_costlier_than_kept_ones_may_be_is_refused() {
        for (keys, name, value) in [
            ("memory: 18MiB", "memory", "18MiB"),
            ("memory: 1025MiB", "memory", "1025MiB"),
            ("passes: 1", "passes", "1"),
            ("passes: 17", "passes", "17"),
            ("lanes: 0", "lanes", "0"),
            ("lanes: 17", "lanes", "17"),
            ("min_length: 7", "min_length", "7"),
            ("concurrent: 0", "concurrent", "0"),
            ("queue: 0", "queue", "0"),
        ] {
            let found = remarks(&format!("passwords: {{ {keys} }}"));
            let message = format!("`{name}` is {value}, which is out of bounds");
            assert!(found.len() == 1 && found[0].ends_with(&message), "{found:?}");
        }
        assert_eq!(
            remarks("passwords: { memory: 1GiB, passes: 16, lanes: 16, min_length: 256 }"),
            [""; 0]
        );
    }

    #[test]
    fn users_need_a_store_and_a_key_that_seals() {
        let store = "there is no `store` that could keep users";
        let key = "there is no key that seals what the store keeps";
        for rest in [
            "login: [{ dialect: native }]",
            "checks: { b: { basic: self } }",
            "checks: { t: { jwt: [{ issuer: self, dialect: native }] } }",
        ] {
            let found = remarks(rest);
            assert!(found[0].ends_with(store) && found[1].ends_with(key), "{found:?}");
            assert_says(rest, &[]);
        }
        let without = remarks("secrets: { master: file:m }\nlogin: [{ dialect: native }]");
        assert_eq!(without, [format!("5:20 {store}")]);
    }

    #[test]
    fn services_have_different_names() {
        let twice = "login: [{ dialect: native }, { dialect: native, host: b }]";
        assert_says(twice, &["6:41 `native` is already the name of line 6"]);
        assert_says("login: [{ dialect: native }, { dialect: native, name: b, host: b }]", &[]);
        assert_says(
            "login: [{ dialect: \"file:a/my-own.yaml\" }, { dialect: native, name: my-own }]",
            &["6:69 `my-own` is already the name of line 6"],
        );
        assert_says(
            "login: [{ dialect: native, name: \"a b\" }]",
            &["6:34 `a b` cannot be the name of a login"],
        );
    }

    #[test]
    fn hosts_and_lifetimes_are_judged() {
        for host in ["https://a", "a/b", "a b", "", "a:8080", "*"] {
            let found = format!("6:34 `{host}` is not the name of a host");
            assert_says(&format!("login: [{{ dialect: native, host: \"{host}\" }}]"), &[&found]);
        }
        assert_says(
            "login: [{ dialect: native, lifetime: 0s }]",
            &["6:38 `lifetime` is 0s, which is out of bounds"],
        );
        assert_says(
            "login: [{ dialect: native, lifetime: 401d }]",
            &["6:38 `lifetime` is 401d, which is out of bounds"],
        );
        assert_says("login: [{ dialect: native, lifetime: 400d }]", &[]);
        assert_says(
            "login: [{ dialect: native, sessions: 0 }]",
            &["6:38 `sessions` is 0, which is out of bounds"],
        );
    }

    fn own(entry: &str, logins: &str) -> String {
        format!("checks: {{ t: {{ jwt: [{{ issuer: self{entry} }}] }} }}\nlogin: [{logins}]")
    }

    #[test]
    fn our_own_tokens_are_those_of_a_login_or_a_preset() {
        let one = "{ dialect: redis-7.4, name: old }";
        for (entry, logins, dialect) in [
            ("", one, "old"),
            ("", "{ dialect: native }", "native"),
            (", dialect: old", one, "old"),
            (", dialect: redis-7.4", one, "redis-7.4"),
            (", dialect: redis-7.8", one, "redis-7.8"),
            (", dialect: mine", "{ dialect: \"file:mine.yaml\" }", "mine"),
        ] {
            let settings = settings(&with_users(&own(entry, logins)));
            let CheckSettings::Jwt(entries) = &settings.checks["t"] else { panic!("no tokens") };
            let TokenSettings::Own(entry) = &entries[0] else { panic!("not our own") };
            assert_eq!(entry.dialect.value, dialect);
            assert!(matches!(entry.permissions, OwnPermissions::Store) && entry.keep);
        }
        let two = "{ dialect: native }, { dialect: analogue }";
        let uncertain = "6:32 whose tokens these are is not certain";
        assert_says(&own("", two), &[uncertain]);
        assert_says(&own("", ""), &[uncertain]);
        assert_says(
            &own(", dialect: nativ", one),
            &["6:47 no login and no dialect is named `nativ`"],
        );
    }

    #[test]
    fn what_the_dialect_fixes_is_not_written_again() {
        for (key, value) in [
            ("audience", "api"),
            ("algorithms", "[HS256]"),
            ("typ", "any"),
            ("jwks", "file:k.json"),
            ("key", "file:k.pem"),
            ("secret", "env:S"),
            ("identity", "/sub"),
            ("insecure", "true"),
            ("max_stale", "1h"),
        ] {
            let found = remarks(&with_users(&own(
                &format!(", dialect: native, {key}: {value}"),
                "{ dialect: native }",
            )));
            let message = format!("`{key}` of our own tokens is not written here");
            assert!(found.len() == 1 && found[0].ends_with(&message), "{found:?}");
        }
        let free = ", leeway: 1s, permissions: /scope, schemes: [Token], cookie: t, keep: false";
        assert_says(&own(free, "{ dialect: native }"), &[]);
    }

    #[test]
    fn basic_and_header_checks_are_judged() {
        assert_says(
            "checks: { b: { basic: ldap } }",
            &["6:23 `ldap` keeps no users that could be asked"],
        );
        let header = |keys: &str| format!("checks: {{ h: {{ header: {{ {keys} }} }} }}");
        let found = settings(&header("name: apikey, equals: user.CustomerId"));
        let CheckSettings::Header(found) = &found.checks["h"] else { panic!("no header") };
        assert_eq!((found.name.as_str(), found.attribute.as_str()), ("apikey", "CustomerId"));
        for equals in ["CustomerId", "user.", "user.a b", "app.id", "user.a.b"] {
            let found = remarks(&header(&format!("name: apikey, equals: \"{equals}\"")));
            assert_eq!(found, [format!("4:48 `{equals}` is nothing of the user's")]);
        }
        assert_eq!(
            remarks(&header("name: host, equals: user.a")),
            ["4:32 `host` cannot carry a credential"]
        );
    }
}
