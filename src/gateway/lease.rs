//! For how long a caller may stay who was let in: what an answer that takes its time asks again.
//!
//! A request is judged once, at its head; a stream outlives that judgement. Each credential that was
//! found good leaves here what is needed to judge it again without the credential itself, by the
//! gateway in force then: its time, its key, what was revoked since. What the caller is permitted is
//! not asked again: another rule is for the next request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Gateway;
use super::certificate::CertificateError;
use super::checks::Gate;
use super::denial::{Denial, Kind, Reason};
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::credentials::KeyProof;
use crate::credentials::VouchError;
use crate::id::Digest;
use crate::jwt::TokenError;
use crate::principal::Facts;
use crate::principal::Principal;

/// What the credentials of one request proved. Empty where none was asked for.
#[derive(Debug, Default)]
pub struct Lease {
    pub(super) principal: Principal,
    pub(super) app: Option<Proof<KeyProof>>,
    pub(super) user: Option<Proof<UserProof>>,
    /// What the connection showed, where a check asked for it.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// Of a requirement with several checks of one kind.
    pub(super) more: Vec<Self>,
    /// Since when the answer is no.
    pub(super) refused_since: Option<Timestamp>,
}

/// What one check found.
#[derive(Debug)]
pub(super) struct Proof<T> {
    /// The number of the check, the same over reloads.
    pub(super) check: usize,
    pub(super) of: T,
}

/// What a user showed.
#[derive(Debug)]
pub(super) enum UserProof {
    /// A token; its key vouched for it.
    Token { key: Digest },
    /// The certificate of the connection, which is asked about for itself.
    Certificate,
    /// A name and a password, when the user had been changed so often.
    Password { revision: i64, asked: Option<oneshot::Receiver<Option<Arc<Facts>>>> },
}

impl Lease {
    /// Whether there is nothing to ask again.
    pub const fn is_empty(&self) -> bool {
        self.app.is_none() && self.user.is_none() && self.certificate.is_none()
    }
}

impl Gateway {
    /// Whether the caller may still stay; the reason why not once the grace is over. Never waits.
    pub fn extend(&self, lease: &mut Lease, now: Timestamp) -> Result<(), Denial> {
        let Err(denial) = self.recheck(lease, now) else {
            lease.refused_since = None;
            return Ok(());
        };
        let since = *lease.refused_since.get_or_insert(now);
        let patience = match denial.reason() {
            // Nobody says that the credential is bad: the answer is under way, or somebody is silent.
            Reason::Unavailable => self.stream_grace.max(UNCERTAIN_FOR),
            // Counted from the end of the token.
            Reason::ExpiredToken => Duration::ZERO,
            _ => self.stream_grace,
        };
        if now >= since.plus(patience) { Err(denial) } else { Ok(()) }
    }

    fn recheck(&self, lease: &mut Lease, now: Timestamp) -> Result<(), Denial> {
        if let Some(proof) = &mut lease.app {
            let gone = Denial::AppKey(crate::credentials::AppKeyError::Unknown);
            let Some(Gate::App(gate)) = self.checks.numbered(proof.check) else { return Err(gone) };
            gate.keys.recheck(&mut proof.of, now).map_err(Denial::AppKey)?;
        }
        if let Some(proof) = &mut lease.user {
            self.recheck_user(proof, &lease.principal, now)?;
        }
        if lease.certificate.as_ref().is_some_and(|shown| !shown.is_good(now)) {
            return Err(Denial::Certificate(Kind::App, CertificateError::Expired));
        }
        lease.more.iter_mut().try_for_each(|lease| self.recheck(lease, now))
    }

    fn recheck_user(
        &self,
        proof: &mut Proof<UserProof>,
        principal: &Principal,
        now: Timestamp,
    ) -> Result<(), Denial> {
        match (self.checks.numbered(proof.check), &mut proof.of, &principal.user) {
            (Some(Gate::User(gate)), UserProof::Token { key }, Some(subject)) => {
                let recheck = gate.verifier.recheck(subject, key, (now, self.stream_grace));
                recheck.map_err(Denial::Token)
            }
            (Some(Gate::Basic(gate)), UserProof::Password { revision, asked }, _) => {
                let user = principal.facts.as_ref().map(|facts| &facts.id);
                let unavailable = Denial::Vouch(VouchError::Unavailable);
                let (Some((users, _)), Some(user)) = (&gate.users, user) else {
                    return Err(unavailable);
                };
                if gate.ended.is_silent(now) {
                    return Err(unavailable);
                }
                let known = users.look(user, asked).map_err(|_silent| unavailable)?;
                let is_same = known.is_some_and(|facts| facts.revision == *revision);
                if is_same { Ok(()) } else { Err(Denial::Vouch(VouchError::Wrong)) }
            }
            (Some(Gate::Certificate(_)), UserProof::Certificate, _) => Ok(()),
            _ => Err(Denial::Token(TokenError::UnknownIssuer)),
        }
    }
}

/// How long a stream goes on while nobody can say whether it may.
const UNCERTAIN_FOR: Duration = Duration::from_secs(10);
