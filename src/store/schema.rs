//! The tables of the store and how an older file is brought up to date.
//!
//! A migration is never edited once released; a new one is appended to [`MIGRATIONS`].

use sqlx::SqlitePool;

use super::error::StoreError;

/// Applies the migrations that the file has not seen, all or none.
pub(super) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version(pool).await? == known {
        return Ok(());
    }
    // The write lock first: two processes that open a fresh store at once take turns.
    let mut act = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found = version(&mut *act).await?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let applied = usize::try_from(found).map_err(|_| StoreError::Corrupt("schema version"))?;
    for migration in MIGRATIONS.iter().skip(applied) {
        sqlx::raw_sql(*migration).execute(&mut *act).await?;
    }
    // A pragma takes no parameters; the text is a number of ours.
    let stamp = format!("PRAGMA user_version = {known}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *act).await?;
    act.commit().await?;
    Ok(())
}

async fn version<'e>(executor: impl sqlx::SqliteExecutor<'e>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(executor).await
}

const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_apps.sql"), include_str!("migrations/0002_users.sql")];
