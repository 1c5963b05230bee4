//! The rates in force: which of them a request is counted by, before and after its checks.
//!
//! Addresses are counted before credentials are looked at, so that a flood of bad ones costs no
//! signature. The others count who was let through: strangers use up nobody else's share.

use std::net::IpAddr;
use std::sync::Arc;

use super::checks::Established;
use super::denial::Denial;
use super::route::Route;
use super::{Asking, Gateway, Round};
use crate::limits::Caller;
use crate::limits::Exceeded;
use crate::limits::Outcome;
use crate::limits::Per;
use crate::limits::Rate;
use crate::limits::Told;
use crate::principal::Principal;

/// Rates by the moment at which they are taken from.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub(super) arriving: Vec<Arc<Rate>>,
    pub(super) admitted: Vec<Arc<Rate>>,
}

impl Rates {
    /// Sorts rates by their moments.
    pub(super) fn new(rates: Vec<Arc<Rate>>) -> Self {
        let (arriving, admitted) = rates.into_iter().partition(|rate| rate.per() == Per::Address);
        Self { arriving, admitted }
    }
}

impl Gateway {
    /// Counts a request by where it comes from.
    pub(super) fn count_arrival(&self, rates: &Rates, asking: &Asking<'_>) -> Result<(), Denial> {
        if rates.arriving.is_empty() {
            return Ok(());
        }
        let caller = Caller::of_address(asking.peer.client);
        let wanted: Vec<_> = rates.arriving.iter().map(|rate| (rate, caller)).collect();
        self.take(&wanted, asking, None)
    }

    /// Counts a request that was let through, by everything that counts such ones; what its client is
    /// told about it.
    pub(super) fn count_admitted(
        &self,
        route: &Route,
        established: &Established,
        asking: &Asking<'_>,
    ) -> Result<Option<Box<Told>>, Denial> {
        let rates = [&self.rates, &route.rates];
        if rates.iter().all(|rates| rates.admitted.is_empty()) {
            return Ok(None);
        }
        let mut told = self.tells_rates.then(Box::<Told>::default);
        let caller = |rate: &Rate| caller(rate.per(), route, established, asking.peer.client);
        let rates = rates.into_iter().flat_map(|rates| &rates.admitted);
        let wanted: Vec<_> = rates.map(|rate| (rate, caller(rate))).collect();
        self.take(&wanted, asking, told.as_deref_mut())?;
        Ok(told)
    }

    /// Takes from all of them or, when one refuses, from none: who comes too soon for one rate uses
    /// nothing of the others up.
    fn take(
        &self,
        wanted: &[(&Arc<Rate>, Caller<'_>)],
        asking: &Asking<'_>,
        mut told: Option<&mut Told>,
    ) -> Result<(), Denial> {
        if wanted.len() > 1 && asking.round == Round::First {
            for (rate, caller) in wanted {
                self.judge(rate, rate.look(caller, asking.now))?;
            }
        }
        for (rate, caller) in wanted {
            let outcome = match asking.round {
                Round::First => rate.take(caller, asking.now),
                Round::Again => rate.look(caller, asking.now),
            };
            if asking.round == Round::First {
                self.judge(rate, outcome)?;
            }
            if let Some(told) = &mut told {
                told.add(rate, outcome);
            }
        }
        Ok(())
    }

    fn judge(&self, rate: &Arc<Rate>, outcome: Outcome) -> Result<(), Denial> {
        let Outcome::Refused { wait } = outcome else { return Ok(()) };
        self.metrics.rate_limited.with_label_values(&[rate.name()]).inc();
        Err(Denial::RateLimited(Exceeded { rate: Arc::clone(rate), wait }))
    }
}

/// A caller of whom no such thing is known is counted by its address, not let through uncounted.
fn caller<'c>(
    per: Per,
    route: &'c Route,
    established: &'c Established,
    from: IpAddr,
) -> Caller<'c> {
    let Principal { app, user, .. } = &established.lease.principal;
    match (per, app, user) {
        (Per::Route, ..) => Caller::Route(route.id.as_str()),
        (Per::All, ..) => Caller::All,
        (Per::App, Some(app), _) => Caller::App(app.id.as_str()),
        (Per::User, _, Some(user)) => Caller::User(&user.issuer, &user.identity),
        (Per::Address | Per::App | Per::User, ..) => Caller::of_address(from),
    }
}
