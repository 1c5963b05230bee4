//! Hashing passwords: so many at once, so many waiting, and the same work for whoever is asked about.
//!
//! It knows no users. A hash takes tens of milliseconds and 19 MiB, which is why it happens on threads
//! of their own, behind permits, and never for a caller that has gone.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::Block;
use prometheus::IntCounter;
use tokio::sync::oneshot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use zeroize::Zeroizing;

use super::cost::PasswordCost;
use super::giving_way::GivingWay;
use super::phc::{OUTPUT, Phc};
use super::random;
use crate::secret;
use crate::secret::Secret;
use crate::telemetry::Metrics;

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// As many wait as may wait; worth trying again.
    #[error("too many passwords wait for their hash")]
    Busy,
    /// The system gave no random bytes or no memory.
    #[error("a password could not be hashed")]
    Failed,
}

/// How many passwords are hashed and how many wait.
#[derive(Clone, Copy, Debug)]
pub struct HashSettings {
    /// What each hash costs.
    pub cost: PasswordCost,
    /// Hashes under way at once, at least one.
    pub concurrent: usize,
    /// Callers waiting for their turn.
    pub queue: usize,
    /// How long each of them waits.
    pub patience: Duration,
}

/// Hashes and verifies passwords; cheap to clone.
#[derive(Clone)]
pub struct Hasher(Arc<Shared>);

/// Leave to hash once, given back when dropped.
#[must_use]
pub struct Turn {
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
}

struct Shared {
    settings: HashSettings,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Memory of hashes that are over, at most one piece for each permit: asking the system for it
    /// anew would cost a tenth of the hash.
    memory: Mutex<Vec<Vec<Block>>>,
    hashes: IntCounter,
    giving_way: GivingWay,
    /// What a password is compared with when there is nobody whose it could be.
    nobody: Phc,
}

impl Hasher {
    /// A hasher with permits and places as `settings` say.
    pub fn new(settings: HashSettings, metrics: &Metrics) -> Result<Self, HashError> {
        let nobody = Phc {
            cost: settings.cost,
            salt: random::bytes::<SALT>().map_err(|_| HashError::Failed)?.to_vec(),
            output: random::bytes().map_err(|_| HashError::Failed)?,
        };
        Ok(Self(Arc::new(Shared {
            settings,
            permits: Arc::new(Semaphore::new(settings.concurrent.max(1))),
            waiting: AtomicUsize::new(0),
            memory: Mutex::new(Vec::new()),
            hashes: metrics.password_hashes.clone(),
            giving_way: GivingWay::default(),
            nobody,
        })))
    }

    /// Hashes a password for keeping. `beside` are the other hashes of the same user: one salt for all
    /// of them makes that asking about five passwords costs what asking about one does.
    pub async fn hash(
        &self,
        password: Secret<&str>,
        beside: &[Secret<String>],
    ) -> Result<Secret<String>, HashError> {
        let cost = self.0.settings.cost;
        let salt = salt_beside(cost, beside)?;
        let password = owned(password);
        let work = move |shared: &Shared| Ok((shared.output(cost, &password, &salt)?, salt));
        let (output, salt) = self.turn().await?.run(work).await??;
        Ok(Secret::new(Phc { cost, salt, output }.to_string()))
    }

    /// Whether a kept hash costs something else than one would that is made now.
    pub fn needs_rehash(&self, hash: &Secret<String>) -> bool {
        Phc::parse(hash.expose()).is_none_or(|hash| hash.cost != self.0.settings.cost)
    }

