//! What only the one sign-in can vouch for: a password on an ordinary request, a second factor.
//!
//! A worker hands the question over and waits, within bounds. A password that was good is remembered
//! under a keyed digest, for as long as nothing about its user changes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time;

use crate::id::{AppId, Digest, UserId};
use crate::secret::Secret;

/// The workers' side; shared by all of them, kept over reloads.
pub struct Vouching {
    asks: mpsc::Sender<Vouch>,
    passwords: Cache<[u8; 32], Proven>,
    /// Drawn anew by each process: what is remembered is worth nothing to anybody else.
    key: hmac::Key,
}

/// A user who showed a password, and how often that user had been changed by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The user.
    pub user: UserId,
    /// The revision of the user that was judged.
    pub revision: i64,
}

/// A question for the one sign-in. Dropping the reply says that there is no answer.
#[derive(Debug)]
pub enum Vouch {
    /// Whether this is the password of this user.
    Password {
        /// The name as it was written.
        login: String,
        /// The password as it was written.
        password: Secret<String>,
        /// Where the request comes from.
        address: IpAddr,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Proven, VouchError>>,
    },
    /// Whether this user may go on without, or has shown, a second factor.
    SecondFactor(Box<SecondFactorAsk>),
}

/// A question about a second factor.
#[derive(Debug)]
pub struct SecondFactorAsk {
    /// Whose.
    pub user: UserId,
    /// The key of a challenge and the code.
    pub answer: Option<(Secret<String>, Secret<String>)>,
    /// The application that calls.
    pub app: Option<AppId>,
    /// Where the request comes from.
    pub address: IpAddr,
    /// The request without the answer.
    pub request: Digest,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<(), VouchError>>,
}

/// Why nobody vouches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VouchError {
    /// No such user, not the password of it, or a user who may not.
    #[error("wrong user name or password")]
    Wrong,
    /// Too many failures.
    #[error("too many failures")]
    TooMany {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A second factor is asked for.
    #[error("a second factor is needed")]
    SecondFactorNeeded {
        /// What the answer has to name.
        key: String,
        /// What kind of code is expected.
        service: &'static str,
        /// Whose, masked.
        target: String,
    },
    /// The second factor is wrong or stale.
    #[error("the second factor is wrong")]
    SecondFactorWrong,
    /// Our fault, not the caller's.
    #[error("accounts cannot be used at present")]
    Unavailable,
}

impl Vouching {
    /// Nothing is remembered yet; the questions have to be answered by somebody. Nothing at all when
    /// the system has no randomness.
    pub fn new() -> Option<(Arc<Self>, mpsc::Receiver<Vouch>)> {
        let (asks, questions) = mpsc::channel(MOST_ASKS);
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let passwords = Cache::builder().max_capacity(MOST_PASSWORDS).time_to_live(KNOWN_FOR);
        Some((Arc::new(Self { asks, passwords: passwords.build(), key }), questions))
    }

    /// Who was found good under this name and password before.
    pub fn remembered(&self, login: &str, password: Secret<&str>) -> Option<Proven> {
        self.passwords.get(&self.mark(login, password))
    }

    /// Forgets that they were.
    pub fn forget(&self, login: &str, password: Secret<&str>) {
        self.passwords.invalidate(&self.mark(login, password));
    }

    /// Asks whether they are good.
    pub async fn password(
        &self,
        login: &str,
        password: Secret<&str>,
        address: IpAddr,
    ) -> Result<Proven, VouchError> {
        let (reply, answer) = oneshot::channel();
        let owned = Secret::new((*password.expose()).to_owned());
        let ask = Vouch::Password { login: login.to_owned(), password: owned, address, reply };
        let proven = self.ask(ask, answer).await?;
        self.passwords.insert(self.mark(login, password), proven.clone());
        Ok(proven)
    }

    /// Asks about a second factor; `ask` builds the question around the place for its answer.
    pub async fn second_factor(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<(), VouchError>>) -> SecondFactorAsk,
    ) -> Result<(), VouchError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Vouch::SecondFactor(Box::new(ask(reply))), answer).await
    }

    async fn ask<T>(
        &self,
        ask: Vouch,
        answer: oneshot::Receiver<Result<T, VouchError>>,
    ) -> Result<T, VouchError> {
        self.asks.try_send(ask).map_err(|_| VouchError::Unavailable)?;
        match time::timeout(PATIENCE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(VouchError::Unavailable),
        }
    }

    /// The length keeps apart what a name ends with and a password begins with.
    fn mark(&self, login: &str, password: Secret<&str>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&u64::try_from(login.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(login.as_bytes());
        context.update(password.expose().as_bytes());
        let mut mark = [0; 32];
        mark.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mark
    }
}

impl fmt::Debug for Vouching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouching").finish_non_exhaustive()
    }
}

/// Questions on their way; beyond them an answer comes at once.
const MOST_ASKS: usize = 256;
/// Passwords remembered.
const MOST_PASSWORDS: u64 = 10_000;
/// For how long, though nothing about their users changes.
const KNOWN_FOR: Duration = Duration::from_mins(5);
/// How long a request waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_good_password_is_asked_about_once() {
        let (vouching, mut asks) = Vouching::new().unwrap();
        let anna = Proven { user: UserId::new("u_anna"), revision: 3 };
        let password = Secret::new("b:c");
        let (outcome, ()) = tokio::join!(vouching.password("a", password, HOME), async {
            let Some(Vouch::Password { login, reply, .. }) = asks.recv().await else { panic!() };
            assert_eq!(login, "a");
            reply.send(Ok(anna.clone())).unwrap();
        });
        assert_eq!(outcome, Ok(anna.clone()));
        assert_eq!(vouching.remembered("a", password), Some(anna));
        for (login, other) in [("a", "b:"), ("ab", ":c"), ("", "ab:c"), ("A", "b:c")] {
            assert_eq!(vouching.remembered(login, Secret::new(other)), None, "{login} {other}");
        }
        vouching.forget("a", password);
        assert_eq!(vouching.remembered("a", password), None);
    }

    #[tokio::test]
    async fn a_wrong_password_and_no_answer_are_not_remembered() {
        let (vouching, mut asks) = Vouching::new().unwrap();
        let password = Secret::new("b");
        let (outcome, ()) = tokio::join!(vouching.password("a", password, HOME), async {
            let Some(Vouch::Password { reply, .. }) = asks.recv().await else { panic!() };
            reply.send(Err(VouchError::Wrong)).unwrap();
        });
        assert_eq!(outcome, Err(VouchError::Wrong));
        drop(asks);
        let gone = vouching.password("a", password, HOME).await;
        assert_eq!(gone, Err(VouchError::Unavailable));
        assert_eq!(vouching.remembered("a", password), None);
    }
}
