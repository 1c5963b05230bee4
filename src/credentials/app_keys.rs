//! Whether an application key is good: keys configured by digest first, then those in the store.
//!
//! An unknown id and a wrong secret look and cost the same: one digest, whatever is presented, and a
//! look-up by that digest. Where the key was carried is none of this file's business.

use std::collections::HashMap;
use std::sync::Arc;

use super::app_key::{Shape, shape};
use super::key_location::Presented;
use super::stored_keys::{Backing, StoredKeys};
use crate::clock::Timestamp;
use crate::id::{AppId, Digest};
use crate::principal::App;
use crate::secret;

/// A key of an application that the operator wrote into the configuration; it may have any form. While
/// a key is being replaced, its application stands here twice.
#[derive(Clone, Debug)]
pub struct ConfiguredApp {
    /// Its public id.
    pub id: AppId,
    /// SHA-256 of the key, or of the secret when a pair carries it.
    pub digest: Digest,
    /// What it may be used for.
    pub scopes: Vec<String>,
}

/// Two configured applications with one key, by position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two applications have the same key")]
pub struct SharedKey {
    /// The index of the first one.
    pub first: usize,
    /// The index of the second one.
    pub second: usize,
}

/// Why a key was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppKeyError {
    /// It cannot be a key at all.
    #[error("malformed application key")]
    Malformed,
    /// Nobody knows it, or it belongs to another id.
    #[error("unknown application key")]
    Unknown,
    /// Its time is over.
    #[error("expired application key")]
    Expired,
    /// It or its application was revoked.
    #[error("revoked application key")]
    Revoked,
    /// The store cannot be asked, or has been silent for so long that its answers may be outdated.
    #[error("application keys cannot be looked up")]
    Unavailable,
}

/// A key that was found good, as far as it must be judged again.
#[derive(Debug)]
pub struct KeyProof {
    digest: Digest,
    /// None for a key of the configuration.
    backing: Option<Backing>,
}

/// All application keys that a gateway accepts.
#[derive(Debug)]
pub struct AppKeys {
    configured: HashMap<Digest, Arc<App>>,
    stored: Option<Arc<StoredKeys>>,
}

impl AppKeys {
    /// Joins the keys of the configuration and those of the store.
    pub fn new(
        configured: Vec<ConfiguredApp>,
        stored: Option<Arc<StoredKeys>>,
    ) -> Result<Self, SharedKey> {
        let mut digests = HashMap::with_capacity(configured.len());
        let mut apps = HashMap::with_capacity(configured.len());
        for (second, app) in configured.into_iter().enumerate() {
            if let Some(first) = digests.insert(app.digest, second) {
                return Err(SharedKey { first, second });
            }
            apps.insert(app.digest, Arc::new(App { id: app.id, scopes: app.scopes }));
        }
        Ok(Self { configured: apps, stored })
    }

    /// Changes whenever something that was accepted may have to be refused; compare it on every hit of
    /// a table in front of this one.
    pub fn epoch(&self) -> u64 {
        self.stored.as_ref().map_or(0, |stored| stored.epoch())
    }

    /// Judges what a request presents. Waits only for a key of the store that is not remembered.
    pub async fn check(
        &self,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<(Arc<App>, KeyProof), AppKeyError> {
        let (id, key) = match presented {
            Presented::Whole(key) => (None, &**key.expose()),
            Presented::Pair { id, secret } => (Some(*id.expose()), *secret.expose()),
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(AppKeyError::Malformed);
        }
        let (app, proof) = self.find(key, now).await?;
        match id {
            Some(id) if !secret::equal(id.as_bytes(), app.id.as_str().as_bytes()) => {
                Err(AppKeyError::Unknown)
            }
            _ => Ok((app, proof)),
        }
    }

    /// Judges a key again that was good, without waiting: what only the store can tell is asked of it
    /// here and answered at a later call; until then it is [`AppKeyError::Unavailable`].
    pub fn recheck(&self, proof: &mut KeyProof, now: Timestamp) -> Result<(), AppKeyError> {
        if self.configured.contains_key(&proof.digest) {
            return Ok(());
        }
        match (&self.stored, &mut proof.backing) {
            (Some(stored), Some(backing)) => stored.recheck(&proof.digest, backing, now),
            _ => Err(AppKeyError::Unknown),
        }
    }

    async fn find(&self, key: &str, now: Timestamp) -> Result<(Arc<App>, KeyProof), AppKeyError> {
        let digest = Digest::of(key.as_bytes());
        if let Some(app) = self.configured.get(&digest) {
            return Ok((Arc::clone(app), KeyProof { digest, backing: None }));
        }
        let Some(stored) = &self.stored else {
            return Err(refusal_of(key).unwrap_or(AppKeyError::Unknown));
        };
        // Taken first: what changes while the key is looked up counts as not heard yet.
        let epoch = stored.epoch();
        let found = match stored.recall(&digest, now) {
            Some(verdict) if !matches!(verdict, Err(AppKeyError::Unavailable)) => verdict,
            // Only what can be a key of ours is worth a question, or a 503 for want of an answer.
            recalled => match (refusal_of(key), recalled) {
                (Some(refusal), _) => Err(refusal),
                (None, Some(verdict)) => verdict,
                (None, None) => stored.ask(digest, now).await,
            },
        };
        let key = found?;
        let app = Arc::clone(&key.app);
        Ok((app, KeyProof { digest, backing: Some(Backing::new(key, epoch)) }))
    }
}

/// Why a text that is not configured cannot be a key of the store either.
fn refusal_of(key: &str) -> Option<AppKeyError> {
    match shape(key) {
        Shape::Ours { .. } => None,
        Shape::Malformed => Some(AppKeyError::Malformed),
        Shape::Foreign => Some(AppKeyError::Unknown),
    }
}

/// Longest key that is looked at; ours have 75 bytes.
const MAX_KEY_BYTES: usize = 4096;