    /// Waits for leave to hash, within bounds. Whoever has a turn should use it: others wait for it.
    pub async fn turn(&self) -> Result<Turn, HashError> {
        Ok(Turn { shared: Arc::clone(&self.0), permit: self.permit().await? })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, HashError> {
        let permits = Arc::clone(&self.0.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.0.waiting, self.0.settings.queue).ok_or(HashError::Busy)?;
        match time::timeout(self.0.settings.patience, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(HashError::Busy),
        }
    }
}

impl Turn {
    /// Which of `hashes` is the password's. As much work is done for none as for one.
    pub async fn verify(
        self,
        hashes: &[Secret<String>],
        password: Secret<&str>,
    ) -> Result<Option<usize>, HashError> {
        let hashes = hashes.iter().map(|text| Phc::parse(text.expose())).collect::<Vec<_>>();
        let password = owned(password);
        self.run(move |shared| shared.find(&hashes, &password)).await?
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let Self { shared, permit } = self;
        let (reply, answer) = oneshot::channel();
        // A thread for each hash: a core that hashes for tens of milliseconds must not make the requests
        // wait that need it for microseconds, and who gave way cannot take that back.
        let hashing = thread::Builder::new().name("hash".to_owned()).spawn(move || {
            // Nothing is learnt from what is not done.
            let work = || shared.giving_way.during(|| work(&shared));
            let done = (!reply.is_closed()).then(work);
            // Before the answer: whoever has it may ask again at once.
            drop(permit);
            drop(done.map(|done| reply.send(done)));
        });
        hashing.map_err(|_| HashError::Failed)?;
        answer.await.map_err(|_| HashError::Failed)
    }
}

/// Hashes a password for keeping, here and now; for commands, which hash one and end.
pub fn hash_password(
    password: Secret<&str>,
    cost: PasswordCost,
    beside: &[Secret<String>],
) -> Result<Secret<String>, HashError> {
    let salt = salt_beside(cost, beside)?;
    let output = output_in(&mut Vec::new(), cost, password.expose().as_bytes(), &salt)?;
    Ok(Secret::new(Phc { cost, salt, output }.to_string()))
}

impl Shared {
    /// One hash for each salt and cost among `hashes`: one in all, unless the cost was changed since
    /// some of them were made. What cannot be read is nobody's.
    fn find(&self, hashes: &[Option<Phc>], password: &[u8]) -> Result<Option<usize>, HashError> {
        let mut tried: Vec<&Phc> = Vec::new();
        for hash in hashes.iter().flatten() {
            if tried.iter().any(|done| has_same_work(done, hash)) {
                continue;
            }
            let output = self.output(hash.cost, password, &hash.salt)?;
            let is_it =
                |other: &Phc| has_same_work(other, hash) && secret::equal(&other.output, &output);
            let found = hashes.iter().position(|other| other.as_ref().is_some_and(is_it));
            if found.is_some() {
                return Ok(found);
            }
            tried.push(hash);
        }
        if tried.is_empty() {
            self.output(self.nobody.cost, password, &self.nobody.salt)?;
        }
        Ok(None)
    }

    fn output(
        &self,
        cost: PasswordCost,
        password: &[u8],
        salt: &[u8],
    ) -> Result<[u8; OUTPUT], HashError> {
        self.hashes.inc();
        let mut memory = self.memory().pop().unwrap_or_default();
        let output = output_in(&mut memory, cost, password, salt);
        self.memory().push(memory);
        output
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn output_in(
    memory: &mut Vec<Block>,
    cost: PasswordCost,
    password: &[u8],
    salt: &[u8],
) -> Result<[u8; OUTPUT], HashError> {
    let (function, blocks) = cost.function().map_err(|_| HashError::Failed)?;
    memory.resize(blocks, Block::new());
    let mut output = [0; OUTPUT];
    function
        .hash_password_into_with_memory(password, salt, &mut output, memory.as_mut_slice())
        .map_err(|_| HashError::Failed)?;
    Ok(output)
}

/// The salt of the user's other hashes if they cost the same, else a new one.
fn salt_beside(cost: PasswordCost, beside: &[Secret<String>]) -> Result<Vec<u8>, HashError> {
    let others = beside.iter().filter_map(|text| Phc::parse(text.expose()));
    match others.into_iter().find(|other| other.cost == cost) {
        Some(other) => Ok(other.salt),
        None => Ok(random::bytes::<SALT>().map_err(|_| HashError::Failed)?.to_vec()),
    }
}

fn has_same_work(left: &Phc, right: &Phc) -> bool {
    left.cost == right.cost && left.salt == right.salt
}

fn owned(password: Secret<&str>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(password.expose().as_bytes().to_vec())
}

/// A place in the queue, given back when dropped, also by a caller that goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, places: usize) -> Option<Self> {
        let next = |taken: usize| (taken < places).then_some(taken + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.0.settings).finish()
    }
}

/// Bytes of a salt.
const SALT: usize = 16;

#[cfg(test)]
mod tests {
    use std::future;
    use std::pin::pin;
    use std::slice;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    /// As little as Argon2 can do, so that tests of behaviour take no time.
    fn cheap() -> PasswordCost {
        PasswordCost::stored(8, 1, 1).unwrap()
    }

