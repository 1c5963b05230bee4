//! The one task that keeps what workers know about users, sessions and our own keys true to the store.
//!
//! It answers their questions and reads the log of changes; all of it is one task, so that answering
//! and forgetting never run at the same instant.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time;
use tokio::time::MissedTickBehavior;

use super::keys::{Keyring, KeyringError};
use super::throttle::Throttle;
use crate::clock::{Clock, Timestamp};
use crate::credentials::{KnownUsers, UserAsk};
use crate::id::{SessionId, UserId};
use crate::jwt::{Ended, OwnKeys};
use crate::principal::{Facts, Permissions};
use crate::store::{Point, Store, StoreError, Touched, UserRecord, UserState};

/// What the keeper keeps true.
#[derive(Clone, Debug)]
pub struct Known {
    /// Sessions and tokens that ended.
    pub ended: Arc<Ended>,
    /// Users.
    pub users: Arc<KnownUsers>,
    /// The families of keys that the configurations named.
    pub families: Arc<Mutex<Vec<Arc<OwnKeys>>>>,
}

/// Keeps [`Known`] true to the store for as long as it runs.
#[derive(Debug)]
#[must_use = "without its keeper no token of ours is believed for long"]
pub struct Keeper {
    store: Store,
    clock: Clock,
    known: Known,
    keyring: Arc<Keyring>,
    throttle: Arc<Throttle>,
    asks: mpsc::Receiver<UserAsk>,
    seen: Option<Point>,
    next_turn: Option<Timestamp>,
    /// How many families had their keys put in force; a reload may have named more.
    served: usize,
    is_failing: bool,
}

/// Why what workers know is not true to the store.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeyringError),
}

impl Keeper {
    /// A keeper that has not looked yet.
    pub fn new(
        (store, clock): (Store, Clock),
        known: Known,
        keyring: Arc<Keyring>,
        throttle: Arc<Throttle>,
        asks: mpsc::Receiver<UserAsk>,
    ) -> Self {
        Self {
            store,
            clock,
            known,
            keyring,
            throttle,
            asks,
            seen: None,
            next_turn: None,
            served: 0,
            is_failing: false,
        }
    }

    /// Runs until it is dropped, which may happen at any await.
    pub async fn run(mut self) {
        let mut ticks = time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both may be dropped at their await: a question stays in the queue, a tick comes again.
            tokio::select! {
                _ = ticks.tick() => self.step().await,
                Some(ask) = self.asks.recv() => self.answer(ask).await,
            }
        }
    }

    /// Reads the log of changes once.
    pub async fn step(&mut self) {
        // Taken before the question: what changes while it is asked counts as not heard yet.
        let asked_at = self.clock.now();
        match time::timeout(STORE_DEADLINE, self.catch_up(asked_at)).await {
            Ok(Ok(())) => {
                self.known.ended.heard(asked_at);
                self.is_failing = false;
            }
            Ok(Err(error)) => self.report(&error, asked_at),
            Err(_late) => self.report(&StoreError::Late.into(), asked_at),
        }
    }

    fn report(&mut self, error: &KeepError, asked_at: Timestamp) {
        self.known.ended.heard_nothing(asked_at);
        if !self.is_failing {
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::error!(error, "users and sessions cannot be kept up with");
        }
        self.is_failing = true;
    }

    /// Cancel-safe: `seen` moves only once everything up to it is known.
    async fn catch_up(&mut self, now: Timestamp) -> Result<(), KeepError> {
        let changes = self.store.changes_since(self.seen).await?;
        let is_turn = self.next_turn.is_some_and(|turn| now >= turn);
        match changes.touched {
            Touched::Everything => {
                self.known.ended.replace(all_ended(&self.store, now).await?);
                self.known.users.forget_all();
                self.refresh_keys(now).await?;
            }
            Touched::Some { apps: _, users, unlocked, sessions, tokens, keys } => {
                self.note_ended(&sessions, &tokens, now).await?;
                self.known.users.forget(&users);
                self.forget_failures(&unlocked).await;
                if keys || is_turn || self.families().len() != self.served {
                    self.refresh_keys(now).await?;
                }
            }
        }
        self.seen = Some(changes.up_to);
        Ok(())
    }

    async fn note_ended(
        &self,
        sessions: &[SessionId],
        tokens: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if sessions.is_empty() && tokens.is_empty() {
            return Ok(());
        }
        let dead = self.store.dead_sessions_among(sessions).await?;
        let dead = dead.into_iter().map(|dead| (dead.id.to_string(), dead.until));
        let single = self.store.dead_tokens_among(tokens).await?;
        let single = single.into_iter().map(|dead| (dead.jti, dead.until));
        self.known.ended.add(&dead.chain(single).collect::<Vec<_>>(), now);
        Ok(())
    }

    /// For these users only: what users change about themselves must not win them further guesses.
    async fn forget_failures(&self, unlocked: &[UserId]) {
        for user in unlocked {
            if let Ok(record) = self.store.show_user(user).await {
                self.throttle.reset(record.login.as_str());
            }
        }
    }

    /// Puts the keys of the store in force for every family that is named now.
    pub async fn refresh_keys(&mut self, now: Timestamp) -> Result<(), KeyringError> {
        let families = self.families();
        self.next_turn = self.keyring.refresh(&families, now).await?;
        self.served = families.len();
        Ok(())
    }

    fn families(&self) -> Vec<Arc<OwnKeys>> {
        self.known.families.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, ask: UserAsk) {
        if ask.reply.is_closed() {
            return;
        }
        let epoch = self.known.users.epoch();
        let facts = match time::timeout(STORE_DEADLINE, self.store.show_user(&ask.user)).await {
            Ok(Ok(record)) => facts(&record),
            Ok(Err(StoreError::NotFound)) => None,
            // The reply is dropped unsent; the next step meets the same failure and reports it.
            Ok(Err(_)) | Err(_) => return,
        };
        self.known.users.remember(ask.user, facts.clone(), epoch);
        let _ = ask.reply.send(facts);
    }
}

/// What may be known about a user; nothing about one whose tokens are to be refused.
fn facts(record: &UserRecord) -> Option<Arc<Facts>> {
    (record.state != UserState::Disabled).then(|| {
        Arc::new(Facts {
            id: record.id.clone(),
            number: record.number,
            login: record.login.as_str().to_owned(),
            revision: record.revision,
            attributes: record.attributes.clone(),
            permissions: Permissions::of_claim(&record.permissions),
        })
    })
}

async fn all_ended(store: &Store, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let mut all = Vec::new();
    let mut after: Option<SessionId> = None;
    loop {
        let page = store.dead_sessions(after.as_ref(), now).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        all.extend(page.into_iter().map(|dead| (dead.id.to_string(), dead.until)));
    }
    let mut after: Option<String> = None;
    loop {
        let page = store.dead_tokens(after.as_deref(), now).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.jti.clone());
        all.extend(page.into_iter().map(|dead| (dead.jti, dead.until)));
    }
    Ok(all)
}

/// How often the log of changes is read: a revocation holds everywhere within a second.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How long the store may take for one answer.
const STORE_DEADLINE: Duration = Duration::from_secs(1);
