//! The acts behind `portcullis user`, each one call of the store and what is told about it.

use std::io::Write;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::print::{user_json, write_user, write_users};
use super::{JsonObject, UserCommand};
use crate::account::{PasswordCost, PasswordPolicy, hash_password};
use crate::cli::password::Source;
use crate::cli::place::{PlaceArgs, find_user, random};
use crate::cli::table::{Layout, write_json};
use crate::clock::Timestamp;
use crate::id::UserId;
use crate::secret::Secret;
use crate::store::{
    EndReason, Login, NewUser, PasswordRecord, Store, StoreError, UserRecord, UserState,
};

/// One command about to be carried out.
pub(super) struct Act<'a, 'p> {
    pub(super) store: &'a Store,
    pub(super) place: &'a PlaceArgs,
    pub(super) now: Timestamp,
    pub(super) policy: PasswordPolicy,
    pub(super) cost: PasswordCost,
    pub(super) passwords: &'a mut Source<'p>,
    pub(super) out: &'a mut (dyn Write + Send),
    pub(super) err: &'a mut (dyn Write + Send),
}

impl Act<'_, '_> {
    /// Carries the command out and prints what came of it.
    pub(super) async fn run(self, command: &UserCommand) -> anyhow::Result<()> {
        match command {
            UserCommand::Add { login, attributes, permissions, without_password, invited } => {
                let attributes = attributes.clone().map_or_else(Map::new, |JsonObject(map)| map);
                let permissions = permissions.clone().unwrap_or(Value::Null);
                let state = if *invited { UserState::Invited } else { UserState::Active };
                self.add(login, state, (attributes, permissions), !without_password).await
            }
            UserCommand::List => self.list().await,
            UserCommand::Show { user } => {
                let user = find_user(self.store, user).await?;
                self.tell_user(&user.id).await
            }
            UserCommand::Password { user, add, remove } => {
                let user = find_user(self.store, user).await?;
                match remove {
                    Some(number) => self.remove_password(&user, *number).await,
                    None if *add => self.add_password(&user).await,
                    None => self.replace_passwords(&user).await,
                }
            }
            UserCommand::Attributes { user, change } => {
                let user = find_user(self.store, user).await?;
                let told = self.store.set_attributes(&user.id, &change.0, self.now).await;
                told.with_context(|| format!("change {}", user.login))?;
                self.tell_user(&user.id).await
            }
            UserCommand::Permissions { user, permissions } => {
                let user = find_user(self.store, user).await?;
                let told = self.store.set_permissions(&user.id, permissions, self.now).await;
                told.with_context(|| format!("change {}", user.login))?;
                self.tell_user(&user.id).await
            }
            UserCommand::Totp { user, remove, issuer, master } => {
                let user = find_user(self.store, user).await?;
                if *remove {
                    self.remove_totp(&user).await
                } else {
                    self.enrol(&user, issuer, master).await
                }
            }
            UserCommand::Lock { user } => self.set_state(user, UserState::Locked).await,
            UserCommand::Unlock { user } => self.unlock(user).await,
            UserCommand::Expire { user } => self.expire(user).await,
            UserCommand::Disable { user } => self.set_state(user, UserState::Disabled).await,
            UserCommand::Enable { user } => self.set_state(user, UserState::Active).await,
            UserCommand::Delete { user } => self.delete(user).await,
            UserCommand::Logout { user } => self.logout(user).await,
        }
    }

    async fn add(
        mut self,
        login: &Login,
        state: UserState,
        (attributes, permissions): (Map<String, Value>, Value),
        with_password: bool,
    ) -> anyhow::Result<()> {
        // Before anybody types a password for nothing.
        if self.store.find_user_by_login(login).await?.is_some() {
            bail!("there is a user {login} already");
        }
        let password = if with_password { Some(self.new_password(login, &[])?) } else { None };
        let user = NewUser {
            id: UserId::generate(random()?),
            login: login.clone(),
            state,
            attributes,
            unique: Vec::new(),
            permissions,
            password,
        };
        self.store.create_user(&user, self.now).await.with_context(|| format!("create {login}"))?;
        self.tell_user(&user.id).await
    }

    async fn list(self) -> anyhow::Result<()> {
        let mut users = Vec::new();
        loop {
            let page =
                self.store.list_users(users.last().map(|user: &UserRecord| &user.id)).await?;
            if page.is_empty() {
                break;
            }
            users.extend(page);
        }
        match self.place.output {
            Layout::Json => {
                write_json(self.out, &users.iter().map(|user| user_json(user, None)).collect())
            }
            Layout::Table => write_users(self.out, &users),
        }
    }

