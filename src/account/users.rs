//! What users who are signed in ask about themselves, and alter.

use std::net::IpAddr;

use super::accounts::{Accounts, Attempt, Door, SignInError, judge_state, unavailable};
use super::passwords::{RegisterError, changed};
use super::throttle::Ticket;
use crate::id::{SessionId, UserId};
use crate::secret::Secret;
use crate::store::{StoreError, UserChange, UserRecord, UserState};

/// What users alter about themselves.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// What they are called and what is known about them.
    pub change: &'a UserChange,
    /// Another password.
    pub password: Option<Secret<&'a str>>,
    /// The session in which it is asked for; it must not be over, and stays.
    pub session: Option<&'a SessionId>,
    /// Where it is asked for.
    pub address: IpAddr,
}

impl Accounts {
    /// A user, as it is now; one that may not act is none.
    pub async fn user(&self, id: &UserId) -> Result<UserRecord, SignInError> {
        match self.store.show_user(id).await {
            Ok(user) if user.state == UserState::Disabled => Err(SignInError::Disabled),
            Ok(user) => Ok(user),
            Err(StoreError::NotFound) => Err(SignInError::Wrong),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// A user who may have a further token: in the state that signing in asks for.
    pub async fn active_user(&self, id: &UserId) -> Result<UserRecord, SignInError> {
        let user = self.user(id).await?;
        judge_state(user.state, Door::Session)?;
        Ok(user)
    }

    /// A user who shows the password once more, whatever the second factor.
    pub async fn prove_password(&self, attempt: &Attempt<'_>) -> Result<UserRecord, SignInError> {
        let attempt =
            Attempt { second_factor: super::accounts::SecondFactorRule::Ignore, ..*attempt };
        Ok(self.prove(&attempt, Door::Session).await?.credentials.user)
    }

    /// Alters what a user is called, what is known about it, and its password; the other sessions end
    /// with the old password.
    pub async fn update(&self, id: &UserId, update: &Update<'_>) -> Result<(), RegisterError> {
        // All that can be refused comes first, so that what is refused has altered nothing.
        let user = self.active_user(id).await?;
        let hash = match update.password {
            Some(new) => Some(self.judged_hash(&user, update.change, new).await?),
            None => None,
        };
        let now = self.clock.now();
        if let Some(session) = update.session {
            // After the hash, which takes its time: the session may have been ended meanwhile.
            let session = self.store.find_session(session, now).await.map_err(unavailable)?;
            session.ok_or(SignInError::Wrong)?;
        }
        self.alter(id, update).await?;
        if let Some(hash) = hash {
            let done = self.store.replace_passwords(&user, &hash, update.session, now).await;
            done.map_err(changed)?;
        }
        Ok(())
    }

    /// Alters all but the password.
    async fn alter(&self, id: &UserId, update: &Update<'_>) -> Result<(), RegisterError> {
        let Update { change, address, .. } = *update;
        let ticket = if change.login.is_some() || !change.unique.is_empty() {
            Some(self.ticket(|now| self.throttle.try_take_place(address, now)).await?)
        } else {
            None
        };
        match self.store.update_user(id, change, self.clock.now()).await {
            // The ticket counts: this is how names are found out.
            Err(StoreError::NameTaken) => Err(RegisterError::NameTaken),
            Err(StoreError::AttributeTaken(name)) => Err(RegisterError::AttributeTaken(name)),
            altered => {
                ticket.into_iter().for_each(Ticket::forgive);
                match altered {
                    Ok(_) => Ok(()),
                    Err(StoreError::TooLong) => Err(RegisterError::TooLong),
                    Err(error) => Err(unavailable(error).into()),
                }
            }
        }
    }

    /// The hash of a new password that the policy allows under the name that the user will have.
    async fn judged_hash(
        &self,
        user: &UserRecord,
        change: &UserChange,
        new: Secret<&str>,
    ) -> Result<Secret<String>, RegisterError> {
        let login = change.login.as_ref().unwrap_or(&user.login);
        self.settings.policy.judge(new.expose(), login.as_str())?;
        Ok(self.hasher.hash(new, &[]).await.map_err(SignInError::from)?)
    }
}
