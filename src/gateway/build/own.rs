//! Entries with `issuer: self`: what a dialect fixes about tokens of our own, as rules of a check.

use std::sync::Arc;

use http::HeaderName;

use super::checks::pointer;
use crate::config::At;
use crate::config::Findings;
use crate::config::JwtSettings;
use crate::config::OwnPermissions;
use crate::config::OwnSettings;
use crate::config::Place;
use crate::config::Settings;
use crate::dialect::Dialect;
use crate::gateway::door::Service;
use crate::gateway::kept::Kept;
use crate::id::CheckName;
use crate::jwt::{
    Audience, IssuerSettings, KeySource, OwnKeys, Pointer, TokenVerifier, TypRule, VerifierError,
};

/// Tokens of our own: how they are made, and by which keys.
pub(super) struct OwnTokens {
    pub(super) dialect: Arc<Dialect>,
    pub(super) keys: Arc<OwnKeys>,
    /// What `iss` and `aud` are, where the dialect has them.
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
}

/// How an entry's tokens are carried.
pub(super) struct Carried<'e> {
    pub(super) place: Place,
    pub(super) schemes: &'e [At<String>],
    pub(super) header: Option<&'e HeaderName>,
    pub(super) cookie: Option<&'e str>,
    pub(super) query: Option<&'e str>,
    pub(super) keep: bool,
}

impl JwtSettings {
    pub(super) fn carried(&self) -> Carried<'_> {
        Carried {
            place: self.place,
            schemes: &self.schemes,
            header: self.header.as_ref(),
            cookie: self.cookie.as_deref(),
            query: self.query.as_deref(),
            keep: self.keep,
        }
    }
}

impl OwnTokens {
    pub(super) fn of(service: &Service) -> Self {
        let token = &service.dialect.token;
        Self {
            dialect: Arc::clone(&service.dialect),
            keys: Arc::clone(&service.keys),
            issuer: token.names_issuer.then(|| service.issuer.clone()),
            audience: token.names_audience.then(|| service.audience.clone()),
        }
    }

    /// The schemes of the dialect, at the place of whoever named it.
    pub(super) fn schemes(&self, place: Place) -> Vec<At<String>> {
        let schemes = self.dialect.token.schemes.iter();
        schemes.map(|scheme| At { value: scheme.clone(), place }).collect()
    }

    /// The rules for these tokens. One family never takes another's: its keys are its own.
    pub(super) fn issuer(
        &self,
        id: usize,
        (leeway, permissions): (std::time::Duration, &OwnPermissions),
        kept: &Kept,
        findings: &mut Findings,
    ) -> Option<IssuerSettings> {
        let token = &self.dialect.token;
        let permissions = match permissions {
            OwnPermissions::Store => None,
            OwnPermissions::Claim(text) => Some(pointer(text, findings)?),
        };
        Some(IssuerSettings {
            id,
            issuer: self.issuer.clone(),
            audience: self.audience.clone().map_or(Audience::Any, |own| Audience::OneOf(vec![own])),
            algorithms: vec![self.keys.algorithm()],
            // The keys of a family sign nothing else, so that a token without a type is no other kind.
            typ: token.typ.clone().map_or(TypRule::Any, |typ| TypRule::OneOf(vec![typ])),
            keys: KeySource::Own(Arc::clone(&self.keys), Arc::clone(&kept.ended)),
            identity: Pointer::parse(&token.identity.pointer).ok()?,
            permissions,
            leeway,
        })
    }
}

/// Puts the entries of a check together.
pub(super) fn verifier(
    name: CheckName,
    issuers: Vec<IssuerSettings>,
    (settings, kept): (&Settings, &Kept),
) -> Result<TokenVerifier, VerifierError> {
    let cache = kept.tokens(settings.cache.tokens);
    TokenVerifier::new(name, issuers, cache, settings.limits.token)
}

/// How an entry with `issuer: self` has its tokens carried.
pub(super) fn carried<'e>(entry: &'e OwnSettings, schemes: &'e [At<String>]) -> Carried<'e> {
    Carried {
        place: entry.place,
        schemes,
        header: entry.header.as_ref(),
        cookie: entry.cookie.as_deref(),
        query: entry.query.as_deref(),
        keep: entry.keep,
    }
}
