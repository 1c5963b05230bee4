//! What is kept: applications with the digests of their keys, users, sessions, signing keys, and the
//! log of changes.
//!
//! Each method of [`Store`] is one atomic act; no transaction leaves this module. Every act that
//! alters what a running gateway may have remembered appends to `changes` within the same
//! transaction. Secrets come here as digests, hashes or sealed; no clock is read here.

mod address;
mod app;
mod changes;
mod error;
mod passwords;
mod place;
mod record;
mod refresh;
mod revoked;
mod schema;
mod second_factors;
mod session;
mod sessions;
mod signing_keys;
mod user;
mod users;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use sqlx::ConnectOptions;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use address::{AddressError, StoreAddress};
pub use changes::{Changes, Point, Touched};
pub use error::StoreError;
use place::Place;
pub use record::{AppName, AppRecord, FoundSecret, NewApp, NewSecret, Scope, SecretRecord, Use};
pub use revoked::{DeadSession, DeadToken};
pub use session::{
    EndReason, Extension, NewSession, Presented, RefreshTerms, Renewed, Rotation, SessionRecord,
};
pub use signing_keys::{NewSigningKey, SigningKeyRecord};
pub use user::{
    Credentials, Login, NewUser, PasswordRecord, TotpRecord, UserChange, UserRecord, UserState,
    Whose,
};

/// A handle to the store; cheap to clone, all clones share two connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    /// Where its file is; nowhere for a store in memory.
    place: Option<Arc<Place>>,
}

impl Store {
    /// Opens the store, creating it if there is none, and brings its tables up to date.
    pub async fn open(address: &StoreAddress) -> Result<Self, StoreError> {
        if let Some(path) = address.path() {
            // Created by us and not by SQLite, whose files everybody may read; the write-ahead log
            // and its index inherit the mode of the file.
            touch(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        }
        Self::connect(address).await
    }

    /// Opens the store only if it is there already, so that a mistyped path does not make an empty one.
    pub async fn open_existing(address: &StoreAddress) -> Result<Self, StoreError> {
        if let Some(path) = address.path() {
            std::fs::metadata(path)
                .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        }
        Self::connect(address).await
    }

    /// Tried again while others are in the way: to switch a fresh file to its write-ahead log waits for
    /// nobody, whatever the timeout.
    async fn connect(address: &StoreAddress) -> Result<Self, StoreError> {
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            match Self::connect_once(address).await {
                Err(error) if error.is_transient() && Instant::now() < until => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn connect_once(address: &StoreAddress) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .thread_name(|n| format!("store-{n}"))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false);
        let place = address.path().map(|path| Arc::new(Place::new(path.to_owned())));
        let pool = match place.clone() {
            Some(place) => {
                let options = options.filename(place.path());
                // One that has another file open is closed; a new one opens what stands there now.
                pool.before_acquire(move |_, connection| {
                    Box::pin(std::future::ready(Ok(place.has_open(connection.age))))
                })
                .max_connections(MAX_CONNECTIONS)
                .connect_with(options)
            }
            // Each connection to a store in memory would be a store of its own.
            None => pool.max_connections(1).connect_with(options.in_memory(true)),
        };
        let store = Self { pool: pool.await?, place };
        schema::migrate(&store.pool).await?;
        Ok(store)
    }

    /// Ends all connections, once what they are doing is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn touch(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// One thread each: one for the look-ups, one so that a slow write does not hold them up.
const MAX_CONNECTIONS: u32 = 2;
/// How long an act waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long opening rests before it is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long an act waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

#[cfg(test)]
mod user_tests;

#[cfg(test)]
mod session_tests;

#[cfg(test)]
mod cut_off_tests;
