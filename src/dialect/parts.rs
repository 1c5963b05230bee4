//! A dialect in parts: one layer over another, and a whole in the end.
//!
//! What a preset says holds over what it extends: calls, answers and refusals by their names, the
//! recipe of tokens by its members, everything else as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ClientHeaders;
use super::Dialect;
use super::Lockout;
use super::RefreshTerms;
use super::answer::Answer;
use super::answer::Answers;
use super::answer::Voice;
use super::call::BodyRule;
use super::call::Call;
use super::call::CallMatch;
use super::call::Caller;
use super::fields::FieldRule;
use super::second_factor::SecondFactor;
use super::template::Template;
use super::token;
use crate::config::At;
use crate::config::CallKind;
use crate::config::Failure;
use crate::config::Findings;
use crate::config::Place;
use crate::config::Refusal;
use crate::json::Pointer;

/// What one layer says.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) client: Option<ClientHeaders>,
    pub(super) second_factor: Option<SecondFactor>,
    pub(super) lockout: Option<Lockout>,
    pub(super) refresh: Option<RefreshTerms>,
    pub(super) token: TokenParts,
    pub(super) calls: BTreeMap<CallKind, CallParts>,
    /// Calls of what is below that are not to be there.
    pub(super) left_out: BTreeSet<CallKind>,
    pub(super) answers: BTreeMap<Failure, Arc<Answer>>,
    pub(super) refusals: BTreeMap<Refusal, Arc<Answer>>,
}

/// What one layer says about tokens.
#[derive(Debug, Default)]
pub(super) struct TokenParts {
    pub(super) algorithm: Option<String>,
    pub(super) typ: Option<Typ>,
    pub(super) lifetime: Option<Duration>,
    pub(super) claims: Option<At<Template>>,
    pub(super) identity: Option<At<Pointer>>,
    pub(super) schemes: Option<Vec<String>>,
}

/// `typ` in the header of a token.
#[derive(Debug)]
pub(super) enum Typ {
    Absent,
    Present(String),
}

/// A call that does not know yet what the dialect answers for it.
#[derive(Debug)]
pub(super) struct CallParts {
    pub(super) place: Place,
    pub(super) matches: Vec<At<CallMatch>>,
    pub(super) caller: Caller,
    pub(super) body: BodyRule,
    pub(super) fields: Vec<FieldRule>,
    pub(super) success: Answer,
    pub(super) answers: BTreeMap<Failure, Arc<Answer>>,
}

impl Parts {
    /// Lays `upper` over this.
    pub(super) fn under(mut self, upper: Self) -> Self {
        self.calls.retain(|kind, _| !upper.left_out.contains(kind));
        self.calls.extend(upper.calls);
        self.left_out.extend(upper.left_out);
        self.answers.extend(upper.answers);
        self.refusals.extend(upper.refusals);
        Self {
            client: upper.client.or(self.client),
            second_factor: upper.second_factor.or(self.second_factor),
            lockout: upper.lockout.or(self.lockout),
            refresh: upper.refresh.or(self.refresh),
            token: self.token.under(upper.token),
            calls: self.calls,
            left_out: self.left_out,
            answers: self.answers,
            refusals: self.refusals,
        }
    }

    /// A whole dialect; `place` is where its name stands, for what is missing.
    pub(super) fn assemble(
        self,
        name: String,
        family: String,
        place: Place,
        findings: &mut Findings,
    ) -> Option<Dialect> {
        let token = token::assemble(self.token, place, findings);
        let answers = resolve_answers(&self.answers, &BTreeMap::new(), place, findings);
        let voice = resolve_voice(&self.refusals);
        judge_calls(&self.calls, self.refresh.is_some(), place, findings);
        judge_expired(answers.as_ref(), &voice, place, findings);
        let (token, answers) = (token?, answers?);
        if token.is_shared()
            && let Some(call) = self.calls.get(&CallKind::KeySet)
        {
            findings
                .error(call.place, "a shared secret cannot be published")
                .help("`key_set` goes with a public key: `algorithm: EdDSA`, for example");
        }
        let mut calls = BTreeMap::new();
        for (kind, parts) in self.calls {
            let answers = resolve_answers(&self.answers, &parts.answers, place, findings)?;
            calls.insert(kind, parts.whole(kind, answers));
        }
        Some(Dialect {
            name,
            family,
            calls,
            answers,
            voice,
            token,
            client: self.client,
            second_factor: self.second_factor.map(Arc::new),
            lockout: self.lockout.unwrap_or(Lockout::DEFAULT),
            refresh: self.refresh,
        })
    }
}

