//! How far a decision got: what the access line, the metrics and `explain` read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::cors::Cors;
use super::route::Route;
use super::voice::Voice;
use crate::principal::App;
use crate::principal::Subject;

/// Filled while deciding. Steps and times are kept only when somebody will read them.
#[derive(Debug, Default)]
pub struct Trail {
    /// The route by which the request was judged.
    pub route: Option<Arc<Route>>,
    /// In whose words a refusal is told that no route made.
    pub(super) enclosing: Voice,
    /// Which pages of other origins may read the answer.
    pub(super) cors: Option<Arc<Cors>>,
    /// The application whose key was good, also when the request was refused later.
    pub app: Option<Arc<App>>,
    /// The user whose token was good, also when the request was refused later.
    pub user: Option<Arc<Subject>>,
    /// The address of its client that such an application told.
    pub client: Option<IpAddr>,
    telling: Option<Box<Telling>>,
}

#[derive(Debug)]
struct Telling {
    since: Instant,
    durations: Vec<(Step, Duration)>,
    notes: Vec<(Step, String)>,
    with_notes: bool,
}

/// The stages of a decision, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the stages")]
pub enum Step {
    Normalise,
    Match,
    Check,
    Allow,
    Forward,
}

impl Step {
    /// Its name in logs and explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normalise => "normalise",
            Self::Match => "match",
            Self::Check => "check",
            Self::Allow => "allow",
            Self::Forward => "forward",
        }
    }
}

impl Trail {
    /// Keeps nothing but who and where.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Keeps how long each step took, from `since` on.
    pub fn timed(since: Instant) -> Self {
        Self::telling(since, false)
    }

    /// Keeps every outcome in words.
    pub fn verbose(since: Instant) -> Self {
        Self::telling(since, true)
    }

    fn telling(since: Instant, with_notes: bool) -> Self {
        let telling = Telling { since, durations: Vec::new(), notes: Vec::new(), with_notes };
        Self { telling: Some(Box::new(telling)), ..Self::default() }
    }

    /// Notes by which route the request is judged.
    pub(super) fn take(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
        self.cors.clone_from(&route.cors);
        self.note(Step::Match, || format!("route `{}`", route.id));
    }

    /// In whose words a refusal is told.
    pub fn voice(&self) -> &Voice {
        self.route.as_ref().map_or(&self.enclosing, |route| &route.voice)
    }

    /// Which pages of other origins may read the answer, where something is said of that.
    pub const fn cors(&self) -> Option<&Arc<Cors>> {
        self.cors.as_ref()
    }

    /// The end of a step.
    pub fn mark(&mut self, step: Step) {
        if let Some(telling) = &mut self.telling {
            let now = Instant::now();
            telling.durations.push((step, now.duration_since(telling.since)));
            telling.since = now;
        }
    }

    /// An outcome in words; `text` is called only when somebody will read it.
    pub fn note(&mut self, step: Step, text: impl FnOnce() -> String) {
        if let Some(telling) = self.telling.as_mut().filter(|telling| telling.with_notes) {
            telling.notes.push((step, text()));
        }
    }

    /// Whether anybody will read more than the route.
    pub const fn is_telling(&self) -> bool {
        self.telling.is_some()
    }

    /// Whether outcomes in words are wanted.
    pub fn is_verbose(&self) -> bool {
        self.telling.as_ref().is_some_and(|telling| telling.with_notes)
    }

    /// How long each step took.
    pub fn durations(&self) -> &[(Step, Duration)] {
        self.telling.as_ref().map_or(&[], |telling| &telling.durations)
    }

    /// The outcomes in words, in their order.
    pub fn notes(&self) -> &[(Step, String)] {
        self.telling.as_ref().map_or(&[], |telling| &telling.notes)
    }
}
