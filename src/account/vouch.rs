//! Vouching for users on requests that are not logins: for a password, for a second factor.

use super::accounts::{Accounts, Answer, Attempt, SecondFactorRule, SignInError};
use super::second_factor::Demand;
use crate::credentials::{Proven, SecondFactorAsk, Vouch, VouchError};
use crate::dialect::Lockout;
use crate::id::Digest;
use crate::secret::Secret;

impl Accounts {
    /// Answers one question; does nothing for a caller that has gone.
    pub async fn vouch(&self, ask: Vouch, lockout: Lockout) {
        match ask {
            Vouch::Password { login, password, address, mut reply } => {
                let attempt = Attempt {
                    login: &login,
                    password: Secret::new(password.expose()),
                    second: None,
                    app: None,
                    address,
                    request: Digest::of(b"basic"),
                    lockout,
                    // A request with HTTP Basic has no room for an answer.
                    second_factor: SecondFactorRule::Refuse,
                };
                tokio::select! {
                    outcome = self.sign_in(&attempt) => {
                        let proven = |user: crate::store::UserRecord| {
                            Proven { user: user.id, revision: user.revision }
                        };
                        let _ = reply.send(outcome.map(proven).map_err(VouchError::from));
                    }
                    () = reply.closed() => {}
                }
            }
            Vouch::SecondFactor(ask) => {
                let SecondFactorAsk { user, answer, app, address, request, reply } = *ask;
                let second = answer.as_ref().map(|(key, code)| Answer {
                    key: Some(key.expose().as_str()),
                    code: Secret::new(code.expose().as_str()),
                });
                let demand = Demand { second, app: app.as_ref(), address, request };
                let outcome = self.check_second_factor(&user, &demand).await;
                let _ = reply.send(outcome.map_err(VouchError::from));
            }
        }
    }
}

impl From<SignInError> for VouchError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong
            | SignInError::Disabled
            | SignInError::Invited
            | SignInError::PasswordExpired
            | SignInError::SecondFactorImpossible
            | SignInError::Locked { retry_after: None } => Self::Wrong,
            SignInError::Throttled { retry_after }
            | SignInError::Locked { retry_after: Some(retry_after) } => {
                Self::TooMany { retry_after }
            }
            SignInError::SecondFactorNeeded(challenge) => Self::SecondFactorNeeded {
                key: challenge.key.as_str().to_owned(),
                service: challenge.service,
                target: challenge.target,
            },
            SignInError::SecondFactorWrong => Self::SecondFactorWrong,
            SignInError::Busy | SignInError::Unavailable => Self::Unavailable,
        }
    }
}
