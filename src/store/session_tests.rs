//! Sessions and their refresh, as the callers of the store see them.

use std::time::Duration;

use super::tests::{DAY, NOW, address, app, fresh};
use super::user_tests::{phc, told, user, with_user};
use super::*;
use crate::clock::Timestamp;
use crate::id::{AppId, SessionId, UserId};

const GRACE: Duration = Duration::from_secs(30);
const MOST: u32 = 100;

fn session(id: &str, user: &UserRecord) -> NewSession {
    NewSession {
        id: SessionId::new(id),
        user: user.id.clone(),
        revision: user.revision,
        app: None,
        dialect: "native".to_owned(),
        address: "192.0.2.1".parse().unwrap(),
        agent: "curl/8".to_owned(),
        tokens_until: NOW.plus(DAY),
        refresh: Some(RefreshTerms { idle: 7 * DAY, absolute: 30 * DAY }),
    }
}

fn presented(session: &SessionId, counter: i64) -> Presented<'_> {
    let tokens_until = NOW.plus(2 * DAY);
    Presented { session, counter, app: None, dialect: Some("native"), tokens_until, grace: GRACE }
}

/// The generation that came of it.
fn generation(rotation: Rotation) -> i64 {
    match rotation {
        Rotation::Next(renewed) | Rotation::Same(renewed) => renewed.counter,
        other => panic!("{other:?}"),
    }
}

async fn live(store: &Store, user: Option<&UserId>, now: Timestamp) -> Vec<String> {
    let sessions = store.list_sessions(user, None, now).await.unwrap();
    sessions.into_iter().map(|session| session.id.to_string()).collect()
}

async fn is_live(store: &Store, id: &str) -> bool {
    store.find_session(&SessionId::new(id), NOW).await.unwrap().is_some()
}

#[tokio::test]
async fn an_opened_session_is_shown_until_it_is_over() {
    let (_folder, store, user) = with_user().await;
    let new = NewSession { app: Some(AppId::new("web")), ..session("s1", &user) };
    store.open_session(&new, MOST, NOW).await.unwrap();
    let shown = store.find_session(&new.id, NOW).await.unwrap().unwrap();
    assert_eq!((&shown.user, &shown.app, shown.address), (&user.id, &new.app, new.address));
    assert_eq!((shown.dialect.as_str(), shown.agent.as_str()), ("native", "curl/8"));
    assert_eq!((shown.created_at, shown.tokens_until), (NOW, NOW.plus(DAY)));
    assert_eq!((shown.refresh_until, shown.refreshed_at), (Some(NOW.plus(7 * DAY)), None));

    let almost = NOW.plus(7 * DAY).minus(Duration::from_millis(1));
    assert_eq!(live(&store, Some(&user.id), almost).await, ["s1"]);
    assert!(live(&store, Some(&user.id), NOW.plus(7 * DAY)).await.is_empty());
    assert!(live(&store, None, NOW.plus(7 * DAY)).await.is_empty());
    assert!(live(&store, Some(&UserId::new("u2")), NOW).await.is_empty());
}

#[tokio::test]
async fn a_session_without_refresh_is_over_with_its_last_token() {
    let (_folder, store, user) = with_user().await;
    let new = NewSession { refresh: None, ..session("s1", &user) };
    store.open_session(&new, MOST, NOW).await.unwrap();
    let rotation = store.rotate_refresh(&presented(&new.id, 0), NOW).await.unwrap();
    assert_eq!(rotation, Rotation::Ended);
    let extend = async |id: &SessionId, until, now| {
        store.extend_session(id, None, until, now).await.unwrap()
    };
    let half = NOW.plus(DAY / 2);
    assert_eq!(extend(&new.id, NOW.plus(2 * DAY), half).await, Extension::Granted);
    assert_eq!(extend(&new.id, NOW.plus(DAY), NOW).await, Extension::Granted);
    assert_eq!(live(&store, None, NOW.plus(DAY)).await, ["s1"], "an end is not brought nearer");
    let over = NOW.plus(2 * DAY);
    assert_eq!(extend(&new.id, over.plus(DAY), over).await, Extension::Ended);
    assert_eq!(extend(&SessionId::new("s2"), over, NOW).await, Extension::Ended);
}

