//! What can go wrong with a store, as far as a caller can tell the cases apart.

use std::io;
use std::path::PathBuf;

/// Why an act did not happen; after any of these the store is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be created or opened.
    #[error("cannot open the store at {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A later version of Portcullis has changed the tables.
    #[error("the store has schema {found}, this program knows {known}")]
    Newer {
        /// The schema of the file.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// There is no such application, or no such secret of it.
    #[error("no such application or secret")]
    NotFound,
    /// A live application already has this name.
    #[error("an application of this name exists")]
    NameTaken,
    /// The application was revoked, which is final.
    #[error("the application is revoked")]
    AppRevoked,
    /// Two secrets are live already: one has to be revoked or to expire first.
    #[error("two secrets of the application are live")]
    TwoLiveSecrets,
    /// A row holds what no act of this program writes.
    #[error("the store holds an unreadable {0}")]
    Corrupt(&'static str),
    /// The database did not answer within the caller's deadline.
    #[error("the store did not answer in time")]
    Late,
    /// The database refused or did not answer.
    #[error("the store failed")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether the same act may succeed when it is tried again later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Late => true,
            Self::Database(sqlx::Error::Database(error)) => error
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                // The low byte is the primary result code of SQLite: BUSY and LOCKED.
                .is_some_and(|code| matches!(code & 0xff, 5 | 6)),
            Self::Database(error) => {
                matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_))
            }
            Self::Open { .. }
            | Self::Newer { .. }
            | Self::NotFound
            | Self::NameTaken
            | Self::AppRevoked
            | Self::TwoLiveSecrets
            | Self::Corrupt(_) => false,
        }
    }
}
