//! Second factors as their callers see them.

use std::time::Duration;

use super::tests::{HOME, PASSWORD, World, attempt, world};
use super::*;
use crate::id::{AppId, Digest};
use crate::secret::Secret;
use crate::store::{UserRecord, UserState};

impl World {
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

fn answered<'a>(key: Option<&'a str>, code: &'a str) -> Attempt<'a> {
    let second = Some(Answer { key, code: Secret::new(code) });
    Attempt { second, ..attempt("alice", PASSWORD) }
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
        let attempt = answered(None, &code);
        let again = || world.sign_in(attempt);
        let (a, b, c, d) = tokio::join!(again(), again(), again(), again());
        let in_all = [a, b, c, d].iter().filter(|result| result.is_ok()).count();
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
