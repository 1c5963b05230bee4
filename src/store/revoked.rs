//! What is cut off before its time: tokens of ended sessions, and single tokens.
//!
//! A running gateway reads all of it when it starts and whenever it may have missed something, and
//! single ones when the log of changes names them.

use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::changes::{Kind, note};
use super::error::StoreError;
use crate::clock::Timestamp;
use crate::id::SessionId;

/// A session that has ended while tokens of it may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadSession {
    /// Its id.
    pub id: SessionId,
    /// From here on no token of it is good by itself, whatever the leeway.
    pub until: Timestamp,
}

/// A token that was revoked and may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadToken {
    /// Its id.
    pub jti: String,
    /// From here on it is not good by itself, whatever the leeway.
    pub until: Timestamp,
}

impl Store {
    /// The next ended sessions after `after` whose tokens may live, at most 1000.
    pub async fn dead_sessions(
        &self,
        after: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<Vec<DeadSession>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, tokens_until FROM sessions
             WHERE seq > coalesce((SELECT seq FROM sessions WHERE id = ?), 0)
               AND ended_at IS NOT NULL AND tokens_until > ? ORDER BY seq LIMIT ?",
        )
        .bind(after.map(SessionId::as_str))
        .bind(now.minus(MARGIN).millis())
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(dead_session).collect()
    }

    /// Those of `ids` that have ended.
    pub async fn dead_sessions_among(
        &self,
        ids: &[SessionId],
    ) -> Result<Vec<DeadSession>, StoreError> {
        let mut act = self.pool.begin().await?;
        let mut dead = Vec::new();
        for id in ids {
            let row = sqlx::query(
                "SELECT id, tokens_until FROM sessions WHERE id = ? AND ended_at IS NOT NULL",
            )
            .bind(id.as_str())
            .fetch_optional(&mut *act)
            .await?;
            dead.extend(row.as_ref().map(dead_session).transpose()?);
        }
        Ok(dead)
    }

    /// Revokes the token with the id `jti`, which would expire at `until`.
    pub async fn revoke_token(
        &self,
        jti: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if jti.len() > LONGEST_JTI {
            return Err(StoreError::TooLong);
        }
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "DELETE FROM revoked_tokens WHERE jti IN
                 (SELECT jti FROM revoked_tokens WHERE until <= ? ORDER BY until LIMIT ?)",
        )
        .bind(now.minus(MARGIN).millis())
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *act)
        .await?;
        sqlx::query(
            "INSERT INTO revoked_tokens (jti, until, revoked_at) VALUES (?, ?, ?)
             ON CONFLICT (jti) DO UPDATE SET until = max(until, excluded.until)",
        )
        .bind(jti)
        .bind(until.millis())
        .bind(now.millis())
        .execute(&mut *act)
        .await?;
        note(&mut act, Kind::Token, jti, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// The next revoked tokens after `after` that may live, in the order of their ids, at most 1000.
    pub async fn dead_tokens(
        &self,
        after: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<DeadToken>, StoreError> {
        let rows = sqlx::query(
            "SELECT jti, until FROM revoked_tokens
             WHERE jti > coalesce(?, '') AND until > ? ORDER BY jti LIMIT ?",
        )
        .bind(after)
        .bind(now.minus(MARGIN).millis())
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(dead_token).collect()
    }

    /// Those of `ids` that are revoked.
    pub async fn dead_tokens_among(&self, ids: &[String]) -> Result<Vec<DeadToken>, StoreError> {
        let mut act = self.pool.begin().await?;
        let mut dead = Vec::new();
        for jti in ids {
            let row = sqlx::query("SELECT jti, until FROM revoked_tokens WHERE jti = ?")
                .bind(jti.as_str())
                .fetch_optional(&mut *act)
                .await?;
            dead.extend(row.as_ref().map(dead_token).transpose()?);
        }
        Ok(dead)
    }
}

fn dead_session(row: &SqliteRow) -> Result<DeadSession, StoreError> {
    let until = Timestamp::from_millis(row.try_get(1)?).plus(MARGIN);
    Ok(DeadSession { id: SessionId::new(row.try_get::<String, _>(0)?), until })
}

fn dead_token(row: &SqliteRow) -> Result<DeadToken, StoreError> {
    let until = Timestamp::from_millis(row.try_get(1)?).plus(MARGIN);
    Ok(DeadToken { jti: row.try_get(0)?, until })
}

/// More than the longest leeway with which a check may accept a token after it has expired.
pub(super) const MARGIN: Duration = Duration::from_mins(10);
/// Sessions or tokens told at once.
const PAGE: i64 = 1000;
/// Each revocation deletes more than it adds, and never many.
const FORGOTTEN_AT_ONCE: i64 = 16;
/// Bytes of the id of a token.
const LONGEST_JTI: usize = 256;
