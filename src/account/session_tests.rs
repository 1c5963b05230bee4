//! Passwords and sessions as their callers see them.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Map;

use super::tests::{ABROAD, HOME, PASSWORD, World, attempt, world};
use super::*;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId};
use crate::secret::Secret;
use crate::store::{RefreshTerms, UserRecord, UserState};

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
        world
            .accounts
            .register(login, Secret::new(password), (Map::new(), Vec::new()), address)
            .await
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
    let nick = || Map::from_iter([("nick".to_owned(), "ally".into())]);
    let register = async |login: &str, unique: &[String], from: &str| {
        let (address, known) = (from.parse().unwrap(), (nick(), unique.to_vec()));
        world.accounts.register(login, Secret::new(PASSWORD), known, address).await
    };
    let unique = ["nick".to_owned()];
    register("ally", &[], HOME).await.unwrap();
    for (login, place, expected) in [
        ("alice", ABROAD, RegisterError::NameTaken),
        ("bob", "192.0.2.1", RegisterError::AttributeTaken("nick".to_owned())),
    ] {
        for _ in 0..40 {
            assert_eq!(register(login, &unique, place).await.unwrap_err(), expected);
        }
        let refused = register(login, &unique, place).await.unwrap_err();
        assert!(matches!(refused, RegisterError::SignIn(SignInError::Throttled { .. })));
    }
}

fn refreshing(app: Option<&AppId>, tokens_until: Timestamp) -> Refreshing<'_> {
    let (address, grace) = (HOME.parse().unwrap(), Duration::from_secs(30));
    Refreshing { app, address, dialect: Some("any"), tokens_until, grace }
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
        world.accounts.refresh(token, &refreshing(app, until)).await
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
        world.accounts.refresh(Secret::new(token), &refreshing(app, until)).await.map(drop)
    };
    for foreign in [Some(&other), None] {
        let opened = open().await;
        assert_eq!(refresh(&opened, foreign).await, Err(SessionError::Invalid));
        assert_eq!(refresh(&opened, Some(&app)).await, Err(SessionError::Invalid));
    }
    let opened = open().await;
    world.accounts.log_out(&opened.session, &bob.id).await.unwrap();
    let extend =
        async |app| world.accounts.extend_session(&opened.session, app, until).await.unwrap();
    assert!(extend(Some(&app)).await);
    world.accounts.log_out(&opened.session, &alice.id).await.unwrap();
    assert!(!extend(Some(&app)).await);
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
