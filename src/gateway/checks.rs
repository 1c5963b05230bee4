//! The checks as they run: find one credential, judge it, hand one principal out.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;

use super::Asking;
use super::basic::BasicGate;
use super::certificate::CertificateGate;
use super::denial::{Denial, Kind};
use super::lease::{Lease, Proof, UserProof};
use super::strip::Stripping;
use super::trail::{Step, Trail};
use crate::credentials::AppKeys;
use crate::credentials::Carrier;
use crate::credentials::CarryError;
use crate::credentials::Found;
use crate::credentials::KeyLocation;
use crate::credentials::KeyProof;
use crate::credentials::KnownUsers;
use crate::credentials::Location;
use crate::credentials::Locations;
use crate::dialect::Dialect;
use crate::id::CheckName;
use crate::id::UserId;
use crate::inquiry::Inquiry;
use crate::jwt::TokenError;
use crate::jwt::TokenVerifier;
use crate::jwt::Verified;
use crate::principal::App;
use crate::principal::Facts;
use crate::principal::Principal;
use crate::principal::Subject;
use crate::route::CheckIndex;
use crate::route::Outcome;
use crate::route::Require;
use crate::route::Step as Next;
use crate::secret;

/// All checks of a configuration, at the indexes that requirements use.
#[derive(Debug)]
pub(super) struct Checks(pub(super) Vec<Check>);

/// One declared check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: CheckName,
    /// The same for this name in every configuration.
    pub(super) number: usize,
    pub(super) gate: Gate,
}

#[derive(Debug)]
pub(super) enum Gate {
    App(AppGate),
    User(UserGate),
    Basic(BasicGate),
    Header(HeaderGate),
    Certificate(CertificateGate),
}

/// A header that must equal an attribute of the user whom another check found.
#[derive(Debug)]
pub(super) struct HeaderGate {
    pub(super) name: HeaderName,
    pub(super) attribute: String,
}

/// An application key at one place.
#[derive(Debug)]
pub(super) struct AppGate {
    pub(super) location: KeyLocation,
    pub(super) keys: Arc<AppKeys>,
    pub(super) client_address: Option<HeaderName>,
}

/// A token at any place that an entry of the check allows.
#[derive(Debug)]
pub(super) struct UserGate {
    pub(super) locations: Locations,
    /// For each entry, the places from which its tokens are taken.
    pub(super) by_entry: Vec<Locations>,
    pub(super) verifier: TokenVerifier,
    /// For each entry, whether the store is the one to say what a user may do.
    pub(super) by_store: Vec<bool>,
    /// The first dialect whose tokens it takes.
    pub(super) dialect: Option<Arc<Dialect>>,
    /// What the store knows about the users of our own tokens.
    pub(super) users: Option<Arc<KnownUsers>>,
}

/// What the checks of a request established so far.
#[derive(Debug, Default)]
pub(super) struct Established {
    pub(super) client: Option<ClientAddress>,
    /// Where a check looks that was not asked.
    pub(super) unjudged: Option<Box<Stripping>>,
    /// What the store knows about the user of a token of our own.
    pub(super) facts: Option<Arc<Facts>>,
    /// Who calls, and what may have to be judged again. Boxed: it is handed from one to the next all the
    /// way to the end of the answer.
    pub(super) lease: Box<Lease>,
    /// Whether a browser adds one of the credentials by itself, whoever's page it shows.
    pub(super) is_ambient: bool,
}

impl Established {
    fn prove_app(&mut self, check: usize, app: Arc<App>, proof: KeyProof) {
        let earlier = self.lease.app.replace(Proof { check, of: proof });
        let app = self.lease.principal.app.replace(app);
        if earlier.is_some() {
            let principal = Principal { app, ..Principal::default() };
            self.lease.more.push(Lease { principal, app: earlier, ..Lease::default() });
        }
    }

    pub(super) fn prove_user(&mut self, check: usize, subject: Arc<Subject>, proof: UserProof) {
        let earlier = self.lease.user.replace(Proof { check, of: proof });
        let user = self.lease.principal.user.replace(subject);
        if earlier.is_some() {
            let facts = self.lease.principal.facts.clone();
            let principal = Principal { user, facts, ..Principal::default() };
            self.lease.more.push(Lease { principal, user: earlier, ..Lease::default() });
        }
    }

