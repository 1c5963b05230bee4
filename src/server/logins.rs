//! What a gateway needs to have users of its own: put together at the start, kept over reloads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::StartError;
use crate::account::{
    AccountSettings, Accounts, Guards, HashSettings, Hasher, Keeper, Keyring, Known, MasterKey,
    PasswordCost, PasswordPolicy, Throttle, ThrottleSettings,
};
use crate::clock::Clock;
use crate::config::{At, Findings, PasswordSettings, SecretRef, Secrets, Settings};
use crate::credentials::{KnownUsers, UserAsk, Vouch, Vouching};
use crate::dialect::Lockout;
use crate::gateway::Kept;
use crate::login::{Asked, Clerk};
use crate::store::Store;
use crate::telemetry::Metrics;

/// The parts that need neither a store nor a gateway.
pub(super) struct Users {
    guards: Guards,
    settings: AccountSettings,
    /// What workers know about users.
    pub(super) known: Arc<KnownUsers>,
    asks: mpsc::Receiver<UserAsk>,
    /// Where they ask for somebody to vouch for users.
    pub(super) vouching: Arc<Vouching>,
    vouches: mpsc::Receiver<Vouch>,
}

/// Everything at work.
pub(super) struct Desks {
    /// Keeps workers true to the store.
    pub(super) keeper: Keeper,
    /// The families of keys that the gateway in force names; a reload may add some.
    pub(super) known: Known,
    /// Answers calls.
    pub(super) clerk: Clerk,
    /// Vouches for users on other requests.
    pub(super) accounts: Arc<Accounts>,
    /// The questions about them.
    pub(super) vouches: mpsc::Receiver<Vouch>,
}

impl Users {
    /// Nothing, when the configuration has no key that could seal what is kept.
    pub(super) fn prepare(
        settings: &Settings,
        secrets: &mut Secrets,
        metrics: &Metrics,
        findings: &mut Findings,
    ) -> Result<Option<Self>, StartError> {
        let Some((key, cost)) = sealing(settings, secrets, findings) else { return Ok(None) };
        let passwords = &settings.passwords;
        let hashing = HashSettings {
            cost,
            concurrent: passwords.concurrent.unwrap_or_else(half_of_the_cores),
            queue: passwords.queue,
            patience: PATIENCE,
        };
        let hasher = Hasher::new(hashing, metrics).map_err(|_| StartError::Random)?;
        let throttle = Throttle::new(ThrottleSettings::default());
        let most_sessions = settings.logins.iter().map(|login| login.sessions).max();
        let account = AccountSettings {
            policy: PasswordPolicy { min_length: passwords.min_length },
            most_passwords: MOST_PASSWORDS,
            most_sessions: most_sessions.and_then(|most| most.try_into().ok()).unwrap_or(100),
            issuer: "Portcullis".to_owned(),
        };
        let (known, asks) = KnownUsers::new();
        let (vouching, vouches) = Vouching::new().ok_or(StartError::Random)?;
        Ok(Some(Self {
            guards: Guards { key: Arc::new(key), hasher, throttle },
            settings: account,
            known,
            asks,
            vouching,
            vouches,
        }))
    }

    /// Goes to work on a store, for what a gateway was built with.
    pub(super) fn open(
        self,
        store: &Store,
        kept: &Kept,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Desks {
        let Self { guards, settings, known: users, asks, vouching: _, vouches } = self;
        let families = Arc::new(Mutex::new(kept.all_own_keys()));
        let known = Known { ended: Arc::clone(kept.ended()), users, families };
        let keyring = Arc::new(Keyring::new(store.clone(), Arc::clone(&guards.key)));
        let throttle = Arc::clone(&guards.throttle);
        let sources = (store.clone(), clock.clone());
        let keeper = Keeper::new(sources, known.clone(), keyring, throttle, asks);
        let accounts = Accounts::new(store.clone(), clock.clone(), guards, settings);
        let accounts = Arc::new(accounts);
        let clerk = Clerk::new(Arc::clone(&accounts), clock.clone(), metrics.clone());
        Desks { keeper, known, clerk, accounts, vouches }
    }
}

/// Answers calls until nobody can make any.
pub(super) async fn answer_calls(clerk: Clerk, calls: mpsc::Receiver<Asked>) {
    answer_side_by_side(calls, |call| {
        let clerk = clerk.clone();
        async move { clerk.answer(call).await }
    })
    .await;
}

/// The same for questions about users on other requests.
pub(super) async fn answer_vouches(accounts: Arc<Accounts>, asks: mpsc::Receiver<Vouch>) {
    answer_side_by_side(asks, |ask| {
        let accounts = Arc::clone(&accounts);
        async move { accounts.vouch(ask, LOCKOUT).await }
    })
    .await;
}

/// Answers whatever comes, so many at once; what is under way ends with it when it is dropped.
async fn answer_side_by_side<T, F>(mut asked: mpsc::Receiver<T>, answer: impl Fn(T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut answering = JoinSet::new();
    loop {
        if answering.len() >= MOST_AT_ONCE {
            answering.join_next().await;
        }
        // Both may be dropped at their await: a call stays in the queue, a joined task is gone for good.
        tokio::select! {
            one = asked.recv() => match one {
                Some(one) => {
                    answering.spawn(answer(one));
                }
                None => return,
            },
            Some(_) = answering.join_next() => {}
        }
    }
}

/// The master key and the cost of hashes; nothing when there is no key, or a finding that says why not.
pub(super) fn sealing(
    settings: &Settings,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<(MasterKey, PasswordCost)> {
    let reference = settings.master.as_ref()?;
    let key = master_key(reference, secrets, findings);
    let cost = cost(&settings.passwords, reference, findings);
    key.zip(cost)
}

fn master_key(
    reference: &At<SecretRef>,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<MasterKey> {
    let bytes = secrets
        .read(reference)
        .map_err(|error| findings.error(reference.place, error.to_string()))
        .ok()?;
    MasterKey::parse(bytes.expose())
        .map_err(|error| findings.error(reference.place, error.to_string()))
        .ok()
}

fn cost(
    passwords: &PasswordSettings,
    reference: &At<SecretRef>,
    findings: &mut Findings,
) -> Option<PasswordCost> {
    PasswordCost::configured(passwords)
        .map_err(|error| findings.error(reference.place, format!("`passwords`: {error}")))
        .ok()
}

/// Hashes computed at once where nobody says how many: a core without one is always left for requests,
/// but where there is but one.
fn half_of_the_cores() -> usize {
    (super::listen::cores() / 2).max(1)
}

/// Where no dialect says when an account is locked.
const LOCKOUT: Lockout = Lockout::DEFAULT;
/// How long a sign-in waits for its turn to be hashed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls answered side by side.
const MOST_AT_ONCE: usize = 256;
/// Passwords that a user may have at once.
const MOST_PASSWORDS: usize = 5;
