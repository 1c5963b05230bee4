//! Calls about sessions, and the public keys of a family.

use http::Response;
use serde_json::{Value, json};

use super::clerk::{Clerk, done, own};
use super::desk::Asked;
use super::outcome::Failed;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::Scope;
use crate::id::SessionId;
use crate::message::Body;
use crate::store::SessionRecord;

impl Clerk {
    pub(super) async fn log_out(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        if asked.fields.everywhere {
            self.accounts.log_out_others(&own.user, None).await?;
        } else {
            self.accounts.log_out(&own.session, &own.user).await?;
        }
        done(asked, Scope::new())
    }

    pub(super) async fn sessions(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let records = self.accounts.sessions_of(&own.user, None).await?;
        let sessions: Vec<Value> =
            records.iter().map(|record| shown(record, record.id == own.session)).collect();
        done(asked, Scope::new().with(Name::Sessions, sessions))
    }

    pub(super) async fn end_session(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        let session = SessionId::parse(&asked.last_segment).ok_or(Failure::UnknownSession)?;
        let records = self.accounts.sessions_of(&own.user, None).await?;
        if !records.iter().any(|record| record.id == session) {
            return Err(Failure::UnknownSession.into());
        }
        self.accounts.log_out(&session, &own.user).await?;
        done(asked, Scope::new())
    }

    pub(super) async fn end_sessions(&self, asked: &Asked) -> Result<Response<Body>, Failed> {
        let own = own(asked)?;
        self.accounts.log_out_others(&own.user, Some(&own.session)).await?;
        done(asked, Scope::new())
    }

    pub(super) fn key_set(asked: &Asked) -> Result<Response<Body>, Failed> {
        let keys = asked.door.service.keys.public_jwks();
        done(asked, Scope::new().with(Name::Keys, keys))
    }
}

fn shown(record: &SessionRecord, is_current: bool) -> Value {
    json!({
        "id": record.id.as_str(),
        "current": is_current,
        "application": record.app.as_ref().map(crate::id::AppId::as_str),
        "address": record.address.to_string(),
        "agent": record.agent,
        "created_at": record.created_at.seconds(),
        "refreshed_at": record.refreshed_at.map(crate::clock::Timestamp::seconds),
    })
}
