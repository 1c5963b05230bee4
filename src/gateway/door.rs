//! Where a request may end with us: one call of a login service.

use std::sync::Arc;
use std::time::Duration;

use super::checks::UserGate;
use crate::dialect::Call;
use crate::dialect::CallKind;
use crate::dialect::Dialect;
use crate::jwt::OwnKeys;

/// A login service that the gateway offers.
#[derive(Debug)]
pub struct Service {
    /// Its name in checks, metrics and logs.
    pub name: String,
    /// How it speaks.
    pub dialect: Arc<Dialect>,
    /// What signs its tokens.
    pub keys: Arc<OwnKeys>,
    /// How long a token is good, unless its user asks for less or more.
    pub lifetime: Duration,
    /// `iss` of tokens that name one.
    pub issuer: String,
    /// `aud` of tokens that name one.
    pub audience: String,
    /// Sessions that one user may have at once.
    pub sessions: usize,
}

/// One call of one login service.
#[derive(Debug)]
pub struct Door {
    /// Which service.
    pub service: Arc<Service>,
    /// What is asked of it.
    pub kind: CallKind,
    /// What judges the token of a caller who has to bring one.
    pub(super) user: Option<UserGate>,
}

impl Door {
    /// The call as the dialect has it.
    pub fn call(&self) -> Option<&Call> {
        self.service.dialect.calls.get(&self.kind)
    }
}
