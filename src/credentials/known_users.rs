//! What the store knows about the users of our own tokens, as the workers remember it.
//!
//! Answers come from memory without waiting; what is not remembered is asked of whoever talks to the
//! store for the workers, and forgotten as soon as the store changed it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time;

use crate::id::UserId;
use crate::principal::Facts;

/// The users of the store; shared by all workers, kept over reloads.
pub struct KnownUsers {
    known: Cache<UserId, Option<Arc<Facts>>>,
    epoch: AtomicU64,
    asks: mpsc::Sender<UserAsk>,
}

/// A question about one user. Dropping the reply says that there is no answer.
#[derive(Debug)]
pub struct UserAsk {
    /// Who is asked about.
    pub user: UserId,
    /// Where the answer goes: nothing when there is no such user, or none who may do anything.
    pub reply: oneshot::Sender<Option<Arc<Facts>>>,
}

/// The store does not answer: our fault, not the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer")]
pub struct StoreSilent;

impl KnownUsers {
    /// Nobody is known yet; the questions have to be answered by somebody.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<UserAsk>) {
        let (asks, questions) = mpsc::channel(MOST_ASKS);
        let known = Cache::builder().max_capacity(MOST_KNOWN).time_to_live(KNOWN_FOR).build();
        (Arc::new(Self { known, epoch: AtomicU64::new(0), asks }), questions)
    }

    /// What is known about `user`; nothing when there is no such user any more.
    pub async fn facts(&self, user: &UserId) -> Result<Option<Arc<Facts>>, StoreSilent> {
        if let Some(known) = self.known.get(user) {
            return Ok(known);
        }
        match time::timeout(ANSWER_WITHIN, self.question(user)?).await {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(_)) | Err(_) => Err(StoreSilent),
        }
    }

    /// What is remembered about `user`, without waiting; otherwise `asked` holds a question whose answer
    /// a later call will find.
    pub fn look(
        &self,
        user: &UserId,
        asked: &mut Option<oneshot::Receiver<Option<Arc<Facts>>>>,
    ) -> Result<Option<Arc<Facts>>, StoreSilent> {
        if let Some(known) = self.known.get(user) {
            *asked = None;
            return Ok(known);
        }
        let mut answer = match asked.take() {
            Some(answer) => answer,
            None => self.question(user)?,
        };
        match answer.try_recv() {
            Ok(facts) => Ok(facts),
            Err(oneshot::error::TryRecvError::Empty) => {
                *asked = Some(answer);
                Err(StoreSilent)
            }
            Err(oneshot::error::TryRecvError::Closed) => Err(StoreSilent),
        }
    }

    fn question(
        &self,
        user: &UserId,
    ) -> Result<oneshot::Receiver<Option<Arc<Facts>>>, StoreSilent> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(UserAsk { user: user.clone(), reply }).map_err(|_| StoreSilent)?;
        Ok(answer)
    }

    /// Changes whenever something was forgotten.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Remembers what the store said, unless something was forgotten since it was asked.
    pub fn remember(&self, user: UserId, facts: Option<Arc<Facts>>, epoch: u64) {
        if self.epoch() == epoch {
            self.known.insert(user, facts);
        }
    }

    /// Forgets these users.
    pub fn forget(&self, users: &[UserId]) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for user in users {
            self.known.invalidate(user);
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets everybody.
    pub fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.invalidate_all();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for KnownUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownUsers").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// Users remembered.
const MOST_KNOWN: u64 = 50_000;
/// For how long, though the store changed nothing.
const KNOWN_FOR: Duration = Duration::from_mins(10);
/// Questions waiting for the store; beyond them a request gets no answer at once.
const MOST_ASKS: usize = 1024;
/// How long a request waits for an answer of the store.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::principal::Permissions;

    fn facts(id: &UserId) -> Arc<Facts> {
        Arc::new(Facts {
            id: id.clone(),
            number: 1,
            login: "anna".to_owned(),
            revision: 0,
            attributes: Map::new(),
            permissions: Permissions::None,
        })
    }

    #[tokio::test]
    async fn a_user_is_asked_about_once_and_again_after_a_change() {
        let (users, mut asks) = KnownUsers::new();
        let anna = UserId::new("u_anna");
        let epoch = users.epoch();
        let (answer, ()) = tokio::join!(users.facts(&anna), async {
            let ask = asks.recv().await.unwrap();
            users.remember(ask.user.clone(), Some(facts(&ask.user)), epoch);
            ask.reply.send(Some(facts(&ask.user))).unwrap();
        });
        assert_eq!(answer.unwrap().unwrap().id, anna);
        assert!(users.facts(&anna).await.unwrap().is_some());
        assert!(asks.try_recv().is_err());
        users.forget(std::slice::from_ref(&anna));
        // Asked before the change, answered after it: not remembered.
        users.remember(anna.clone(), Some(facts(&anna)), epoch);
        let (answer, ()) = tokio::join!(users.facts(&anna), async {
            drop(asks.recv().await.unwrap());
        });
        assert_eq!(answer, Err(StoreSilent));
        users.remember(anna.clone(), None, users.epoch());
        assert_eq!(users.facts(&anna).await, Ok(None));
    }

    #[tokio::test]
    async fn without_anybody_to_answer_there_is_no_answer() {
        let (users, asks) = KnownUsers::new();
        drop(asks);
        assert_eq!(users.facts(&UserId::new("u_1")).await, Err(StoreSilent));
    }
}