#[tokio::test]
async fn a_session_is_not_extended_by_another_app_than_its_own() {
    let (_folder, store, user) = with_user().await;
    let (web, other) = (AppId::new("web"), AppId::new("other"));
    let until = NOW.plus(2 * DAY);
    let open = async |id: &str, app: Option<&AppId>| {
        let new = NewSession { app: app.cloned(), refresh: None, ..session(id, &user) };
        store.open_session(&new, MOST, NOW).await.unwrap();
    };
    let extend = async |id: &str, app| {
        store.extend_session(&SessionId::new(id), app, until, NOW).await.unwrap()
    };
    for (id, thief) in [("s1", Some(&other)), ("s2", None)] {
        open(id, Some(&web)).await;
        assert_eq!(extend(id, Some(&web)).await, Extension::Granted);
        assert_eq!(extend(id, thief).await, Extension::OtherApp);
        assert!(!is_live(&store, id).await);
        assert_eq!(extend(id, Some(&web)).await, Extension::Ended);
    }
    open("s3", None).await;
    for app in [None, Some(&web), Some(&other)] {
        assert_eq!(extend("s3", app).await, Extension::Granted);
    }
}

#[tokio::test]
async fn what_changed_since_the_sign_in_was_judged_opens_no_session() {
    let (_folder, store, judged) = with_user().await;
    store.replace_passwords(&judged.id, &phc("new"), None, NOW).await.unwrap();
    let late = store.open_session(&session("s1", &judged), MOST, NOW).await;
    assert!(matches!(late, Err(StoreError::UserChanged)));
    for state in UserState::ALL {
        store.set_state(&judged.id, state, NOW).await.unwrap();
        let fresh = store.show_user(&judged.id).await.unwrap();
        let opened = store.open_session(&session(state.as_str(), &fresh), MOST, NOW).await;
        assert_eq!(opened.is_ok(), state == UserState::Active, "{state:?}");
    }
    store.delete_user(&judged.id, NOW).await.unwrap();
    let gone = store.open_session(&session("s2", &judged), MOST, NOW).await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
    assert!(live(&store, None, NOW).await.is_empty());
}

#[tokio::test]
async fn sessions_beyond_the_number_end_the_oldest() {
    let (_folder, store, user) = with_user().await;
    let other = store.create_user(&self::user("u2"), NOW).await.unwrap();
    store.open_session(&session("t1", &other), 2, NOW).await.unwrap();
    for id in ["s1", "s2", "s3"] {
        store.open_session(&session(id, &user), 2, NOW).await.unwrap();
    }
    assert_eq!(live(&store, None, NOW).await, ["t1", "s2", "s3"]);
    store.open_session(&session("s4", &user), 0, NOW).await.unwrap();
    assert_eq!(live(&store, None, NOW).await, ["t1", "s4"], "never the one just opened");
}

#[tokio::test]
async fn what_a_program_calls_itself_is_cut_between_characters() {
    let (_folder, store, user) = with_user().await;
    let agent = format!("{}ü", "x".repeat(255));
    store.open_session(&NewSession { agent, ..session("s1", &user) }, MOST, NOW).await.unwrap();
    let shown = store.find_session(&SessionId::new("s1"), NOW).await.unwrap().unwrap();
    assert_eq!(shown.agent, "x".repeat(255));
}

#[tokio::test]
async fn sessions_are_listed_page_by_page() {
    let (_folder, store, user) = with_user().await;
    for n in 0..201 {
        store.open_session(&session(&format!("s{n}"), &user), 1000, NOW).await.unwrap();
    }
    for owner in [None, Some(&user.id)] {
        let first = store.list_sessions(owner, None, NOW).await.unwrap();
        assert_eq!((first.len(), first[199].id.as_str()), (200, "s199"));
        let rest = store.list_sessions(owner, Some(&first[199].id), NOW).await.unwrap();
        assert_eq!((rest.len(), rest[0].id.as_str()), (1, "s200"));
    }
}

