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
    /// There is no record of this id, or no such secret or password of it.
    #[error("not found")]
    NotFound,
    /// A live application, or a user, already has this name.
    #[error("the name is taken")]
    NameTaken,
    /// Another user has the same value of an attribute that no two have.
    #[error("another user has the same `{0}`")]
    AttributeTaken(String),
    /// The application was revoked, which is final.
    #[error("the application is revoked")]
    AppRevoked,
    /// Two secrets are live already: one has to be revoked or to expire first.
    #[error("two secrets of the application are live")]
    TwoLiveSecrets,
    /// The user has as many passwords as allowed.
    #[error("the user has as many passwords as allowed")]
    TooManyPasswords,
    /// The only password of a user is not removed.
    #[error("it is the only password of the user")]
    LastPassword,
    /// A second factor in force is not replaced by one that still has to be confirmed.
    #[error("a second factor is in force; it has to be removed first")]
    TotpInForce,
    /// The user is not active, or not what it was when the sign-in was judged.
    #[error("the user was changed meanwhile, or is not active")]
    UserChanged,
    /// The only key of a family that may sign is not retired.
    #[error("no other key of the family signs yet")]
    LastKey,
    /// A value is longer than what is kept.
    #[error("the value is too long to be kept")]
    TooLong,
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
            | Self::AttributeTaken(_)
            | Self::AppRevoked
            | Self::TwoLiveSecrets
            | Self::TooManyPasswords
            | Self::LastPassword
            | Self::TotpInForce
            | Self::UserChanged
            | Self::LastKey
            | Self::TooLong
            | Self::Corrupt(_) => false,
        }
    }
}
