//! Revoked tokens, tokens of ended sessions and signing keys, as the callers of the store see them.

use std::time::Duration;

use serde_json::json;

use super::revoked::MARGIN;
use super::tests::{DAY, NOW, address, fresh};
use super::user_tests::{told, with_user};
use super::*;
use crate::clock::Timestamp;
use crate::id::SessionId;

const MOMENT: Duration = Duration::from_millis(1);

fn session(id: &str, user: &UserRecord, tokens_until: Timestamp) -> NewSession {
    NewSession {
        id: SessionId::new(id),
        user: user.id.clone(),
        revision: user.revision,
        app: None,
        dialect: "native".to_owned(),
        address: "2001:db8::1".parse().unwrap(),
        agent: String::new(),
        tokens_until,
        refresh: None,
    }
}

fn key(kid: &str, family: &str, signs_from: Timestamp) -> NewSigningKey {
    NewSigningKey {
        kid: kid.to_owned(),
        family: family.to_owned(),
        algorithm: "EdDSA".to_owned(),
        sealed: vec![1, 2, 3],
        public: Some(json!({"kty": "OKP"})),
        signs_from,
    }
}

#[tokio::test]
async fn an_ended_session_is_dead_until_its_last_token_is() {
    let (_folder, store, user) = with_user().await;
    let ids = ["s1", "s2", "s3"].map(SessionId::new);
    for id in &ids {
        store.open_session(&session(id.as_str(), &user, NOW.plus(DAY)), 9, NOW).await.unwrap();
    }
    store.extend_session(&ids[1], None, NOW.plus(2 * DAY), NOW).await.unwrap();
    for id in &ids[..2] {
        store.end_session(id, None, EndReason::Operator, NOW).await.unwrap();
    }
    let first = DeadSession { id: ids[0].clone(), until: NOW.plus(DAY + MARGIN) };
    let second = DeadSession { id: ids[1].clone(), until: NOW.plus(2 * DAY + MARGIN) };
    let dead = async |now| store.dead_sessions(None, now).await.unwrap();
    assert_eq!(dead(first.until.minus(MOMENT)).await, [first.clone(), second.clone()]);
    assert_eq!(dead(first.until).await, std::slice::from_ref(&second));
    assert!(dead(second.until).await.is_empty());
    let rest = store.dead_sessions(Some(&ids[0]), NOW).await.unwrap();
    assert_eq!(rest, std::slice::from_ref(&second));
    let among = store.dead_sessions_among(&ids[1..]).await.unwrap();
    assert_eq!(among, [second]);
}

#[tokio::test]
async fn a_revoked_token_is_dead_until_it_expires() {
    let (folder, store) = fresh().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    store.revoke_token("b", NOW.plus(DAY), NOW).await.unwrap();
    let touched = Touched::Some {
        apps: vec![],
        users: vec![],
        unlocked: vec![],
        sessions: vec![],
        tokens: vec!["b".to_owned()],
        keys: false,
    };
    assert_eq!(told(&other, &mut seen).await, touched);
    store.revoke_token("b", NOW, NOW).await.unwrap();
    store.revoke_token("a", NOW.plus(2 * DAY), NOW).await.unwrap();
    let (a, b) = (
        DeadToken { jti: "a".to_owned(), until: NOW.plus(2 * DAY + MARGIN) },
        DeadToken { jti: "b".to_owned(), until: NOW.plus(DAY + MARGIN) },
    );
    let dead = async |after, now| store.dead_tokens(after, now).await.unwrap();
    assert_eq!(dead(None, b.until.minus(MOMENT)).await, [a.clone(), b.clone()]);
    assert_eq!(dead(None, b.until).await, std::slice::from_ref(&a));
    assert_eq!(dead(Some("a"), NOW).await, std::slice::from_ref(&b));
    let among = store.dead_tokens_among(&["b".to_owned(), "c".to_owned()]).await.unwrap();
    assert_eq!(among, std::slice::from_ref(&b));

    store.revoke_token("c", NOW.plus(9 * DAY), b.until).await.unwrap();
    let forgotten = store.dead_tokens_among(&["b".to_owned()]).await.unwrap();
    assert!(forgotten.is_empty());
    store.revoke_token(&"x".repeat(256), NOW, NOW).await.unwrap();
    let long = store.revoke_token(&"x".repeat(257), NOW, NOW).await;
    assert!(matches!(long, Err(StoreError::TooLong)));
}