#[tokio::test]
async fn a_session_is_ended_by_its_owner_alone() {
    let (folder, store, user) = with_user().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let (id, stranger) = (SessionId::new("s1"), UserId::new("u2"));
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    let end = async |owner| store.end_session(&id, owner, EndReason::Logout, NOW).await;
    assert!(matches!(end(Some(&stranger)).await, Err(StoreError::NotFound)));
    assert!(is_live(&store, "s1").await);
    assert_eq!(told(&other, &mut seen).await, Touched::nothing());
    end(Some(&user.id)).await.unwrap();
    assert!(!is_live(&store, "s1").await);
    let sessions = vec![id.clone()];
    let touched = Touched::Some {
        apps: vec![],
        users: vec![],
        unlocked: vec![],
        sessions,
        tokens: vec![],
        keys: false,
    };
    assert_eq!(told(&other, &mut seen).await, touched);
    end(None).await.unwrap();
    assert_eq!(told(&other, &mut seen).await, Touched::nothing(), "it had ended");
    let unknown = SessionId::new("s2");
    let unknown = store.end_session(&unknown, None, EndReason::Operator, NOW).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    let extended = store.extend_session(&id, None, NOW.plus(9 * DAY), NOW).await.unwrap();
    assert_eq!(extended, Extension::Ended);
    assert_eq!(store.rotate_refresh(&presented(&id, 0), NOW).await.unwrap(), Rotation::Ended);
}

#[tokio::test]
async fn acts_on_a_user_end_its_sessions_and_no_others() {
    for act in 0..6 {
        let (_folder, store, user) = with_user().await;
        let other = store.create_user(&self::user("u2"), NOW).await.unwrap();
        let (id, keep) = (&user.id, SessionId::new("s2"));
        store.add_password(id, &phc("second"), 9, NOW).await.unwrap();
        let user = store.show_user(id).await.unwrap();
        for (name, whose) in [("s1", &user), ("s2", &user), ("t1", &other)] {
            store.open_session(&session(name, whose), MOST, NOW).await.unwrap();
        }
        let expected: &[&str] = match act {
            0 => {
                store.set_state(id, UserState::Disabled, NOW).await.unwrap();
                &["t1"]
            }
            1 => {
                store.delete_user(id, NOW).await.unwrap();
                &["t1"]
            }
            2 => {
                store.replace_passwords(id, &phc("x"), Some(&keep), NOW).await.unwrap();
                &["s2", "t1"]
            }
            3 => {
                store.remove_password(id, 1, None, NOW).await.unwrap();
                &["t1"]
            }
            4 => {
                let why = EndReason::Logout;
                let ended = store.end_sessions_of_user(id, Some(&keep), why, NOW).await.unwrap();
                assert_eq!(ended, [SessionId::new("s1")]);
                &["s2", "t1"]
            }
            _ => {
                store.set_state(id, UserState::Locked, NOW).await.unwrap();
                store.add_password(id, &phc("x"), 9, NOW).await.unwrap();
                &["s1", "s2", "t1"]
            }
        };
        assert_eq!(live(&store, None, NOW).await, expected, "act {act}");
    }
}

#[tokio::test]
async fn a_revoked_application_ends_the_sessions_bound_to_it_and_opens_none() {
    let (_folder, store) = fresh().await;
    let user = store.create_user(&user("u1"), NOW).await.unwrap();
    store.create_app(&app("a1", "one"), NOW).await.unwrap();
    let bound =
        |id: &str, app: Option<&str>| NewSession { app: app.map(AppId::new), ..session(id, &user) };
    for (id, app) in [("s1", Some("a1")), ("s2", Some("configured")), ("s3", None)] {
        store.open_session(&bound(id, app), MOST, NOW).await.unwrap();
    }
    store.revoke_app(&AppId::new("a1"), NOW).await.unwrap();
    assert_eq!(live(&store, None, NOW).await, ["s2", "s3"]);
    let late = store.open_session(&bound("s4", Some("a1")), MOST, NOW).await;
    assert!(matches!(late, Err(StoreError::AppRevoked)));
    let configured = AppId::new("configured");
    let ended = store.end_sessions_of_app(&configured, EndReason::AppRevoked, NOW).await.unwrap();
    assert_eq!(ended, [SessionId::new("s2")]);
    assert_eq!(live(&store, None, NOW).await, ["s3"]);
}