    /// The address that a verified application told of its client.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.client.as_ref().map(|client| client.address)
    }
}

/// The address of its own client that a verified application told, and the header it told it in.
#[derive(Clone, Debug)]
pub(super) struct ClientAddress {
    pub(super) name: HeaderName,
    pub(super) address: IpAddr,
}

/// A request on its way through the checks.
pub(super) struct Presented<'r> {
    pub(super) inquiry: &'r Inquiry<'r>,
    pub(super) asking: &'r Asking<'r>,
}

/// Checks that a configuration can declare; more is a load error.
pub(super) const MOST_CHECKS: usize = 32;

impl Checks {
    /// The gate of the check with this number.
    pub(super) fn numbered(&self, number: usize) -> Option<&Gate> {
        self.0.iter().find(|check| check.number == number).map(|check| &check.gate)
    }

    /// Runs the checks that `require` asks for, in its order, and no other.
    pub(super) async fn require(
        &self,
        require: &Require,
        presented: &Presented<'_>,
        trail: &mut Trail,
    ) -> Result<Established, Denial> {
        let mut known = [None; MOST_CHECKS];
        let mut established = Established::default();
        let mut failure: Option<Denial> = None;
        loop {
            let index = match require.next(&known) {
                Next::Ask(index) => index,
                Next::Done(Outcome::Valid, _) => {
                    established.unjudged = self.unjudged(require, &known, trail);
                    return Ok(established);
                }
                Next::Done(Outcome::Absent | Outcome::Invalid, blamed) => {
                    return Err(failure.unwrap_or_else(|| self.missing(blamed)));
                }
            };
            let (Some(check), Some(slot)) = (self.0.get(index.0), known.get_mut(index.0)) else {
                return Err(Denial::Missing(Kind::User));
            };
            let outcome = check.run(presented, self, require, &mut established).await;
            check.tell(&outcome, &established, trail);
            *slot = Some(match outcome {
                Ok(true) => Outcome::Valid,
                Ok(false) => Outcome::Absent,
                Err(denial) => {
                    failure = Some(denial);
                    Outcome::Invalid
                }
            });
        }
    }

    /// What `or` left unjudged: an upstream that believes a token because the gateway let it pass must
    /// not be handed one that nobody looked at.
    fn unjudged(
        &self,
        require: &Require,
        known: &[Option<Outcome>],
        trail: &mut Trail,
    ) -> Option<Box<Stripping>> {
        let unasked = require.unasked(known);
        if unasked.is_empty() {
            return None;
        }
        let mut unjudged = Box::<Stripping>::default();
        for check in unasked.iter().filter_map(|index| self.0.get(index.0)) {
            trail.note(Step::Check, || {
                format!("{}: not asked, its credential is removed", check.name)
            });
            match &check.gate {
                Gate::App(app) => unjudged.keys.push(app.location.clone()),
                Gate::User(user) => {
                    let judged = self.judged_places(require, known);
                    unjudged.tokens.push(user.locations.without(judged));
                }
                // A password is taken out of every request, a certificate is in none.
                Gate::Basic(_) | Gate::Certificate(_) => {}
                Gate::Header(header) => {
                    unjudged.tokens.push(Locations::new(Location::header(header.name.as_str())));
                }
            }
        }
        Some(unjudged)
    }

    /// Where the tokens stand that were judged.
    fn judged_places(
        &self,
        require: &Require,
        known: &[Option<Outcome>],
    ) -> impl Iterator<Item = &Locations> {
        let is_known = |index: &CheckIndex| known.get(index.0).copied().flatten().is_some();
        let asked = require.checks().into_iter().filter(is_known).collect::<Vec<_>>();
        asked.into_iter().filter_map(|index| match &self.0.get(index.0)?.gate {
            Gate::App(_) | Gate::Header(_) | Gate::Certificate(_) => None,
            Gate::User(user) => Some(&user.locations),
            Gate::Basic(basic) => Some(&basic.locations),
        })
    }

    /// What to say when nothing that was sent is bad, yet not enough was sent.
    fn missing(&self, blamed: Option<CheckIndex>) -> Denial {
        let blamed = blamed.and_then(|index| self.0.get(index.0));
        Denial::Missing(blamed.map_or(Kind::User, Check::kind))
    }

