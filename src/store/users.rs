//! The acts on users themselves; their passwords, second factors and sessions have files of their own.

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::changes::{Kind, note};
use super::error::StoreError;
use super::passwords::insert_password;
use super::session::EndReason;
use super::sessions::{Ending, end};
use super::user::{Login, NewUser, UserChange, UserRecord, UserState, Whose};
use crate::clock::Timestamp;
use crate::id::UserId;

/// One row per user, for those that the given condition selects.
macro_rules! user_rows {
    ($condition:literal) => {
        concat!(
            "SELECT u.seq, u.id, u.login, u.state, u.attributes, u.permissions, u.created_at,
                    u.password_changed_at, u.revision,
                    EXISTS (SELECT 1 FROM totps t WHERE t.user = u.id AND t.confirmed_at IS NOT NULL),
                    (SELECT count(*) FROM passwords p WHERE p.user = u.id)
             FROM users u WHERE ",
            $condition
        )
    };
}

impl Store {
    /// Creates a user, with a password if there is one.
    pub async fn create_user(
        &self,
        user: &NewUser,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let attributes = bounded(&user.attributes)?;
        let permissions = bounded(&user.permissions)?;
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO users (id, login, state, attributes, permissions, created_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(user.id.as_str())
        .bind(user.login.as_str())
        .bind(user.state.as_str())
        .bind(attributes)
        .bind(permissions)
        .bind(now.millis())
        .execute(&mut *act)
        .await
        .map_err(login_taken)?;
        judge_unique(&mut act, &user.id, &user.attributes, &user.unique).await?;
        if let Some(phc) = &user.password {
            insert_password(&mut act, &user.id, phc, now).await?;
        }
        note(&mut act, Kind::User, user.id.as_str(), now).await?;
        let created = read_user(&mut act, &user.id).await?;
        act.commit().await?;
        Ok(created)
    }

    /// The next users after `after` in order of creation, at most 200; none when there are no more.
    pub async fn list_users(&self, after: Option<&UserId>) -> Result<Vec<UserRecord>, StoreError> {
        let rows = sqlx::query(user_rows!(
            "u.seq > coalesce((SELECT seq FROM users WHERE id = ?), 0) ORDER BY u.seq LIMIT ?"
        ))
        .bind(after.map(UserId::as_str))
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(user_of).collect()
    }

    /// One user.
    pub async fn show_user(&self, id: &UserId) -> Result<UserRecord, StoreError> {
        read_user(&mut *self.pool.acquire().await?, id).await
    }

    /// The user who signs in under this name.
    pub async fn find_user_by_login(
        &self,
        login: &Login,
    ) -> Result<Option<UserRecord>, StoreError> {
        read_user_by_login(&mut *self.pool.acquire().await?, login).await
    }

    /// Alters name, attributes and permissions in one act, and tells the user as it is then.
    pub async fn update_user(
        &self,
        id: &UserId,
        change: &UserChange,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut user = read_user(&mut act, id).await?;
        if let Some(login) = &change.login {
            user.login = login.clone();
        }
        if let Some(patch) = &change.attributes {
            merge(&mut user.attributes, patch);
        }
        if let Some(permissions) = &change.permissions {
            user.permissions = permissions.clone();
        }
        sqlx::query("UPDATE users SET login = ?, attributes = ?, permissions = ? WHERE id = ?")
            .bind(user.login.as_str())
            .bind(bounded(&user.attributes)?)
            .bind(bounded(&user.permissions)?)
            .bind(id.as_str())
            .execute(&mut *act)
            .await
            .map_err(login_taken)?;
        if let Some(patch) = &change.attributes {
            judge_unique(&mut act, id, patch, &change.unique).await?;
        }
        note(&mut act, Kind::User, id.as_str(), now).await?;
        act.commit().await?;
        Ok(user)
    }

    /// Sets the attributes in `patch`, removes those that are `null` there, keeps the rest.
    pub async fn set_attributes(
        &self,
        id: &UserId,
        patch: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let change = UserChange { attributes: Some(patch.clone()), ..UserChange::default() };
        self.update_user(id, &change, now).await
    }

    /// Replaces what a user may do.
    pub async fn set_permissions(
        &self,
        id: &UserId,
        permissions: &Value,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let change = UserChange { permissions: Some(permissions.clone()), ..UserChange::default() };
        self.update_user(id, &change, now).await
    }

    /// Gives a user another name to sign in with.
    pub async fn set_login(
        &self,
        id: &UserId,
        login: &Login,
        now: Timestamp,
    ) -> Result<UserRecord, StoreError> {
        let change = UserChange { login: Some(login.clone()), ..UserChange::default() };
        self.update_user(id, &change, now).await
    }

    /// Sets the state; [`UserState::Disabled`] ends all sessions in the same act, and
    /// [`UserState::Active`] is noted as an unlocking also of a user who was active.
    pub async fn set_state(
        &self,
        id: &UserId,
        state: UserState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        revise(&mut act, id, now).await?;
        sqlx::query("UPDATE users SET state = ? WHERE id = ?")
            .bind(state.as_str())
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        if state == UserState::Active {
            note(&mut act, Kind::Unlocked, id.as_str(), now).await?;
        }
        if state == UserState::Disabled {
            end(&mut act, Ending::OfUser(id, None), EndReason::UserDisabled, now).await?;
        }
        act.commit().await?;
        Ok(())
    }

    /// Deletes a user with passwords and second factor, and ends all sessions.
    pub async fn delete_user(&self, id: &UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let deleted = sqlx::query("DELETE FROM users WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *act)
            .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        end(&mut act, Ending::OfUser(id, None), EndReason::UserDeleted, now).await?;
        note(&mut act, Kind::User, id.as_str(), now).await?;
        act.commit().await?;
        Ok(())
    }
}

/// Notes that credentials or state of a user changed: a sign-in judged before opens no session after.
pub(super) async fn revise(
    act: &mut SqliteConnection,
    id: &UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let revised = sqlx::query("UPDATE users SET revision = revision + 1 WHERE id = ?")
        .bind(id.as_str())
        .execute(&mut *act)
        .await?;
    if revised.rows_affected() == 0 {
        return Err(StoreError::NotFound);
    }
    note(act, Kind::User, id.as_str(), now).await
}

/// The same, unless they changed since they were judged.
pub(super) async fn revise_judged(
    act: &mut SqliteConnection,
    whose: Whose<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(revision) = whose.revision
        && read_user(act, whose.id).await?.revision != revision
    {
        return Err(StoreError::UserChanged);
    }
    revise(act, whose.id, now).await
}

pub(super) async fn read_user(
    act: &mut SqliteConnection,
    id: &UserId,
) -> Result<UserRecord, StoreError> {
    let row =
        sqlx::query(user_rows!("u.id = ?")).bind(id.as_str()).fetch_optional(&mut *act).await?;
    row.as_ref().map(user_of).transpose()?.ok_or(StoreError::NotFound)
}

pub(super) async fn read_user_by_login(
    act: &mut SqliteConnection,
    login: &Login,
) -> Result<Option<UserRecord>, StoreError> {
    let row = sqlx::query(user_rows!("u.login = ?"))
        .bind(login.as_str())
        .fetch_optional(&mut *act)
        .await?;
    row.as_ref().map(user_of).transpose()
}

fn user_of(row: &SqliteRow) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        number: row.try_get(0)?,
        id: UserId::new(row.try_get::<String, _>(1)?),
        login: Login::parse(row.try_get(2)?).ok_or(StoreError::Corrupt("user name"))?,
        state: UserState::parse(row.try_get(3)?).ok_or(StoreError::Corrupt("state of a user"))?,
        attributes: serde_json::from_str(row.try_get(4)?)
            .map_err(|_| StoreError::Corrupt("attribute"))?,
        permissions: serde_json::from_str(row.try_get(5)?)
            .map_err(|_| StoreError::Corrupt("permission"))?,
        created_at: Timestamp::from_millis(row.try_get(6)?),
        password_changed_at: row.try_get::<Option<i64>, _>(7)?.map(Timestamp::from_millis),
        revision: row.try_get(8)?,
        has_totp: row.try_get(9)?,
        password_count: row.try_get(10)?,
    })
}

