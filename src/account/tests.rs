//! Accounts as their callers see them: a store in a temporary folder, a manual clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::id::{AppId, Digest, SessionId, UserId};
use crate::secret::Secret;
use crate::store::{Login, NewUser, RefreshTerms, Store, StoreAddress, UserRecord, UserState};
use crate::telemetry::Metrics;

const PASSWORD: &str = "correct horse";
const HOME: &str = "198.51.100.7";
const ABROAD: &str = "203.0.113.9";
const LOCKOUT: Lockout =
    Lockout { failures: 5, window: Duration::from_mins(15), lock: Duration::from_mins(30) };

struct World {
    accounts: Arc<Accounts>,
    store: Store,
    clock: Clock,
    key: Arc<MasterKey>,
    hashes: IntCounter,
    _folder: TempDir,
}

async fn world() -> World {
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
        HashSettings { cost: cheap(8), concurrent: 2, queue: 64, patience: Duration::from_mins(1) };
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
    async fn user(&self, login: &str, state: UserState) -> UserRecord {
        self.user_with(login, state, cheap(8)).await
    }

    async fn user_with(&self, login: &str, state: UserState, cost: PasswordCost) -> UserRecord {
        let user = NewUser {
            id: UserId::new(format!("u_{login}")),
            login: Login::parse(login).unwrap(),
            state,
            attributes: Map::new(),
            permissions: Value::Null,
            password: Some(hash_password(Secret::new(PASSWORD), cost, &[]).unwrap()),
        };
        self.store.create_user(&user, self.clock.now()).await.unwrap()
    }

    async fn sign_in(&self, attempt: Attempt<'_>) -> Result<UserRecord, SignInError> {
        self.accounts.sign_in(&attempt).await
    }

    /// Enrols a second factor and waits until the next step, so that another code is good.
    async fn enrolled(&self, user: &UserRecord) -> (Totp, Vec<RecoveryCode>) {
        self.accounts.enrol_totp(&user.id).await.unwrap();
        let totp = self.totp(user).await;
        let code = self.code(&totp, 0);
        let address = HOME.parse().unwrap();
        let codes = self.accounts.confirm_totp(&user.id, Secret::new(&code), address).await;
        self.clock.advance(Duration::from_secs(30));
        (totp, codes.unwrap())
    }

    async fn totp(&self, user: &UserRecord) -> Totp {
        let sealed = self.store.credentials_of(&user.id).await.unwrap().totp.unwrap().sealed;
        let seed = self.key.open(Purpose::TotpSeed, user.id.as_str(), &sealed).unwrap();
        Totp::from_bytes(seed.expose()).unwrap()
    }

    /// The code so many steps from now.
    fn code(&self, totp: &Totp, steps: i64) -> String {
        totp.code(self.clock.now().seconds() / 30 + steps).to_string()
    }

    async fn challenge(&self, attempt: Attempt<'_>) -> Challenge {
        match self.sign_in(attempt).await {
            Err(SignInError::SecondFactorNeeded(challenge)) => challenge,
            other => panic!("{other:?}"),
        }
    }
}

fn attempt<'a>(login: &'a str, password: &'a str) -> Attempt<'a> {
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

fn answered<'a>(key: Option<&'a str>, code: &'a str) -> Attempt<'a> {
    let second = Some(Answer { key, code: Secret::new(code) });
    Attempt { second, ..attempt("alice", PASSWORD) }
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

/// Measured at the cost that is shipped, interleaved, by medians: a busy machine disturbs both alike.
#[cfg(feature = "peers")]
#[tokio::test]
async fn a_user_who_does_not_exist_takes_as_long_as_a_wrong_password() {
    let world = world_with(PasswordCost::DEFAULT).await;
    let login = "alice";
    world.user_with(login, UserState::Active, PasswordCost::DEFAULT).await;
    let lockout = Lockout { failures: 0, ..LOCKOUT };
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..PAIRS {
        for (login, took) in [login, "nobody"].into_iter().zip(&mut took) {
            // Each round from a place of its own, which no limit has seen.
            let place = format!("10.0.{}.{}", round / 256, round % 256);
            let guess = Attempt { lockout, ..from(&place, attempt(login, "wrong")) };
            let start = std::time::Instant::now();
            assert_eq!(world.sign_in(guess).await.unwrap_err(), SignInError::Wrong);
            took.push(start.elapsed().as_secs_f64());
        }
    }
    let [known, unknown] = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took[PAIRS / 2]
    });
    assert!((known / unknown - 1.0).abs() < 0.05, "{known} s against {unknown} s");
}