    async fn replace_passwords(mut self, user: &UserRecord) -> anyhow::Result<()> {
        let hash = self.new_password(&user.login, &[])?;
        self.store
            .replace_passwords(&user.id, &hash, None, self.now)
            .await
            .with_context(|| format!("change the password of {}", user.login))?;
        self.tell(user, "password replaced, sessions ended")
    }

    async fn add_password(mut self, user: &UserRecord) -> anyhow::Result<()> {
        let kept = self.store.credentials_of(&user.id).await?.passwords;
        let hash = self.new_password(&user.login, &kept)?;
        self.store
            .add_password(&user.id, &hash, MOST_PASSWORDS, self.now)
            .await
            .with_context(|| format!("add a password of {}", user.login))?;
        self.tell(user, "password added")
    }

    async fn remove_password(self, user: &UserRecord, number: u32) -> anyhow::Result<()> {
        match self.store.remove_password(&user.id, number, None, self.now).await {
            Err(StoreError::NotFound) => bail!("{} has no password {number}", user.login),
            outcome => {
                outcome.with_context(|| format!("remove password {number} of {}", user.login))?;
            }
        }
        self.tell(user, "password removed, sessions ended")
    }

    /// Asks for a password, judges it, and hashes it beside those that the user has.
    fn new_password(
        &mut self,
        login: &Login,
        kept: &[PasswordRecord],
    ) -> anyhow::Result<Secret<String>> {
        let password: Zeroizing<String> = self.passwords.read(self.err)?;
        self.policy
            .judge(&password, login.as_str())
            .map_err(|weakness| anyhow::anyhow!("the password is refused: {weakness}"))?;
        let beside: Vec<_> = kept.iter().map(|password| password.phc.clone()).collect();
        Ok(hash_password(Secret::new(password.as_str()), self.cost, &beside)?)
    }

    async fn unlock(self, user: &str) -> anyhow::Result<()> {
        let found = find_user(self.store, user).await?;
        // Noted as a change also when it is active: gateways forget its failed attempts.
        if !matches!(found.state, UserState::Locked | UserState::Active) {
            bail!("{} is {}, not locked", found.login, found.state.as_str());
        }
        self.set_state(user, UserState::Active).await
    }

    async fn expire(self, user: &str) -> anyhow::Result<()> {
        let found = find_user(self.store, user).await?;
        // A change of password ends this state: of no other may that be a way out.
        if !matches!(found.state, UserState::Expired | UserState::Active) {
            bail!("{} is {}, not active", found.login, found.state.as_str());
        }
        self.set_state(user, UserState::Expired).await
    }

    async fn set_state(self, user: &str, state: UserState) -> anyhow::Result<()> {
        let user = find_user(self.store, user).await?;
        self.store
            .set_state(&user.id, state, self.now)
            .await
            .with_context(|| format!("change {}", user.login))?;
        self.tell(&user, state.as_str())
    }

    async fn delete(self, user: &str) -> anyhow::Result<()> {
        let user = find_user(self.store, user).await?;
        self.store
            .delete_user(&user.id, self.now)
            .await
            .with_context(|| format!("delete {}", user.login))?;
        self.tell(&user, "deleted, sessions ended")
    }

    async fn logout(self, user: &str) -> anyhow::Result<()> {
        let user = find_user(self.store, user).await?;
        let ended =
            self.store.end_sessions_of_user(&user.id, None, EndReason::Operator, self.now).await?;
        self.tell(&user, &format!("{} sessions ended", ended.len()))
    }

    async fn tell_user(self, id: &UserId) -> anyhow::Result<()> {
        let credentials = self.store.credentials_of(id).await?;
        match self.place.output {
            Layout::Json => write_json(self.out, &user_json(&credentials.user, Some(&credentials))),
            Layout::Table => write_user(self.out, &credentials),
        }
    }

    pub(super) fn tell(self, user: &UserRecord, done: &str) -> anyhow::Result<()> {
        match self.place.output {
            Layout::Json => write_json(
                self.out,
                &json!({"id": user.id.as_str(), "login": user.login.as_str(), "done": done}),
            ),
            Layout::Table => Ok(writeln!(self.out, "{} ({}): {done}", user.login, user.id)?),
        }
    }
}

/// Passwords of one user.
const MOST_PASSWORDS: usize = 8;
