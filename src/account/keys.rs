//! Our own signing keys: from the sealed form in the store to what signs and verifies.
//!
//! A family that has no key yet gets one; two gateways that start at once agree on it. A key is
//! published before it signs and verifies after it was retired, so that no rotation signs anybody out.

use std::sync::Arc;

use super::master_key::MasterKey;
use super::signing_key::{SigningKeyError, new_signing_key, open_key};
use crate::clock::Timestamp;
use crate::jwt::{OwnKey, OwnKeyError, OwnKeys};
use crate::store::{SigningKeyRecord, Store, StoreError};

/// Why our own keys are not in force.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be made or unsealed.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// A kept key is no key.
    #[error(transparent)]
    Unusable(#[from] OwnKeyError),
}

/// Puts the keys of the store in force.
#[derive(Debug)]
pub struct Keyring {
    store: Store,
    master: Arc<MasterKey>,
}

impl Keyring {
    /// The keys of `store`, sealed with `master`.
    pub const fn new(store: Store, master: Arc<MasterKey>) -> Self {
        Self { store, master }
    }

    /// Puts in force what the store has for these families, making a first key where there is none.
    /// Tells when the next key begins to sign, or ceases to verify.
    pub async fn refresh(
        &self,
        families: &[Arc<OwnKeys>],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, KeyringError> {
        let mut kept = self.store.signing_keys().await?;
        let mut is_new = false;
        for keys in families {
            let signs = |key: &SigningKeyRecord| key.family == keys.family() && key.may_sign(now);
            if !kept.iter().any(signs) {
                let key = new_signing_key(&self.master, keys.family(), keys.algorithm(), now)?;
                is_new |= self.store.add_first_signing_key(&key, now).await?;
            }
        }
        if is_new {
            kept = self.store.signing_keys().await?;
        }
        for keys in families {
            keys.replace(&self.unsealed(&kept, keys, now)?)?;
        }
        let turns = kept.iter().flat_map(|key| [Some(key.signs_from), key.verifies_until]);
        Ok(turns.flatten().filter(|turn| *turn > now).min())
    }

    /// The keys of one family that still verify; the latest that may signs.
    fn unsealed(
        &self,
        kept: &[SigningKeyRecord],
        keys: &OwnKeys,
        now: Timestamp,
    ) -> Result<Vec<OwnKey>, KeyringError> {
        let of_family = |key: &&SigningKeyRecord| {
            key.family == keys.family()
                && key.algorithm == keys.algorithm().name()
                && key.verifies(now)
        };
        let signing = kept.iter().filter(of_family).filter(|key| key.may_sign(now));
        let signing = signing.max_by_key(|key| key.signs_from).map(|key| key.kid.as_str());
        kept.iter()
            .filter(of_family)
            .map(|key| {
                let material = open_key(&self.master, key)?;
                let signs = Some(key.kid.as_str()) == signing;
                Ok(OwnKey { kid: key.kid.clone(), material, signs })
            })
            .collect()
    }
}