#[tokio::test]
async fn a_signing_key_is_published_signs_and_is_retired() {
    let (folder, store) = fresh().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    let keys_touched = Touched::Some {
        apps: vec![],
        users: vec![],
        unlocked: vec![],
        sessions: vec![],
        tokens: vec![],
        keys: true,
    };
    store.add_signing_key(&key("k1", "native", NOW), NOW).await.unwrap();
    assert_eq!(told(&other, &mut seen).await, keys_touched);
    let shared = NewSigningKey { public: None, ..key("k2", "native", NOW.plus(DAY)) };
    store.add_signing_key(&shared, NOW).await.unwrap();
    assert!(store.add_signing_key(&shared, NOW).await.is_err(), "a kid is given once");
    let keys = store.signing_keys().await.unwrap();
    assert_eq!((keys[0].kid.as_str(), keys[0].created_at), ("k1", NOW));
    assert_eq!((&keys[0].public, &keys[1].public), (&Some(json!({"kty": "OKP"})), &None));
    assert_eq!(keys[0].sealed, [1, 2, 3]);
    assert!(keys[0].may_sign(NOW) && !keys[1].may_sign(NOW.plus(DAY).minus(MOMENT)));
    assert!(keys[1].may_sign(NOW.plus(DAY)));

    let retire = async |kid: &str, until, now| store.retire_signing_key(kid, until, now).await;
    let until = NOW.plus(3 * DAY);
    assert!(matches!(retire("k1", until, NOW).await, Err(StoreError::LastKey)), "k2 waits");
    assert!(matches!(retire("k3", until, NOW).await, Err(StoreError::NotFound)));
    assert!(matches!(store.remove_signing_key("k1", NOW).await, Err(StoreError::NotFound)));
    drop(told(&other, &mut seen).await);
    retire("k1", until, NOW.plus(DAY)).await.unwrap();
    assert_eq!(told(&other, &mut seen).await, keys_touched);
    retire("k1", until.plus(DAY), NOW.plus(DAY)).await.unwrap();
    let first = &store.signing_keys().await.unwrap()[0];
    assert!(!first.may_sign(NOW.plus(DAY)));
    assert!(first.verifies(until.minus(MOMENT)) && !first.verifies(until));
    let early = store.remove_signing_key("k1", until.minus(MOMENT)).await;
    assert!(matches!(early, Err(StoreError::NotFound)));
    store.remove_signing_key("k1", until).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_start_at_once_agree_on_the_first_key() {
    let (folder, store) = fresh().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut starting = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        let new = key(&format!("k{n}"), if n < 10 { "native" } else { "redis" }, NOW);
        starting.spawn(async move { store.add_first_signing_key(&new, NOW).await.unwrap() });
    }
    assert_eq!(starting.join_all().await.iter().filter(|&&added| added).count(), 2);
    assert_eq!(store.signing_keys().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    sqlx::raw_sql(include_str!("migrations/0001_apps.sql")).execute(&mut old).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO apps (id, name, scopes, created_at) VALUES ('a1', 'one', '', 5);
         INSERT INTO app_secrets (app, number, digest, created_at) VALUES ('a1', 1, zeroblob(32), 5);
         PRAGMA user_version = 1",
    )
    .execute(&mut old)
    .await
    .unwrap();
    sqlx::Connection::close(old).await.unwrap();
    let store = Store::open(&address(&folder)).await.unwrap();
    assert_eq!(store.list_apps(None).await.unwrap()[0].name, "one");
    assert!(store.list_users(None).await.unwrap().is_empty());
    store.create_user(&user_tests::user("u1"), NOW).await.unwrap();
}
