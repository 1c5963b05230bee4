//! Calls about passwords, users and second factors.

use http::Response;

use super::clerk::{Clerk, attempt, attempt_by, done, own, request, second};
use super::desk::Asked;
use super::mint::{Life, about};
use super::outcome::Failed;
use crate::account::{Demand, Update};
use crate::dialect::Call;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::Scope;
use crate::message::Body;
use crate::secret::Secret;
use crate::store::{Login, UserChange};

impl Clerk {
    pub(super) async fn register(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let fields = &asked.fields;
        let (Some(login), Some(password)) = (&fields.login, &fields.password) else {
            return Err(Failure::MissingField.into());
        };
        let password = Secret::new(password.expose().as_str());
        let attributes = (fields.attributes.clone(), unique(asked));
        let user = self.accounts.register(login, password, attributes, asked.address).await;
        let user = user.map_err(|error| Failed::from(error).in_words_of(asked.door.call()))?;
        self.open(asked, &user).await
    }

    pub(super) async fn update(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let fields = &asked.fields;
        let login = match &fields.login {
            Some(text) => Some(Login::parse(text).ok_or(Failure::BadOption)?),
            None => None,
        };
        let attributes = (!fields.attributes.is_empty()).then(|| fields.attributes.clone());
        let change = UserChange { login, attributes, unique: unique(asked), permissions: None };
        let new = fields.new_password.as_ref().map(|new| Secret::new(new.expose().as_str()));
        let session = Some(&own.session);
        let update = Update { change: &change, password: new, session, address: asked.address };
        // First of all: whoever may have no further token alters nothing.
        let now = self.clock.now();
        let life = Life::new(&asked.door.service, None, now);
        self.extension(asked, life).await?;
        let updated = self.accounts.update(&own.user, &update).await;
        updated.map_err(|error| Failed::from(error).in_words_of(asked.door.call()))?;
        self.extend(asked, life, now).await
    }

    pub(super) async fn replace_password(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let keep = asked.own.as_ref().map(|own| &own.session);
        let login = self.login_of(asked).await?;
        let user = self
            .accounts
            .change_password(&attempt_by(asked, &login)?, new_password(asked)?, keep)
            .await?;
        done(asked, about(&user))
    }

    pub(super) async fn add_password(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        self.accounts.add_password(&attempt(asked)?, new_password(asked)?).await?;
        done(asked, Scope::new())
    }

    pub(super) async fn remove_password(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let keep = asked.own.as_ref().map(|own| &own.session);
        self.accounts.remove_password(&attempt(asked)?, keep).await?;
        done(asked, Scope::new())
    }

    pub(super) async fn enrol(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let login = self.login_of(asked).await?;
        // Not `sign_in`: it would ask for the code of a factor that is there, which this call cannot carry.
        let user = self.accounts.prove_password(&attempt_by(asked, &login)?).await?;
        if user.id != own.user {
            return Err(Failure::WrongCredentials.into());
        }
        let enrolment = self.accounts.enrol_totp(&user.id).await?;
        let scope = about(&user)
            .with(Name::TotpSecret, enrolment.seed.expose().as_str())
            .with(Name::TotpUri, enrolment.address.expose().as_str());
        done(asked, scope)
    }

    pub(super) async fn confirm(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let code = asked.fields.code.as_ref().ok_or(Failure::MissingField)?;
        let code = Secret::new(code.expose().as_str());
        let codes = self.accounts.confirm_totp(&own.user, code, asked.address).await?;
        let codes: Vec<&str> = codes.iter().map(|code| *code.text().expose()).collect();
        done(asked, Scope::new().with(Name::RecoveryCodes, codes))
    }

    pub(super) async fn remove_second_factor(
        &self,
        asked: &Asked,
    ) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let login = self.login_of(asked).await?;
        // Both are shown: whoever stole one of them does not get rid of the other.
        let user = self.accounts.prove_password(&attempt_by(asked, &login)?).await?;
        if user.id != own.user {
            return Err(Failure::WrongCredentials.into());
        }
        let demand = Demand {
            second: second(asked),
            app: asked.app.as_ref(),
            address: asked.address,
            request: request(asked, &login),
        };
        self.accounts.remove_totp(&own.user, &demand).await?;
        done(asked, Scope::new())
    }

    /// The name of the user who calls: written in the call, or that of the token's user.
    async fn login_of(&self, asked: &Asked) -> Result<String, Failed> {
        if let Some(login) = &asked.fields.login {
            return Ok(login.clone());
        }
        let user = self.accounts.user(&own(asked)?.user).await?;
        Ok(user.login.as_str().to_owned())
    }
}

/// The attributes in the call that no two users have alike.
fn unique(asked: &Asked) -> Vec<String> {
    let names = asked.door.call().into_iter().flat_map(Call::unique);
    names.filter(|name| asked.fields.attributes.contains_key(*name)).map(str::to_owned).collect()
}

fn new_password(asked: &Asked) -> Result<Secret<&str>, Failed> {
    let new = asked.fields.new_password.as_ref().ok_or(Failure::MissingField)?;
    Ok(Secret::new(new.expose().as_str()))
}
