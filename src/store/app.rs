//! The acts on applications: those of operators, and the look-up of a running gateway.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::changes::{Kind, note};
use super::error::StoreError;
use super::record::{AppRecord, FoundSecret, NewApp, NewSecret, Scope, SecretRecord, Use};
use super::session::EndReason;
use super::sessions::{Ending, end};
use crate::clock::Timestamp;
use crate::id::{AppId, Digest};

/// One row per secret, for the applications that the given subquery selects; none has no secret.
macro_rules! app_rows {
    ($apps:literal) => {
        concat!(
            "SELECT a.id, a.name, a.scopes, a.created_at, a.revoked_at,
                    s.number, s.created_at, s.expires_at, s.revoked_at, s.last_used_at
             FROM ",
            $apps,
            " a JOIN app_secrets s ON s.app = a.id ORDER BY a.seq, s.number"
        )
    };
}

impl Store {
    /// Creates an application with its first secret.
    pub async fn create_app(&self, app: &NewApp, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let scopes: Vec<_> = app.scopes.iter().map(Scope::as_str).collect();
        sqlx::query("INSERT INTO apps (id, name, scopes, created_at) VALUES (?, ?, ?, ?)")
            .bind(app.id.as_str())
            .bind(app.name.as_str())
            .bind(scopes.join(" "))
            .bind(now.millis())
            .execute(&mut *act)
            .await
            .map_err(|error| match &error {
                sqlx::Error::Database(refusal)
                    if refusal.is_unique_violation() && refusal.message().contains("apps.name") =>
                {
                    StoreError::NameTaken
                }
                _ => error.into(),
            })?;
        insert_secret(&mut act, &app.id, 1, &app.secret, now).await?;
        note(&mut act, Kind::App, app.id.as_str(), now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Adds a second live secret and returns its number; `old_until` brings the end of the first one nearer.
    pub async fn rotate_app(
        &self,
        id: &AppId,
        fresh: &NewSecret,
        old_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let app = read_app(&mut act, id).await?;
        if app.revoked_at.is_some() {
            return Err(StoreError::AppRevoked);
        }
        if app.secrets.iter().filter(|secret| secret.is_live(now)).count() >= MAX_LIVE_SECRETS {
            return Err(StoreError::TwoLiveSecrets);
        }
        if let Some(end) = old_until {
            sqlx::query(
                "UPDATE app_secrets SET expires_at = min(coalesce(expires_at, ?1), ?1)
                 WHERE app = ?2 AND revoked_at IS NULL",
            )
            .bind(end.millis())
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        }
        let last = app.secrets.last().map_or(0, |secret| secret.number);
        let number = last.checked_add(1).ok_or(StoreError::Corrupt("secret number"))?;
        insert_secret(&mut act, id, number, fresh, now).await?;
        note(&mut act, Kind::App, id.as_str(), now).await?;
        act.commit().await?;
        Ok(number)
    }

    /// Revokes an application with all its secrets, for good, and ends the sessions bound to it; once
    /// more changes nothing.
    pub async fn revoke_app(&self, id: &AppId, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let revoked =
            sqlx::query("UPDATE apps SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?")
                .bind(now.millis())
                .bind(id.as_str())
                .execute(&mut *act)
                .await?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        end(&mut act, Ending::OfApp(id), EndReason::AppRevoked, now).await?;
        note(&mut act, Kind::App, id.as_str(), now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Revokes one secret of an application, for good; once more changes nothing.
    pub async fn revoke_secret(
        &self,
        id: &AppId,
        number: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let revoked = sqlx::query(
            "UPDATE app_secrets SET revoked_at = coalesce(revoked_at, ?) WHERE app = ? AND number = ?",
        )
        .bind(now.millis())
        .bind(id.as_str())
        .bind(number)
        .execute(&mut *act)
        .await?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        note(&mut act, Kind::App, id.as_str(), now).await?;
        act.commit().await?;
        Ok(())
    }

    /// The next applications after `after` in order of creation, at most 200; none when there are no more.
    pub async fn list_apps(&self, after: Option<&AppId>) -> Result<Vec<AppRecord>, StoreError> {
        let rows = sqlx::query(app_rows!(
            "(SELECT * FROM apps WHERE seq > coalesce((SELECT seq FROM apps WHERE id = ?), 0)
              ORDER BY seq LIMIT ?)"
        ))
        .bind(after.map(AppId::as_str))
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        apps_of(&rows)
    }

    /// One application with its secrets.
    pub async fn show_app(&self, id: &AppId) -> Result<AppRecord, StoreError> {
        read_app(&mut *self.pool.acquire().await?, id).await
    }

    /// What is known about the key with this digest.
    pub async fn find_secret(&self, digest: &Digest) -> Result<Option<FoundSecret>, StoreError> {
        let row = sqlx::query(
            "SELECT s.app, s.number, a.scopes, s.expires_at,
                    s.revoked_at IS NOT NULL OR a.revoked_at IS NOT NULL
             FROM app_secrets s JOIN apps a ON a.id = s.app WHERE s.digest = ?",
        )
        .bind(digest.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(FoundSecret {
            app: AppId::new(row.try_get::<String, _>(0)?),
            number: row.try_get(1)?,
            scopes: scopes_of(row.try_get(2)?),
            expires_at: row.try_get::<Option<i64>, _>(3)?.map(Timestamp::from_millis),
            is_revoked: row.try_get(4)?,
        }))
    }

    /// The digests of all secrets an application ever had, so that they can be forgotten.
    pub async fn digests_of(&self, id: &AppId) -> Result<Vec<Digest>, StoreError> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM app_secrets WHERE app = ?")
            .bind(id.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|bytes| {
                bytes.try_into().map(Digest::from_bytes).map_err(|_| StoreError::Corrupt("digest"))
            })
            .collect()
    }

    /// Notes when secrets were last used. Not a change: nobody has to forget anything because of it.
    pub async fn touch_last_used(&self, uses: &[Use]) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for used in uses {
            sqlx::query(
                "UPDATE app_secrets SET last_used_at = max(coalesce(last_used_at, ?1), ?1)
                 WHERE app = ?2 AND number = ?3",
            )
            .bind(used.at.millis())
            .bind(used.app.as_str())
            .bind(used.number)
            .execute(&mut *act)
            .await?;
        }
        act.commit().await?;
        Ok(())
    }
}

async fn insert_secret(
    act: &mut SqliteConnection,
    id: &AppId,
    number: u32,
    secret: &NewSecret,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO app_secrets (app, number, digest, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(number)
    .bind(secret.digest.as_bytes().as_slice())
    .bind(now.millis())
    .bind(secret.expires_at.map(Timestamp::millis))
    .execute(act)
    .await?;
    Ok(())
}

async fn read_app(act: &mut SqliteConnection, id: &AppId) -> Result<AppRecord, StoreError> {
    let rows = sqlx::query(app_rows!("(SELECT * FROM apps WHERE id = ?)"))
        .bind(id.as_str())
        .fetch_all(act)
        .await?;
    apps_of(&rows)?.pop().ok_or(StoreError::NotFound)
}

fn apps_of(rows: &[SqliteRow]) -> Result<Vec<AppRecord>, StoreError> {
    let mut apps: Vec<AppRecord> = Vec::new();
    for row in rows {
        let id: &str = row.try_get(0)?;
        let secret = SecretRecord {
            number: row.try_get(5)?,
            created_at: Timestamp::from_millis(row.try_get(6)?),
            expires_at: instant(row, 7)?,
            revoked_at: instant(row, 8)?,
            last_used_at: instant(row, 9)?,
        };
        match apps.last_mut() {
            Some(app) if app.id.as_str() == id => app.secrets.push(secret),
            _ => apps.push(AppRecord {
                id: AppId::new(id),
                name: row.try_get(1)?,
                scopes: scopes_of(row.try_get(2)?),
                created_at: Timestamp::from_millis(row.try_get(3)?),
                revoked_at: instant(row, 4)?,
                secrets: vec![secret],
            }),
        }
    }
    Ok(apps)
}

fn instant(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

fn scopes_of(words: &str) -> Vec<String> {
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

/// During a rotation the old secret and the new one.
const MAX_LIVE_SECRETS: usize = 2;
/// Applications told at once.
const PAGE: i64 = 200;
