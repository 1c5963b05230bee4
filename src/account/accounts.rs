//! The one sign-in: whoever proves to be a user, in whatever dialect, does so here.
//!
//! The order is part of the protection. Limits come before any hash and are alike for every name; then
//! the password, compared for as long whether or not there is such a user; only who has it learns
//! the state of the account and is asked for a second factor.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time;

use super::challenge::{ChallengeKey, Challenges};
use super::hasher::{HashError, Hasher};
use super::master_key::MasterKey;
use super::password::PasswordPolicy;
use super::throttle::{Limited, Throttle, Ticket};
use crate::clock::{Clock, Timestamp};
use crate::dialect::Lockout;
use crate::id::{AppId, Digest};
use crate::secret::Secret;
use crate::store::{Credentials, Login, Store, StoreError, UserRecord, UserState};

/// Somebody who says to be a user.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The name as it was written.
    pub login: &'a str,
    /// The password as it was written.
    pub password: Secret<&'a str>,
    /// The answer to an earlier challenge, or a code that came unasked.
    pub second: Option<Answer<'a>>,
    /// The application that calls.
    pub app: Option<&'a AppId>,
    /// Where the call comes from.
    pub address: IpAddr,
    /// The request without the answer, so that a challenge holds for nothing else.
    pub request: Digest,
    /// How many failures the dialect allows.
    pub lockout: Lockout,
    /// What the dialect does about second factors.
    pub second_factor: SecondFactorRule,
}

/// A second factor as it was presented.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The challenge that it answers; none when the code came unasked.
    pub key: Option<&'a str>,
    /// A one-time code or a recovery code.
    pub code: Secret<&'a str>,
}

/// What happens to a user who has a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondFactorRule {
    /// It is asked for.
    Ask,
    /// The dialect has no way to ask, and the user does not get in through it.
    Refuse,
    /// It is not asked for, as the operator decided.
    Ignore,
}

/// A question for a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// What the answer has to name.
    pub key: ChallengeKey,
    /// What kind of code is expected.
    pub service: &'static str,
    /// Whose, masked.
    pub target: String,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// No such user, or not the password of it.
    #[error("wrong user name or password")]
    Wrong,
    /// Too many failures from one place.
    #[error("too many failures from this place")]
    Throttled {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Too many failures about one account, or locked by an operator, which has no end of its own.
    #[error("the account is locked")]
    Locked {
        /// When it is worth trying again, if time helps.
        retry_after: Option<Duration>,
    },
    /// The account is switched off.
    #[error("the account is disabled")]
    Disabled,
    /// The invitation was not accepted yet.
    #[error("the account awaits its owner")]
    Invited,
    /// The password has to be changed first.
    #[error("the password has expired")]
    PasswordExpired,
    /// The password is right; a second factor is asked for.
    #[error("a second factor is needed")]
    SecondFactorNeeded(Challenge),
    /// The code is wrong, was used before, or answers another or an old challenge.
    #[error("the second factor is wrong")]
    SecondFactorWrong,
    /// The user has a second factor, and this dialect cannot ask for it.
    #[error("a second factor is needed, and this dialect cannot ask for it")]
    SecondFactorImpossible,
    /// More is going on than fits; worth trying again at once.
    #[error("too many sign-ins are under way")]
    Busy,
    /// The store, or what it holds, cannot be used.
    #[error("accounts cannot be used at present")]
    Unavailable,
}

/// What does not change from one sign-in to the next.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Which passwords may be chosen.
    pub policy: PasswordPolicy,
    /// Passwords that a user may have at once.
    pub most_passwords: usize,
    /// Sessions that a user may have at once; the oldest make place.
    pub most_sessions: u32,
    /// How authenticator apps call us.
    pub issuer: String,
}

/// The users of the store and everything that guards them.
#[derive(Debug)]
pub struct Accounts {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) key: Arc<MasterKey>,
    pub(super) hasher: Hasher,
    pub(super) throttle: Arc<Throttle>,
    pub(super) challenges: Challenges,
    pub(super) settings: AccountSettings,
    waiting: Semaphore,
}

/// What guards accounts; kept when the configuration is reloaded.
#[derive(Clone, Debug)]
pub struct Guards {
    /// Seals seeds and marks refresh tokens.
    pub key: Arc<MasterKey>,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Limits guesses.
    pub throttle: Arc<Throttle>,
}

/// What a right password is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Signing in.
    Session,
    /// Changing the password, which is what an expired one is still good for.
    Password,
}

/// A user who proved to be one.
pub(super) struct Proven {
    pub(super) credentials: Credentials,
    /// Which of the passwords was shown.
    pub(super) shown: usize,
}

impl Accounts {
    /// The accounts in `store`.
    pub fn new(store: Store, clock: Clock, guards: Guards, settings: AccountSettings) -> Self {
        let Guards { key, hasher, throttle } = guards;
        let (challenges, waiting) = (Challenges::new(MAX_CHALLENGES), Semaphore::new(MAX_WAITING));
        Self { store, clock, key, hasher, throttle, challenges, settings, waiting }
    }

    /// Lets a user in who has name, password and, where one is asked for, second factor.
    pub async fn sign_in(&self, attempt: &Attempt<'_>) -> Result<UserRecord, SignInError> {
        Ok(self.prove(attempt, Door::Session).await?.credentials.user)
    }

