//! The keys with which our own tokens are signed; the private halves come sealed.

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::changes::{Kind, note};
use super::error::StoreError;
use crate::clock::Timestamp;

/// A signing key to be added.
#[derive(Clone, Debug)]
pub struct NewSigningKey {
    /// Its id in the headers of tokens.
    pub kid: String,
    /// The family of dialects whose tokens it signs.
    pub family: String,
    /// The algorithm it is for.
    pub algorithm: String,
    /// The private or shared key, encrypted.
    pub sealed: Vec<u8>,
    /// The public key as a JWK; `None` for a shared key.
    pub public: Option<Value>,
    /// From here on it signs; before, it is only published.
    pub signs_from: Timestamp,
}

/// A signing key as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningKeyRecord {
    /// Its id in the headers of tokens.
    pub kid: String,
    /// The family of dialects whose tokens it signs.
    pub family: String,
    /// The algorithm it is for.
    pub algorithm: String,
    /// The private or shared key, encrypted.
    pub sealed: Vec<u8>,
    /// The public key as a JWK; `None` for a shared key.
    pub public: Option<Value>,
    /// When it was added.
    pub created_at: Timestamp,
    /// From here on it signs, until a later one of its family does.
    pub signs_from: Timestamp,
    /// When it was retired: it signs nothing any more.
    pub retired_at: Option<Timestamp>,
    /// When what it signed is not believed any more; `None` until it is retired.
    pub verifies_until: Option<Timestamp>,
}

impl SigningKeyRecord {
    /// Whether tokens that it signed are believed at `now`.
    pub fn verifies(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }

    /// Whether it may sign at `now`; the latest of a family that may is the one that does.
    pub fn may_sign(&self, now: Timestamp) -> bool {
        self.retired_at.is_none() && now >= self.signs_from
    }
}

impl Store {
    /// Adds a signing key.
    pub async fn add_signing_key(
        &self,
        key: &NewSigningKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        insert_key(&mut act, key, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Adds a signing key unless its family has one that may sign; tells whether it did. Two gateways
    /// that start at once agree on the first key this way.
    pub async fn add_first_signing_key(
        &self,
        key: &NewSigningKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if count_signers(&mut act, &key.family, now).await? > 0 {
            return Ok(false);
        }
        insert_key(&mut act, key, now).await?;
        act.commit().await?;
        Ok(true)
    }

    /// All signing keys, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT kid, family, algorithm, sealed, public, created_at, signs_from, retired_at,
                    verifies_until FROM signing_keys ORDER BY seq",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(key_of).collect()
    }

    /// Has a key sign nothing more, and what it signed be believed until `verifies_until`; once more
    /// may only bring that nearer. The last key of a family that may sign is not retired.
    pub async fn retire_signing_key(
        &self,
        kid: &str,
        verifies_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let family: Option<String> = sqlx::query_scalar(
            "UPDATE signing_keys SET retired_at = coalesce(retired_at, ?1),
                    verifies_until = min(coalesce(verifies_until, ?2), ?2)
             WHERE kid = ?3 RETURNING family",
        )
        .bind(now.millis())
        .bind(verifies_until.millis())
        .bind(kid)
        .fetch_optional(&mut *act)
        .await?;
        let family = family.ok_or(StoreError::NotFound)?;
        if count_signers(&mut act, &family, now).await? == 0 {
            return Err(StoreError::LastKey);
        }
        note(&mut act, Kind::Key, kid, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Removes a retired key that verifies nothing any more.
    pub async fn remove_signing_key(&self, kid: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let removed = sqlx::query("DELETE FROM signing_keys WHERE kid = ? AND verifies_until <= ?")
            .bind(kid)
            .bind(now.millis())
            .execute(&mut *act)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        note(&mut act, Kind::Key, kid, now).await?;
        act.commit().await?;
        Ok(())
    }
}

async fn insert_key(
    act: &mut SqliteConnection,
    key: &NewSigningKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO signing_keys (kid, family, algorithm, sealed, public, created_at, signs_from)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.kid.as_str())
    .bind(key.family.as_str())
    .bind(key.algorithm.as_str())
    .bind(key.sealed.as_slice())
    .bind(key.public.as_ref().map(Value::to_string))
    .bind(now.millis())
    .bind(key.signs_from.millis())
    .execute(&mut *act)
    .await?;
    note(act, Kind::Key, &key.kid, now).await
}

async fn count_signers(
    act: &mut SqliteConnection,
    family: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM signing_keys
         WHERE family = ? AND retired_at IS NULL AND signs_from <= ?",
    )
    .bind(family)
    .bind(now.millis())
    .fetch_one(act)
    .await?;
    Ok(count)
}

fn key_of(row: &SqliteRow) -> Result<SigningKeyRecord, StoreError> {
    let perhaps = |column: usize| {
        row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp::from_millis))
    };
    let public: Option<&str> = row.try_get(4)?;
    Ok(SigningKeyRecord {
        kid: row.try_get(0)?,
        family: row.try_get(1)?,
        algorithm: row.try_get(2)?,
        sealed: row.try_get(3)?,
        public: public
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| StoreError::Corrupt("public key"))?,
        created_at: Timestamp::from_millis(row.try_get(5)?),
        signs_from: Timestamp::from_millis(row.try_get(6)?),
        retired_at: perhaps(7)?,
        verifies_until: perhaps(8)?,
    })
}
