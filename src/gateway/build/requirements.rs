//! `require` texts with their names resolved against the declared checks.

use crate::config::At;
use crate::config::Check;
use crate::config::Findings;
use crate::config::Holder;
use crate::config::Loaded;
use crate::config::Place;
use crate::gateway::denial::Kind;
use crate::route::CheckIndex;
use crate::route::Require;

/// The declared names, also of checks and upstreams that have errors of their own: those are
/// reported once, where they are declared.
pub(super) struct Names {
    pub(super) checks: Vec<(String, Kind)>,
    pub(super) upstreams: Vec<String>,
}

impl Names {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let checks = loaded.document.checks.iter().map(|(name, check)| {
            let kind = match &check.value {
                Check::ClientCertificate(check) if check.holder() == Holder::User => Kind::User,
                Check::AppKey(_) | Check::ClientCertificate(_) => Kind::App,
                Check::Jwt(_) => Kind::User,
                Check::Basic(_) => Kind::Basic,
                Check::Header(_) => Kind::Header,
            };
            (name.clone(), kind)
        });
        Self {
            checks: checks.collect(),
            upstreams: loaded.document.upstreams.keys().cloned().collect(),
        }
    }

    fn index(&self, name: &str) -> Option<CheckIndex> {
        self.checks.iter().position(|(known, _)| known == name).map(CheckIndex)
    }

    pub(super) fn kind(&self, index: CheckIndex) -> Option<Kind> {
        self.checks.get(index.0).map(|(_, kind)| *kind)
    }
}

/// The requirement under `defaults`.
pub(super) fn default(names: &Names, loaded: &Loaded, findings: &mut Findings) -> Option<Require> {
    let text = loaded.document.defaults.require.as_ref()?;
    compile(names, text, findings)
}

/// Compiles one `require`.
pub(super) fn compile(
    names: &Names,
    text: &At<String>,
    findings: &mut Findings,
) -> Option<Require> {
    let parsed = match Require::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            findings
                .error(within(text, error.range.start), format!("`require`: {}", error.message))
                .help("checks are joined like `app and user`, `app and user?`, `app or user`");
            return None;
        }
    };
    let require = match parsed.resolve(|name| names.index(name)) {
        Ok(require) => require,
        Err(unknown) => {
            for check in unknown {
                let name = &check.name.text;
                findings
                    .error(
                        within(text, check.name.range.start),
                        format!("no check is named `{name}`"),
                    )
                    .suggest(name, names.checks.iter().map(|(known, _)| known.as_str()));
            }
            return None;
        }
    };
    // A header yields nobody: it goes with a user that another check found.
    let yields = |index| match names.kind(index) {
        Some(Kind::Header) => None,
        Some(Kind::Basic) => Some(Kind::User),
        other => other,
    };
    if require.could_yield_two(yields) {
        findings
            .error(
                text.place,
                "this requirement could accept two users or two applications at once",
            )
            .help("a request speaks for one user and one application: join alternatives with `or`");
        return None;
    }
    Some(require)
}

/// The place of a byte within a value that was written in one line.
pub(super) fn within(text: &At<String>, byte: usize) -> Place {
    let characters = text.value.get(..byte).map_or(0, |before| before.chars().count());
    let characters = u64::try_from(characters).unwrap_or(0);
    Place { column: text.place.column.saturating_add(characters), ..text.place }
}