    /// Forgets failed guesses at an account, as when an operator unlocks it.
    pub fn forget_failures(&self, login: &Login) {
        self.throttle.reset(login.as_str());
    }

    pub(super) async fn prove(
        &self,
        attempt: &Attempt<'_>,
        door: Door,
    ) -> Result<Proven, SignInError> {
        let login = Login::parse(attempt.login);
        // What cannot be a name is limited as names are, lest that could be told from outside.
        let name = login.as_ref().map_or(attempt.login, Login::as_str);
        let Attempt { address, lockout, .. } = *attempt;
        let take = |now| self.throttle.try_take(name, address, lockout, now);
        let ticket = self.ticket(take).await?;
        match self.judge(attempt, login.as_ref(), door).await {
            Ok(proven) => {
                ticket.succeed();
                Ok(proven)
            }
            // The ticket counts as a failure, as it does when the caller goes away.
            Err(SignInError::Wrong) => Err(SignInError::Wrong),
            // The password was right, or nobody looked at it.
            Err(other) => {
                ticket.forgive();
                Err(other)
            }
        }
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
        login: Option<&Login>,
        door: Door,
    ) -> Result<Proven, SignInError> {
        // First of all: who finds no room asks nothing of the store, and what is found is of now.
        let turn = self.hasher.turn().await?;
        let credentials = match login {
            Some(login) => self.store.find_credentials(login).await.map_err(unavailable)?,
            None => None,
        };
        let hashes = credentials.as_ref().map(hashes_of).unwrap_or_default();
        let shown = turn.verify(&hashes, attempt.password).await?;
        let (Some(credentials), Some(shown)) = (credentials, shown) else {
            return Err(SignInError::Wrong);
        };
        judge_state(credentials.user.state, door)?;
        self.judge_second_factor(attempt, &credentials).await?;
        let proven = Proven { credentials, shown };
        self.renew_hash(&proven, attempt.password).await;
        Ok(proven)
    }

    async fn judge_second_factor(
        &self,
        attempt: &Attempt<'_>,
        credentials: &Credentials,
    ) -> Result<(), SignInError> {
        if !credentials.user.has_totp {
            return Ok(());
        }
        match attempt.second_factor {
            SecondFactorRule::Ignore => Ok(()),
            SecondFactorRule::Refuse => Err(SignInError::SecondFactorImpossible),
            SecondFactorRule::Ask => self.second_factor(&attempt.into(), credentials).await,
        }
    }

    /// Replaces a hash of another cost while the password is at hand. Whether that works or not, the
    /// user is in: the next time will do.
    async fn renew_hash(&self, proven: &Proven, password: Secret<&str>) {
        let passwords = &proven.credentials.passwords;
        let Some(old) = passwords.get(proven.shown) else { return };
        if !self.hasher.needs_rehash(&old.phc) {
            return;
        }
        let beside = hashes_of(&proven.credentials);
        if let Ok(new) = self.hasher.hash(password, &beside).await {
            let id = &proven.credentials.user.id;
            let renewed = self.store.rehash_password(id, old.number, &old.phc, &new).await;
            drop(renewed.map_err(unavailable));
        }
    }

    /// Takes a ticket. While those who came before are still being judged, it waits for the outcome,
    /// with a bound, instead of refusing whoever may be right.
    pub(super) async fn ticket(
        &self,
        take: impl Fn(Timestamp) -> Result<Ticket, Limited>,
    ) -> Result<Ticket, SignInError> {
        let mut place = None;
        let deadline = time::Instant::now() + PATIENCE;
        loop {
            // Before the look at the budget, so that no outcome is missed in between.
            let settled = self.throttle.settled().notified();
            match take(self.clock.now()) {
                Ok(ticket) => return Ok(ticket),
                Err(Limited::Network { retry_after }) => {
                    return Err(SignInError::Throttled { retry_after });
                }
                Err(Limited::Account { retry_after }) => {
                    return Err(SignInError::Locked { retry_after: Some(retry_after) });
                }
                Err(Limited::Contended) => {}
            }
            if place.is_none() {
                place = Some(self.waiting.try_acquire().map_err(|_| SignInError::Busy)?);
            }
            time::timeout_at(deadline, settled).await.map_err(|_| SignInError::Busy)?;
        }
    }
}

pub(super) fn hashes_of(credentials: &Credentials) -> Vec<Secret<String>> {
    credentials.passwords.iter().map(|password| password.phc.clone()).collect()
}

pub(super) const fn judge_state(state: UserState, door: Door) -> Result<(), SignInError> {
    match (state, door) {
        (UserState::Active, _) | (UserState::Expired, Door::Password) => Ok(()),
        (UserState::Expired, Door::Session) => Err(SignInError::PasswordExpired),
        (UserState::Locked, _) => Err(SignInError::Locked { retry_after: None }),
        (UserState::Invited, _) => Err(SignInError::Invited),
        (UserState::Disabled, _) => Err(SignInError::Disabled),
    }
}

/// Tells the log what the store said, and the caller only that it failed.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(super) fn unavailable(error: StoreError) -> SignInError {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%error, cause, "accounts cannot be used");
    SignInError::Unavailable
}

impl From<HashError> for SignInError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed => Self::Unavailable,
        }
    }
}

/// Questions for a second factor that await their answer.
const MAX_CHALLENGES: usize = 10_000;
/// Who may wait for the outcome of others' tries, and for how long.
const MAX_WAITING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);
