//! Second factors of users: enrolling, asking, judging, and doing without a lost app.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::accounts::{Accounts, Answer, Attempt, Challenge, SignInError, unavailable};
use super::challenge::Occasion;
use super::master_key::{OpenError, Purpose};
use super::random;
use super::totp;
use super::totp::{RECOVERY_CODES, RecoveryCode, Totp};
use crate::id::{AppId, Digest, UserId};
use crate::secret::Secret;
use crate::store::{Credentials, Login, StoreError};

/// A request that a user makes who may have to show a second factor for it.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The answer to an earlier challenge, or a code that came unasked.
    pub second: Option<Answer<'a>>,
    /// The application that calls.
    pub app: Option<&'a AppId>,
    /// Where the call comes from.
    pub address: IpAddr,
    /// The request without the answer.
    pub request: Digest,
}

impl<'a> From<&Attempt<'a>> for Demand<'a> {
    fn from(attempt: &Attempt<'a>) -> Self {
        let Attempt { second, app, address, request, .. } = *attempt;
        Self { second, app, address, request }
    }
}

/// A seed that is in force once a code made with it was shown.
#[derive(Debug)]
pub struct Enrolment {
    /// What is typed into an app.
    pub seed: Secret<Zeroizing<String>>,
    /// What an app reads from a picture.
    pub address: Secret<Zeroizing<String>>,
}

/// Why a second factor was not set up or taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// One is in force; it has to be taken away first.
    #[error("a second factor is in force")]
    InForce,
    /// None awaits its first code.
    #[error("no second factor awaits confirmation")]
    NotBegun,
    /// The code is wrong, the limit is reached, or accounts cannot be used.
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

impl Accounts {
    /// Asks a user who is signed in for the second factor, if there is one, and judges the answer.
    pub async fn check_second_factor(
        &self,
        user: &UserId,
        demand: &Demand<'_>,
    ) -> Result<(), SignInError> {
        let credentials = self.store.credentials_of(user).await.map_err(unavailable)?;
        if credentials.user.has_totp {
            self.second_factor(demand, &credentials).await
        } else {
            Ok(())
        }
    }

    /// Gives a user a new seed, which is not in force yet.
    pub async fn enrol_totp(&self, user: &UserId) -> Result<Enrolment, EnrolError> {
        let login = self.store.show_user(user).await.map_err(unavailable)?.login;
        let totp = Totp::new(random::bytes().map_err(|_| SignInError::Unavailable)?);
        let sealed = self
            .key
            .seal(Purpose::TotpSeed, user.as_str(), totp.seed().expose())
            .map_err(|_| SignInError::Unavailable)?;
        match self.store.set_totp(user, &sealed, false, self.clock.now()).await {
            Ok(()) => {}
            Err(StoreError::TotpInForce) => return Err(EnrolError::InForce),
            Err(error) => return Err(unavailable(error).into()),
        }
        let address = totp.address(&self.settings.issuer, login.as_str());
        Ok(Enrolment { seed: totp.seed_text(), address })
    }

