//! What users who are signed in ask about themselves, and alter.

use super::accounts::{Accounts, Attempt, Door, SignInError, judge_state, unavailable};
use super::passwords::RegisterError;
use crate::id::{SessionId, UserId};
use crate::secret::Secret;
use crate::store::{StoreError, UserChange, UserRecord, UserState};

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
    pub async fn update(
        &self,
        id: &UserId,
        change: &UserChange,
        new: Option<Secret<&str>>,
        keep: Option<&SessionId>,
    ) -> Result<(), RegisterError> {
        // All that can be refused comes first, so that what is refused has altered nothing.
        let hash = match new {
            Some(new) => Some(self.judged_hash(id, change, new).await?),
            None => None,
        };
        let now = self.clock.now();
        match self.store.update_user(id, change, now).await {
            Ok(_) => {}
            Err(StoreError::NameTaken) => return Err(RegisterError::NameTaken),
            Err(StoreError::TooLong) => return Err(RegisterError::TooLong),
            Err(error) => return Err(unavailable(error).into()),
        }
        if let Some(hash) = hash {
            self.store.replace_passwords(id, &hash, keep, now).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// The hash of a new password that the policy allows under the name that the user will have.
    async fn judged_hash(
        &self,
        id: &UserId,
        change: &UserChange,
        new: Secret<&str>,
    ) -> Result<Secret<String>, RegisterError> {
        let login = match &change.login {
            Some(login) => login.clone(),
            None => self.user(id).await?.login,
        };
        self.settings.policy.judge(new.expose(), login.as_str())?;
        Ok(self.hasher.hash(new, &[]).await.map_err(SignInError::from)?)
    }
}
