//! The act of presenting a refresh token: it is good once, and a second use is a theft.
//!
//! Nothing of the token itself is kept: its generation is a number, its authenticity was judged by
//! the caller.

use sqlx::{Row, SqliteConnection};

use super::Store;
use super::error::StoreError;
use super::session::{EndReason, Presented, Renewed, Rotation, SessionRecord};
use super::sessions::{Ending, end, session_of};
use super::user::UserState;
use super::users::read_user;
use crate::clock::Timestamp;
use crate::id::SessionId;

impl Store {
    /// Replaces the refresh token of a session by its successor, if it is the one in force.
    pub async fn rotate_refresh(
        &self,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut act = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let rotation = rotate(&mut act, presented, now).await?;
        act.commit().await?;
        Ok(rotation)
    }
}

/// The order: a session that is over, or of another dialect, tells nothing; whoever lacks the right
/// application, or comes with a token used before, ends it even when it could not be refreshed any
/// more, since its access tokens may live longer.
async fn rotate(
    act: &mut SqliteConnection,
    presented: &Presented<'_>,
    now: Timestamp,
) -> Result<Rotation, StoreError> {
    let Some(family) = read_family(act, presented.session).await? else {
        return Ok(Rotation::Ended);
    };
    if presented.dialect.is_some_and(|dialect| dialect != family.session.dialect) {
        return Ok(Rotation::Ended);
    }
    if family.session.app.is_some() && family.session.app.as_ref() != presented.app {
        end(act, Ending::One(presented.session), EndReason::OtherApp, now).await?;
        return Ok(Rotation::OtherApp);
    }
    let is_lost_reply = family.counter.checked_sub(presented.counter) == Some(1)
        && family.session.refreshed_at.is_some_and(|at| now < at.plus(presented.grace));
    if family.counter != presented.counter && !is_lost_reply {
        end(act, Ending::One(presented.session), EndReason::Reuse, now).await?;
        return Ok(Rotation::Reused);
    }
    if family.session.refresh_until.is_none_or(|until| now >= until) {
        return Ok(Rotation::Expired);
    }
    let user = match read_user(act, &family.session.user).await {
        Ok(user) if user.state == UserState::Active => user,
        Ok(_) | Err(StoreError::NotFound) => return Ok(Rotation::Ended),
        Err(error) => return Err(error),
    };
    let mut next = family;
    next.session.tokens_until = next.session.tokens_until.max(presented.tokens_until);
    if !is_lost_reply {
        next.counter = next.counter.checked_add(1).ok_or(StoreError::Corrupt("generation"))?;
        next.session.refreshed_at = Some(now);
        next.session.refresh_until = Some(Timestamp::from_millis(
            now.millis().saturating_add(next.idle_ms).min(next.last.millis()),
        ));
    }
    write_family(act, &next).await?;
    let renewed = Box::new(Renewed { counter: next.counter, session: next.session, user });
    Ok(if is_lost_reply { Rotation::Same(renewed) } else { Rotation::Next(renewed) })
}

/// A session with what its refresh needs.
struct Family {
    session: SessionRecord,
    counter: i64,
    idle_ms: i64,
    last: Timestamp,
}

/// The session, unless it has ended or cannot be refreshed at all.
async fn read_family(
    act: &mut SqliteConnection,
    id: &SessionId,
) -> Result<Option<Family>, StoreError> {
    let row = sqlx::query(
        "SELECT id, user, app, dialect, address, agent, created_at, refreshed_at, tokens_until,
                refresh_until, refresh_counter, refresh_idle_ms, refresh_last
         FROM sessions WHERE id = ? AND ended_at IS NULL AND refresh_idle_ms IS NOT NULL",
    )
    .bind(id.as_str())
    .fetch_optional(act)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Family {
        session: session_of(&row)?,
        counter: row.try_get(10)?,
        idle_ms: row.try_get(11)?,
        last: Timestamp::from_millis(row.try_get(12)?),
    }))
}

async fn write_family(act: &mut SqliteConnection, family: &Family) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE sessions
         SET refresh_counter = ?, refreshed_at = ?, refresh_until = ?, tokens_until = ?
         WHERE id = ?",
    )
    .bind(family.counter)
    .bind(family.session.refreshed_at.map(Timestamp::millis))
    .bind(family.session.refresh_until.map(Timestamp::millis))
    .bind(family.session.tokens_until.millis())
    .bind(family.session.id.as_str())
    .execute(act)
    .await?;
    Ok(())
}
