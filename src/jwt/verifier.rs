//! One `jwt` check: which issuers it trusts, and the way of a token through the rules.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::TokenError;
use super::algorithm::Algorithm;
use super::cache::{Remembered, TokenCache};
use super::claims::{self, Audience, TypRule, Window};
use super::compact::Compact;
use super::ended::Ended;
use super::header::Header;
use super::key::VerifyingKey;
use super::key_set::KeySet;
use super::own::OwnKeys;
use super::recent::Recent;
use super::remote::RemoteKeys;
use crate::clock::Timestamp;
use crate::id::{CheckName, Digest, SessionId, UserId};
use crate::json::Pointer;
use crate::principal::{Own, Permissions, Subject};
use crate::secret::Secret;

/// Where the keys of an issuer come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Loaded with the configuration.
    Fixed(Arc<KeySet>),
    /// Fetched from the issuer, and refreshed.
    Remote(Arc<RemoteKeys>),
    /// Our own, with what of their tokens was revoked.
    Own(Arc<OwnKeys>, Arc<Ended>),
}

/// What is demanded of the tokens of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The number of the entry, for whoever configured it.
    pub id: usize,
    /// The exact `iss`; `None` takes tokens without one, and those whose `iss` no other entry claims.
    pub issuer: Option<String>,
    /// Which `aud` is accepted.
    pub audience: Audience,
    /// Which algorithms are accepted, whatever the keys could do.
    pub algorithms: Vec<Algorithm>,
    /// Which `typ` is accepted.
    pub typ: TypRule,
    /// Whose signature is accepted.
    pub keys: KeySource,
    /// Where the identity stands.
    pub identity: Pointer,
    /// Where the permissions stand.
    pub permissions: Option<Pointer>,
    /// For how long after `exp` and before `nbf` a token is still good.
    pub leeway: Duration,
}

/// A token that passed.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Of whom it speaks.
    pub subject: Arc<Subject>,
    /// The `id` of the entry that accepted it.
    pub entry: usize,
    /// The digest of the key that vouched for it.
    pub key: Digest,
}

/// Why a check cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifierError {
    /// Two entries are for one issuer: which one judges would be chance.
    #[error("two entries are for the issuer `{0}`")]
    DuplicateIssuer(String),
    /// Two entries take tokens without an issuer.
    #[error("two entries are for tokens without an issuer")]
    DuplicateNone,
}

/// Verifies the tokens of one `jwt` check.
#[derive(Debug)]
pub struct TokenVerifier {
    name: CheckName,
    entries: Vec<IssuerSettings>,
    cache: TokenCache,
    max_token_bytes: usize,
    /// The digest of name and rules: what was verified under other rules is not found again.
    rules: Digest,
}

impl TokenVerifier {
    /// Puts the entries of a check together.
    pub fn new(
        name: CheckName,
        entries: Vec<IssuerSettings>,
        cache: TokenCache,
        max_token_bytes: usize,
    ) -> Result<Self, VerifierError> {
        for (at, entry) in entries.iter().enumerate() {
            if entries.iter().skip(at + 1).any(|other| other.issuer == entry.issuer) {
                let issuer = entry.issuer.clone().map(VerifierError::DuplicateIssuer);
                return Err(issuer.unwrap_or(VerifierError::DuplicateNone));
            }
        }
        let rules = entries.iter().map(IssuerSettings::rules).collect::<Vec<_>>();
        let rules = Digest::of(format!("{name:?} {rules:?}").as_bytes());
        Ok(Self { name, entries, cache, max_token_bytes, rules })
    }

    /// The name of the check.
    pub const fn name(&self) -> &CheckName {
        &self.name
    }

    /// The entries, in the order in which they were written.
    pub fn entries(&self) -> &[IssuerSettings] {
        &self.entries
    }

    /// Judges a token at the instant `now`; `recent` is the asking worker's own memory.
    ///
    /// Waits only when the issuer's keys are not loaded, or lack the one that the token names; and
    /// then for a bounded time.
    pub async fn verify(
        &self,
        token: Secret<&str>,
        now: Timestamp,
        recent: &Recent,
    ) -> Result<Verified, TokenError> {
        let token = *token.expose();
        if token.len() > self.max_token_bytes {
            return Err(TokenError::TooLong);
        }
        if let Some(known) = recent.find(&self.rules, token) {
            match self.rejudge(known, now) {
                Some(verdict) => return verdict,
                None => recent.forget(token),
            }
        }
        let memory = self.cache.key(&self.rules, token);
        if let Some(memory) = &memory
            && let Some(known) = self.cache.find(memory)
        {
            recent.remember(&self.rules, token, &known);
            match self.rejudge(known, now) {
                Some(verdict) => return verdict,
                None => self.cache.forget(memory),
            }
        }
        self.cache.count_miss();
        let (verified, remembered) = self.judge(token, now).await?;
        if let Some(memory) = memory {
            recent.remember(&self.rules, token, &remembered);
            self.cache.remember(memory, remembered);
        }
        Ok(verified)
    }

