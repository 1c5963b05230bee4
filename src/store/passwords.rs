//! The acts on the passwords of users; hashing and comparing is done elsewhere.

use sqlx::{Row, SqliteConnection};

use super::Store;
use super::error::StoreError;
use super::second_factors::{read_totp, remove_unconfirmed};
use super::session::EndReason;
use super::sessions::{Ending, end};
use super::user::{Credentials, Login, PasswordRecord, UserRecord, Whose};
use super::users::{read_user, read_user_by_login, revise_judged};
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};
use crate::secret::Secret;

impl Store {
    /// What is needed to judge a sign-in under this name, all of it read at one instant.
    pub async fn find_credentials(&self, login: &Login) -> Result<Option<Credentials>, StoreError> {
        let mut act = self.pool.begin().await?;
        let Some(user) = read_user_by_login(&mut act, login).await? else { return Ok(None) };
        let passwords = read_passwords(&mut act, &user.id).await?;
        let totp = read_totp(&mut act, &user.id).await?;
        Ok(Some(Credentials { user, passwords, totp }))
    }

    /// The same for a user who is known already.
    pub async fn credentials_of(&self, id: &UserId) -> Result<Credentials, StoreError> {
        let mut act = self.pool.begin().await?;
        let user = read_user(&mut act, id).await?;
        let passwords = read_passwords(&mut act, id).await?;
        let totp = read_totp(&mut act, id).await?;
        Ok(Credentials { user, passwords, totp })
    }

    /// Replaces all passwords of a user by one, ends all sessions but `keep`, and tells the user as it
    /// is then.
    ///
    /// An expired password is thereby renewed: the user is active again. A second factor that awaits its
    /// first code is taken away, since whoever knew the old password may have set it.
    pub async fn replace_passwords(
        &self,
        whose: impl Into<Whose<'_>>,
        phc: &Secret<String>,
        keep: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let whose = whose.into();
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        replace(&mut act, whose, (phc, keep), now).await?;
        let user = read_user(&mut act, whose.id).await?;
        act.commit().await?;
        Ok(user)
    }

    /// Adds a password to those of a user, of whom `most` are allowed, and returns its number.
    pub async fn add_password(
        &self,
        whose: impl Into<Whose<'_>>,
        phc: &Secret<String>,
        most: usize,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let whose = whose.into();
        let id = whose.id;
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise_judged(&mut act, whose, now).await?;
        if count_passwords(&mut act, id).await? >= most {
            return Err(StoreError::TooManyPasswords);
        }
        let number = insert_password(&mut act, id, phc, now).await?;
        act.commit().await?;
        Ok(number)
    }

    /// Removes one password of a user, but never the last one, and ends all sessions but `keep`.
    ///
    /// A second factor that awaits its first code goes with it, as with all passwords at once.
    pub async fn remove_password(
        &self,
        whose: impl Into<Whose<'_>>,
        number: u32,
        keep: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let whose = whose.into();
        let id = whose.id;
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise_judged(&mut act, whose, now).await?;
        let removed = sqlx::query("DELETE FROM passwords WHERE user = ? AND number = ?")
            .bind(id.as_str())
            .bind(number)
            .execute(&mut *act)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        if count_passwords(&mut act, id).await? == 0 {
            return Err(StoreError::LastPassword);
        }
        remove_unconfirmed(&mut act, id).await?;
        sqlx::query("UPDATE users SET password_changed_at = ? WHERE id = ?")
            .bind(now.millis())
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        end(&mut act, Ending::OfUser(id, keep), EndReason::PasswordChanged, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Replaces the hash of a password by another hash of the same password, unless it was changed
    /// since `old` was read; tells whether it did. Not a change: what was remembered stays right.
    pub async fn rehash_password(
        &self,
        id: &UserId,
        number: u32,
        old: &Secret<String>,
        new: &Secret<String>,
    ) -> Result<bool, StoreError> {
        let done =
            sqlx::query("UPDATE passwords SET phc = ? WHERE user = ? AND number = ? AND phc = ?")
                .bind(new.expose().as_str())
                .bind(id.as_str())
                .bind(number)
                .bind(old.expose().as_str())
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// Replaces all passwords by the first of the pair and ends all sessions but the second.
pub(super) async fn replace(
    act: &mut SqliteConnection,
    whose: Whose<'_>,
    (phc, keep): (&Secret<String>, Option<&SessionId>),
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = whose.id;
    revise_judged(act, whose, now).await?;
    sqlx::query("DELETE FROM passwords WHERE user = ?")
        .bind(id.as_str())
        .execute(&mut *act)
        .await?;
    insert_password(act, id, phc, now).await?;
    sqlx::query("UPDATE users SET state = 'active' WHERE id = ? AND state = 'expired'")
        .bind(id.as_str())
        .execute(&mut *act)
        .await?;
    remove_unconfirmed(act, id).await?;
    end(act, Ending::OfUser(id, keep), EndReason::PasswordChanged, now).await?;
    Ok(())
}

pub(super) async fn insert_password(
    act: &mut SqliteConnection,
    id: &UserId,
    phc: &Secret<String>,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let number: u32 = sqlx::query_scalar(
        "UPDATE users SET passwords_made = passwords_made + 1, password_changed_at = ?
         WHERE id = ? RETURNING passwords_made",
    )
    .bind(now.millis())
    .bind(id.as_str())
    .fetch_one(&mut *act)
    .await?;
    sqlx::query("INSERT INTO passwords (user, number, phc, created_at) VALUES (?, ?, ?, ?)")
        .bind(id.as_str())
        .bind(number)
        .bind(phc.expose().as_str())
        .bind(now.millis())
        .execute(act)
        .await?;
    Ok(number)
}

async fn count_passwords(act: &mut SqliteConnection, id: &UserId) -> Result<usize, StoreError> {
    let count: u32 = sqlx::query_scalar("SELECT count(*) FROM passwords WHERE user = ?")
        .bind(id.as_str())
        .fetch_one(act)
        .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

async fn read_passwords(
    act: &mut SqliteConnection,
    id: &UserId,
) -> Result<Vec<PasswordRecord>, StoreError> {
    let rows =
        sqlx::query("SELECT number, phc, created_at FROM passwords WHERE user = ? ORDER BY number")
            .bind(id.as_str())
            .fetch_all(act)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(PasswordRecord {
                number: row.try_get(0)?,
                phc: Secret::new(row.try_get(1)?),
                created_at: Timestamp::from_millis(row.try_get(2)?),
            })
        })
        .collect()
}
