//! Accounts as their callers see them: a store in a temporary folder, a manual clock.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::dialect::Lockout;
use crate::id::{Digest, SessionId, UserId};
use crate::secret::Secret;
use crate::store::{Login, NewUser, Store, StoreAddress, UserChange, UserRecord, UserState};
use crate::telemetry::Metrics;

pub(super) const PASSWORD: &str = "correct horse";
pub(super) const HOME: &str = "198.51.100.7";
pub(super) const ABROAD: &str = "203.0.113.9";
const LOCKOUT: Lockout =
    Lockout { failures: 5, window: Duration::from_mins(15), lock: Duration::from_mins(30) };

pub(super) struct World {
    pub(super) accounts: Arc<Accounts>,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) key: Arc<MasterKey>,
    hashes: IntCounter,
    _folder: TempDir,
}

pub(super) async fn world() -> World {
    world_with(cheap(8)).await
}

async fn world_with(cost: PasswordCost) -> World {
    let folder = tempfile::tempdir().unwrap();
    let address = StoreAddress::parse(&format!("sqlite:{}/p.db", folder.path().display())).unwrap();
    let store = Store::open(&address).await.unwrap();
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let bytes = std::array::from_fn(|place| u8::try_from(place * 7 % 251).unwrap());
    let key = Arc::new(MasterKey::new(Secret::new(&bytes)).unwrap());
    let metrics = Metrics::new().unwrap();
    let settings =
        HashSettings { cost, concurrent: 2, queue: 64, patience: Duration::from_mins(1) };
    let guards = Guards {
        key: Arc::clone(&key),
        hasher: Hasher::new(settings, &metrics).unwrap(),
        throttle: Throttle::new(ThrottleSettings::default()),
    };
    let settings = AccountSettings {
        policy: PasswordPolicy::default(),
        most_passwords: 3,
        most_sessions: 2,
        issuer: "Acme".to_owned(),
    };
    let accounts = Arc::new(Accounts::new(store.clone(), clock.clone(), guards, settings));
    World { accounts, store, clock, key, hashes: metrics.password_hashes, _folder: folder }
}

fn cheap(kib: u32) -> PasswordCost {
    PasswordCost::stored(kib, 1, 1).unwrap()
}

impl World {
    pub(super) async fn user(&self, login: &str, state: UserState) -> UserRecord {
        self.user_with(login, state, cheap(8)).await
    }

    async fn user_with(&self, login: &str, state: UserState, cost: PasswordCost) -> UserRecord {
        let user = NewUser {
            id: UserId::new(format!("u_{login}")),
            login: Login::parse(login).unwrap(),
            state,
            attributes: Map::new(),
            unique: Vec::new(),
            permissions: Value::Null,
            password: Some(hash_password(Secret::new(PASSWORD), cost, &[]).unwrap()),
        };
        self.store.create_user(&user, self.clock.now()).await.unwrap()
    }

    pub(super) async fn sign_in(&self, attempt: Attempt<'_>) -> Result<UserRecord, SignInError> {
        self.accounts.sign_in(&attempt).await
    }
}

pub(super) fn attempt<'a>(login: &'a str, password: &'a str) -> Attempt<'a> {
    Attempt {
        login,
        password: Secret::new(password),
        second: None,
        app: None,
        address: HOME.parse().unwrap(),
        request: Digest::of(b"login"),
        lockout: LOCKOUT,
        second_factor: SecondFactorRule::Ask,
    }
}

fn from<'a>(address: &str, attempt: Attempt<'a>) -> Attempt<'a> {
    Attempt { address: address.parse().unwrap(), ..attempt }
}

const LOCKED: SignInError = SignInError::Locked { retry_after: Some(LOCKOUT.lock) };

#[tokio::test]
async fn name_and_password_let_a_user_in() {
    let world = world().await;
    let alice = world.user("alice@example.com", UserState::Active).await;
    for name in ["alice@example.com", "Alice@Example.COM"] {
        assert_eq!(world.sign_in(attempt(name, PASSWORD)).await.unwrap(), alice);
    }
    for (name, password) in [
        ("alice@example.com", "correct horsf"),
        ("alice@example.com", "Correct horse"),
        ("alice@example.com", "correct horse "),
        ("alice@example.com", ""),
    ] {
        let refused = world.sign_in(attempt(name, password)).await.unwrap_err();
        assert_eq!(refused, SignInError::Wrong, "{password:?}");
    }
    for name in ["alice", "alice@example.com ", "alice@@example.com", "аlice@example.com", ""] {
        let refused = world.sign_in(attempt(name, PASSWORD)).await.unwrap_err();
        assert_eq!(refused, SignInError::Wrong, "{name:?}");
    }
}