impl TokenParts {
    fn under(self, upper: Self) -> Self {
        Self {
            algorithm: upper.algorithm.or(self.algorithm),
            typ: upper.typ.or(self.typ),
            lifetime: upper.lifetime.or(self.lifetime),
            claims: upper.claims.or(self.claims),
            identity: upper.identity.or(self.identity),
            schemes: upper.schemes.or(self.schemes),
        }
    }
}

impl CallParts {
    fn whole(self, kind: CallKind, answers: Answers) -> Call {
        Call {
            kind,
            matches: self.matches.into_iter().map(|one| one.value).collect(),
            caller: self.caller,
            success: self.success,
            answers,
            body: self.body,
            fields: self.fields,
        }
    }
}

/// For each failure the nearest words: the call's, the dialect's, then the same for what it falls back to.
fn resolve_answers(
    general: &BTreeMap<Failure, Arc<Answer>>,
    own: &BTreeMap<Failure, Arc<Answer>>,
    place: Place,
    findings: &mut Findings,
) -> Option<Answers> {
    let mut by_failure = BTreeMap::new();
    let mut last = None;
    for failure in Failure::ALL {
        let mut steps = std::iter::successors(Some(*failure), |one| one.fallback());
        match steps.find_map(|step| own.get(&step).or_else(|| general.get(&step))) {
            Some(answer) => {
                last = Some(Arc::clone(answer));
                by_failure.insert(*failure, Arc::clone(answer));
            }
            None if failure.fallback().is_none() => {
                findings
                    .error(place, format!("the dialect has no answer for `{}`", failure.name()))
                    .help("others can be left out, this one stands in for them");
            }
            None => {}
        }
    }
    let is_whole = by_failure.len() == Failure::ALL.len();
    last.filter(|_| is_whole).map(|last| Answers { by_failure, last })
}

fn resolve_voice(refusals: &BTreeMap<Refusal, Arc<Answer>>) -> Voice {
    let mut by_refusal = BTreeMap::new();
    for refusal in Refusal::ALL {
        let mut steps = std::iter::successors(Some(*refusal), |one| one.fallback());
        if let Some(answer) = steps.find_map(|step| refusals.get(&step)) {
            by_refusal.insert(*refusal, Arc::clone(answer));
        }
    }
    Voice { by_refusal }
}

/// What a client is told when its token has expired is the same everywhere.
fn judge_expired(answers: Option<&Answers>, voice: &Voice, place: Place, findings: &mut Findings) {
    let call = answers.map(|answers| answers.answer(Failure::ExpiredToken));
    let route = voice.answer(Refusal::ExpiredToken);
    for (list, answer) in [("answers", call), ("refusals", route)] {
        if answer.is_some_and(|answer| answer.status() != http::StatusCode::UNAUTHORIZED) {
            findings
                .error(place, "an expired token is answered with 401")
                .help(format!("write `expired_token` under `{list}` with `status: 401`"));
        }
    }
}

fn judge_calls(
    calls: &BTreeMap<CallKind, CallParts>,
    can_refresh: bool,
    place: Place,
    findings: &mut Findings,
) {
    if !calls.contains_key(&CallKind::Login) {
        findings.error(place, "a dialect without a `login` call opens no door");
    }
    let mut seen: Vec<(CallKind, &CallMatch)> = Vec::new();
    for (kind, call) in calls {
        for found in &call.matches {
            let twin = seen.iter().find(|(other, known)| other != kind && found.clashes(known));
            if let Some((other, _)) = twin {
                let (path, other) = (&found.path, other.name());
                findings.error(found.place, format!("`{path}` is taken by the call `{other}` too"));
            }
            seen.push((*kind, &found.value));
        }
    }
    let refreshes = calls.get(&CallKind::Refresh).filter(|call| call.caller == Caller::Fields);
    if let Some(call) = refreshes.filter(|_| !can_refresh) {
        findings
            .error(call.place, "a refresh token needs `refresh`, which says how long it is good")
            .help("write `refresh: { idle: 7d, absolute: 30d }`");
    }
}