    /// Whether another check of the same requirement is there to judge this `Authorization`.
    fn is_claimed_by_sibling(
        &self,
        asking: &CheckName,
        require: &Require,
        inquiry: &Inquiry<'_>,
    ) -> bool {
        require.checks().iter().filter_map(|index| self.0.get(index.0)).any(|sibling| {
            sibling.name != *asking
                && match &sibling.gate {
                    Gate::App(app) => app.location.claim_authorization(inquiry.headers),
                    Gate::User(user) => user.locations.claim_authorization(inquiry.headers),
                    Gate::Basic(basic) => basic.locations.claim_authorization(inquiry.headers),
                    Gate::Header(_) | Gate::Certificate(_) => false,
                }
        })
    }
}

impl Check {
    pub(super) const fn kind(&self) -> Kind {
        match &self.gate {
            Gate::Certificate(certificate) => certificate.kind(),
            Gate::App(_) => Kind::App,
            Gate::User(_) => Kind::User,
            Gate::Basic(_) => Kind::Basic,
            Gate::Header(_) => Kind::Header,
        }
    }

    /// Whether the credential is there; good when it is.
    async fn run(
        &self,
        presented: &Presented<'_>,
        siblings: &Checks,
        require: &Require,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let locations = match &self.gate {
            Gate::App(app) => return app.run(self.number, presented, established).await,
            Gate::Header(header) => return header.run(presented.inquiry, established),
            Gate::Certificate(certificate) => {
                return certificate.run(self.number, presented.asking, established);
            }
            Gate::User(user) => &user.locations,
            Gate::Basic(basic) => &basic.locations,
        };
        let inquiry = presented.inquiry;
        let found = locations
            .find(inquiry.headers, inquiry.query)
            .map_err(|error| Denial::Carried(self.kind(), error))?;
        match found {
            Found::Absent => Ok(false),
            // One that nobody of this route could judge cannot count as "not sent".
            Found::OtherScheme if siblings.is_claimed_by_sibling(&self.name, require, inquiry) => {
                Ok(false)
            }
            Found::OtherScheme => Err(Denial::UnknownScheme),
            Found::Credential { value, carrier } => match &self.gate {
                Gate::User(user) => {
                    let token = (&**value.expose(), carrier);
                    user.run(token, self.number, presented.asking, established).await
                }
                Gate::Basic(basic) => {
                    basic.run(value.expose(), self.number, presented, established).await
                }
                Gate::App(_) | Gate::Header(_) | Gate::Certificate(_) => Ok(false),
            },
        }
    }

    fn tell(&self, outcome: &Result<bool, Denial>, established: &Established, trail: &mut Trail) {
        if !trail.is_telling() {
            return;
        }
        trail.app.clone_from(&established.lease.principal.app);
        trail.user.clone_from(&established.lease.principal.user);
        trail.client = established.client.as_ref().map(|client| client.address);
        trail.note(Step::Check, || {
            let outcome = match outcome {
                Ok(true) => format!("valid, {}", self.kind().whom(&established.lease.principal)),
                Ok(false) => "absent".to_owned(),
                Err(denial) => format!("invalid ({denial})"),
            };
            format!("{}: {outcome}", self.name)
        });
    }
}

impl Kind {
    /// Which application or user was found, in words.
    fn whom(self, principal: &Principal) -> String {
        match self {
            Self::App => {
                let id = principal.app.as_ref().map(|app| app.id.to_string());
                format!("application {}", id.unwrap_or_default())
            }
            Self::User | Self::Basic => {
                let identity = principal.user.as_ref().map(|user| user.identity.clone());
                format!("user {}", identity.unwrap_or_default())
            }
            Self::Header => "the user's own".to_owned(),
        }
    }
}

impl AppGate {
    async fn run(
        &self,
        number: usize,
        presented: &Presented<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let inquiry = presented.inquiry;
        let key = self
            .location
            .find(inquiry.headers, inquiry.query)
            .map_err(|error| Denial::Carried(Kind::App, error))?;
        let Some(key) = key else { return Ok(false) };
        let (app, proof) =
            self.keys.check(&key, presented.asking.now).await.map_err(Denial::AppKey)?;
        established.prove_app(number, app, proof);
        established.is_ambient |= self.location.reads_cookies();
        // Only now: an address told by somebody without a key is anybody's invention.
        if let Some(name) = &self.client_address {
            established.client =
                client(inquiry, name)?.map(|address| ClientAddress { name: name.clone(), address });
        }
        Ok(true)
    }
}

