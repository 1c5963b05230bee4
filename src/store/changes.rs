//! The log of changes: how a running gateway learns what other processes did.

use sqlx::SqliteConnection;

use super::Store;
use super::error::StoreError;
use super::place::{File, Place};
use crate::clock::Timestamp;
use crate::id::AppId;

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
    /// These applications, each once; perhaps none.
    Apps(Vec<AppId>),
    /// The log does not reach back far enough or is not the log it was: anything may have changed.
    Everything,
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
            Some(0) => return Ok(Changes { up_to, touched: Touched::Apps(Vec::new()) }),
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
        // A kind from a later version touches we know not what.
        if !is_whole || rows.iter().any(|(kind, _)| kind != APP) {
            return everything;
        }
        let mut apps: Vec<_> = rows.into_iter().map(|(_, id)| AppId::new(id)).collect();
        apps.sort_unstable();
        apps.dedup();
        Ok(Changes { up_to, touched: Touched::Apps(apps) })
    }
}

/// Notes within the transaction of an act that it altered `app`.
pub(super) async fn note_app(
    act: &mut SqliteConnection,
    app: &AppId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let noted = sqlx::query("INSERT INTO changes (kind, id, at) VALUES (?, ?, ?)")
        .bind(APP)
        .bind(app.as_str())
        .bind(now.millis())
        .execute(&mut *act)
        .await?;
    sqlx::query("DELETE FROM changes WHERE seq <= ?")
        .bind(noted.last_insert_rowid().saturating_sub(KEPT))
        .execute(act)
        .await?;
    Ok(())
}

const APP: &str = "app";
/// Above so many changes at once it is cheaper to forget everything.
const MAX_LISTED: i64 = 256;
/// So many changes stay in the log.
const KEPT: i64 = 10_000;
