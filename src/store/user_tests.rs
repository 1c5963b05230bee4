//! Users, their passwords and second factors, as the callers of the store see them.

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::tests::{DAY, NOW, address, fresh};
use super::*;
use crate::id::{Digest, UserId};
use crate::secret::Secret;

pub(super) fn user(id: &str) -> NewUser {
    let attributes = json!({"name": "Ann", "topics": [1, 2], "bio": "x"});
    NewUser {
        id: UserId::new(id),
        login: Login::parse(&format!("{id}@example.com")).unwrap(),
        state: UserState::Active,
        attributes: attributes.as_object().unwrap().clone(),
        unique: Vec::new(),
        permissions: json!({"Things": ["view"]}),
        password: Some(phc("first")),
    }
}

pub(super) fn phc(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// A store with the user `u1`.
pub(super) async fn with_user() -> (TempDir, Store, UserRecord) {
    let (folder, store) = fresh().await;
    let record = store.create_user(&user("u1"), NOW).await.unwrap();
    (folder, store, record)
}

/// What the act since the point `seen` told others, and the new point.
pub(super) async fn told(store: &Store, seen: &mut Point) -> Touched {
    let changes = store.changes_since(Some(*seen)).await.unwrap();
    *seen = changes.up_to;
    changes.touched
}

fn touched_user(id: &UserId) -> Touched {
    let users = vec![id.clone()];
    Touched::Some {
        apps: vec![],
        users,
        unlocked: vec![],
        sessions: vec![],
        tokens: vec![],
        keys: false,
    }
}

fn patch(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn phcs(store: &Store, id: &UserId) -> Vec<(u32, String)> {
    let credentials = store.credentials_of(id).await.unwrap();
    let passwords = credentials.passwords.into_iter();
    passwords.map(|password| (password.number, password.phc.expose().clone())).collect()
}

#[test]
fn a_user_name_has_one_spelling() {
    for (text, canonical) in [
        ("ann", "ann"),
        ("Ann@Example.COM", "ann@example.com"),
        ("!", "!"),
        ("~", "~"),
        ("a+b@c", "a+b@c"),
        ("@", "@"),
        (&"x".repeat(254), &"x".repeat(254)),
    ] {
        assert_eq!(Login::parse(text).unwrap().as_str(), canonical);
    }
    for bad in [
        "",
        " ann",
        "ann ",
        "a b",
        "a\tb",
        "ann\n",
        "ann\0",
        "a@b@c",
        "@@",
        "ännchen",
        "аnn",
        "ann\u{200b}",
        "ＡＮＮ",
        "a\u{7f}",
        "Kelvin\u{212a}",
        &"x".repeat(255),
    ] {
        assert_eq!(Login::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn a_state_reads_what_it_writes() {
    for state in UserState::ALL {
        assert_eq!(UserState::parse(state.as_str()), Some(state));
    }
    for bad in ["", "Active", "active ", "gone"] {
        assert_eq!(UserState::parse(bad), None, "{bad}");
    }
}

#[tokio::test]
async fn a_created_user_is_found_by_id_and_by_any_spelling_of_its_name() {
    let (_folder, store, created) = with_user().await;
    assert_eq!((created.number, created.created_at, created.revision), (1, NOW, 0));
    assert_eq!((created.password_count, created.password_changed_at), (1, Some(NOW)));
    assert_eq!(created.permissions, json!({"Things": ["view"]}));
    assert!(!created.has_totp);
    assert_eq!(store.show_user(&created.id).await.unwrap(), created);
    let spelling = Login::parse("U1@EXAMPLE.com").unwrap();
    assert_eq!(store.find_user_by_login(&spelling).await.unwrap(), Some(created.clone()));
    let credentials = store.find_credentials(&spelling).await.unwrap().unwrap();
    assert_eq!(credentials.user, created);
    assert_eq!(credentials.passwords[0].phc.expose(), "first");
    assert_eq!(credentials.totp, None);

    let other = Login::parse("u1@example.org").unwrap();
    assert_eq!(store.find_user_by_login(&other).await.unwrap(), None);
    assert!(store.find_credentials(&other).await.unwrap().is_none());
    assert!(matches!(store.show_user(&UserId::new("U1")).await, Err(StoreError::NotFound)));
    assert!(matches!(store.credentials_of(&UserId::new("x")).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_user_name_is_taken_in_every_spelling_and_leaves_nothing_behind() {
    let (_folder, store, first) = with_user().await;
    let before = store.changes_since(None).await.unwrap();
    let again = NewUser { login: Login::parse("U1@Example.Com").unwrap(), ..user("u2") };
    assert!(matches!(store.create_user(&again, NOW).await, Err(StoreError::NameTaken)));
    let same_id = NewUser { login: Login::parse("other").unwrap(), ..user("u1") };
    assert!(matches!(store.create_user(&same_id, NOW).await, Err(StoreError::Database(_))));
    assert_eq!(store.list_users(None).await.unwrap().len(), 1);
    assert_eq!(store.changes_since(None).await.unwrap(), before);

    let second = store.create_user(&user("u2"), NOW).await.unwrap();
    let taken = store.set_login(&second.id, &first.login, NOW).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)));
    assert_eq!(store.set_login(&second.id, &second.login, NOW).await.unwrap(), second);
    assert_eq!(store.show_user(&first.id).await.unwrap(), first);
}

#[tokio::test]
async fn numbers_of_users_and_passwords_are_not_given_twice() {
    let (_folder, store, first) = with_user().await;
    let id = &first.id;
    assert_eq!(store.add_password(id, &phc("second"), 3, NOW).await.unwrap(), 2);
    store.remove_password(id, 2, None, NOW).await.unwrap();
    assert_eq!(store.add_password(id, &phc("third"), 3, NOW).await.unwrap(), 3);
    store.delete_user(id, NOW).await.unwrap();
    let anew = store.create_user(&user("u1"), NOW).await.unwrap();
    assert_eq!((anew.number, anew.password_count), (2, 1));
    assert_eq!(phcs(&store, &anew.id).await, [(1, "first".to_owned())]);
}

#[tokio::test]
async fn users_are_listed_page_by_page_in_order_of_creation() {
    let (_folder, store) = fresh().await;
    for n in 0..201 {
        store.create_user(&user(&format!("u{n}")), NOW).await.unwrap();
    }
    let first = store.list_users(None).await.unwrap();
    assert_eq!((first.len(), first[0].id.as_str(), first[199].id.as_str()), (200, "u0", "u199"));
    let rest = store.list_users(Some(&first[199].id)).await.unwrap();
    assert_eq!(rest.iter().map(|user| user.id.as_str()).collect::<Vec<_>>(), ["u200"]);
    assert!(store.list_users(Some(&rest[0].id)).await.unwrap().is_empty());
}

#[tokio::test]
async fn attributes_are_patched_in_place() {
    let (_folder, store, user) = with_user().await;
    let change = json!({"name": null, "bio": "y", "image": {"url": "z"}, "none": null});
    let patched = store.set_attributes(&user.id, &patch(&change), NOW).await.unwrap();
    let text = serde_json::to_string(&patched.attributes).unwrap();
    assert_eq!(text, r#"{"topics":[1,2],"bio":"y","image":{"url":"z"}}"#);
    assert_eq!(store.show_user(&user.id).await.unwrap(), patched);
    assert_eq!(patched.revision, user.revision, "no credential was touched");
}

#[tokio::test]
async fn several_things_are_altered_together_or_not_at_all() {
    let (_folder, store, first) = with_user().await;
    let second = store.create_user(&user("u2"), NOW).await.unwrap();
    let change = |login: &str| UserChange {
        login: Login::parse(login),
        attributes: Some(patch(&json!({"bio": "new"}))),
        unique: Vec::new(),
        permissions: Some(json!(["all"])),
    };
    let taken = store.update_user(&second.id, &change(first.login.as_str()), NOW).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)));
    assert_eq!(store.show_user(&second.id).await.unwrap(), second);
    let altered = store.update_user(&second.id, &change("free"), NOW).await.unwrap();
    assert_eq!((altered.login.as_str(), &altered.permissions), ("free", &json!(["all"])));
    let same = store.update_user(&second.id, &UserChange::default(), NOW).await.unwrap();
    assert_eq!(same, altered);
    let unknown = store.update_user(&UserId::new("x"), &change("y"), NOW).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn what_no_two_users_have_alike_is_not_taken_from_another() {
    let (_folder, store, first) = with_user().await;
    let unique = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let named = |name: &str| patch(&json!({"nick": name}));
    store.set_attributes(&first.id, &named("anna"), NOW).await.unwrap();
    let new = |id: &str, name: &str, names: &[&str]| NewUser {
        attributes: named(name),
        unique: unique(names),
        ..user(id)
    };
    let taken = store.create_user(&new("u2", "anna", &["nick"]), NOW).await;
    assert!(matches!(taken, Err(StoreError::AttributeTaken(name)) if name == "nick"));
    assert_eq!(store.list_users(None).await.unwrap().len(), 1);
    // Another spelling is another text, and what is not asked for is not compared.
    store.create_user(&new("u2", "Anna", &["nick", "other"]), NOW).await.unwrap();
    let third = store.create_user(&new("u3", "anna", &[]), NOW).await.unwrap();
    let rename = async |name: &str| {
        let (attributes, unique) = (Some(named(name)), unique(&["nick"]));
        let change = UserChange { attributes, unique, ..UserChange::default() };
        store.update_user(&third.id, &change, NOW).await
    };
    for name in ["anna", "Anna"] {
        assert!(matches!(rename(name).await, Err(StoreError::AttributeTaken(_))), "{name}");
    }
    assert_eq!(store.show_user(&third.id).await.unwrap(), third);
    assert_eq!(rename("carla").await.unwrap(), rename("carla").await.unwrap());
}

#[tokio::test]
async fn what_is_known_about_a_user_is_bounded() {
    let (_folder, store, user) = with_user().await;
    // With the quotes around it, just as long as is kept.
    let longest = json!("x".repeat(64 * 1024 - 2));
    store.set_permissions(&user.id, &longest, NOW).await.unwrap();
    let longer = json!("x".repeat(64 * 1024 - 1));
    let refused = store.set_permissions(&user.id, &longer, NOW).await;
    assert!(matches!(refused, Err(StoreError::TooLong)));
    let refused = store.set_attributes(&user.id, &patch(&json!({"a": longer})), NOW).await;
    assert!(matches!(refused, Err(StoreError::TooLong)));
    assert_eq!(store.show_user(&user.id).await.unwrap().permissions, longest);
}

#[tokio::test]
async fn every_act_on_a_user_is_told_to_other_handles() {
    let (folder, store, user) = with_user().await;
    let (other, id) = (Store::open(&address(&folder)).await.unwrap(), &user.id);
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    for act in 0..9 {
        match act {
            0 => drop(store.set_attributes(id, &Map::new(), NOW).await.unwrap()),
            1 => store.set_state(id, UserState::Locked, NOW).await.unwrap(),
            2 => drop(store.add_password(id, &phc("2"), 2, NOW).await.unwrap()),
            3 => store.remove_password(id, 1, None, NOW).await.unwrap(),
            4 => drop(store.replace_passwords(id, &phc("3"), None, NOW).await.unwrap()),
            5 => store.set_totp(id, b"s", false, NOW).await.unwrap(),
            6 => assert!(store.confirm_totp(id, b"s", 1, NOW).await.unwrap()),
            7 => store.remove_totp(id, NOW).await.unwrap(),
            _ => store.delete_user(id, NOW).await.unwrap(),
        }
        assert_eq!(told(&other, &mut seen).await, touched_user(id), "act {act}");
    }
    assert!(matches!(store.delete_user(id, NOW).await, Err(StoreError::NotFound)));
    let unknown = store.set_state(id, UserState::Active, NOW).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    assert_eq!(told(&other, &mut seen).await, Touched::nothing());
}

#[tokio::test]
async fn a_user_has_several_passwords_up_to_a_number_and_never_none() {
    let (_folder, store, user) = with_user().await;
    let (id, later) = (&user.id, NOW.plus(DAY));
    store.add_password(id, &phc("second"), 2, later).await.unwrap();
    let third = store.add_password(id, &phc("third"), 2, later).await;
    assert!(matches!(third, Err(StoreError::TooManyPasswords)));
    let shown = store.show_user(id).await.unwrap();
    assert_eq!((shown.password_count, shown.password_changed_at), (2, Some(later)));

    let unknown = store.remove_password(id, 3, None, later).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    store.remove_password(id, 1, None, later).await.unwrap();
    let last = store.remove_password(id, 2, None, later).await;
    assert!(matches!(last, Err(StoreError::LastPassword)));
    assert_eq!(phcs(&store, id).await, [(2, "second".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn passwords_removed_at_once_leave_one() {
    let (_folder, store, user) = with_user().await;
    store.add_password(&user.id, &phc("second"), 2, NOW).await.unwrap();
    let removing = [1, 2].map(|number| {
        let (store, id) = (store.clone(), user.id.clone());
        async move { store.remove_password(&id, number, None, NOW).await.is_ok() }
    });
    let [first, second] = removing;
    let (first, second) = tokio::join!(first, second);
    assert!(first != second);
    assert_eq!(phcs(&store, &user.id).await.len(), 1);
}

#[tokio::test]
async fn a_new_password_replaces_all_and_renews_an_expired_one() {
    let (_folder, store, user) = with_user().await;
    let id = &user.id;
    store.add_password(id, &phc("second"), 2, NOW).await.unwrap();
    store.set_state(id, UserState::Expired, NOW).await.unwrap();
    let told = store.replace_passwords(id, &phc("third"), None, NOW).await.unwrap();
    assert_eq!(phcs(&store, id).await, [(3, "third".to_owned())]);
    assert_eq!((told.state, told.password_count), (UserState::Active, 1));
    assert_eq!(store.show_user(id).await.unwrap(), told);
    for state in [UserState::Locked, UserState::Disabled, UserState::Invited] {
        store.set_state(id, state, NOW).await.unwrap();
        store.replace_passwords(id, &phc("again"), None, NOW).await.unwrap();
        assert_eq!(store.show_user(id).await.unwrap().state, state);
    }
}

#[tokio::test]
async fn passwords_are_altered_only_as_they_were_judged() {
    for act in 0..3 {
        let (_folder, store, judged) = with_user().await;
        store.add_password(&judged, &phc("second"), 9, NOW).await.unwrap();
        let before = phcs(&store, &judged.id).await;
        let late = match act {
            0 => store.add_password(&judged, &phc("third"), 9, NOW).await.map(drop),
            1 => store.replace_passwords(&judged, &phc("third"), None, NOW).await.map(drop),
            _ => store.remove_password(&judged, 1, None, NOW).await,
        };
        assert!(matches!(late, Err(StoreError::UserChanged)), "{act}");
        assert_eq!(phcs(&store, &judged.id).await, before);
        let now = store.show_user(&judged.id).await.unwrap();
        store.replace_passwords(&now, &phc("third"), None, NOW).await.unwrap();
    }
}

#[tokio::test]
async fn a_hash_is_renewed_only_while_it_is_the_same() {
    let (_folder, store, user) = with_user().await;
    let id = &user.id;
    assert!(store.rehash_password(id, 1, &phc("first"), &phc("better")).await.unwrap());
    assert!(!store.rehash_password(id, 1, &phc("first"), &phc("worse")).await.unwrap());
    assert!(!store.rehash_password(id, 2, &phc("better"), &phc("worse")).await.unwrap());
    assert_eq!(phcs(&store, id).await, [(1, "better".to_owned())]);
    assert_eq!(store.show_user(id).await.unwrap(), user, "the password is the same");
}

#[tokio::test]
async fn a_second_factor_is_in_force_once_its_first_code_was_shown() {
    let (_folder, store, user) = with_user().await;
    let id = &user.id;
    let totp = async || store.credentials_of(id).await.unwrap().totp;
    store.set_totp(id, b"one", false, NOW).await.unwrap();
    assert!(!store.show_user(id).await.unwrap().has_totp);
    assert!(!store.claim_totp_step(id, 7).await.unwrap(), "not in force");
    store.set_totp(id, b"two", false, NOW).await.unwrap();
    assert!(!store.confirm_totp(id, b"one", 7, NOW).await.unwrap(), "another seed was set");
    assert!(store.confirm_totp(id, b"two", 7, NOW).await.unwrap());
    assert!(!store.confirm_totp(id, b"two", 8, NOW).await.unwrap(), "once");
    assert!(store.show_user(id).await.unwrap().has_totp);
    assert!(!store.claim_totp_step(id, 7).await.unwrap(), "its first code is spent");

    let again = store.set_totp(id, b"three", false, NOW).await;
    assert!(matches!(again, Err(StoreError::TotpInForce)));
    assert_eq!(totp().await.unwrap().sealed, b"two");
    store.set_totp(id, b"four", true, NOW).await.unwrap();
    let four = totp().await.unwrap();
    assert_eq!(
        (four.sealed.as_slice(), four.confirmed, four.last_step),
        (&b"four"[..], true, None)
    );
    store.remove_totp(id, NOW).await.unwrap();
    assert_eq!(totp().await, None);
    assert!(!store.claim_totp_step(id, 9).await.unwrap());
    assert!(!store.confirm_totp(id, b"four", 9, NOW).await.unwrap());
}

#[tokio::test]
async fn a_seed_that_was_never_confirmed_goes_with_the_password() {
    for (confirmed, act) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let (_folder, store, user) = with_user().await;
        let id = &user.id;
        store.add_password(id, &phc("second"), 9, NOW).await.unwrap();
        store.set_totp(id, b"seed", confirmed, NOW).await.unwrap();
        let kept = async || store.credentials_of(id).await.unwrap().totp.is_some();
        match act {
            0 => drop(store.replace_passwords(id, &phc("third"), None, NOW).await.unwrap()),
            _ => store.remove_password(id, 1, None, NOW).await.unwrap(),
        }
        assert_eq!(kept().await, confirmed, "{act}");
        assert!(!store.confirm_totp(id, b"seed", 7, NOW).await.unwrap(), "{act}");
    }
    let (_folder, store, user) = with_user().await;
    store.set_totp(&user.id, b"seed", false, NOW).await.unwrap();
    let last = store.remove_password(&user.id, 1, None, NOW).await;
    assert!(matches!(last, Err(StoreError::LastPassword)));
    store.add_password(&user.id, &phc("second"), 9, NOW).await.unwrap();
    assert!(store.confirm_totp(&user.id, b"seed", 7, NOW).await.unwrap(), "nothing was taken away");
}

#[tokio::test]
async fn a_step_is_spent_once_and_with_it_all_before() {
    let (_folder, store, user) = with_user().await;
    let id = &user.id;
    store.set_totp(id, b"s", true, NOW).await.unwrap();
    for (step, expected) in [(10, true), (10, false), (9, false), (11, true), (10, false)] {
        assert_eq!(store.claim_totp_step(id, step).await.unwrap(), expected, "{step}");
    }
    assert!(!store.claim_totp_step(&UserId::new("u2"), 12).await.unwrap());
    assert_eq!(store.credentials_of(id).await.unwrap().totp.unwrap().last_step, Some(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_spend_one_step_at_once_one_does() {
    let (folder, store, user) = with_user().await;
    store.set_totp(&user.id, b"s", true, NOW).await.unwrap();
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        let id = user.id.clone();
        claims.spawn(async move { store.claim_totp_step(&id, 100).await.unwrap() });
    }
    let claimed = claims.join_all().await;
    assert_eq!(claimed.iter().filter(|&&claimed| claimed).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recovery_code_is_good_once() {
    let (_folder, store, user) = with_user().await;
    let (id, code) = (&user.id, |text: &str| Digest::of(text.as_bytes()));
    let left = async || store.credentials_of(id).await.unwrap().totp.unwrap().recovery_codes;
    store.set_totp(id, b"s", true, NOW).await.unwrap();
    store.set_recovery_codes(id, &[code("a"), code("b"), code("c")], NOW).await.unwrap();
    assert_eq!(left().await, 3);
    let claims = (0..20).map(|_| {
        let (store, id) = (store.clone(), id.clone());
        async move { store.claim_recovery_code(&id, &Digest::of(b"a"), NOW).await.unwrap() }
    });
    let mut claiming = tokio::task::JoinSet::new();
    claims.for_each(|claim| drop(claiming.spawn(claim)));
    assert_eq!(claiming.join_all().await.iter().filter(|&&claimed| claimed).count(), 1);
    assert!(!store.claim_recovery_code(id, &code("d"), NOW).await.unwrap());
    assert!(!store.claim_recovery_code(&UserId::new("u2"), &code("b"), NOW).await.unwrap());
    assert_eq!(left().await, 2);

    store.set_recovery_codes(id, &[code("e")], NOW).await.unwrap();
    assert!(!store.claim_recovery_code(id, &code("b"), NOW).await.unwrap(), "replaced");
    store.remove_totp(id, NOW).await.unwrap();
    assert!(!store.claim_recovery_code(id, &code("e"), NOW).await.unwrap(), "removed");
}

#[tokio::test]
async fn whatever_alters_credentials_or_state_raises_the_revision() {
    let (_folder, store, user) = with_user().await;
    let id = &user.id;
    let revision = async || store.show_user(id).await.unwrap().revision;
    let mut before = revision().await;
    for act in 0..8 {
        match act {
            0 => store.set_state(id, UserState::Locked, NOW).await.unwrap(),
            1 => drop(store.add_password(id, &phc("2"), 2, NOW).await.unwrap()),
            2 => store.remove_password(id, 1, None, NOW).await.unwrap(),
            3 => drop(store.replace_passwords(id, &phc("3"), None, NOW).await.unwrap()),
            4 => store.set_totp(id, b"s", false, NOW).await.unwrap(),
            5 => drop(store.confirm_totp(id, b"s", 1, NOW).await.unwrap()),
            6 => store.set_recovery_codes(id, &[], NOW).await.unwrap(),
            _ => store.remove_totp(id, NOW).await.unwrap(),
        }
        let after = revision().await;
        assert!(after > before, "act {act}");
        before = after;
    }
    assert!(!store.confirm_totp(id, b"s", 1, NOW).await.unwrap());
    assert!(store.remove_password(id, 99, None, NOW).await.is_err());
    assert_eq!(revision().await, before, "nothing happened");
}

#[test]
fn hashes_are_not_shown_by_debug() {
    let shown = format!("{:?}", user("u1"));
    assert!(shown.contains("[secret]") && !shown.contains("first"), "{shown}");
}

#[tokio::test]
async fn only_who_is_made_active_is_told_to_be_unlocked() {
    let (folder, store, user) = with_user().await;
    let other = Store::open(&address(&folder)).await.unwrap();
    let mut seen = other.changes_since(None).await.unwrap().up_to;
    for state in UserState::ALL {
        store.set_state(&user.id, state, NOW).await.unwrap();
        let Touched::Some { unlocked, .. } = told(&other, &mut seen).await else { panic!() };
        assert_eq!(!unlocked.is_empty(), state == UserState::Active, "{state:?}");
    }
}