fn client(inquiry: &Inquiry<'_>, name: &HeaderName) -> Result<Option<IpAddr>, Denial> {
    let mut values = inquiry.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let address = value.to_str().ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
    match (address, values.next()) {
        (Some(address), None) => Ok(Some(address.to_canonical())),
        _ => Err(Denial::ClientAddress),
    }
}

impl UserGate {
    async fn run(
        &self,
        (token, carrier): (&str, Carrier<'_>),
        number: usize,
        asking: &Asking<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let token = secret::Secret::new(token);
        let verified =
            self.verifier.verify(token, asking.now, asking.recent).await.map_err(Denial::Token)?;
        // The place was open to some issuer of this check; it must be open to the token's own.
        if !self.by_entry.get(verified.entry).is_some_and(|places| places.accept(carrier)) {
            return Err(Denial::UnknownScheme);
        }
        let Verified { subject, entry, key } = verified;
        if let Some(bound_to) = &subject.bound_to {
            // In clear, or behind a proxy, nobody shows a certificate: then it cannot be used.
            let shown = asking.peer.certificate.as_ref();
            if shown.is_none_or(|shown| shown.digest != *bound_to) {
                return Err(Denial::Token(TokenError::OtherCertificate));
            }
        }
        let mut by_store = None;
        if let Some(own) = &subject.own {
            let facts = self.facts(&own.user).await?;
            if self.by_store.get(entry).is_some_and(|by_store| *by_store) {
                by_store = Some(Arc::clone(&facts));
            }
            established.facts = Some(facts);
        }
        established.prove_user(number, subject, UserProof::Token { key });
        established.is_ambient |= matches!(carrier, Carrier::Cookie(_));
        if by_store.is_some() {
            established.lease.principal.facts = by_store;
        }
        Ok(true)
    }

    /// A token that must be there and good, for whoever has no requirement to say so.
    pub(super) async fn demand(
        &self,
        presented: &Presented<'_>,
        established: &mut Established,
    ) -> Result<(), Denial> {
        let inquiry = presented.inquiry;
        let found = self.locations.find(inquiry.headers, inquiry.query);
        match found.map_err(|error| Denial::Carried(Kind::User, error))? {
            Found::Absent => Err(Denial::Missing(Kind::User)),
            Found::OtherScheme => Err(Denial::UnknownScheme),
            Found::Credential { value, carrier } => {
                // A call that ends with us is over before anything could change.
                let token = (&**value.expose(), carrier);
                self.run(token, usize::MAX, presented.asking, established).await.map(drop)
            }
        }
    }

    /// What the store knows about the user; one that is gone has no tokens any more.
    async fn facts(&self, user: &UserId) -> Result<Arc<Facts>, Denial> {
        let unavailable = Denial::Token(TokenError::KeysUnavailable);
        let Some(users) = &self.users else { return Err(unavailable) };
        match users.facts(user).await {
            Ok(Some(facts)) => Ok(facts),
            Ok(None) => Err(Denial::Token(TokenError::Revoked)),
            Err(_silent) => Err(unavailable),
        }
    }
}

impl HeaderGate {
    /// Good only beside a user who has the attribute: a text, equal to the last byte.
    fn run(&self, inquiry: &Inquiry<'_>, established: &Established) -> Result<bool, Denial> {
        let mut values = inquiry.headers.get_all(&self.name).iter();
        let Some(value) = values.next() else { return Ok(false) };
        if values.next().is_some() {
            return Err(Denial::Carried(Kind::Header, CarryError::Repeated));
        }
        let facts = established.facts.as_ref();
        let own = facts.and_then(|facts| facts.attributes.get(&self.attribute)?.as_str());
        let is_own = own
            .is_some_and(|own| !own.is_empty() && secret::equal(own.as_bytes(), value.as_bytes()));
        if is_own { Ok(true) } else { Err(Denial::HeaderDiffers) }
    }
}