/// Enough for the medians to be steady.
#[cfg(feature = "peers")]
const PAIRS: usize = 400;

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

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_is_good_once() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let (totp, _) = world.enrolled(&alice).await;
    assert_eq!(world.sign_in(attempt("alice", "wrong")).await.unwrap_err(), SignInError::Wrong);
    let challenge = world.challenge(attempt("alice", PASSWORD)).await;
    assert_eq!((challenge.service, challenge.target.as_str()), ("totp", "a**"));
    let (key, code) = (challenge.key.as_str(), world.code(&totp, 0));
    // The code alone, without the password, is told nothing more than a wrong password is.
    let guess = Attempt { password: Secret::new("wrong"), ..answered(Some(key), &code) };
    assert_eq!(world.sign_in(guess).await.unwrap_err(), SignInError::Wrong);
    world.sign_in(answered(Some(key), &code)).await.unwrap();
    let again = world.sign_in(answered(Some(key), &code)).await.unwrap_err();
    assert_eq!(again, SignInError::SecondFactorWrong);
    let other = world.challenge(attempt("alice", PASSWORD)).await;
    let again = world.sign_in(answered(Some(other.key.as_str()), &code)).await.unwrap_err();
    assert_eq!(again, SignInError::SecondFactorWrong, "the code was spent");
    let earlier = world.code(&totp, -1);
    let earlier = world.sign_in(answered(Some(other.key.as_str()), &earlier)).await.unwrap_err();
    assert_eq!(earlier, SignInError::SecondFactorWrong, "an earlier one is spent with it");
    world.sign_in(answered(Some(other.key.as_str()), &world.code(&totp, 1))).await.unwrap();
}

#[tokio::test]
async fn an_answer_holds_for_the_app_and_request_that_were_asked() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let (totp, _) = world.enrolled(&alice).await;
    let challenge = world.challenge(attempt("alice", PASSWORD)).await;
    let (key, code) = (challenge.key.as_str(), world.code(&totp, 0));
    let app = AppId::new("other");
    for other in [
        Attempt { app: Some(&app), ..answered(Some(key), &code) },
        Attempt { request: Digest::of(b"another"), ..answered(Some(key), &code) },
        answered(Some(""), &code),
    ] {
        let refused = world.sign_in(other).await.unwrap_err();
        assert_eq!(refused, SignInError::SecondFactorWrong);
    }
    world.clock.advance(Duration::from_mins(5));
    let late = world.code(&totp, 0);
    let late = world.sign_in(answered(Some(key), &late)).await.unwrap_err();
    assert_eq!(late, SignInError::SecondFactorWrong);
    world.sign_in(answered(None, &world.code(&totp, 0))).await.unwrap();
}

#[tokio::test]
async fn codes_are_limited_by_account_whatever_the_challenge() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let (totp, codes) = world.enrolled(&alice).await;
    let wrong = world.code(&totp, 100);
    for _ in 0..2 {
        let challenge = world.challenge(attempt("alice", PASSWORD)).await;
        for _ in 0..5 {
            let refused = world.sign_in(answered(Some(challenge.key.as_str()), &wrong)).await;
            assert_eq!(refused.unwrap_err(), SignInError::SecondFactorWrong);
        }
        // The sixth try of one challenge is not made, though its code is right.
        let right = world.code(&totp, 0);
        let refused = world.sign_in(answered(Some(challenge.key.as_str()), &right)).await;
        assert!(refused.is_err());
    }
    let challenge = world.challenge(attempt("alice", PASSWORD)).await;
    let locked = SignInError::Locked { retry_after: Some(Duration::from_mins(15)) };
    let right = world.code(&totp, 0);
    for code in [&right, *codes[0].text().expose()] {
        let refused = world.sign_in(answered(Some(challenge.key.as_str()), code)).await;
        assert_eq!(refused.unwrap_err(), locked);
    }
    world.clock.advance(Duration::from_mins(15));
    world.sign_in(answered(None, &world.code(&totp, 0))).await.unwrap();
}

