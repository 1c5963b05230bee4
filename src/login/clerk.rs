//! The clerk's half: what a call asks for, done and answered.

use std::sync::Arc;
use std::time::Duration;

use http::Response;

use super::desk::Asked;
use super::mint::{Grant, Life};
use super::outcome::Failed;
use super::told;
use crate::account::Answer as CodeAnswer;
use crate::account::{Accounts, Attempt, Granted, Opening, Refreshing, SecondFactorRule};
use crate::clock::{Clock, Timestamp};
use crate::dialect::CallKind;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::Scope;
use crate::id::Digest;
use crate::message::Body;
use crate::principal::Own;
use crate::secret::Secret;
use crate::store::{RefreshTerms, UserRecord};
use crate::telemetry::Metrics;

/// Does what calls ask for.
#[derive(Clone, Debug)]
pub struct Clerk {
    pub(super) accounts: Arc<Accounts>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl Clerk {
    /// A clerk for these accounts.
    pub const fn new(accounts: Arc<Accounts>, clock: Clock, metrics: Metrics) -> Self {
        Self { accounts, clock, metrics }
    }

    /// Answers one call; does nothing for a caller that has gone.
    pub async fn answer(&self, mut asked: Asked) {
        let (reply, _) = tokio::sync::oneshot::channel();
        let mut reply = std::mem::replace(&mut asked.reply, reply);
        // What is under way may be dropped when the caller goes: each act of the store is whole.
        let response = tokio::select! {
            response = self.respond(&asked) => response,
            () = reply.closed() => return,
        };
        let _ = reply.send(response);
    }

    async fn respond(&self, asked: &Asked) -> Response<Body> {
        let outcome = self.act(asked).await;
        told::tell(asked, outcome.as_ref().err().map(|failed| failed.failure), &self.metrics);
        let answers = asked.door.call().map(|call| &call.answers);
        let answers = answers.unwrap_or(&asked.door.service.dialect.answers);
        match outcome {
            Ok(response) => response,
            Err(failed) => {
                let scope = Scope::new().with(Name::RequestId, asked.id.uuid());
                answers.answer(failed.failure).respond(&failed.scope(scope))
            }
        }
    }

    async fn act(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        match asked.door.kind {
            CallKind::Login => self.login(asked).await,
            CallKind::Refresh => self.refresh(asked).await,
            CallKind::Logout => self.log_out(asked).await,
            CallKind::Current => self.current(asked).await,
            CallKind::Register => self.register(asked).await,
            CallKind::Update => self.update(asked).await,
            CallKind::Password | CallKind::PasswordReplace => self.replace_password(asked).await,
            CallKind::PasswordAdd => self.add_password(asked).await,
            CallKind::PasswordRemove => self.remove_password(asked).await,
            CallKind::TotpEnrol => self.enrol(asked).await,
            CallKind::TotpConfirm => self.confirm(asked).await,
            CallKind::TotpRemove => self.remove_second_factor(asked).await,
            CallKind::Sessions => self.sessions(asked).await,
            CallKind::EndSession => self.end_session(asked).await,
            CallKind::EndSessions => self.end_sessions(asked).await,
            CallKind::KeySet => Self::key_set(asked),
        }
    }

    async fn login(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let user = self.accounts.sign_in(&attempt(asked)?).await?;
        self.open(asked, &user).await
    }

    /// Opens a session for a user who proved to be one, and answers with its first token.
    pub(super) async fn open(
        &self,
        asked: &Asked,
        user: &UserRecord,
    ) -> Result<Response<Body>, Failed> {
        let service = &asked.door.service;
        let now = self.clock.now();
        let life = Life::new(service, asked.fields.ttl, now);
        let terms = service.dialect.refresh;
        let opening = Opening {
            user,
            app: asked.app.as_ref(),
            dialect: &service.dialect.name,
            address: asked.address,
            agent: &asked.agent,
            tokens_until: life.until(),
            refresh: terms.map(|terms| RefreshTerms { idle: terms.idle, absolute: terms.absolute }),
        };
        let granted = self.accounts.open_session(&opening).await?;
        grant(asked, &granted, life, now)
    }

    /// A further token: for a refresh token, or for an access token that is good still.
    async fn refresh(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let now = self.clock.now();
        let life = Life::new(&asked.door.service, asked.fields.ttl, now);
        let Some(token) = &asked.fields.refresh_token else {
            return self.extend(asked, life, now).await;
        };
        let dialect = &asked.door.service.dialect;
        let refreshing = Refreshing {
            app: asked.app.as_ref(),
            address: asked.address,
            dialect: (!dialect.refresh.is_some_and(|terms| terms.is_for_any))
                .then_some(dialect.name.as_str()),
            tokens_until: life.until(),
            grace: dialect.refresh.map_or(Duration::ZERO, |terms| terms.grace),
        };
        let token = Secret::new(token.expose().as_str());
        let granted = self.accounts.refresh(token, &refreshing).await?;
        grant(asked, &granted, life, now)
    }

    /// The user as it is now, with a further token of the same session.
    async fn current(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let now = self.clock.now();
        let life = Life::new(&asked.door.service, None, now);
        self.extend(asked, life, now).await
    }

    /// A further token for the session of the one that was presented.
    pub(super) async fn extend(
        &self,
        asked: &Asked,
        life: Life,
        now: Timestamp,
    ) -> Result<Response<Body>, Failed> {
        let granted = self.extension(asked, life).await?;
        grant(asked, &granted, life, now)
    }

    /// What that token is granted for, if it may be minted.
    pub(super) async fn extension(&self, asked: &Asked, life: Life) -> Result<Granted, Failed> {
        let own = own(asked)?;
        let user = self.accounts.active_user(&own.user).await?;
        let app = asked.app.as_ref();
        if !self.accounts.extend_session(&own.session, app, life.until()).await? {
            return Err(Failure::InvalidToken.into());
        }
        Ok(Granted { session: own.session.clone(), user, refresh_token: None, record: None })
    }
}

/// Answers with a token for what was granted.
fn grant(
    asked: &Asked,
    granted: &Granted,
    life: Life,
    now: Timestamp,
) -> Result<Response<Body>, Failed> {
    let call = asked.door.call().ok_or(Failure::Unavailable)?;
    let record = granted.record.as_ref();
    let grant = Grant {
        service: &asked.door.service,
        user: &granted.user,
        session: &granted.session,
        app: asked.app.as_ref(),
        address: record.map_or(asked.address, |record| record.address),
        created_at: record.map_or(now, |record| record.created_at),
        life,
    };
    let token = grant.mint()?;
    let mut scope = grant
        .scope()
        .with(Name::RequestId, asked.id.uuid())
        .with(Name::Token, token.expose().as_str());
    if let Some(refresh_token) = &granted.refresh_token {
        scope = scope.with(Name::RefreshToken, refresh_token.expose().as_str());
        let until = record.and_then(|record| record.refresh_until);
        let left = until.map(|until| until.since(now));
        let left = left.or(asked.door.service.dialect.refresh.map(|terms| terms.idle));
        scope = scope.with(Name::RefreshExpiresIn, left.map(|left| left.as_secs()));
    }
    Ok(call.success.respond(&scope))
}

/// What is answered when there is nothing to tell but that it was done.
pub(super) fn done(asked: &Asked, scope: Scope<'_>) -> Result<Response<Body>, Failed> {
    let call = asked.door.call().ok_or(Failure::Unavailable)?;
    Ok(call.success.respond(&scope.with(Name::RequestId, asked.id.uuid())))
}

/// The token that the caller brought.
pub(super) fn own(asked: &Asked) -> Result<&Own, Failed> {
    asked.own.as_ref().ok_or_else(|| Failure::MissingToken.into())
}

/// The credentials that a call brought, as `account` judges them.
pub(super) fn attempt(asked: &Asked) -> Result<Attempt<'_>, Failed> {
    let fields = &asked.fields;
    let login = fields.login.as_deref().ok_or(Failure::MissingCredentials)?;
    attempt_by(asked, login)
}

