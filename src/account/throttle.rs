//! How often somebody may guess: failures are counted by account, by account and place, and by place.
//!
//! A try is counted before anything is hashed and given back when it was right. Names that nobody has
//! are counted as others are, so that a limit tells nothing. A place from which an account signed in
//! before has a budget of its own, which a stranger cannot use up. It is kept in memory, bounded, and
//! begins anew with the process.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::budget::{Budget, Refusal};
use crate::clock::Timestamp;
use crate::dialect::Lockout;
use crate::id::Digest;
use crate::inquiry::Network;

/// A try that was refused before it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// This account was guessed at too often, by whomever.
    Account {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Too many failures came from this place.
    Network {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// So many tries are under way that their failing would exhaust a budget; none has failed yet.
    Contended,
}

/// The budgets that do not depend on what the login call says.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSettings {
    /// Failures from one place, whichever accounts they are about.
    pub network: Lockout,
    /// Wrong one-time codes for one account, from wherever, in however many attempts to sign in.
    pub codes: Lockout,
    /// Users registered from one place.
    pub registrations: Lockout,
    /// Budgets of strangers kept; beyond them, new ones are shared.
    pub capacity: usize,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        let quarter = Duration::from_mins(15);
        Self {
            network: Lockout { failures: 40, window: quarter, lock: quarter },
            codes: Lockout { failures: 10, window: quarter, lock: quarter },
            registrations: Lockout { failures: 20, window: quarter, lock: quarter },
            capacity: 100_000,
        }
    }
}

/// All budgets; shared by everything that signs in.
pub struct Throttle {
    settings: ThrottleSettings,
    state: Mutex<State>,
    /// Told whenever a try is over, for those that wait because of [`Limited::Contended`].
    settled: Notify,
}

#[derive(Default)]
struct State {
    budgets: HashMap<Key, Budget>,
    /// Where an account signed in from before, the latest last.
    usual: HashMap<Digest, VecDeque<Network>>,
    swept_at: Option<Timestamp>,
}

/// Whose failures are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Guesses at an account from places it never signed in from.
    Strangers(Digest),
    /// Guesses at an account from one of its usual places.
    Usual(Digest, Network),
    /// Failures from a place.
    Network(Network),
    /// Wrong codes for an account.
    Codes(Digest),
    /// Users registered from a place.
    Registrations(Network),
    /// Refresh tokens from a place that are none of ours.
    Forgeries(Network),
    /// What is counted when there is no room to count apart.
    Shared(u8),
}

/// A try that was let through. Dropped, it counts as a failure.
#[must_use]
pub struct Ticket {
    throttle: Arc<Throttle>,
    account: Option<Digest>,
    place: Network,
    taken: Vec<(Key, Lockout)>,
    at: Timestamp,
}

