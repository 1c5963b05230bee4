//! Users and their passwords: registering, changing, adding, removing.
//!
//! Whoever alters a password shows one first, under the same limits as at signing in.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::accounts::{Accounts, Attempt, Door, Proven, SignInError, hashes_of, unavailable};
use super::password::WeakPassword;
use super::random;
use crate::id::{SessionId, UserId};
use crate::secret::Secret;
use crate::store::{Login, NewUser, StoreError, UserRecord, UserState};

/// Why a password was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The present password is not right, or the user may not use it.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The policy does not allow it.
    #[error("the new password is not allowed: {0}")]
    Weak(#[from] WeakPassword),
    /// It is one that the user has already.
    #[error("the new password is one that the user has")]
    Same,
    /// The user has as many as allowed.
    #[error("the user has as many passwords as allowed")]
    TooMany,
    /// The only one is not removed.
    #[error("it is the only password of the user")]
    Last,
}

/// Why a user was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It cannot be the name of a user.
    #[error("not a user name")]
    Name,
    /// Somebody has the name.
    #[error("the name is taken")]
    NameTaken,
    /// Somebody has the same value of an attribute that no two users have.
    #[error("`{0}` is taken")]
    AttributeTaken(String),
    /// The policy does not allow the password.
    #[error("the password is not allowed: {0}")]
    Weak(#[from] WeakPassword),
    /// The attributes are larger than what is kept.
    #[error("the attributes are too long")]
    TooLong,
    /// The limit is reached, or accounts cannot be used.
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

impl Accounts {
    /// Registers a user who is active at once, if nobody has the same text in one of the attributes
    /// `unique`.
    pub async fn register(
        &self,
        login: &str,
        password: Secret<&str>,
        (attributes, unique): (Map<String, Value>, Vec<String>),
        address: IpAddr,
    ) -> Result<UserRecord, RegisterError> {
        let login = Login::parse(login).ok_or(RegisterError::Name)?;
        self.settings.policy.judge(password.expose(), login.as_str())?;
        let ticket = self.ticket(|now| self.throttle.try_take_place(address, now)).await?;
        let registration = self.ticket(|now| self.throttle.try_take_registration(address, now));
        let registration = match registration.await {
            Ok(registration) => registration,
            Err(error) => {
                ticket.forgive();
                return Err(error.into());
            }
        };
        let random = random::bytes().map_err(|_| SignInError::Unavailable)?;
        let hashed = self.hasher.hash(password, &[]).await.map_err(SignInError::from);
        let hashed = match hashed {
            Ok(hashed) => hashed,
            Err(error) => {
                ticket.forgive();
                registration.forgive();
                return Err(error.into());
            }
        };
        let user = NewUser {
            id: UserId::generate(random),
            login,
            state: UserState::Active,
            attributes,
            unique,
            permissions: Value::Object(Map::new()),
            password: Some(hashed),
        };
        let created = self.store.create_user(&user, self.clock.now()).await;
        if created.is_err() {
            registration.forgive();
        }
        match created {
            // The registration counts, so that one place does not fill the store.
            Ok(user) => {
                ticket.forgive();
                Ok(user)
            }
            // The ticket counts: this is how names are found out.
            Err(StoreError::NameTaken) => Err(RegisterError::NameTaken),
            Err(StoreError::AttributeTaken(name)) => Err(RegisterError::AttributeTaken(name)),
            Err(StoreError::TooLong) => Err(RegisterError::TooLong),
            Err(error) => Err(unavailable(error).into()),
        }
    }

    /// Replaces all passwords of the user by `new` and ends the other sessions.
    pub async fn change_password(
        &self,
        attempt: &Attempt<'_>,
        new: Secret<&str>,
        keep: Option<&SessionId>,
    ) -> Result<UserRecord, PasswordError> {
        let proven = self.proven_for(attempt, new).await?;
        let hash = self.hasher.hash(new, &[]).await.map_err(SignInError::from)?;
        let (user, now) = (&proven.credentials.user, self.clock.now());
        Ok(self.store.replace_passwords(user, &hash, keep, now).await.map_err(changed)?)
    }

    /// Adds `new` to the passwords of the user.
    pub async fn add_password(
        &self,
        attempt: &Attempt<'_>,
        new: Secret<&str>,
    ) -> Result<(), PasswordError> {
        let proven = self.proven_for(attempt, new).await?;
        let beside = hashes_of(&proven.credentials);
        let hash = self.hasher.hash(new, &beside).await.map_err(SignInError::from)?;
        let (user, most) = (&proven.credentials.user, self.settings.most_passwords);
        match self.store.add_password(user, &hash, most, self.clock.now()).await {
            Ok(_) => Ok(()),
            Err(StoreError::TooManyPasswords) => Err(PasswordError::TooMany),
            Err(error) => Err(changed(error).into()),
        }
    }

    /// Removes the password that the attempt shows, unless it is the only one, and ends the other
    /// sessions.
    pub async fn remove_password(
        &self,
        attempt: &Attempt<'_>,
        keep: Option<&SessionId>,
    ) -> Result<(), PasswordError> {
        let Proven { credentials, shown } = self.prove(attempt, Door::Password).await?;
        let number = credentials.passwords.get(shown).map(|password| password.number);
        let number = number.ok_or(SignInError::Wrong)?;
        let (user, now) = (&credentials.user, self.clock.now());
        match self.store.remove_password(user, number, keep, now).await {
            Ok(()) => Ok(()),
            Err(StoreError::LastPassword) => Err(PasswordError::Last),
            Err(error) => Err(changed(error).into()),
        }
    }

    /// Who may change a password, and that the new one may be set. The new one is judged last, so that
    /// nobody learns from it whose name it is.
    async fn proven_for(
        &self,
        attempt: &Attempt<'_>,
        new: Secret<&str>,
    ) -> Result<Proven, PasswordError> {
        let proven = self.prove(attempt, Door::Password).await?;
        self.settings.policy.judge(new.expose(), proven.credentials.user.login.as_str())?;
        let hashes = hashes_of(&proven.credentials);
        let turn = self.hasher.turn().await.map_err(SignInError::from)?;
        match turn.verify(&hashes, new).await.map_err(SignInError::from)? {
            Some(_) => Err(PasswordError::Same),
            None => Ok(proven),
        }
    }
}

/// Somebody who knows a password changed something a moment ago: what was shown is not believed any more.
pub(super) fn changed(error: StoreError) -> SignInError {
    match error {
        StoreError::UserChanged | StoreError::NotFound => SignInError::Wrong,
        error => unavailable(error),
    }
}
