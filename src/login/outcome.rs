//! Why a call failed, from what `account` says to what a dialect has an answer for.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::account::{
    Challenge, EnrolError, PasswordError, RegisterError, SessionError, SignInError,
};
use crate::clock::whole_seconds;
use crate::dialect::Call;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::ReadError;
use crate::dialect::Scope;

/// A call that failed, with what its answer tells.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    field: Option<String>,
    retry_after: Option<Duration>,
    challenge: Option<Challenge>,
}

impl Failed {
    /// With what the answer tells.
    pub(super) fn scope<'a>(&self, mut scope: Scope<'a>) -> Scope<'a> {
        if let Some(field) = &self.field {
            scope = scope.with(Name::Field, field.as_str());
        }
        if let Some(wait) = self.retry_after {
            scope = scope.with(Name::RetryAfter, whole_seconds(wait).max(1));
        }
        if let Some(challenge) = &self.challenge {
            scope = scope
                .with(Name::ChallengeKey, challenge.key.as_str())
                .with(Name::ChallengeService, challenge.service)
                .with(Name::ChallengeTarget, challenge.target.as_str());
        }
        scope
    }

    /// With the field that is wrong as the call itself names it.
    pub(super) fn in_words_of(mut self, call: Option<&Call>) -> Self {
        self.field = self.field.map(|field| match call {
            Some(call) => call.own_name(&field).to_owned(),
            None => field,
        });
        self
    }

    fn after(failure: Failure, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..failure.into() }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, field: None, retry_after: None, challenge: None }
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self { field: error.field, ..error.failure.into() }
    }
}

impl From<SignInError> for Failed {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Failure::WrongCredentials.into(),
            SignInError::Throttled { retry_after } => {
                Self::after(Failure::Throttled, Some(retry_after))
            }
            SignInError::Locked { retry_after: Some(wait) } => {
                Self::after(Failure::LockedOut, Some(wait))
            }
            SignInError::Locked { retry_after: None } => Failure::Locked.into(),
            SignInError::Disabled | SignInError::Invited => Failure::Disabled.into(),
            SignInError::PasswordExpired => Failure::PasswordExpired.into(),
            SignInError::SecondFactorNeeded(challenge) => {
                Self { challenge: Some(challenge), ..Failure::SecondFactorNeeded.into() }
            }
            SignInError::SecondFactorWrong => Failure::SecondFactorWrong.into(),
            // There is no way in through this dialect: told like any other closed door.
            SignInError::SecondFactorImpossible => Failure::Disabled.into(),
            SignInError::Busy => Self::after(Failure::Busy, Some(BUSY_FOR)),
            SignInError::Unavailable => Failure::Unavailable.into(),
        }
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Invalid => Failure::InvalidRefreshToken.into(),
            SessionError::Throttled { retry_after } => {
                Self::after(Failure::Throttled, Some(retry_after))
            }
            SessionError::UserChanged => Failure::WrongCredentials.into(),
            SessionError::AppRevoked => Failure::InvalidApplicationKey.into(),
            SessionError::Unavailable => Failure::Unavailable.into(),
        }
    }
}

impl From<PasswordError> for Failed {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::SignIn(error) => error.into(),
            PasswordError::Weak(_) => Failure::WeakPassword.into(),
            PasswordError::Same => Failure::SamePassword.into(),
            PasswordError::TooMany => Failure::TooManyPasswords.into(),
            PasswordError::Last => Failure::LastPassword.into(),
        }
    }
}

impl From<RegisterError> for Failed {
    fn from(error: RegisterError) -> Self {
        let of = |failure: Failure, field: &str| Self {
            field: Some(field.to_owned()),
            ..failure.into()
        };
        match error {
            RegisterError::Name => of(Failure::BadOption, "login"),
            RegisterError::NameTaken => of(Failure::NameTaken, "login"),
            RegisterError::AttributeTaken(name) => of(Failure::NameTaken, &name),
            RegisterError::Weak(_) => of(Failure::WeakPassword, "password"),
            RegisterError::TooLong => Failure::BadOption.into(),
            RegisterError::SignIn(error) => error.into(),
        }
    }
}

impl From<EnrolError> for Failed {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::InForce | EnrolError::NotBegun => Failure::SecondFactorState.into(),
            EnrolError::SignIn(error) => error.into(),
        }
    }
}

/// When it is worth trying again after there was no room.
const BUSY_FOR: Duration = Duration::from_secs(1);
