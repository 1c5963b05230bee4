//! Sessions of users who signed in: opening, refreshing, ending.
//!
//! Mints no access token: whoever does asks here first until when it may live.

use std::net::IpAddr;
use std::time::Duration;

use super::accounts::{Accounts, unavailable};
use super::random;
use super::refresh_token::RefreshToken;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId, UserId};
use crate::secret::Secret;
use crate::store::{
    EndReason, Extension, NewSession, Presented, RefreshTerms, Rotation, SessionRecord, StoreError,
    UserRecord,
};

/// A session to be opened for a user who has just signed in.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Who signed in.
    pub user: &'a UserRecord,
    /// The application that it is bound to.
    pub app: Option<&'a AppId>,
    /// The dialect in which it was asked for.
    pub dialect: &'a str,
    /// Where it was asked for.
    pub address: IpAddr,
    /// The program that asked, as it calls itself.
    pub agent: &'a str,
    /// When its first access token expires.
    pub tokens_until: Timestamp,
    /// For how long it can be refreshed; `None` when it cannot.
    pub refresh: Option<RefreshTerms>,
}

/// A refresh that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Refreshing<'a> {
    /// The application that asks.
    pub app: Option<&'a AppId>,
    /// Where it is asked for.
    pub address: IpAddr,
    /// The dialect whose sessions alone can be refreshed; none is any.
    pub dialect: Option<&'a str>,
    /// When the access token that is minted for it expires.
    pub tokens_until: Timestamp,
    /// How long after a refresh the same token gets the same answer.
    pub grace: Duration,
}

/// A session that was opened or refreshed.
#[derive(Debug)]
pub struct Granted {
    /// Its id.
    pub session: SessionId,
    /// Its user, as it is now.
    pub user: UserRecord,
    /// The token that refreshes it next.
    pub refresh_token: Option<Secret<String>>,
    /// The session as it is kept, after a refresh.
    pub record: Option<SessionRecord>,
}

/// Why a session was not opened or refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No token of ours, or its session is over or can no longer be refreshed. Outsiders learn no more.
    #[error("the refresh token is not good")]
    Invalid,
    /// No token of ours, like too many before it from the same place.
    #[error("too many forged refresh tokens from this place")]
    Throttled {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The user was changed since the sign-in was judged.
    #[error("the account was changed meanwhile")]
    UserChanged,
    /// The application was revoked.
    #[error("the application is revoked")]
    AppRevoked,
    /// The store cannot be used.
    #[error("accounts cannot be used at present")]
    Unavailable,
}

impl Accounts {
    /// Opens a session.
    pub async fn open_session(&self, opening: &Opening<'_>) -> Result<Granted, SessionError> {
        let random = random::bytes().map_err(|_| SessionError::Unavailable)?;
        let session = NewSession {
            id: SessionId::generate(random),
            user: opening.user.id.clone(),
            revision: opening.user.revision,
            app: opening.app.cloned(),
            dialect: opening.dialect.to_owned(),
            address: opening.address,
            agent: opening.agent.to_owned(),
            tokens_until: opening.tokens_until,
            refresh: opening.refresh,
        };
        let most = self.settings.most_sessions;
        match self.store.open_session(&session, most, self.clock.now()).await {
            Ok(()) => {}
            Err(StoreError::UserChanged | StoreError::NotFound) => {
                return Err(SessionError::UserChanged);
            }
            Err(StoreError::AppRevoked) => return Err(SessionError::AppRevoked),
            Err(error) => return Err(failed(error)),
        }
        let refresh_token = session.refresh.map(|_| self.refresh_token(&session.id, 0));
        let user = opening.user.clone();
        Ok(Granted { session: session.id, user, refresh_token, record: None })
    }

    /// Takes a refresh token and gives its successor. A second use of one ends the session, for one of
    /// the two who used it is a thief; but for a moment, when the first reply may have been lost.
    pub async fn refresh(
        &self,
        token: Secret<&str>,
        asked: &Refreshing<'_>,
    ) -> Result<Granted, SessionError> {
        let Refreshing { app, address, dialect, tokens_until, grace } = *asked;
        let Some(token) = RefreshToken::parse(token, &self.key) else {
            return Err(self.forged(address));
        };
        let presented = Presented {
            session: &token.session,
            counter: token.generation,
            app,
            dialect,
            tokens_until,
            grace,
        };
        let rotation = self.store.rotate_refresh(&presented, self.clock.now()).await;
        match rotation.map_err(failed)? {
            Rotation::Next(renewed) | Rotation::Same(renewed) => Ok(Granted {
                refresh_token: Some(self.refresh_token(&token.session, renewed.counter)),
                session: token.session,
                user: renewed.user,
                record: Some(renewed.session),
            }),
            Rotation::Reused => {
                let session = token.session.as_str();
                tracing::warn!(session, "a refresh token was used twice: its session was ended");
                Err(SessionError::Invalid)
            }
            Rotation::OtherApp => {
                let session = token.session.as_str();
                tracing::warn!(session, "another app used a refresh token: its session was ended");
                Err(SessionError::Invalid)
            }
            Rotation::Ended | Rotation::Expired => Err(SessionError::Invalid),
        }
    }

    /// Notes that a further token of a session, asked for by `app`, lives until `tokens_until`; false
    /// when it may not.
    pub async fn extend_session(
        &self,
        session: &SessionId,
        app: Option<&AppId>,
        tokens_until: Timestamp,
    ) -> Result<bool, SessionError> {
        let now = self.clock.now();
        let extension = self.store.extend_session(session, app, tokens_until, now).await;
        match extension.map_err(failed)? {
            Extension::Granted => Ok(true),
            Extension::Ended => Ok(false),
            Extension::OtherApp => {
                let session = session.as_str();
                tracing::warn!(session, "another app renewed a token: its session was ended");
                Ok(false)
            }
        }
    }

    /// Ends a session of a user; one that is over or another's is left alone.
    pub async fn log_out(&self, session: &SessionId, owner: &UserId) -> Result<(), SessionError> {
        let now = self.clock.now();
        let ended = self.store.end_session(session, Some(owner), EndReason::Logout, now).await;
        match ended {
            Ok(()) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Ends all sessions of a user but one.
    pub async fn log_out_others(
        &self,
        owner: &UserId,
        keep: Option<&SessionId>,
    ) -> Result<Vec<SessionId>, SessionError> {
        let now = self.clock.now();
        let ended = self.store.end_sessions_of_user(owner, keep, EndReason::Logout, now).await;
        ended.map_err(failed)
    }

    /// The next sessions of a user after `after`, in the order in which they were opened.
    pub async fn sessions_of(
        &self,
        owner: &UserId,
        after: Option<&SessionId>,
    ) -> Result<Vec<SessionRecord>, SessionError> {
        let now = self.clock.now();
        self.store.list_sessions(Some(owner), after, now).await.map_err(failed)
    }

    /// Only what has not our mark is limited: a right token is let through whatever its place did.
    fn forged(&self, address: IpAddr) -> SessionError {
        match self.throttle.note_forgery(address, self.clock.now()) {
            Some(retry_after) => SessionError::Throttled { retry_after },
            None => SessionError::Invalid,
        }
    }

    fn refresh_token(&self, session: &SessionId, generation: i64) -> Secret<String> {
        RefreshToken { session: session.clone(), generation }.text(&self.key)
    }
}

fn failed(error: StoreError) -> SessionError {
    // For the log; the caller learns only that it failed.
    drop(unavailable(error));
    SessionError::Unavailable
}