impl Throttle {
    /// Budgets that nobody has used yet.
    pub fn new(settings: ThrottleSettings) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self { settings, state, settled: Notify::new() })
    }

    /// Lets a guess at the account `login` through, or says why not.
    pub fn try_take(
        self: &Arc<Self>,
        login: &str,
        address: IpAddr,
        lockout: Lockout,
        now: Timestamp,
    ) -> Result<Ticket, Limited> {
        let (account, place) = (Digest::of(login.as_bytes()), Network::of(address));
        let mut state = self.state();
        let is_usual = state.usual.get(&account).is_some_and(|places| places.contains(&place));
        // From a usual place only the budget of both counts: neither strangers nor neighbours behind
        // the same address can lock the owner out.
        let wanted: &[(Key, Lockout)] = if is_usual {
            &[(Key::Usual(account, place), lockout)]
        } else {
            let strangers = (Key::Strangers(account), lockout);
            &[(Key::Network(place), self.settings.network), strangers]
        };
        let taken = state.take(wanted, now, self.settings.capacity)?;
        Ok(self.ticket(Some(account), place, taken, now))
    }

    /// Lets a call from `address` through that can fail without being about an account.
    pub fn try_take_place(
        self: &Arc<Self>,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Ticket, Limited> {
        let place = Network::of(address);
        let wanted = [(Key::Network(place), self.settings.network)];
        let taken = self.state().take(&wanted, now, self.settings.capacity)?;
        Ok(self.ticket(None, place, taken, now))
    }

    /// Lets a registration from `address` through. Unlike others, the ticket of one that succeeded is
    /// to be dropped: a place makes so many users and no more.
    pub fn try_take_registration(
        self: &Arc<Self>,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Ticket, Limited> {
        let place = Network::of(address);
        let wanted = [(Key::Registrations(place), self.settings.registrations)];
        let taken = self.state().take(&wanted, now, self.settings.capacity)?;
        Ok(self.ticket(None, place, taken, now))
    }

    /// Lets a one-time code for the account `login` through. Only who knows the password gets here,
    /// so nobody can use this up for the owner but by knowing it.
    pub fn try_take_code(
        self: &Arc<Self>,
        login: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Ticket, Limited> {
        let account = Digest::of(login.as_bytes());
        let wanted = [(Key::Codes(account), self.settings.codes)];
        let taken = self.state().take(&wanted, now, self.settings.capacity)?;
        Ok(self.ticket(None, Network::of(address), taken, now))
    }

    /// Counts a refresh token from `address` that is none of ours; how long that place has to wait, once
    /// there were too many. Counted apart: a client that repeats a stale one locks no neighbour out.
    pub fn note_forgery(&self, address: IpAddr, now: Timestamp) -> Option<Duration> {
        let wanted = [(Key::Forgeries(Network::of(address)), self.settings.network)];
        let mut state = self.state();
        match state.take(&wanted, now, self.settings.capacity) {
            Ok(taken) => {
                for (key, lockout) in taken {
                    state.with(key, |budget| budget.fail(lockout, now));
                }
                None
            }
            Err(Limited::Account { retry_after } | Limited::Network { retry_after }) => {
                Some(retry_after)
            }
            Err(Limited::Contended) => None,
        }
    }

    /// Forgets every failure that concerns the account `login`, as when an operator unlocks it.
    pub fn reset(&self, login: &str) {
        let account = Digest::of(login.as_bytes());
        let mut state = self.state();
        let usual = state.usual.get(&account).cloned().unwrap_or_default();
        let usual = usual.into_iter().map(|place| Key::Usual(account, place));
        for key in usual.chain([Key::Strangers(account), Key::Codes(account)]) {
            if let Some(budget) = state.budgets.get_mut(&key) {
                budget.clear();
            }
        }
        drop(state);
        self.settled.notify_waiters();
    }

    /// What is told whenever a try is over.
    pub(super) const fn settled(&self) -> &Notify {
        &self.settled
    }

    fn ticket(
        self: &Arc<Self>,
        account: Option<Digest>,
        place: Network,
        taken: Vec<(Key, Lockout)>,
        at: Timestamp,
    ) -> Ticket {
        Ticket { throttle: Arc::clone(self), account, place, taken, at }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Gives the try back: it was right as far as this limit is concerned.
    pub fn forgive(mut self) {
        self.give_back();
    }

    /// Gives the try back, and remembers the place as one that the account signs in from.
    pub fn succeed(mut self) {
        self.give_back();
        let mut state = self.throttle.state();
        if let Some(account) = self.account {
            state.remember(account, self.place, self.throttle.settings.capacity);
            // Of failures at a usual place, the owner's own are the likely ones.
            state.with(Key::Usual(account, self.place), Budget::clear);
        }
    }

    fn give_back(&mut self) {
        let mut state = self.throttle.state();
        for (key, _) in self.taken.drain(..) {
            state.with(key, Budget::forgive);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        for (key, lockout) in self.taken.drain(..) {
            state.with(key, |budget| budget.fail(lockout, self.at));
        }
        drop(state);
        self.throttle.settled.notify_waiters();
    }
}

impl State {
    /// Takes a try out of each budget, or out of none.
    fn take(
        &mut self,
        wanted: &[(Key, Lockout)],
        now: Timestamp,
        capacity: usize,
    ) -> Result<Vec<(Key, Lockout)>, Limited> {
        self.sweep(now, capacity);
        let wanted = wanted.iter().map(|(key, lockout)| (self.place_for(*key, capacity), *lockout));
        let wanted: Vec<_> = wanted.collect();
        for (key, lockout) in &wanted {
            let budget = self.budgets.get(key).copied().unwrap_or_default();
            budget.judge(*lockout, now).map_err(|refusal| key.limited(refusal))?;
        }
        for (key, _) in &wanted {
            self.budgets.entry(*key).or_default().take();
        }
        Ok(wanted)
    }

    /// The key itself while there is room. Afterwards one of a few that many share: a stranger may be
    /// refused for another's failures, but filling the table does not make failures uncounted.
    fn place_for(&self, key: Key, capacity: usize) -> Key {
        // Only who signed in before, or knows the password, gets this far; their number is that of
        // real accounts, and they shall not suffer from a flood of strangers.
        let is_owner = matches!(key, Key::Usual(..) | Key::Codes(_));
        if is_owner || self.budgets.len() < capacity || self.budgets.contains_key(&key) {
            return key;
        }
        let text = format!("{key:?}");
        let [bucket, ..] = *Digest::of(text.as_bytes()).as_bytes();
        Key::Shared(bucket)
    }

    fn with(&mut self, key: Key, act: impl FnOnce(&mut Budget)) {
        if let Some(budget) = self.budgets.get_mut(&key) {
            act(budget);
        }
    }

    fn remember(&mut self, account: Digest, place: Network, capacity: usize) {
        if self.usual.len() >= capacity && !self.usual.contains_key(&account) {
            // Only real accounts are in here, since only success gets one in.
            let some = self.usual.keys().next().copied();
            some.and_then(|some| self.usual.remove(&some));
        }
        let places = self.usual.entry(account).or_default();
        places.retain(|known| *known != place);
        if places.len() >= MAX_USUAL {
            places.pop_front();
        }
        places.push_back(place);
    }

    /// Drops what is over, now and then, or when there is no room.
    fn sweep(&mut self, now: Timestamp, capacity: usize) {
        let pause = if self.budgets.len() >= capacity { SWEEP_FULL } else { SWEEP };
        if self.swept_at.is_some_and(|at| now.since(at) < pause) {
            return;
        }
        self.swept_at = Some(now);
        self.budgets.retain(|_, budget| !budget.is_over(now));
    }
}

impl Key {
    const fn limited(&self, refusal: Refusal) -> Limited {
        match (self, refusal) {
            (_, Refusal::Contended) => Limited::Contended,
            (
                Self::Network(_) | Self::Registrations(_) | Self::Forgeries(_) | Self::Shared(_),
                Refusal::Exhausted { retry_after },
            ) => Limited::Network { retry_after },
            (
                Self::Strangers(_) | Self::Usual(..) | Self::Codes(_),
                Refusal::Exhausted { retry_after },
            ) => Limited::Account { retry_after },
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Usual places kept of each account.
const MAX_USUAL: usize = 8;
/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_mins(1);
/// And how often when there is no room: each time costs a look at everything.
const SWEEP_FULL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKOUT: Lockout =
        Lockout { failures: 5, window: Duration::from_mins(15), lock: Duration::from_mins(30) };
    const ACCOUNT: Limited = Limited::Account { retry_after: LOCKOUT.lock };
    const NETWORK: Limited = Limited::Network { retry_after: Duration::from_mins(15) };
    const HOME: &str = "198.51.100.7";
    const ABROAD: &str = "203.0.113.9";

    fn throttle() -> Arc<Throttle> {
        Throttle::new(ThrottleSettings::default())
    }

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn take(throttle: &Arc<Throttle>, login: &str, from: &str) -> Result<Ticket, Limited> {
        throttle.try_take(login, address(from), LOCKOUT, at(0))
    }

    fn fail(throttle: &Arc<Throttle>, login: &str, from: &str) {
        drop(take(throttle, login, from).unwrap());
    }

    fn succeed(throttle: &Arc<Throttle>, login: &str, from: &str) {
        take(throttle, login, from).unwrap().succeed();
    }

    #[track_caller]
    fn refused(result: Result<Ticket, Limited>, expected: Limited) {
        assert_eq!(result.err(), Some(expected));
    }

    #[track_caller]
    fn let_through(result: Result<Ticket, Limited>) {
        assert_eq!(result.err(), None);
    }

    #[test]
    fn an_account_is_closed_to_all_strangers_after_so_many_failures_of_any() {
        let throttle = throttle();
        for number in 0..5 {
            fail(&throttle, "alice", &format!("203.0.113.{number}"));
        }
        refused(take(&throttle, "alice", "192.0.2.1"), ACCOUNT);
        let_through(take(&throttle, "bob", "192.0.2.1"));
        let later = |now| throttle.try_take("alice", address(HOME), LOCKOUT, at(now)).err();
        let retry_after = Duration::from_secs(1);
        assert_eq!(later(1799), Some(Limited::Account { retry_after }));
        assert_eq!(later(1800), None);
    }

    #[test]
    fn a_stranger_does_not_close_an_account_to_its_owner() {
        let throttle = throttle();
        succeed(&throttle, "alice", HOME);
        for _ in 0..5 {
            fail(&throttle, "alice", ABROAD);
        }
        refused(take(&throttle, "alice", ABROAD), ACCOUNT);
        for _ in 0..4 {
            fail(&throttle, "alice", HOME);
        }
        // The owner's own failures count, until a success.
        succeed(&throttle, "alice", HOME);
        for _ in 0..5 {
            fail(&throttle, "alice", HOME);
        }
        refused(take(&throttle, "alice", HOME), ACCOUNT);
        refused(take(&throttle, "alice", ABROAD), ACCOUNT);
    }

    #[test]
    fn success_elsewhere_gives_a_stranger_no_more_guesses() {
        let throttle = throttle();
        for _ in 0..4 {
            fail(&throttle, "alice", ABROAD);
        }
        succeed(&throttle, "alice", HOME);
        succeed(&throttle, "alice", HOME);
        fail(&throttle, "alice", ABROAD);
        refused(take(&throttle, "alice", ABROAD), ACCOUNT);
    }

    #[test]
    fn one_place_is_closed_whichever_accounts_it_guesses_at() {
        let throttle = throttle();
        succeed(&throttle, "alice", ABROAD);
        for number in 0..40 {
            fail(&throttle, &format!("user{number}"), ABROAD);
        }
        refused(take(&throttle, "another", ABROAD), NETWORK);
        refused(throttle.try_take_place(address(ABROAD), at(0)), NETWORK);
        let_through(take(&throttle, "another", HOME));
        // Nor does a neighbour behind the same address lock those out who live there.
        let_through(take(&throttle, "alice", ABROAD));
    }

    #[test]
    fn a_refused_try_costs_nothing_more() {
        let throttle = throttle();
        for _ in 0..5 {
            fail(&throttle, "alice", ABROAD);
        }
        for _ in 0..100 {
            refused(take(&throttle, "alice", ABROAD), ACCOUNT);
        }
        let_through(take(&throttle, "bob", ABROAD));
    }

    #[test]
    fn a_place_is_an_address_or_the_64_bits_of_a_subscriber() {
        for (left, right, expected) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            let [left, right] = [left, right].map(|text| Network::of(text.parse().unwrap()));
            assert_eq!(left == right, expected, "{left:?} {right:?}");
        }
    }

    #[test]
    fn a_burst_of_right_tries_is_not_locked_out() {
        let throttle = throttle();
        let tickets: Vec<_> = (0..5).map(|_| take(&throttle, "alice", HOME).unwrap()).collect();
        assert_eq!(take(&throttle, "alice", HOME).err(), Some(Limited::Contended));
        tickets.into_iter().for_each(Ticket::succeed);
        let_through(take(&throttle, "alice", HOME));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_every_end() {
        let throttle = throttle();
        for (number, end) in [drop, Ticket::forgive, Ticket::succeed].into_iter().enumerate() {
            let ticket = take(&throttle, &format!("user{number}"), HOME).unwrap();
            let told = throttle.settled().notified();
            end(ticket);
            told.await;
        }
    }

    #[test]
    fn a_burst_of_guesses_gets_no_further_than_one_after_the_other() {
        let throttle = throttle();
        let tickets: Vec<_> =
            (0..100).filter_map(|_| take(&throttle, "alice", ABROAD).ok()).collect();
        assert_eq!(tickets.len(), 5);
        drop(tickets);
        refused(take(&throttle, "alice", ABROAD), ACCOUNT);
    }

    #[test]
    fn codes_have_a_budget_for_each_account_that_passwords_do_not_touch() {
        let throttle = throttle();
        let code = |login| throttle.try_take_code(login, address(HOME), at(0));
        for _ in 0..10 {
            drop(code("alice").unwrap());
            succeed(&throttle, "alice", HOME);
        }
        let retry_after = Duration::from_mins(15);
        assert_eq!(code("alice").err(), Some(Limited::Account { retry_after }));
        assert_eq!(code("bob").err(), None);
        let_through(take(&throttle, "alice", HOME));
    }

    #[test]
    fn an_operator_resets_one_account() {
        let throttle = throttle();
        succeed(&throttle, "alice", HOME);
        for login in ["alice", "bob"] {
            for _ in 0..5 {
                fail(&throttle, login, ABROAD);
            }
        }
        for _ in 0..5 {
            fail(&throttle, "alice", HOME);
        }
        throttle.reset("alice");
        let_through(take(&throttle, "alice", HOME));
        let_through(take(&throttle, "alice", ABROAD));
        refused(take(&throttle, "bob", ABROAD), ACCOUNT);
    }

    #[test]
    fn usual_places_are_the_latest_few() {
        let throttle = throttle();
        for number in 0..=MAX_USUAL {
            succeed(&throttle, "alice", &format!("192.0.2.{number}"));
        }
        for _ in 0..5 {
            fail(&throttle, "alice", ABROAD);
        }
        refused(take(&throttle, "alice", "192.0.2.0"), ACCOUNT);
        let_through(take(&throttle, "alice", "192.0.2.1"));
    }

    #[test]
    fn a_full_table_neither_grows_nor_stops_counting() {
        let settings = ThrottleSettings { capacity: 16, ..ThrottleSettings::default() };
        let throttle = Throttle::new(settings);
        succeed(&throttle, "owner", HOME);
        let mut refused = 0;
        for number in 0..10_000 {
            let from = format!("2001:db8:{:x}:{:x}::1", number / 256, number % 256);
            match take(&throttle, &format!("user{number}"), &from) {
                Ok(ticket) => drop(ticket),
                Err(_) => refused += 1,
            }
        }
        assert!(throttle.state().budgets.len() <= 16 + 256 + 2);
        let_through(take(&throttle, "owner", HOME));
        assert!(refused > 8000, "{refused}");
        // Time makes room again.
        let hour = |login| throttle.try_take(login, address(HOME), LOCKOUT, at(3600)).err();
        assert_eq!(hour("owner"), None);
        assert_eq!(hour("user1"), None);
        assert!(throttle.state().budgets.len() <= 3);
    }
}
