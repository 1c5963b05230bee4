//! The log of changes: how a running gateway learns what other processes did.

use sqlx::SqliteConnection;

use super::Store;
use super::error::StoreError;
use super::place::{File, Place};
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId, UserId};

/// What happened since a point in the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes {
    /// The point up to which this tells; the next question starts here.
    pub up_to: Point,
    /// What was altered.
    pub touched: Touched,
}

/// A point in the log of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub(super) seq: i64,
    pub(super) file: Option<File>,
}

/// Which records must be read again.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    /// These, each once; perhaps none.
    Some {
        /// Applications.
        apps: Vec<AppId>,
        /// Users: their state, attributes, permissions or credentials.
        users: Vec<UserId>,
        /// Those among them that were unlocked or enabled.
        unlocked: Vec<UserId>,
        /// Sessions that ended.
        sessions: Vec<SessionId>,
        /// Ids of tokens that were revoked.
        tokens: Vec<String>,
        /// Whether signing keys were added, retired or removed.
        keys: bool,
    },
    /// The log does not reach back far enough or is not the log it was: anything may have changed.
    Everything,
}

impl Touched {
    /// Nothing at all.
    pub const fn nothing() -> Self {
        Self::Some {
            apps: Vec::new(),
            users: Vec::new(),
            unlocked: Vec::new(),
            sessions: Vec::new(),
            tokens: Vec::new(),
            keys: false,
        }
    }

    /// Sorts what the log says; `None` for a kind of a later version, which touches we know not what.
    fn of(mut rows: Vec<(String, String)>) -> Option<Self> {
        rows.sort_unstable();
        rows.dedup();
        let (mut apps, mut users, mut unlocked) = (vec![], vec![], vec![]);
        let (mut sessions, mut tokens, mut keys) = (vec![], vec![], false);
        for (kind, id) in rows {
            match Kind::parse(&kind)? {
                Kind::App => apps.push(AppId::new(id)),
                Kind::User => users.push(UserId::new(id)),
                Kind::Unlocked => unlocked.push(UserId::new(id)),
                Kind::Session => sessions.push(SessionId::new(id)),
                Kind::Token => tokens.push(id),
                Kind::Key => keys = true,
            }
        }
        Some(Self::Some { apps, users, unlocked, sessions, tokens, keys })
    }
}

impl Store {
    /// What changed after the point `since`; everything when it is `None`.
    pub async fn changes_since(&self, since: Option<Point>) -> Result<Changes, StoreError> {
        // Before the question: a file that is replaced meanwhile makes the next one start anew.
        let file = self.place.as_deref().and_then(Place::file);
        let seq: i64 = sqlx::query_scalar(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)",
        )
        .fetch_one(&self.pool)
        .await?;
        let up_to = Point { seq, file };
        let everything = Ok(Changes { up_to, touched: Touched::Everything });
        let Some(Point { seq: since, .. }) = since.filter(|since| since.file == file) else {
            return everything;
        };
        // A log that went backwards is another one: a backup written over the file.
        let missed = match seq.checked_sub(since) {
            Some(0) => return Ok(Changes { up_to, touched: Touched::nothing() }),
            Some(missed @ 1..=MAX_LISTED) => missed,
            _ => return everything,
        };
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT kind, id FROM changes WHERE seq > ? AND seq <= ? ORDER BY seq")
                .bind(since)
                .bind(seq)
                .fetch_all(&self.pool)
                .await?;
        let is_whole = i64::try_from(rows.len()) == Ok(missed);
        match Touched::of(rows) {
            Some(touched) if is_whole => Ok(Changes { up_to, touched }),
            _ => everything,
        }
    }
}

/// What kind of record was altered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    App,
    User,
    /// Beside `User`: one whose failed attempts are to be forgotten.
    Unlocked,
    Session,
    Token,
    Key,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::App, Self::User, Self::Unlocked, Self::Session, Self::Token, Self::Key];

    const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::User => "user",
            Self::Unlocked => "unlocked",
            Self::Session => "session",
            Self::Token => "token",
            Self::Key => "key",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Notes within the transaction of an act that it altered a record.
pub(super) async fn note(
    act: &mut SqliteConnection,
    kind: Kind,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    note_all(act, kind, std::iter::once(id), now).await
}

/// Notes within the transaction of an act that it altered several records.
pub(super) async fn note_all(
    act: &mut SqliteConnection,
    kind: Kind,
    ids: impl Iterator<Item = &str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut last = None;
    for id in ids {
        let noted = sqlx::query("INSERT INTO changes (kind, id, at) VALUES (?, ?, ?)")
            .bind(kind.as_str())
            .bind(id)
            .bind(now.millis())
            .execute(&mut *act)
            .await?;
        last = Some(noted.last_insert_rowid());
    }
    let Some(last) = last else { return Ok(()) };
    sqlx::query("DELETE FROM changes WHERE seq <= ?")
        .bind(last.saturating_sub(KEPT))
        .execute(act)
        .await?;
    Ok(())
}

/// Above so many changes at once it is cheaper to forget everything.
const MAX_LISTED: i64 = 256;
/// So many changes stay in the log.
const KEPT: i64 = 10_000;
