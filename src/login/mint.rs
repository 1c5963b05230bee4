//! Minting: a session and a user in, a token in the words of the dialect out.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value, json};

use super::outcome::Failed;
use crate::clock::Timestamp;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::Scope;
use crate::gateway::Service;
use crate::id::{AppId, SessionId};
use crate::secret::Secret;
use crate::store::UserRecord;

/// What a token is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'g> {
    pub(super) service: &'g Service,
    pub(super) user: &'g UserRecord,
    pub(super) session: &'g SessionId,
    pub(super) app: Option<&'g AppId>,
    /// Where the session was opened, and when.
    pub(super) address: IpAddr,
    pub(super) created_at: Timestamp,
    /// The last second of the token.
    pub(super) life: Life,
}

/// When a token begins and ends, in whole seconds as its claims have them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    from: i64,
    until: i64,
}

impl Life {
    /// From `now` for as long as was asked for, or as the service has it.
    pub(super) fn new(service: &Service, asked: Option<Duration>, now: Timestamp) -> Self {
        let lifetime = asked.unwrap_or(service.lifetime).as_secs();
        let from = now.seconds();
        Self { from, until: from.saturating_add(i64::try_from(lifetime).unwrap_or(i64::MAX)) }
    }

    /// When the token expires.
    pub(super) const fn until(self) -> Timestamp {
        Timestamp::from_seconds(self.until)
    }
}

impl<'g> Grant<'g> {
    /// Signs the token.
    pub(super) fn mint(&self) -> Result<Secret<String>, Failed> {
        let signer = self.service.keys.signer().ok_or(Failure::Unavailable)?;
        let claims = self.service.dialect.token.claims(&self.claims_scope()?);
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!(self.service.dialect.token.typ));
        header.insert("sid".to_owned(), json!(self.session.as_str()));
        header.insert("uid".to_owned(), json!(self.user.id.as_str()));
        let token = signer.sign(&header, &Value::Object(claims));
        token.map(Secret::new).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "a token was not signed");
            Failure::Unavailable.into()
        })
    }

    /// What claims may be made of.
    fn claims_scope(&self) -> Result<Scope<'g>, Failed> {
        let mut key = [0; SESSION_KEY_BYTES];
        let mut id = [0; 16];
        rand::fill(&mut key)
            .and_then(|()| rand::fill(&mut id))
            .map_err(|_| Failure::Unavailable)?;
        let scope = self
            .scope()
            .with(Name::TokenId, uuid(id))
            .with(Name::SessionKey, URL_SAFE_NO_PAD.encode(key));
        Ok(scope)
    }

    /// What an answer may be made of, but for the tokens themselves.
    pub(super) fn scope(&self) -> Scope<'g> {
        let Life { from, until } = self.life;
        let scope = about(self.user)
            .with(Name::Now, from)
            .with(Name::Expires, until)
            .with(Name::ExpiresIn, until.saturating_sub(from))
            .with(Name::Issuer, self.service.issuer.as_str())
            .with(Name::Audience, self.service.audience.as_str())
            .with(Name::SessionId, self.session.as_str())
            .with(Name::SessionAddress, self.address.to_string())
            .with(Name::SessionCreated, self.created_at.seconds())
            .with(Name::SessionCreatedHttp, http_date(self.created_at));
        match self.app {
            Some(app) => scope.with(Name::AppId, app.as_str()),
            None => scope,
        }
    }
}

/// What an answer may tell about a user.
pub(super) fn about(user: &UserRecord) -> Scope<'_> {
    Scope::new()
        .with(Name::UserNumber, user.number)
        .with(Name::UserNumberText, user.number.to_string())
        .with(Name::UserId, user.id.as_str())
        .with(Name::UserLogin, user.login.as_str())
        .with(Name::UserPermissions, user.permissions.clone())
        .with(Name::UserHasTotp, user.has_totp)
        .with_attributes(&user.attributes)
}

/// RFC 9562 §5.4: a random one.
fn uuid(mut bytes: [u8; 16]) -> String {
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let bits = u128::from_be_bytes(bytes);
    let part = |from: u32, length: u32| bits >> from & ((1 << length) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    )
}

/// RFC 9110 §5.6.7.
fn http_date(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_second(at.seconds()).unwrap_or_default();
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

/// A key of 100 characters.
const SESSION_KEY_BYTES: usize = 75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_dates_have_their_documented_forms() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        let at = Timestamp::from_seconds(1_695_032_957);
        assert_eq!(http_date(at), "Mon, 18 Sep 2023 10:29:17 GMT");
        assert_eq!(URL_SAFE_NO_PAD.encode([0; SESSION_KEY_BYTES]).len(), 100);
    }
}
