//! Questions for a second factor that await their answer: short-lived, few tries, one use.
//!
//! A challenge holds for one user, one application and one request, so that an answer cannot be spent
//! on anything else than what the user was asked about. Kept in memory, bounded; whether a code is
//! right is not judged here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{AppId, Digest, UserId};

/// What a challenge holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// Who was asked.
    pub user: UserId,
    /// The application that called.
    pub app: Option<AppId>,
    /// The request without the answer.
    pub request: Digest,
}

/// The public name of a challenge: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChallengeKey(String);

impl ChallengeKey {
    /// The text that is sent with the question and comes back with the answer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All challenges that await an answer.
pub struct Challenges {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Default)]
struct State {
    open: HashMap<ChallengeKey, Challenge>,
    /// In the order in which they end, since all live equally long. Some may be spent; none is missing.
    order: VecDeque<(Timestamp, ChallengeKey)>,
}

struct Challenge {
    occasion: Occasion,
    tries: u32,
}

impl Challenges {
    /// No challenges, and room for `capacity`.
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::new(State::default()), capacity: capacity.max(1) }
    }

    /// Asks: the key of a new challenge, made of random bytes. It replaces an older one for the same
    /// occasion; where there is no room, the oldest of the same user makes place, or of all.
    pub fn ask(&self, occasion: Occasion, random: [u8; 16], now: Timestamp) -> ChallengeKey {
        let key = ChallengeKey(format!("{:032x}", u128::from_be_bytes(random)));
        let mut state = self.state();
        state.drop_over(now);
        state.drop_older(&occasion);
        state.drop_beyond(&occasion.user);
        while state.order.len() >= self.capacity {
            let oldest = state.order.pop_front();
            oldest.and_then(|(_, oldest)| state.open.remove(&oldest));
        }
        let ends = now.plus(LIFETIME);
        state.order.push_back((ends, key.clone()));
        state.open.insert(key.clone(), Challenge { occasion, tries: 0 });
        key
    }

    /// Counts a try at the challenge `key` and tells whether it may be made. A try for anything else
    /// than what it holds for counts too.
    pub fn may_try(&self, key: &str, occasion: &Occasion, now: Timestamp) -> bool {
        let mut state = self.state();
        state.drop_over(now);
        let Some(challenge) = state.open.get_mut(&ChallengeKey(key.to_owned())) else {
            return false;
        };
        challenge.tries = challenge.tries.saturating_add(1);
        challenge.tries <= MAX_TRIES && challenge.occasion == *occasion
    }

    /// Spends the challenge; true exactly once.
    pub fn spend(&self, key: &str, now: Timestamp) -> bool {
        let mut state = self.state();
        state.drop_over(now);
        state.open.remove(&ChallengeKey(key.to_owned())).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_older(&mut self, occasion: &Occasion) {
        let is_older =
            |(_, challenge): &(&ChallengeKey, &Challenge)| challenge.occasion == *occasion;
        let older = self.open.iter().find(is_older).map(|(key, _)| key.clone());
        if let Some(older) = older {
            self.drop_one(&older);
        }
    }

    /// Who is signed in can be asked about as many calls as there are bodies; without a bound of their
    /// own one user could drive out the questions of all others, and so keep them from signing in.
    fn drop_beyond(&mut self, user: &UserId) {
        let is_own = |challenge: &Challenge| challenge.occasion.user == *user;
        if self.open.values().filter(|challenge| is_own(challenge)).count() < MOST_OF_ONE {
            return;
        }
        let mut keys = self.order.iter().map(|(_, key)| key);
        let oldest = keys.find(|key| self.open.get(*key).is_some_and(is_own));
        if let Some(oldest) = oldest.cloned() {
            self.drop_one(&oldest);
        }
    }

    fn drop_one(&mut self, dropped: &ChallengeKey) {
        self.open.remove(dropped);
        self.order.retain(|(_, key)| key != dropped);
    }

    fn drop_over(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.order.pop_front_if(|(ends, _)| *ends <= now) {
            self.open.remove(&key);
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// How long an answer is awaited.
const LIFETIME: Duration = Duration::from_mins(5);
/// Wrong answers, the right one among them.
const MAX_TRIES: u32 = 5;
/// Questions that await the answer of one user.
const MOST_OF_ONE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion(user: &str, app: Option<&str>, request: &str) -> Occasion {
        let (user, app) = (UserId::new(user), app.map(AppId::new));
        Occasion { user, app, request: Digest::of(request.as_bytes()) }
    }

    fn login() -> Occasion {
        occasion("u_1", Some("a"), "POST /login")
    }

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_challenge_is_spent_once() {
        let challenges = Challenges::new(8);
        let key = challenges.ask(login(), [0xab; 16], at(0));
        assert_eq!(key.as_str(), "ab".repeat(16));
        assert!(challenges.may_try(key.as_str(), &login(), at(0)));
        assert!(challenges.spend(key.as_str(), at(0)));
        assert!(!challenges.spend(key.as_str(), at(0)));
        assert!(!challenges.may_try(key.as_str(), &login(), at(0)));
    }

    #[test]
    fn a_challenge_lives_for_five_minutes() {
        let challenges = Challenges::new(8);
        let key = challenges.ask(login(), [1; 16], at(0));
        assert!(challenges.may_try(key.as_str(), &login(), at(299)));
        assert!(!challenges.may_try(key.as_str(), &login(), at(300)));
        let key = challenges.ask(login(), [2; 16], at(400));
        assert!(!challenges.spend(key.as_str(), at(700)));
    }

    #[test]
    fn five_tries_are_made_and_a_sixth_is_not() {
        let challenges = Challenges::new(8);
        let key = challenges.ask(login(), [1; 16], at(0));
        for _ in 0..5 {
            assert!(challenges.may_try(key.as_str(), &login(), at(0)));
        }
        assert!(!challenges.may_try(key.as_str(), &login(), at(0)));
    }

    #[test]
    fn an_answer_is_good_only_for_what_was_asked() {
        for other in [
            occasion("u_2", Some("a"), "POST /login"),
            occasion("u_1", Some("b"), "POST /login"),
            occasion("u_1", None, "POST /login"),
            occasion("u_1", Some("a"), "POST /pay"),
        ] {
            let challenges = Challenges::new(8);
            let key = challenges.ask(login(), [1; 16], at(0));
            assert!(!challenges.may_try(key.as_str(), &other, at(0)), "{other:?}");
            assert!(challenges.may_try(key.as_str(), &login(), at(0)));
        }
        let challenges = Challenges::new(8);
        let key = challenges.ask(login(), [0xab; 16], at(0));
        for text in ["", key.as_str().split_at(1).1, &key.as_str().to_uppercase()] {
            assert!(!challenges.may_try(text, &login(), at(0)), "{text}");
        }
    }

    #[test]
    fn asking_again_about_the_same_replaces_the_first() {
        let challenges = Challenges::new(8);
        let first = challenges.ask(login(), [1; 16], at(0));
        let other = challenges.ask(occasion("u_2", None, "x"), [2; 16], at(0));
        let second = challenges.ask(login(), [3; 16], at(0));
        assert!(!challenges.spend(first.as_str(), at(0)));
        assert!(challenges.spend(second.as_str(), at(0)));
        assert!(challenges.spend(other.as_str(), at(0)));
    }

    #[test]
    fn one_user_does_not_drive_out_the_questions_of_others() {
        let challenges = Challenges::new(40);
        let other = challenges.ask(occasion("u_2", None, "x"), [0xff; 16], at(0));
        let ask = |n: u8| challenges.ask(occasion("u_1", None, &n.to_string()), [n; 16], at(0));
        let own: Vec<_> = (0..100).map(ask).collect();
        assert!(challenges.spend(other.as_str(), at(0)));
        let spent = own.iter().map(|key| challenges.spend(key.as_str(), at(0)));
        let spent: Vec<_> = spent.collect();
        assert!(spent[..84].iter().all(|spent| !spent), "the oldest make place");
        assert!(spent[84..].iter().all(|spent| *spent), "the last 16 are asked still");
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let challenges = Challenges::new(3);
        let keys: Vec<_> = (0..5)
            .map(|n| challenges.ask(occasion(&format!("u_{n}"), None, "x"), [n; 16], at(0)))
            .collect();
        let spent: Vec<_> = keys.iter().map(|key| challenges.spend(key.as_str(), at(0))).collect();
        assert_eq!(spent, [false, false, true, true, true]);
        for n in 0..100 {
            let key = challenges.ask(login(), [n; 16], at(0));
            challenges.spend(key.as_str(), at(0));
        }
        assert!(challenges.state().order.len() <= 3);
    }
}