    fn hasher(concurrent: usize, queue: usize) -> (Hasher, IntCounter) {
        let metrics = Metrics::new().unwrap();
        let patience = Duration::from_mins(1);
        let settings = HashSettings { cost: cheap(), concurrent, queue, patience };
        (Hasher::new(settings, &metrics).unwrap(), metrics.password_hashes)
    }

    fn kept(password: &str, beside: &[Secret<String>]) -> Secret<String> {
        hash_password(Secret::new(password), cheap(), beside).unwrap()
    }

    async fn run<T: Send + 'static>(
        hasher: &Hasher,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        hasher.turn().await?.run(work).await
    }

    async fn find(hasher: &Hasher, kept: &[Secret<String>], password: &str) -> Option<usize> {
        hasher.turn().await.unwrap().verify(kept, Secret::new(password)).await.unwrap()
    }

    /// The vectors of RFC 9106 have a secret and associated data; this one is the reference
    /// implementation's own.
    #[tokio::test]
    async fn hashes_as_the_reference_implementation_does() {
        let reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let reference = [Secret::new(reference.to_owned())];
        let (hasher, _) = hasher(1, 0);
        assert_eq!(find(&hasher, &reference, "password").await, Some(0));
        assert_eq!(find(&hasher, &reference, "passwore").await, None);
    }

