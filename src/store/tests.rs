//! The store as its callers see it, on files in a temporary folder.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::id::{AppId, Digest};

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) fn address(folder: &TempDir) -> StoreAddress {
    StoreAddress::parse(&format!("sqlite:{}/p.db", folder.path().display())).unwrap()
}

pub(super) async fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&address(&folder)).await.unwrap();
    (folder, store)
}

fn secret(text: &str) -> NewSecret {
    NewSecret { digest: Digest::of(text.as_bytes()), expires_at: None }
}

pub(super) fn app(id: &str, name: &str) -> NewApp {
    NewApp {
        id: AppId::new(id),
        name: AppName::parse(name).unwrap(),
        scopes: vec![Scope::parse("orders").unwrap(), Scope::parse("stock").unwrap()],
        secret: secret(id),
    }
}

fn touched_apps(apps: Vec<AppId>) -> Touched {
    Touched::Some {
        apps,
        users: vec![],
        unlocked: vec![],
        sessions: vec![],
        tokens: vec![],
        keys: false,
    }
}

#[tokio::test]
async fn what_is_created_is_found_by_digest_and_shown_by_id() {
    let (_folder, store) = fresh().await;
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let found = store.find_secret(&Digest::of(b"a1")).await.unwrap().unwrap();
    assert_eq!(found.app.as_str(), "a1");
    assert_eq!(found.scopes, ["orders", "stock"]);
    assert_eq!((found.number, found.expires_at, found.is_revoked), (1, None, false));
    let shown = store.show_app(&AppId::new("a1")).await.unwrap();
    assert_eq!((shown.name.as_str(), shown.created_at, shown.secrets.len()), ("mobile", NOW, 1));

    assert_eq!(store.find_secret(&Digest::of(b"a2")).await.unwrap(), None);
    assert!(matches!(store.show_app(&AppId::new("A1")).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn an_application_without_scopes_has_none() {
    let (_folder, store) = fresh().await;
    store.create_app(&NewApp { scopes: Vec::new(), ..app("a1", "mobile") }, NOW).await.unwrap();
    let found = store.find_secret(&Digest::of(b"a1")).await.unwrap().unwrap();
    assert!(found.scopes.is_empty());
}

#[tokio::test]
async fn a_name_is_free_again_once_its_application_is_revoked() {
    let (_folder, store) = fresh().await;
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let second = store.create_app(&app("a2", "mobile"), NOW).await;
    assert!(matches!(second, Err(StoreError::NameTaken)));
    assert_eq!(store.find_secret(&Digest::of(b"a2")).await.unwrap(), None);
    store.revoke_app(&AppId::new("a1"), NOW).await.unwrap();
    store.create_app(&app("a2", "mobile"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_refused_creation_leaves_nothing_behind() {
    let (_folder, store) = fresh().await;
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let before = store.changes_since(None).await.unwrap();
    let same_digest = NewApp { secret: secret("a1"), ..app("a2", "other") };
    assert!(matches!(store.create_app(&same_digest, NOW).await, Err(StoreError::Database(_))));
    assert!(matches!(store.show_app(&AppId::new("a2")).await, Err(StoreError::NotFound)));
    assert_eq!(store.changes_since(None).await.unwrap(), before);
}

#[tokio::test]
async fn at_most_two_secrets_are_live() {
    let (_folder, store) = fresh().await;
    let id = AppId::new("a1");
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    assert_eq!(store.rotate_app(&id, &secret("s2"), None, NOW).await.unwrap(), 2);
    let third = store.rotate_app(&id, &secret("s3"), None, NOW).await;
    assert!(matches!(third, Err(StoreError::TwoLiveSecrets)));
    assert_eq!(store.find_secret(&Digest::of(b"s3")).await.unwrap(), None);

    store.revoke_secret(&id, 1, NOW).await.unwrap();
    assert!(store.find_secret(&Digest::of(b"a1")).await.unwrap().unwrap().is_revoked);
    assert!(!store.find_secret(&Digest::of(b"s2")).await.unwrap().unwrap().is_revoked);
    assert_eq!(store.rotate_app(&id, &secret("s3"), None, NOW).await.unwrap(), 3);
}

#[tokio::test]
async fn an_overlap_ends_the_old_secret_and_never_lengthens_its_life() {
    let (_folder, store) = fresh().await;
    let id = AppId::new("a1");
    let short = NewSecret { expires_at: Some(NOW.plus(DAY)), ..secret("a1") };
    store.create_app(&NewApp { secret: short, ..app("a1", "mobile") }, NOW).await.unwrap();
    let ends = async |text: &str| {
        store.find_secret(&Digest::of(text.as_bytes())).await.unwrap().unwrap().expires_at
    };
    store.rotate_app(&id, &secret("s2"), Some(NOW.plus(7 * DAY)), NOW).await.unwrap();
    assert_eq!((ends("a1").await, ends("s2").await), (Some(NOW.plus(DAY)), None));

    // A day later the first one is dead: there is room for a third.
    let later = NOW.plus(DAY);
    store.rotate_app(&id, &secret("s3"), Some(later.plus(DAY)), later).await.unwrap();
    assert_eq!((ends("s2").await, ends("s3").await), (Some(NOW.plus(2 * DAY)), None));
}

#[tokio::test]
async fn revocation_is_final_and_keeps_its_first_instant() {
    let (_folder, store) = fresh().await;
    let id = AppId::new("a1");
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    store.revoke_app(&id, NOW).await.unwrap();
    store.revoke_app(&id, NOW.plus(DAY)).await.unwrap();
    assert_eq!(store.show_app(&id).await.unwrap().revoked_at, Some(NOW));
    let rotated = store.rotate_app(&id, &secret("s2"), None, NOW).await;
    assert!(matches!(rotated, Err(StoreError::AppRevoked)));

    let unknown = AppId::new("a2");
    assert!(matches!(store.revoke_app(&unknown, NOW).await, Err(StoreError::NotFound)));
    assert!(matches!(store.revoke_secret(&unknown, 1, NOW).await, Err(StoreError::NotFound)));
    assert!(matches!(store.revoke_secret(&id, 2, NOW).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn applications_are_listed_page_by_page_in_order_of_creation() {
    let (_folder, store) = fresh().await;
    for n in 0..201 {
        store.create_app(&app(&format!("a{n}"), &format!("name {n}")), NOW).await.unwrap();
    }
    store.rotate_app(&AppId::new("a0"), &secret("s2"), None, NOW).await.unwrap();
    let first = store.list_apps(None).await.unwrap();
    assert_eq!((first.len(), first[0].id.as_str(), first[199].id.as_str()), (200, "a0", "a199"));
    assert_eq!(first[0].secrets.iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2]);
    let second = store.list_apps(Some(&first[199].id)).await.unwrap();
    assert_eq!((second.len(), second[0].id.as_str()), (1, "a200"));
    assert!(store.list_apps(Some(&second[0].id)).await.unwrap().is_empty());
}

#[tokio::test]
async fn last_use_moves_forward_only() {
    let (_folder, store) = fresh().await;
    let id = AppId::new("a1");
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let seen = store.changes_since(None).await.unwrap();
    let used = |number, at| Use { app: id.clone(), number, at };
    store.touch_last_used(&[used(1, NOW), used(1, NOW.minus(DAY)), used(9, NOW)]).await.unwrap();
    assert_eq!(store.show_app(&id).await.unwrap().secrets[0].last_used_at, Some(NOW));
    assert_eq!(store.changes_since(None).await.unwrap(), seen);
}

#[tokio::test]
async fn every_act_of_an_operator_is_told_to_other_handles() {
    let (folder, store) = fresh().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    let id = AppId::new("a1");
    let told = touched_apps(vec![id.clone()]);
    for act in 0..4 {
        match act {
            0 => store.create_app(&app("a1", "mobile"), NOW).await.unwrap(),
            1 => drop(store.rotate_app(&id, &secret("s2"), None, NOW).await.unwrap()),
            2 => store.revoke_secret(&id, 1, NOW).await.unwrap(),
            _ => store.revoke_app(&id, NOW).await.unwrap(),
        }
        let changes = other.changes_since(Some(seen)).await.unwrap();
        assert_eq!(changes.touched, told, "act {act}");
        seen = changes.up_to;
        let nothing = Changes { up_to: seen, touched: Touched::nothing() };
        assert_eq!(other.changes_since(Some(seen)).await.unwrap(), nothing);
    }
    assert_eq!(other.digests_of(&id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_log_cannot_tell_is_everything() {
    let (_folder, store) = fresh().await;
    for n in 0..257 {
        store.create_app(&app(&format!("a{n}"), &format!("name {n}")), NOW).await.unwrap();
    }
    let now = store.changes_since(None).await.unwrap().up_to;
    let since = async |point| store.changes_since(point).await.unwrap().touched;
    let touched = async |seq| since(Some(Point { seq, ..now })).await;
    assert!(matches!(touched(1).await, Touched::Some { apps, .. } if apps.len() == 256));
    assert_eq!(touched(0).await, Touched::Everything, "too many");
    assert_eq!(touched(258).await, Touched::Everything, "a log that went backwards");
    assert_eq!(since(None).await, Touched::Everything, "the first question");
    let elsewhere = Point { file: None, ..now };
    assert_eq!(since(Some(elsewhere)).await, Touched::Everything, "another file");
    sqlx::query("DELETE FROM changes WHERE seq = 256").execute(&store.pool).await.unwrap();
    assert_eq!(touched(250).await, Touched::Everything, "a gap");
    sqlx::query("INSERT INTO changes (kind, id, at) VALUES ('planet', 'x', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    assert_eq!(touched(257).await, Touched::Everything, "an unknown kind");
}

#[tokio::test]
async fn the_log_of_changes_does_not_grow_without_bound() {
    let (_folder, store) = fresh().await;
    sqlx::query(
        "INSERT INTO changes (seq, kind, id, at) VALUES (1, 'app', 'x', 0), (20000, 'app', 'x', 0)",
    )
    .execute(&store.pool)
    .await
    .unwrap();
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let kept: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM changes").fetch_all(&store.pool).await.unwrap();
    assert_eq!(kept, [20_000, 20_001]);
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    let (folder, store) = fresh().await;
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
        seen += 1;
    }
    assert_eq!(seen, 3, "the file, its log and the index of the log");
}

#[tokio::test]
async fn a_store_is_created_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Store::open_existing(&address(&folder)).await;
    assert!(matches!(missing, Err(StoreError::Open { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let store = Store::open(&address(&folder)).await.unwrap();
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    store.close().await;
    let again = Store::open_existing(&address(&folder)).await.unwrap();
    again.show_app(&AppId::new("a1")).await.unwrap();

    let nowhere = format!("sqlite:{}/no/such/folder/p.db", folder.path().display());
    let nowhere = Store::open(&StoreAddress::parse(&nowhere).unwrap()).await;
    assert!(matches!(nowhere, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn a_store_that_was_replaced_is_opened_anew_and_one_that_is_gone_is_an_error() {
    let (folder, store) = fresh().await;
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    let seen = store.changes_since(None).await.unwrap().up_to;
    let path = |name: &str| folder.path().join(name);
    for name in ["p.db", "p.db-wal", "p.db-shm"] {
        std::fs::rename(path(name), path(&format!("old-{name}"))).unwrap();
    }
    for _ in 0..3 {
        assert!(store.find_secret(&Digest::of(b"a1")).await.is_err());
        assert!(store.changes_since(Some(seen)).await.is_err());
    }
    Store::open(&address(&folder)).await.unwrap().close().await;
    assert_eq!(store.find_secret(&Digest::of(b"a1")).await.unwrap(), None);
    let changes = store.changes_since(Some(seen)).await.unwrap();
    assert_eq!(changes.touched, Touched::Everything);
    store.create_app(&app("a2", "mobile"), NOW).await.unwrap();
    let again = Store::open_existing(&address(&folder)).await.unwrap();
    again.show_app(&AppId::new("a2")).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_later_version_is_left_alone() {
    let (folder, store) = fresh().await;
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&store.pool).await.unwrap();
    store.close().await;
    let newer = Store::open(&address(&folder)).await;
    assert!(matches!(newer, Err(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.db"), "x".repeat(4096)).unwrap();
    let error = Store::open(&address(&folder)).await.unwrap_err();
    assert!(matches!(error, StoreError::Database(_)) && !error.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_open_a_fresh_store_at_once_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let address = address(&folder);
    let mut opening = tokio::task::JoinSet::new();
    for n in 0..8 {
        let address = address.clone();
        opening.spawn(async move {
            let store = Store::open(&address).await?;
            store.create_app(&app(&format!("a{n}"), &format!("name {n}")), NOW).await
        });
    }
    for outcome in opening.join_all().await {
        outcome.unwrap();
    }
    let store = Store::open(&address).await.unwrap();
    assert_eq!(store.list_apps(None).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_store_in_memory_works_while_its_handle_lives() {
    let store = Store::open(&StoreAddress::parse("sqlite::memory:").unwrap()).await.unwrap();
    store.create_app(&app("a1", "mobile"), NOW).await.unwrap();
    store.clone().show_app(&AppId::new("a1")).await.unwrap();
}

#[tokio::test]
async fn a_store_that_another_process_is_writing_is_worth_another_try() {
    let (folder, store) = fresh().await;
    let writing = store.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let impatient = SqliteConnectOptions::new()
        .filename(folder.path().join("p.db"))
        .busy_timeout(Duration::ZERO);
    let mut other = impatient.connect().await.unwrap();
    let busy = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap_err();
    assert!(StoreError::from(busy).is_transient());
    drop(writing);
}

#[test]
fn only_a_busy_database_is_worth_another_try() {
    assert!(StoreError::Database(sqlx::Error::PoolTimedOut).is_transient());
    for last in [StoreError::NotFound, StoreError::NameTaken, StoreError::Corrupt("x")] {
        assert!(!last.is_transient(), "{last}");
    }
    assert!(!StoreError::Database(sqlx::Error::RowNotFound).is_transient());
}
