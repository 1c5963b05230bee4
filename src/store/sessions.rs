//! The acts on sessions but their refresh, which is in `refresh`.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::changes::{Kind, note_all};
use super::error::StoreError;
use super::revoked::MARGIN;
use super::session::{EndReason, Extension, NewSession, SessionRecord};
use super::user::UserState;
use super::users::read_user;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId, UserId};

/// One row per session, for those that the given condition selects.
macro_rules! session_rows {
    ($condition:literal) => {
        concat!(
            "SELECT id, user, app, dialect, address, agent, created_at, refreshed_at, tokens_until,
                    refresh_until FROM sessions WHERE ",
            $condition
        )
    };
}

/// Ends the sessions that the given condition selects, and returns their ids.
macro_rules! ended {
    ($condition:literal) => {
        concat!(
            "UPDATE sessions SET ended_at = ?1, end_reason = ?2
             WHERE ended_at IS NULL AND ",
            $condition,
            " RETURNING id"
        )
    };
}

impl Store {
    /// Opens a session, and ends the oldest ones of its user beyond `most`.
    ///
    /// The user must be active and of the revision that the sign-in judged: a password that was
    /// changed while it was compared opens nothing. The application must not be revoked.
    pub async fn open_session(
        &self,
        session: &NewSession,
        most: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        forget_over(&mut act, now).await?;
        let user = read_user(&mut act, &session.user).await?;
        if user.state != UserState::Active || user.revision != session.revision {
            return Err(StoreError::UserChanged);
        }
        if is_revoked(&mut act, session.app.as_ref()).await? {
            return Err(StoreError::AppRevoked);
        }
        insert_session(&mut act, session, now).await?;
        let most = Ending::Beyond(&session.user, most.max(1));
        end(&mut act, most, EndReason::TooMany, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Notes that a further token of a session, asked for by `app`, will live until `tokens_until`,
    /// before it is minted.
    ///
    /// As with a refresh token, whoever comes with another application than the one that it is bound to
    /// ends the session.
    pub async fn extend_session(
        &self,
        id: &SessionId,
        app: Option<&AppId>,
        tokens_until: Timestamp,
        now: Timestamp,
    ) -> Result<Extension, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(session_rows!("id = ? AND ended_at IS NULL AND over_at > ?"))
            .bind(id.as_str())
            .bind(now.millis())
            .fetch_optional(&mut *act)
            .await?;
        let Some(session) = row.as_ref().map(session_of).transpose()? else {
            return Ok(Extension::Ended);
        };
        let extension = if session.app.is_some() && session.app.as_ref() != app {
            end(&mut act, Ending::One(id), EndReason::OtherApp, now).await?;
            Extension::OtherApp
        } else {
            sqlx::query("UPDATE sessions SET tokens_until = max(tokens_until, ?) WHERE id = ?")
                .bind(tokens_until.millis())
                .bind(id.as_str())
                .execute(&mut *act)
                .await?;
            Extension::Granted
        };
        act.commit().await?;
        Ok(extension)
    }

    /// The next sessions after `after` that are not over, in the order they were opened, at most 200.
    pub async fn list_sessions(
        &self,
        user: Option<&UserId>,
        after: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let query = if user.is_some() {
            session_rows!(
                "seq > coalesce((SELECT seq FROM sessions WHERE id = ?1), 0) AND user = ?2
                 AND ended_at IS NULL AND over_at > ?3 ORDER BY seq LIMIT ?4"
            )
        } else {
            session_rows!(
                "seq > coalesce((SELECT seq FROM sessions WHERE id = ?1), 0) AND ?2 IS NULL
                 AND ended_at IS NULL AND over_at > ?3 ORDER BY seq LIMIT ?4"
            )
        };
        let rows = sqlx::query(query)
            .bind(after.map(SessionId::as_str))
            .bind(user.map(UserId::as_str))
            .bind(now.millis())
            .bind(PAGE)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(session_of).collect()
    }

    /// One session that is not over.
    pub async fn find_session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let row = sqlx::query(session_rows!("id = ? AND ended_at IS NULL AND over_at > ?"))
            .bind(id.as_str())
            .bind(now.millis())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(session_of).transpose()
    }