#[tokio::test]
async fn one_code_in_many_hands_lets_one_in() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let (totp, codes) = world.enrolled(&alice).await;
    for code in [world.code(&totp, 0), (*codes[3].text().expose()).to_owned()] {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let (accounts, code) = (Arc::clone(&world.accounts), code.clone());
            tasks.spawn(async move { accounts.sign_in(&answered(None, &code)).await.is_ok() });
        }
        let in_all = tasks.join_all().await.into_iter().filter(|is_in| *is_in).count();
        assert_eq!(in_all, 1, "{code}");
    }
}

#[tokio::test]
async fn a_recovery_code_stands_in_once() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let (_, codes) = world.enrolled(&alice).await;
    assert_eq!(codes.len(), 10);
    let first = codes[0].text().expose().to_uppercase();
    world.sign_in(answered(None, &first)).await.unwrap();
    for code in [first.as_str(), "aaaa-aaaa-aaaa-aaaa", "", "1234567"] {
        let refused = world.sign_in(answered(None, code)).await.unwrap_err();
        assert_eq!(refused, SignInError::SecondFactorWrong, "{code}");
    }
    world.sign_in(answered(None, codes[9].text().expose())).await.unwrap();
}

#[tokio::test]
async fn a_dialect_that_cannot_ask_does_not_let_those_in_who_have_a_factor() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let by = |rule| Attempt { second_factor: rule, ..attempt("alice", PASSWORD) };
    world.sign_in(by(SecondFactorRule::Refuse)).await.unwrap();
    world.enrolled(&alice).await;
    let refused = world.sign_in(by(SecondFactorRule::Refuse)).await.unwrap_err();
    assert_eq!(refused, SignInError::SecondFactorImpossible);
    world.sign_in(by(SecondFactorRule::Ignore)).await.unwrap();
}

