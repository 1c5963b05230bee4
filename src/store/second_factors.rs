//! The acts on second factors: seeds come sealed, recovery codes as digests.

use sqlx::{Row, SqliteConnection};

use super::Store;
use super::error::StoreError;
use super::user::TotpRecord;
use super::users::revise;
use crate::clock::Timestamp;
use crate::id::{Digest, UserId};

impl Store {
    /// Gives a user a seed, in force at once or once it is confirmed.
    ///
    /// One that still has to be confirmed does not replace one in force, which would go without
    /// replacement if the enrolment were given up half-way.
    pub async fn set_totp(
        &self,
        id: &UserId,
        sealed: &[u8],
        confirmed: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise(&mut act, id, now).await?;
        let in_force = read_totp(&mut act, id).await?.is_some_and(|totp| totp.confirmed);
        if in_force && !confirmed {
            return Err(StoreError::TotpInForce);
        }
        sqlx::query(
            "INSERT OR REPLACE INTO totps (user, sealed, created_at, confirmed_at)
             VALUES (?, ?, ?, ?)",
        )
        .bind(id.as_str())
        .bind(sealed)
        .bind(now.millis())
        .bind(confirmed.then_some(now.millis()))
        .execute(&mut *act)
        .await?;
        act.commit().await?;
        Ok(())
    }

    /// Puts the seed `sealed` in force and spends the step of its first code; tells whether it did,
    /// which it does not when another seed was set meanwhile or this one is in force already.
    pub async fn confirm_totp(
        &self,
        id: &UserId,
        sealed: &[u8],
        step: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let confirmed = sqlx::query(
            "UPDATE totps SET confirmed_at = ?, last_step = ?
             WHERE user = ? AND sealed = ? AND confirmed_at IS NULL",
        )
        .bind(now.millis())
        .bind(step)
        .bind(id.as_str())
        .bind(sealed)
        .execute(&mut *act)
        .await?;
        if confirmed.rows_affected() == 0 {
            return Ok(false);
        }
        revise(&mut act, id, now).await?;
        act.commit().await?;
        Ok(true)
    }

    /// Takes the second factor and its recovery codes away; none is none.
    pub async fn remove_totp(&self, id: &UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise(&mut act, id, now).await?;
        sqlx::query("DELETE FROM totps WHERE user = ?")
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        sqlx::query("DELETE FROM recovery_codes WHERE user = ?")
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        act.commit().await?;
        Ok(())
    }

    /// Spends a step: true exactly once for each step, and only for one later than all spent before.
    ///
    /// Only of a factor in force; the first step of another is spent by [`Store::confirm_totp`].
    pub async fn claim_totp_step(&self, id: &UserId, step: i64) -> Result<bool, StoreError> {
        let claimed = sqlx::query(
            "UPDATE totps SET last_step = ?1
             WHERE user = ?2 AND confirmed_at IS NOT NULL AND (last_step IS NULL OR last_step < ?1)",
        )
        .bind(step)
        .bind(id.as_str())
        .execute(&self.pool)
        .await?;
        Ok(claimed.rows_affected() == 1)
    }

    /// Replaces the recovery codes of a user, used and unused.
    pub async fn set_recovery_codes(
        &self,
        id: &UserId,
        codes: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise(&mut act, id, now).await?;
        sqlx::query("DELETE FROM recovery_codes WHERE user = ?")
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        for code in codes {
            sqlx::query("INSERT INTO recovery_codes (user, digest) VALUES (?, ?)")
                .bind(id.as_str())
                .bind(code.as_bytes().as_slice())
                .execute(&mut *act)
                .await?;
        }
        act.commit().await?;
        Ok(())
    }

    /// Uses a recovery code up: true exactly once for each.
    pub async fn claim_recovery_code(
        &self,
        id: &UserId,
        code: &Digest,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let claimed = sqlx::query(
            "UPDATE recovery_codes SET used_at = ?
             WHERE user = ? AND digest = ? AND used_at IS NULL",
        )
        .bind(now.millis())
        .bind(id.as_str())
        .bind(code.as_bytes().as_slice())
        .execute(&self.pool)
        .await?;
        Ok(claimed.rows_affected() == 1)
    }
}

/// Takes a second factor away that awaits its first code; one in force stays.
pub(super) async fn remove_unconfirmed(
    act: &mut SqliteConnection,
    id: &UserId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM totps WHERE user = ? AND confirmed_at IS NULL")
        .bind(id.as_str())
        .execute(act)
        .await?;
    Ok(())
}

pub(super) async fn read_totp(
    act: &mut SqliteConnection,
    id: &UserId,
) -> Result<Option<TotpRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT sealed, last_step, confirmed_at IS NOT NULL,
                (SELECT count(*) FROM recovery_codes c WHERE c.user = t.user AND used_at IS NULL)
         FROM totps t WHERE user = ?",
    )
    .bind(id.as_str())
    .fetch_optional(act)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(TotpRecord {
        sealed: row.try_get(0)?,
        last_step: row.try_get(1)?,
        confirmed: row.try_get(2)?,
        recovery_codes: row.try_get(3)?,
    }))
}