    /// Ends a session, if it is one of `owner`'s; once more changes nothing.
    pub async fn end_session(
        &self,
        id: &SessionId,
        owner: Option<&UserId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let user: Option<String> = sqlx::query_scalar("SELECT user FROM sessions WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *act)
            .await?;
        let user = user.ok_or(StoreError::NotFound)?;
        if owner.is_some_and(|owner| owner.as_str() != user) {
            return Err(StoreError::NotFound);
        }
        end(&mut act, Ending::One(id), reason, now).await?;
        act.commit().await?;
        Ok(())
    }

    /// Ends the sessions of a user but `keep`, and returns which.
    pub async fn end_sessions_of_user(
        &self,
        user: &UserId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.end_all(Ending::OfUser(user, keep), reason, now).await
    }

    /// Ends the sessions that are bound to an application, and returns which.
    pub async fn end_sessions_of_app(
        &self,
        app: &AppId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.end_all(Ending::OfApp(app), reason, now).await
    }

    async fn end_all(
        &self,
        which: Ending<'_>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let ended = end(&mut act, which, reason, now).await?;
        act.commit().await?;
        Ok(ended)
    }
}

/// Which sessions end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending<'a> {
    /// This one.
    One(&'a SessionId),
    /// Those of a user, but for one.
    OfUser(&'a UserId, Option<&'a SessionId>),
    /// The oldest of a user beyond a number.
    Beyond(&'a UserId, u32),
    /// Those bound to an application.
    OfApp(&'a AppId),
}

/// Ends sessions within the transaction of an act, and notes each.
pub(super) async fn end(
    act: &mut SqliteConnection,
    which: Ending<'_>,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let query = match which {
        Ending::One(_) => ended!("id = ?3"),
        Ending::OfUser(..) => ended!("user = ?3 AND id IS NOT ?4"),
        Ending::Beyond(..) => ended!(
            "seq IN (SELECT seq FROM sessions WHERE user = ?3 AND ended_at IS NULL AND over_at > ?1
                     ORDER BY seq DESC LIMIT -1 OFFSET ?4)"
        ),
        Ending::OfApp(_) => ended!("app = ?3"),
    };
    let query = sqlx::query_scalar::<_, String>(query).bind(now.millis()).bind(reason.as_str());
    let query = match which {
        Ending::One(id) => query.bind(id.as_str()),
        Ending::OfUser(user, keep) => query.bind(user.as_str()).bind(keep.map(SessionId::as_str)),
        Ending::Beyond(user, most) => query.bind(user.as_str()).bind(most),
        Ending::OfApp(app) => query.bind(app.as_str()),
    };
    let ended = query.fetch_all(&mut *act).await?;
    note_all(act, Kind::Session, ended.iter().map(String::as_str), now).await?;
    Ok(ended.into_iter().map(SessionId::new).collect())
}

async fn insert_session(
    act: &mut SqliteConnection,
    session: &NewSession,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = session.refresh.map(|terms| now.plus(terms.absolute));
    let until = session.refresh.map(|terms| now.plus(terms.idle)).min(last);
    let idle = session.refresh.map(|terms| millis(terms.idle));
    sqlx::query(
        "INSERT INTO sessions (id, user, app, dialect, address, agent, created_at, tokens_until,
                               refresh_idle_ms, refresh_until, refresh_last)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(session.id.as_str())
    .bind(session.user.as_str())
    .bind(session.app.as_ref().map(AppId::as_str))
    .bind(session.dialect.as_str())
    .bind(session.address.to_string())
    .bind(beginning(&session.agent))
    .bind(now.millis())
    .bind(session.tokens_until.millis())
    .bind(idle)
    .bind(until.map(Timestamp::millis))
    .bind(last.map(Timestamp::millis))
    .execute(act)
    .await?;
    Ok(())
}

/// Deletes some of the sessions that nobody has to remember any more, so that the table stays small.
async fn forget_over(act: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sessions WHERE seq IN
             (SELECT seq FROM sessions WHERE over_at <= ? ORDER BY over_at LIMIT ?)",
    )
    .bind(now.minus(MARGIN).millis())
    .bind(FORGOTTEN_AT_ONCE)
    .execute(act)
    .await?;
    Ok(())
}

/// An application that the store does not know stands in the configuration, which revokes it.
async fn is_revoked(act: &mut SqliteConnection, app: Option<&AppId>) -> Result<bool, StoreError> {
    let Some(app) = app else { return Ok(false) };
    let known: Option<bool> =
        sqlx::query_scalar("SELECT revoked_at IS NOT NULL FROM apps WHERE id = ?")
            .bind(app.as_str())
            .fetch_optional(act)
            .await?;
    Ok(known == Some(true))
}

pub(super) fn session_of(row: &SqliteRow) -> Result<SessionRecord, StoreError> {
    let instant = |column: usize| row.try_get(column).map(Timestamp::from_millis);
    let perhaps = |column: usize| {
        row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp::from_millis))
    };
    Ok(SessionRecord {
        id: SessionId::new(row.try_get::<String, _>(0)?),
        user: UserId::new(row.try_get::<String, _>(1)?),
        app: row.try_get::<Option<String>, _>(2)?.map(AppId::new),
        dialect: row.try_get(3)?,
        address: row
            .try_get::<&str, _>(4)?
            .parse()
            .map_err(|_| StoreError::Corrupt("address of a session"))?,
        agent: row.try_get(5)?,
        created_at: instant(6)?,
        refreshed_at: perhaps(7)?,
        tokens_until: instant(8)?,
        refresh_until: perhaps(9)?,
    })
}

fn beginning(agent: &str) -> &str {
    let end = agent.floor_char_boundary(LONGEST_AGENT);
    agent.get(..end).unwrap_or_default()
}

fn millis(length: std::time::Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// Sessions told at once.
const PAGE: i64 = 200;
/// Each opening deletes more than it adds, and never many.
const FORGOTTEN_AT_ONCE: i64 = 16;
/// Bytes kept of what a program calls itself.
const LONGEST_AGENT: usize = 256;