fn merge(attributes: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        if value.is_null() {
            // Not `remove`, which would move the last attribute into the gap.
            attributes.shift_remove(name);
        } else {
            attributes.insert(name.clone(), value.clone());
        }
    }
}

/// Refuses a text that another user has under the same name. All users are read for it, which for a
/// hundred thousand takes about as long as the hash of a password does.
async fn judge_unique(
    act: &mut SqliteConnection,
    id: &UserId,
    attributes: &Map<String, Value>,
    unique: &[String],
) -> Result<(), StoreError> {
    for name in unique {
        let Some(text) = attributes.get(name).and_then(Value::as_str) else { continue };
        let other = sqlx::query(
            "SELECT 1 FROM users WHERE id <> ? AND json_extract(attributes, ?) = ? LIMIT 1",
        )
        .bind(id.as_str())
        .bind(format!("$.\"{name}\""))
        .bind(text)
        .fetch_optional(&mut *act)
        .await?;
        if other.is_some() {
            return Err(StoreError::AttributeTaken(name.clone()));
        }
    }
    Ok(())
}

/// The text that is kept; every reading of the user pays for its length.
fn bounded(value: &impl serde::Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string(value).map_err(|_| StoreError::Corrupt("value"))?;
    if text.len() > LONGEST_BYTES { Err(StoreError::TooLong) } else { Ok(text) }
}

fn login_taken(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(refusal)
            if refusal.is_unique_violation() && refusal.message().contains("users.login") =>
        {
            StoreError::NameTaken
        }
        _ => error.into(),
    }
}

/// Users told at once.
const PAGE: i64 = 200;
/// Attributes and permissions of a user, each as JSON.
const LONGEST_BYTES: usize = 64 * 1024;
