//! The checks as they run: find one credential, judge it, hand one principal out.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;

use super::Asking;
use super::denial::{Denial, Kind};
use super::strip::Stripping;
use super::trail::{Step, Trail};
use crate::credentials::AppKeys;
use crate::credentials::Carrier;
use crate::credentials::Found;
use crate::credentials::KeyLocation;
use crate::credentials::Locations;
use crate::id::CheckName;
use crate::inquiry::Inquiry;
use crate::jwt::TokenVerifier;
use crate::principal::Principal;
use crate::route::CheckIndex;
use crate::route::Outcome;
use crate::route::Require;
use crate::route::Step as Next;

/// All checks of a configuration, at the indexes that requirements use.
#[derive(Debug)]
pub(super) struct Checks(pub(super) Vec<Check>);

/// One declared check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: CheckName,
    pub(super) gate: Gate,
}

#[derive(Debug)]
pub(super) enum Gate {
    App(AppGate),
    User(UserGate),
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
}

/// What the checks of a request established so far.
#[derive(Debug, Default)]
pub(super) struct Established {
    pub(super) principal: Principal,
    pub(super) client: Option<ClientAddress>,
    /// Where a check looks that was not asked.
    pub(super) unjudged: Stripping,
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
    ) -> Stripping {
        let mut unjudged = Stripping::default();
        for check in require.unasked(known).iter().filter_map(|index| self.0.get(index.0)) {
            trail.note(Step::Check, || {
                format!("{}: not asked, its credential is removed", check.name)
            });
            match &check.gate {
                Gate::App(app) => unjudged.keys.push(app.location.clone()),
                Gate::User(user) => {
                    let judged = self.judged_places(require, known);
                    unjudged.tokens.push(user.locations.without(judged));
                }
            }
        }
        unjudged
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
            Gate::App(_) => None,
            Gate::User(user) => Some(&user.locations),
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
                }
        })
    }
}

impl Check {
    pub(super) const fn kind(&self) -> Kind {
        match self.gate {
            Gate::App(_) => Kind::App,
            Gate::User(_) => Kind::User,
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
        let user = match &self.gate {
            Gate::App(app) => return app.run(presented, established).await,
            Gate::User(user) => user,
        };
        let inquiry = presented.inquiry;
        let found = user
            .locations
            .find(inquiry.headers, inquiry.query)
            .map_err(|error| Denial::Carried(Kind::User, error))?;
        match found {
            Found::Absent => Ok(false),
            // One that nobody of this route could judge cannot count as "not sent".
            Found::OtherScheme if siblings.is_claimed_by_sibling(&self.name, require, inquiry) => {
                Ok(false)
            }
            Found::OtherScheme => Err(Denial::UnknownScheme),
            Found::Credential { value, carrier } => {
                user.run(value.expose(), carrier, presented.asking, established).await
            }
        }
    }

    fn tell(&self, outcome: &Result<bool, Denial>, established: &Established, trail: &mut Trail) {
        if !trail.is_telling() {
            return;
        }
        trail.app.clone_from(&established.principal.app);
        trail.user.clone_from(&established.principal.user);
        trail.client = established.client.as_ref().map(|client| client.address);
        trail.note(Step::Check, || {
            let outcome = match outcome {
                Ok(true) => format!("valid, {}", self.kind().whom(&established.principal)),
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
            Self::User => {
                let identity = principal.user.as_ref().map(|user| user.identity.clone());
                format!("user {}", identity.unwrap_or_default())
            }
        }
    }
}

impl AppGate {
    async fn run(
        &self,
        presented: &Presented<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let inquiry = presented.inquiry;
        let key = self
            .location
            .find(inquiry.headers, inquiry.query)
            .map_err(|error| Denial::Carried(Kind::App, error))?;
        let Some(key) = key else { return Ok(false) };
        let app = self.keys.check(&key, presented.asking.now).await.map_err(Denial::AppKey)?;
        established.principal.app = Some(app);
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
        token: &str,
        carrier: Carrier<'_>,
        asking: &Asking<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let token = crate::secret::Secret::new(token);
        let verified =
            self.verifier.verify(token, asking.now, asking.recent).await.map_err(Denial::Token)?;
        // The place was open to some issuer of this check; it must be open to the token's own.
        if !self.by_entry.get(verified.entry).is_some_and(|places| places.accept(carrier)) {
            return Err(Denial::UnknownScheme);
        }
        established.principal.user = Some(verified.subject);
        Ok(true)
    }
}