/// The same for a user whose name is known already.
pub(super) fn attempt_by<'a>(asked: &'a Asked, login: &'a str) -> Result<Attempt<'a>, Failed> {
    let fields = &asked.fields;
    let password = fields.password.as_ref().ok_or(Failure::MissingCredentials)?;
    let dialect = &asked.door.service.dialect;
    let second_factor = match dialect.second_factor {
        Some(_) => SecondFactorRule::Ask,
        None => SecondFactorRule::Refuse,
    };
    Ok(Attempt {
        login,
        password: Secret::new(password.expose().as_str()),
        second: second(asked),
        app: asked.app.as_ref(),
        address: asked.address,
        request: request(asked, login),
        lockout: dialect.lockout,
        second_factor,
    })
}

/// The second factor that a call brought.
pub(super) fn second(asked: &Asked) -> Option<CodeAnswer<'_>> {
    let fields = &asked.fields;
    fields.code.as_ref().map(|code| CodeAnswer {
        key: fields.challenge.as_ref().map(|key| key.expose().as_str()),
        code: Secret::new(code.expose().as_str()),
    })
}

/// The call without the answer to a challenge: that answer holds for this call and no other.
pub(super) fn request(asked: &Asked, login: &str) -> Digest {
    let fields = &asked.fields;
    let hidden = |secret: &Option<Secret<String>>| {
        secret.as_ref().map(|secret| Digest::of(secret.expose().as_bytes()))
    };
    let parts = (
        asked.door.service.name.as_str(),
        asked.door.kind.name(),
        login.to_ascii_lowercase(),
        hidden(&fields.password).map(|digest| digest.to_string()),
        hidden(&fields.new_password).map(|digest| digest.to_string()),
        fields.ttl,
    );
    Digest::of(format!("{parts:?}").as_bytes())
}