#[tokio::test]
async fn every_name_costs_one_hash_whoever_has_it() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    world.user("locked", UserState::Locked).await;
    world
        .accounts
        .add_password(&attempt("alice", PASSWORD), Secret::new("battery staple"))
        .await
        .unwrap();
    for (login, password) in [
        ("alice", "wrong"),
        ("alice", PASSWORD),
        ("alice", "battery staple"),
        ("nobody", "wrong"),
        ("locked", "wrong"),
        ("locked", PASSWORD),
        ("not a name", "wrong"),
        ("", ""),
    ] {
        let before = world.hashes.get();
        drop(world.sign_in(attempt(login, password)).await);
        assert_eq!(world.hashes.get() - before, 1, "{login}");
    }
}

#[tokio::test]
async fn states_are_told_only_to_who_has_the_password() {
    let world = world().await;
    for (login, state, expected) in [
        ("locked", UserState::Locked, SignInError::Locked { retry_after: None }),
        ("expired", UserState::Expired, SignInError::PasswordExpired),
        ("invited", UserState::Invited, SignInError::Invited),
        ("disabled", UserState::Disabled, SignInError::Disabled),
    ] {
        world.user(login, state).await;
        let refused = world.sign_in(attempt(login, "wrong")).await.unwrap_err();
        assert_eq!(refused, SignInError::Wrong, "{login}");
        assert_eq!(world.sign_in(attempt(login, PASSWORD)).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn guesses_are_limited_before_any_hash_alike_for_every_name() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    for login in ["alice", "nobody", "not a name"] {
        for _ in 0..5 {
            let guess = from(ABROAD, attempt(login, "wrong"));
            assert_eq!(world.sign_in(guess).await.unwrap_err(), SignInError::Wrong);
        }
        let before = world.hashes.get();
        for password in ["wrong", PASSWORD] {
            let guess = from(ABROAD, attempt(login, password));
            assert_eq!(world.sign_in(guess).await.unwrap_err(), LOCKED, "{login}");
        }
        assert_eq!(world.hashes.get(), before);
    }
    // Other spellings of a name are the same name.
    assert_eq!(world.sign_in(attempt("ALICE", PASSWORD)).await.unwrap_err(), LOCKED);
    world.clock.advance(LOCKOUT.lock);
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn a_stranger_does_not_lock_the_owner_out() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
    for _ in 0..5 {
        drop(world.sign_in(from(ABROAD, attempt("alice", "wrong"))).await);
    }
    assert_eq!(world.sign_in(from(ABROAD, attempt("alice", PASSWORD))).await.unwrap_err(), LOCKED);
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn an_operator_can_end_a_lock() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    for _ in 0..5 {
        drop(world.sign_in(attempt("alice", "wrong")).await);
    }
    assert_eq!(world.sign_in(attempt("alice", PASSWORD)).await.unwrap_err(), LOCKED);
    world.accounts.forget_failures(&alice.login);
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn one_place_that_tries_many_names_is_stopped() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let mut tried = 0;
    for number in 0..60 {
        let name = format!("user{number}");
        match world.sign_in(from(ABROAD, attempt(&name, "wrong"))).await.unwrap_err() {
            SignInError::Wrong => tried += 1,
            other => assert!(matches!(other, SignInError::Throttled { .. }), "{other:?}"),
        }
    }
    assert_eq!(tried, 40);
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn many_right_at_once_all_get_in() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let accounts = Arc::clone(&world.accounts);
        tasks.spawn(async move { accounts.sign_in(&attempt("alice", PASSWORD)).await });
    }
    for done in tasks.join_all().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn many_wrong_at_once_get_no_more_guesses_than_one_after_the_other() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let accounts = Arc::clone(&world.accounts);
        tasks.spawn(async move { accounts.sign_in(&attempt("alice", "wrong")).await });
    }
    let refused = tasks.join_all().await.into_iter().map(Result::unwrap_err);
    assert_eq!(refused.filter(|refused| *refused == SignInError::Wrong).count(), 5);
    assert_eq!(world.hashes.get(), 5);
}