    #[tokio::test]
    async fn a_password_is_taken_as_it_is_written() {
        let (hasher, _) = hasher(1, 0);
        let long = "x".repeat(4096);
        let passwords = ["", " ", "a", "A", "a ", "a\0", "a\0b", "é", "e\u{301}", "😀", &long];
        let pairs =
            passwords.iter().flat_map(|one| passwords.iter().map(move |other| (*one, *other)));
        for (password, other) in pairs {
            let hash = [hasher.hash(Secret::new(password), &[]).await.unwrap()];
            let expected = (password == other).then_some(0);
            assert_eq!(find(&hasher, &hash, other).await, expected, "{password:?} {other:?}");
        }
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ_unless_they_are_one_users() {
        let (hasher, _) = hasher(1, 0);
        let first = hasher.hash(Secret::new("x"), &[]).await.unwrap();
        assert_ne!(first.expose(), kept("x", &[]).expose());
        assert_eq!(first.expose(), kept("x", slice::from_ref(&first)).expose());
        assert_ne!(first.expose(), kept("y", slice::from_ref(&first)).expose());
    }

    #[tokio::test]
    async fn whoever_is_asked_about_one_hash_is_computed() {
        let (hasher, count) = hasher(1, 0);
        let first = kept("one", &[]);
        let second = kept("two", slice::from_ref(&first));
        let third = kept("three", &[first.clone(), second.clone()]);
        let one_user = [first.clone(), second, third];
        let damaged = [Secret::new("$argon2id$v=19$m=8".to_owned())];
        for (stored, password, expected) in [
            (&[][..], "one", None),
            (&one_user[..1], "one", Some(0)),
            (&one_user[..1], "wrong", None),
            (&one_user[..], "three", Some(2)),
            (&one_user[..], "wrong", None),
            (&damaged[..], "one", None),
        ] {
            let before = count.get();
            assert_eq!(find(&hasher, stored, password).await, expected, "{password}");
            assert_eq!(count.get() - before, 1, "{password}");
        }
    }

    #[tokio::test]
    async fn every_hash_is_tried_though_they_have_not_one_salt() {
        let (hasher, count) = hasher(1, 0);
        let apart = [kept("one", &[]), kept("two", &[]), kept("three", &[])];
        assert_eq!(find(&hasher, &apart, "three").await, Some(2));
        assert_eq!(find(&hasher, &apart, "four").await, None);
        assert_eq!(count.get(), 6);
    }

    #[test]
    fn a_hash_of_another_cost_is_to_be_made_anew() {
        let (hasher, _) = hasher(1, 0);
        let dearer = PasswordCost::stored(16, 1, 1).unwrap();
        let dearer = hash_password(Secret::new("x"), dearer, &[]).unwrap();
        assert!(!hasher.needs_rehash(&kept("x", &[])));
        assert!(hasher.needs_rehash(&dearer));
        assert_ne!(kept("x", slice::from_ref(&dearer)).expose(), kept("x", &[dearer]).expose());
    }

    #[tokio::test]
    async fn beyond_the_permits_some_wait_and_the_rest_is_refused_at_once() {
        let (hasher, _) = hasher(2, 3);
        let (gates, doors): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<()>()).unzip();
        let mut under_way: Vec<_> = doors
            .into_iter()
            .map(|door| Box::pin(run(&hasher, move |_| door.recv().unwrap())))
            .collect();
        for work in &mut under_way {
            assert!(is_pending(work).await);
        }
        let mut waiting: Vec<_> =
            (0..3).map(|_| Box::pin(hasher.hash(Secret::new("x"), &[]))).collect();
        for work in &mut waiting {
            assert!(is_pending(work).await);
        }
        assert_eq!(hasher.hash(Secret::new("x"), &[]).await.unwrap_err(), HashError::Busy);
        assert_eq!(hasher.turn().await.unwrap_err(), HashError::Busy);
        // Who goes away gives up the place.
        drop(waiting.pop());
        let mut next = Box::pin(hasher.hash(Secret::new("x"), &[]));
        assert!(is_pending(&mut next).await);
        for gate in gates {
            gate.send(()).unwrap();
        }
        for work in under_way {
            work.await.unwrap();
        }
        for work in waiting {
            work.await.unwrap();
        }
        next.await.unwrap();
    }

    #[tokio::test]
    async fn who_went_away_while_waiting_is_not_hashed() {
        let (hasher, count) = hasher(1, 8);
        let (gate, door) = mpsc::channel::<()>();
        let mut first = Box::pin(run(&hasher, move |_| door.recv().unwrap()));
        assert!(is_pending(&mut first).await);
        let mut gone = Box::pin(hasher.hash(Secret::new("x"), &[]));
        assert!(is_pending(&mut gone).await);
        drop(gone);
        gate.send(()).unwrap();
        first.await.unwrap();
        hasher.hash(Secret::new("x"), &[]).await.unwrap();
        assert_eq!(count.get(), 1);
    }

    #[tokio::test]
    async fn a_panic_ends_one_hash_and_gives_its_permit_back() {
        let (hasher, _) = hasher(1, 0);
        let broken = run(&hasher, |_| -> () { panic!("a hash that fails") }).await;
        assert_eq!(broken.unwrap_err(), HashError::Failed);
        while hasher.0.permits.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        hasher.hash(Secret::new("x"), &[]).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (mut hasher, _) = hasher(1, 1);
        Arc::get_mut(&mut hasher.0).unwrap().settings.patience = Duration::ZERO;
        let permit = hasher.permit().await.unwrap();
        assert_eq!(hasher.hash(Secret::new("x"), &[]).await.unwrap_err(), HashError::Busy);
        drop(permit);
    }

    #[tokio::test]
    async fn memory_is_used_again() {
        let (hasher, _) = hasher(1, 0);
        for _ in 0..3 {
            hasher.hash(Secret::new("x"), &[]).await.unwrap();
        }
        assert_eq!(hasher.0.memory().len(), 1);
    }

    /// Polls once.
    async fn is_pending(work: &mut (impl Future + Unpin)) -> bool {
        let mut work = pin!(work);
        future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await
    }
}