    /// Puts the seed in force that `code` was made with, and returns the recovery codes, which are not
    /// shown again.
    pub async fn confirm_totp(
        &self,
        user: &UserId,
        code: Secret<&str>,
        address: IpAddr,
    ) -> Result<Vec<RecoveryCode>, EnrolError> {
        let credentials = self.store.credentials_of(user).await.map_err(unavailable)?;
        let login = credentials.user.login.as_str();
        let awaiting = credentials.totp.as_ref().filter(|totp| !totp.confirmed);
        let sealed = &awaiting.ok_or(EnrolError::NotBegun)?.sealed;
        let ticket = self.ticket(|now| self.throttle.try_take_code(login, address, now)).await?;
        let totp = self.opened(user, sealed)?;
        let now = self.clock.now();
        let Some(step) = totp.step_of(code, now) else {
            return Err(SignInError::SecondFactorWrong.into());
        };
        ticket.forgive();
        let codes = (0..RECOVERY_CODES)
            .map(|_| random::bytes().map(|bytes| RecoveryCode::new(&bytes)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SignInError::Unavailable)?;
        let digests: Vec<_> = codes.iter().map(RecoveryCode::digest).collect();
        if !self.store.confirm_totp(user, sealed, step, now).await.map_err(unavailable)? {
            return Err(EnrolError::NotBegun);
        }
        // In this order: a factor in force without recovery codes is safe, the reverse is not.
        self.store.set_recovery_codes(user, &digests, now).await.map_err(unavailable)?;
        Ok(codes)
    }

    /// Takes the second factor away from a user who shows it once more.
    pub async fn remove_totp(&self, user: &UserId, demand: &Demand<'_>) -> Result<(), SignInError> {
        self.check_second_factor(user, demand).await?;
        self.store.remove_totp(user, self.clock.now()).await.map_err(unavailable)
    }

    pub(super) async fn second_factor(
        &self,
        demand: &Demand<'_>,
        credentials: &Credentials,
    ) -> Result<(), SignInError> {
        let user = &credentials.user;
        let now = self.clock.now();
        let app = demand.app.cloned();
        let occasion = Occasion { user: user.id.clone(), app, request: demand.request };
        let Some(answer) = demand.second else {
            let random = random::bytes().map_err(|_| SignInError::Unavailable)?;
            let key = self.challenges.ask(occasion, random, now);
            let target = masked(&user.login);
            let challenge = Challenge { key, service: "totp", target };
            return Err(SignInError::SecondFactorNeeded(challenge));
        };
        let take = |now| self.throttle.try_take_code(user.login.as_str(), demand.address, now);
        let ticket = self.ticket(take).await?;
        if answer.key.is_some_and(|key| !self.challenges.may_try(key, &occasion, now)) {
            // The code was not looked at.
            ticket.forgive();
            return Err(SignInError::SecondFactorWrong);
        }
        match self.claim(credentials, answer.code).await {
            Ok(true) => ticket.forgive(),
            Ok(false) => return Err(SignInError::SecondFactorWrong),
            Err(error) => {
                ticket.forgive();
                return Err(error);
            }
        }
        // Two right codes may race for one challenge; one of them is spent in vain.
        if answer.key.is_none_or(|key| self.challenges.spend(key, now)) {
            Ok(())
        } else {
            Err(SignInError::SecondFactorWrong)
        }
    }

    /// Uses a code up, if it is one of the user's; each is good once.
    async fn claim(&self, known: &Credentials, code: Secret<&str>) -> Result<bool, SignInError> {
        let (user, now) = (&known.user.id, self.clock.now());
        let Some(factor) = &known.totp else { return Ok(false) };
        if totp::is_code(code.expose()) {
            let step = self.opened(user, &factor.sealed)?.step_of(code, now);
            let Some(step) = step else { return Ok(false) };
            return self.store.claim_totp_step(user, step).await.map_err(unavailable);
        }
        let Some(digest) = RecoveryCode::digest_of(code) else { return Ok(false) };
        self.store.claim_recovery_code(user, &digest, now).await.map_err(unavailable)
    }

    fn opened(&self, user: &UserId, sealed: &[u8]) -> Result<Totp, SignInError> {
        let seed = self.key.open(Purpose::TotpSeed, user.as_str(), sealed);
        let totp = seed.and_then(|seed| Totp::from_bytes(seed.expose()).ok_or(OpenError::Damaged));
        totp.map_err(|error| {
            tracing::error!(%error, "the seed of a second factor cannot be used");
            SignInError::Unavailable
        })
    }
}

/// Enough to tell one's own accounts apart, too little to write to.
fn masked(login: &Login) -> String {
    let (name, domain) = match login.as_str().split_once('@') {
        Some((name, domain)) => (name, Some(domain)),
        None => (login.as_str(), None),
    };
    let first: String = name.chars().take(1).collect();
    domain.map_or_else(|| format!("{first}**"), |domain| format!("{first}**@{domain}"))
}