#[tokio::test]
async fn a_factor_is_in_force_once_its_first_code_was_shown() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let address = HOME.parse().unwrap();
    let confirm = async |code: &str| {
        world.accounts.confirm_totp(&alice.id, Secret::new(code), address).await.map(drop)
    };
    assert_eq!(confirm("123456").await.unwrap_err(), EnrolError::NotBegun);
    let enrolment = world.accounts.enrol_totp(&alice.id).await.unwrap();
    assert!(enrolment.address.expose().contains(enrolment.seed.expose().as_str()));
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
    let totp = world.totp(&alice).await;
    let wrong = confirm(&world.code(&totp, 100)).await.unwrap_err();
    assert_eq!(wrong, SignInError::SecondFactorWrong.into());
    let code = world.code(&totp, 0);
    confirm(&code).await.unwrap();
    world.challenge(attempt("alice", PASSWORD)).await;
    let spent = world.sign_in(answered(None, &code)).await.unwrap_err();
    assert_eq!(spent, SignInError::SecondFactorWrong);
    assert_eq!(world.accounts.enrol_totp(&alice.id).await.unwrap_err(), EnrolError::InForce);
    let demand = |second| Demand { second, app: None, address, request: Digest::of(b"remove") };
    let asked = world.accounts.remove_totp(&alice.id, &demand(None)).await.unwrap_err();
    assert!(matches!(asked, SignInError::SecondFactorNeeded(_)));
    let code = world.code(&totp, 1);
    let answer = Answer { key: None, code: Secret::new(&code) };
    world.accounts.remove_totp(&alice.id, &demand(Some(answer))).await.unwrap();
    world.sign_in(attempt("alice", PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn a_seed_sealed_with_another_key_or_for_another_user_lets_nobody_in() {
    let world = world().await;
    let (alice, bob) =
        (world.user("alice", UserState::Active).await, world.user("bob", UserState::Active).await);
    let (totp, _) = world.enrolled(&bob).await;
    let sealed = world.store.credentials_of(&bob.id).await.unwrap().totp.unwrap().sealed;
    world.store.set_totp(&alice.id, &sealed, true, world.clock.now()).await.unwrap();
    let code = world.code(&totp, 0);
    let refused = world.sign_in(answered(None, &code)).await.unwrap_err();
    assert_eq!(refused, SignInError::Unavailable);
}

#[tokio::test]
async fn a_password_is_changed_by_who_shows_the_old_one() {
    let world = world().await;
    world.user("alice", UserState::Expired).await;
    let change = async |old: &str, new: &str| {
        let attempt = attempt("alice", old);
        world.accounts.change_password(&attempt, Secret::new(new), None).await
    };
    let new = "battery staple";
    assert_eq!(change("wrong", new).await.unwrap_err(), SignInError::Wrong.into());
    assert_eq!(change("wrong", "x").await.unwrap_err(), SignInError::Wrong.into());
    assert_eq!(change(PASSWORD, PASSWORD).await.unwrap_err(), PasswordError::Same);
    assert_eq!(change(PASSWORD, "short").await.unwrap_err(), WeakPassword::TooShort(8).into());
    assert_eq!(change(PASSWORD, new).await.unwrap().state, UserState::Active);
    world.sign_in(attempt("alice", new)).await.unwrap();
    assert_eq!(world.sign_in(attempt("alice", PASSWORD)).await.unwrap_err(), SignInError::Wrong);
}

#[tokio::test]
async fn a_user_has_several_passwords_and_always_one() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let by = |password| attempt("alice", password);
    let add = async |new: &str| world.accounts.add_password(&by(PASSWORD), Secret::new(new)).await;
    add("second password").await.unwrap();
    assert_eq!(add("second password").await.unwrap_err(), PasswordError::Same);
    add("third password").await.unwrap();
    assert_eq!(add("fourth password").await.unwrap_err(), PasswordError::TooMany);
    for password in [PASSWORD, "second password", "third password"] {
        world.sign_in(by(password)).await.unwrap();
    }
    let remove = async |password| world.accounts.remove_password(&by(password), None).await;
    remove("second password").await.unwrap();
    assert_eq!(remove("second password").await.unwrap_err(), SignInError::Wrong.into());
    remove(PASSWORD).await.unwrap();
    assert_eq!(remove("third password").await.unwrap_err(), PasswordError::Last);
    world.sign_in(by("third password")).await.unwrap();
}

#[tokio::test]
async fn whoever_registers_is_in_under_one_name() {
    let world = world().await;
    let register = async |login: &str, password: &str| {
        let address = HOME.parse::<IpAddr>().unwrap();
        world.accounts.register(login, Secret::new(password), Map::new(), address).await
    };
    register("Bob@example.com", PASSWORD).await.unwrap();
    world.sign_in(attempt("bob@example.com", PASSWORD)).await.unwrap();
    for (login, password, expected) in [
        ("bob@EXAMPLE.com", PASSWORD, RegisterError::NameTaken),
        ("b ob@example.com", PASSWORD, RegisterError::Name),
        ("bob@@example.com", PASSWORD, RegisterError::Name),
        ("eve@example.com", "short", WeakPassword::TooShort(8).into()),
        ("eve@example.com", "eve@example.com", WeakPassword::IsName.into()),
    ] {
        assert_eq!(register(login, password).await.unwrap_err(), expected, "{login}");
    }
}

#[tokio::test]
async fn names_are_not_found_out_by_registering_them() {
    let world = world().await;
    world.user("alice", UserState::Active).await;
    let register = async || {
        let address = ABROAD.parse::<IpAddr>().unwrap();
        world.accounts.register("alice", Secret::new(PASSWORD), Map::new(), address).await
    };
    for _ in 0..40 {
        assert_eq!(register().await.unwrap_err(), RegisterError::NameTaken);
    }
    let refused = register().await.unwrap_err();
    assert!(matches!(refused, RegisterError::SignIn(SignInError::Throttled { .. })));
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_lost_reply_is_repeated() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let app = AppId::new("mobile");
    let opened = world.accounts.open_session(&opening(&world, &alice, &app)).await.unwrap();
    let until = world.clock.now().plus(Duration::from_mins(5));
    let refresh = async |token: &Secret<String>, app: Option<&AppId>| {
        let token = Secret::new(token.expose().as_str());
        world.accounts.refresh(token, app, until).await
    };
    let first = opened.refresh_token.unwrap();
    let second = refresh(&first, Some(&app)).await.unwrap();
    assert_eq!((second.user.id, second.session), (alice.id, opened.session));
    let second = second.refresh_token.unwrap();
    world.clock.advance(Duration::from_secs(29));
    let again = refresh(&first, Some(&app)).await.unwrap().refresh_token.unwrap();
    assert_eq!(again.expose(), second.expose());
    let third = refresh(&second, Some(&app)).await.unwrap().refresh_token.unwrap();
    world.clock.advance(Duration::from_secs(30));
    // Used twice: neither the thief nor the owner goes on.
    for token in [&first, &third, &second] {
        assert_eq!(refresh(token, Some(&app)).await.unwrap_err(), SessionError::Invalid);
    }
}

#[tokio::test]
async fn a_session_ends_for_another_app_and_at_its_users_word() {
    let world = world().await;
    let (alice, bob) =
        (world.user("alice", UserState::Active).await, world.user("bob", UserState::Active).await);
    let (app, other) = (AppId::new("mobile"), AppId::new("other"));
    let until = world.clock.now().plus(Duration::from_mins(5));
    let open = async || world.accounts.open_session(&opening(&world, &alice, &app)).await.unwrap();
    let refresh = async |granted: &Granted, app: Option<&AppId>| {
        let token = granted.refresh_token.as_ref().unwrap().expose().as_str();
        world.accounts.refresh(Secret::new(token), app, until).await.map(drop)
    };
    for foreign in [Some(&other), None] {
        let opened = open().await;
        assert_eq!(refresh(&opened, foreign).await, Err(SessionError::Invalid));
        assert_eq!(refresh(&opened, Some(&app)).await, Err(SessionError::Invalid));
    }
    let opened = open().await;
    world.accounts.log_out(&opened.session, &bob.id).await.unwrap();
    assert!(world.accounts.extend_session(&opened.session, until).await.unwrap());
    world.accounts.log_out(&opened.session, &alice.id).await.unwrap();
    assert!(!world.accounts.extend_session(&opened.session, until).await.unwrap());
    assert_eq!(refresh(&opened, Some(&app)).await, Err(SessionError::Invalid));
    let absent = SessionId::generate([9; 16]);
    world.accounts.log_out(&absent, &alice.id).await.unwrap();
}

#[tokio::test]
async fn the_oldest_session_makes_place_and_an_outdated_sign_in_opens_none() {
    let world = world().await;
    let alice = world.user("alice", UserState::Active).await;
    let app = AppId::new("mobile");
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.push(world.accounts.open_session(&opening(&world, &alice, &app)).await.unwrap());
    }
    let left = world.accounts.sessions_of(&alice.id, None).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|session| session.id).collect();
    assert_eq!(left, [opened[1].session.clone(), opened[2].session.clone()]);
    let keep = Some(&opened[2].session);
    let ended = world.accounts.log_out_others(&alice.id, keep).await.unwrap();
    assert_eq!(ended, [opened[1].session.clone()]);
    let by = attempt("alice", PASSWORD);
    world.accounts.change_password(&by, Secret::new("battery staple"), keep).await.unwrap();
    let late = world.accounts.open_session(&opening(&world, &alice, &app)).await;
    assert_eq!(late.unwrap_err(), SessionError::UserChanged);
    assert_eq!(world.accounts.sessions_of(&alice.id, None).await.unwrap().len(), 1);
}

fn opening<'a>(world: &World, user: &'a UserRecord, app: &'a AppId) -> Opening<'a> {
    Opening {
        user,
        app: Some(app),
        dialect: "any",
        address: HOME.parse().unwrap(),
        agent: "test",
        tokens_until: world.clock.now().plus(Duration::from_mins(5)),
        refresh: Some(RefreshTerms {
            idle: Duration::from_hours(24),
            absolute: Duration::from_hours(240),
        }),
    }
}