#[tokio::test]
async fn an_old_hash_is_renewed_when_the_password_is_shown() {
    let world = world().await;
    let alice = world.user_with("alice", UserState::Active, cheap(16)).await;
    let kept =
        async || world.store.credentials_of(&alice.id).await.unwrap().passwords.remove(0).phc;
    let old = kept().await;
    drop(world.sign_in(attempt("alice", "wrong")).await);
    assert_eq!(kept().await.expose(), old.expose());
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
    assert!(kept().await.expose().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
    assert_eq!(world.sign_in(attempt("alice", "wrong")).await.unwrap_err(), SignInError::Wrong);
}

fn update<'a>(change: &'a UserChange, password: &'a str) -> Update<'a> {
    let password = Some(Secret::new(password));
    Update { change, password, session: None, address: ABROAD.parse().unwrap() }
}

#[tokio::test]
async fn names_are_not_found_out_by_taking_them() {
    let world = world().await;
    let anna = world.user("anna", UserState::Active).await;
    let berta = world.user("berta", UserState::Active).await;
    let called = |name: &str| Map::from_iter([("nick".to_owned(), name.into())]);
    world.store.set_attributes(&berta.id, &called("bee"), world.clock.now()).await.unwrap();
    let login = |name| UserChange { login: Login::parse(name), ..UserChange::default() };
    let nick = |name| {
        let (attributes, unique) = (Some(called(name)), vec!["nick".to_owned()]);
        UserChange { attributes, unique, ..UserChange::default() }
    };
    let alter = async |change: &UserChange, from: &str| {
        let address = from.parse().unwrap();
        let asked = Update { password: None, address, ..update(change, "") };
        world.accounts.update(&anna.id, &asked).await
    };
    for (taken, place, expected) in [
        (login("berta"), ABROAD, RegisterError::NameTaken),
        (nick("bee"), "192.0.2.1", RegisterError::AttributeTaken("nick".to_owned())),
    ] {
        for _ in 0..40 {
            assert_eq!(alter(&taken, place).await, Err(expected.clone()));
        }
        let refused = alter(&taken, place).await;
        let Err(RegisterError::SignIn(SignInError::Throttled { .. })) = refused else {
            panic!("{refused:?}");
        };
        // What finds out nothing is not limited there.
        alter(&UserChange::default(), place).await.unwrap();
    }
    for free in [login("carla"), nick("ann")] {
        for _ in 0..50 {
            alter(&free, HOME).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_may_get_no_token_alters_nothing() {
    let world = world().await;
    let anna = world.user("anna", UserState::Active).await;
    let change = UserChange::default();
    let over = SessionId::generate([7; 16]);
    let late = Update { session: Some(&over), ..update(&change, "another good one") };
    let refused = world.accounts.update(&anna.id, &late).await;
    assert_eq!(refused, Err(SignInError::Wrong.into()));
    world.store.set_state(&anna.id, UserState::Locked, world.clock.now()).await.unwrap();
    let refused = world.accounts.update(&anna.id, &update(&change, "another good one")).await;
    assert_eq!(refused, Err(SignInError::Locked { retry_after: None }.into()));
    world.store.set_state(&anna.id, UserState::Active, world.clock.now()).await.unwrap();
    world.sign_in(attempt("anna", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn of_two_who_change_a_password_at_once_one_comes_too_late() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let (owner, thief) = (attempt("alice", PASSWORD), attempt("alice", PASSWORD));
    let owner = world.accounts.change_password(&owner, Secret::new("owners battery"), None);
    let thief = world.accounts.change_password(&thief, Secret::new("stolen battery"), None);
    let (owner, thief) = tokio::join!(owner, thief);
    assert_eq!([owner.is_ok(), thief.is_ok()].iter().filter(|is_ok| **is_ok).count(), 1);
    let late = owner.err().or(thief.err());
    assert_eq!(late, Some(SignInError::Wrong.into()));
}

#[tokio::test]
async fn an_update_that_is_refused_has_altered_nothing() {
    let world = world().await;
    let anna = world.user("anna", UserState::Active).await;
    world.user("berta", UserState::Active).await;
    let new = "another good one";
    for (login, password, refused) in [
        ("berta", new, RegisterError::NameTaken),
        ("carla", "short", RegisterError::Weak(WeakPassword::TooShort(8))),
    ] {
        let change = UserChange { login: Login::parse(login), ..UserChange::default() };
        let updated = world.accounts.update(&anna.id, &update(&change, password)).await;
        assert_eq!(updated, Err(refused));
        assert_eq!(world.sign_in(attempt("anna", password)).await, Err(SignInError::Wrong));
        assert!(world.sign_in(attempt("anna", PASSWORD)).await.is_ok(), "{login}");
    }
    let change = UserChange { login: Login::parse("carla"), ..UserChange::default() };
    world.accounts.update(&anna.id, &update(&change, new)).await.unwrap();
    assert!(world.sign_in(attempt("carla", new)).await.is_ok());
    assert_eq!(world.sign_in(attempt("anna", PASSWORD)).await, Err(SignInError::Wrong));
}