    /// The answer for a token verified before; none when its key is no longer in force.
    fn rejudge(&self, known: Remembered, now: Timestamp) -> Option<Result<Verified, TokenError>> {
        let entry = self.entries.get(known.entry)?;
        match entry.keys.holds(&known.key, now) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        if let Err(error) = entry.keys.admit(&known.subject, now) {
            return Some(Err(error));
        }
        self.cache.count_hit();
        let verified = Verified { subject: known.subject, entry: entry.id, key: known.key };
        Some(known.window.holds(now).map(|()| verified))
    }

    async fn judge(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Verified, Remembered), TokenError> {
        let Compact { signed, header, claims, signature } = Compact::read(token)?;
        // Unverified, this says only whose keys and rules to judge by.
        let issuer = claims::issuer(&claims)?;
        let (at, entry) = self.entry_for(issuer).ok_or(TokenError::UnknownIssuer)?;
        if !entry.algorithms.contains(&header.algorithm) {
            return Err(TokenError::UnsupportedAlgorithm);
        }
        let key = entry.keys.key(header.kid.as_deref(), header.algorithm, now).await?;
        if !key.verify(header.algorithm, signed.as_bytes(), &signature) {
            return Err(TokenError::BadSignature);
        }
        entry.typ.admit(header.typ.as_deref())?;
        entry.audience.admit(&claims)?;
        let (window, expires_at) = Window::of(&claims, entry.leeway)?;
        let identity = claims::identity(&claims, &entry.identity)?;
        let bound_to = claims::bound_to(&claims)?;
        window.holds(now)?;
        let own = entry.keys.own(&header)?;

        let permissions = entry.permissions.as_ref().and_then(|pointer| pointer.resolve(&claims));
        let permissions = permissions.map_or(Permissions::None, Permissions::of_claim);
        let issuer = issuer.unwrap_or_default().to_owned();
        let subject = Subject { identity, issuer, claims, permissions, expires_at, bound_to, own };
        entry.keys.admit(&subject, now)?;
        let subject = Arc::new(subject);
        let fingerprint = *key.fingerprint();
        let verified =
            Verified { subject: Arc::clone(&subject), entry: entry.id, key: fingerprint };
        Ok((verified, Remembered::new(subject, window, fingerprint, at, now)))
    }

    /// Judges the subject of a token again that passed, maybe under other settings than those now in
    /// force: its time, with some `grace`, the key that vouched for it, and what was revoked since.
    pub fn recheck(
        &self,
        subject: &Subject,
        key: &Digest,
        (now, grace): (Timestamp, Duration),
    ) -> Result<(), TokenError> {
        let issuer = Some(subject.issuer.as_str()).filter(|issuer| !issuer.is_empty());
        let (_, entry) = self.entry_for(issuer).ok_or(TokenError::UnknownIssuer)?;
        if now >= subject.expires_at.plus(entry.leeway).plus(grace) {
            return Err(TokenError::Expired);
        }
        if !entry.keys.holds(key, now)? {
            return Err(TokenError::UnknownKey);
        }
        entry.keys.admit(subject, now)
    }

    fn entry_for(&self, issuer: Option<&str>) -> Option<(usize, &IssuerSettings)> {
        let entry = |wanted: Option<&str>| {
            self.entries.iter().enumerate().find(|(_, entry)| entry.issuer.as_deref() == wanted)
        };
        entry(issuer).or_else(|| entry(None))
    }
}

impl IssuerSettings {
    /// Everything that decides, except the keys: those are compared for themselves.
    fn rules(&self) -> String {
        let Self { id, issuer, audience, algorithms, typ, keys: _, identity, permissions, leeway } =
            self;
        format!(
            "{id:?} {issuer:?} {audience:?} {algorithms:?} {typ:?} {identity:?} {permissions:?} {leeway:?}"
        )
    }
}

impl KeySource {
    async fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Arc<VerifyingKey>, TokenError> {
        match self {
            Self::Fixed(keys) => keys.find(kid, algorithm).cloned(),
            Self::Remote(keys) => keys.key(kid, algorithm, now).await,
            Self::Own(keys, _) => keys.find(kid, algorithm),
        }
    }

    fn holds(&self, fingerprint: &Digest, now: Timestamp) -> Result<bool, TokenError> {
        match self {
            Self::Fixed(keys) => Ok(keys.holds(fingerprint)),
            Self::Remote(keys) => keys.holds(fingerprint, now),
            Self::Own(keys, _) => Ok(keys.holds(fingerprint)),
        }
    }

    /// To whom and to which session a token of ours belongs; each one that we sign says so.
    fn own(&self, header: &Header) -> Result<Option<Own>, TokenError> {
        if !matches!(self, Self::Own(..)) {
            return Ok(None);
        }
        match (&header.session, &header.user) {
            (Some(session), Some(user)) => Ok(Some(Own {
                session: SessionId::new(session.as_str()),
                user: UserId::new(user.as_str()),
            })),
            _ => Err(TokenError::Claims("session")),
        }
    }

    /// Whether a token of ours was not revoked; nothing is known of others.
    fn admit(&self, subject: &Subject, now: Timestamp) -> Result<(), TokenError> {
        let (Self::Own(_, ended), Some(own)) = (self, &subject.own) else { return Ok(()) };
        let token = subject.claims.get("jti").and_then(serde_json::Value::as_str);
        ended.admit(own.session.as_str(), token, now)
    }
}