#[tokio::test]
async fn a_refresh_replaces_the_token_and_lengthens_the_session_up_to_its_last_day() {
    let (_folder, store, user) = with_user().await;
    let id = SessionId::new("s1");
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    let mut now = NOW;
    for counter in 0..5 {
        now = now.plus(6 * DAY);
        let Rotation::Next(renewed) =
            store.rotate_refresh(&presented(&id, counter), now).await.unwrap()
        else {
            panic!("{counter}");
        };
        assert_eq!((renewed.counter, &renewed.user), (counter + 1, &user));
        let until = now.plus(7 * DAY).min(NOW.plus(30 * DAY));
        assert_eq!(renewed.session.refresh_until, Some(until));
        assert_eq!(renewed.session.refreshed_at, Some(now));
        assert_eq!(renewed.session.tokens_until, NOW.plus(2 * DAY));
        if counter < 4 {
            assert_eq!(store.find_session(&id, now).await.unwrap(), Some(renewed.session));
        }
        // The fifth is refreshed at the very last instant.
        now = now.minus(Duration::from_millis(u64::from(counter == 3)));
    }
    now = NOW.plus(30 * DAY);
    assert_eq!(store.rotate_refresh(&presented(&id, 5), now).await.unwrap(), Rotation::Expired);
}

#[tokio::test]
async fn a_token_that_idled_too_long_is_expired_at_that_instant() {
    let (_folder, store, user) = with_user().await;
    let id = SessionId::new("s1");
    let rotate = async |now| store.rotate_refresh(&presented(&id, 0), now).await.unwrap();
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    assert_eq!(rotate(NOW.plus(7 * DAY)).await, Rotation::Expired);
    assert_eq!(generation(rotate(NOW.plus(7 * DAY).minus(Duration::from_millis(1))).await), 1);
    let unknown = SessionId::new("s2");
    let unknown = store.rotate_refresh(&presented(&unknown, 0), NOW).await.unwrap();
    assert_eq!(unknown, Rotation::Ended);
}

#[tokio::test]
async fn a_lost_reply_is_repeated_for_a_while_and_then_is_a_theft() {
    let (_folder, store, user) = with_user().await;
    let id = SessionId::new("s1");
    let rotate = async |counter, now| store.rotate_refresh(&presented(&id, counter), now).await;
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    assert_eq!(generation(rotate(0, NOW).await.unwrap()), 1);
    let almost = NOW.plus(GRACE).minus(Duration::from_millis(1));
    for now in [NOW, almost] {
        assert!(matches!(rotate(0, now).await.unwrap(), Rotation::Same(same) if same.counter == 1));
    }
    let shown = store.find_session(&id, NOW).await.unwrap().unwrap();
    assert_eq!(shown.refreshed_at, Some(NOW), "the grace is not prolonged");
    assert_eq!(rotate(0, NOW.plus(GRACE)).await.unwrap(), Rotation::Reused);
    assert_eq!(rotate(1, NOW.plus(GRACE)).await.unwrap(), Rotation::Ended, "the whole family");
    assert!(!is_live(&store, "s1").await);
}

#[tokio::test]
async fn a_token_whose_successor_was_used_is_a_theft_also_within_the_grace() {
    for stolen in [0, -1, 3] {
        let (_folder, store, user) = with_user().await;
        let id = SessionId::new("s1");
        let rotate =
            async |counter| store.rotate_refresh(&presented(&id, counter), NOW).await.unwrap();
        store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
        assert_eq!(generation(rotate(0).await), 1);
        assert_eq!(generation(rotate(1).await), 2);
        assert_eq!(rotate(stolen).await, Rotation::Reused, "{stolen}");
        assert_eq!(rotate(2).await, Rotation::Ended);
        let dead = store.dead_sessions(None, NOW).await.unwrap();
        assert_eq!(dead.len(), 1, "its access tokens are cut off too");
    }
}

#[tokio::test]
async fn a_token_of_another_dialect_is_none_and_harms_nothing() {
    let (_folder, store, user) = with_user().await;
    let new = session("s1", &user);
    store.open_session(&new, MOST, NOW).await.unwrap();
    for dialect in ["other", "Native", ""] {
        let by = Presented { dialect: Some(dialect), ..presented(&new.id, 0) };
        assert_eq!(store.rotate_refresh(&by, NOW).await.unwrap(), Rotation::Ended, "{dialect}");
    }
    let rotation = store.rotate_refresh(&presented(&new.id, 0), NOW).await.unwrap();
    assert!(matches!(rotation, Rotation::Next(_)), "{rotation:?}");
}

#[tokio::test]
async fn another_application_ends_the_session() {
    let (web, mobile) = (AppId::new("web"), AppId::new("mobile"));
    for (bound, by, expected) in [
        (Some(&web), Some(&web), true),
        (Some(&web), Some(&mobile), false),
        (Some(&web), None, false),
        (None, Some(&web), true),
        (None, None, true),
    ] {
        let (_folder, store, user) = with_user().await;
        let new = NewSession { app: bound.cloned(), ..session("s1", &user) };
        store.open_session(&new, MOST, NOW).await.unwrap();
        let by = Presented { app: by, ..presented(&new.id, 0) };
        let rotation = store.rotate_refresh(&by, NOW).await.unwrap();
        assert_eq!(matches!(rotation, Rotation::Next(_)), expected, "{rotation:?}");
        assert_eq!(rotation == Rotation::OtherApp, !expected);
        assert_eq!(is_live(&store, "s1").await, expected);
    }
}

#[tokio::test]
async fn a_user_who_may_not_sign_in_may_not_refresh() {
    let (_folder, store, user) = with_user().await;
    let id = SessionId::new("s1");
    let rotate = async |counter| store.rotate_refresh(&presented(&id, counter), NOW).await.unwrap();
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    for state in [UserState::Locked, UserState::Expired, UserState::Invited] {
        store.set_state(&user.id, state, NOW).await.unwrap();
        assert_eq!(rotate(0).await, Rotation::Ended, "{state:?}");
    }
    store.set_state(&user.id, UserState::Active, NOW).await.unwrap();
    assert_eq!(generation(rotate(0).await), 1, "it was not ended by that");
    store.set_state(&user.id, UserState::Disabled, NOW).await.unwrap();
    store.set_state(&user.id, UserState::Active, NOW).await.unwrap();
    assert_eq!(rotate(1).await, Rotation::Ended, "for good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_refreshes_at_once_one_makes_the_next_generation() {
    let (folder, store, user) = with_user().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let id = SessionId::new("s1");
    store.open_session(&session("s1", &user), MOST, NOW).await.unwrap();
    let mut refreshes = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        let id = id.clone();
        refreshes
            .spawn(async move { store.rotate_refresh(&presented(&id, 0), NOW).await.unwrap() });
    }
    let rotations = refreshes.join_all().await;
    let next = rotations.iter().filter(|rotation| matches!(rotation, Rotation::Next(_))).count();
    assert_eq!(next, 1);
    assert!(rotations.into_iter().map(generation).all(|counter| counter == 1));
    let after = store.rotate_refresh(&presented(&id, 1), NOW).await.unwrap();
    assert_eq!(generation(after), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_opened_while_its_user_is_disabled_does_not_survive() {
    for n in 0..20 {
        let (_folder, store, user) = with_user().await;
        let new = session("s1", &user);
        let opening = store.open_session(&new, MOST, NOW);
        let disabling = store.set_state(&user.id, UserState::Disabled, NOW);
        let (_, disabled) = tokio::join!(opening, disabling);
        disabled.unwrap();
        assert!(!is_live(&store, "s1").await, "{n}");
    }
}

#[tokio::test]
async fn sessions_that_are_over_are_deleted_as_others_open() {
    let (_folder, store, user) = with_user().await;
    for n in 0..20 {
        let short = NewSession { refresh: None, ..session(&format!("s{n}"), &user) };
        store.open_session(&short, MOST, NOW).await.unwrap();
    }
    let kept = async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        count
    };
    let margin = revoked::MARGIN;
    let later = |id: &str, now: Timestamp| {
        (NewSession { tokens_until: now.plus(DAY), ..session(id, &user) }, now)
    };
    let (new, now) = later("t1", NOW.plus(DAY + margin).minus(Duration::from_millis(1)));
    store.open_session(&new, MOST, now).await.unwrap();
    assert_eq!(kept().await, 21, "a leeway may still believe their tokens");
    let (new, now) = later("t2", NOW.plus(DAY + margin));
    store.open_session(&new, MOST, now).await.unwrap();
    assert_eq!(kept().await, 6, "a few at a time");
    let (new, now) = later("t3", NOW.plus(DAY + margin));
    store.open_session(&new, MOST, now).await.unwrap();
    assert_eq!(kept().await, 3);
}
