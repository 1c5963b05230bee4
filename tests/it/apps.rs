//! Application keys from a store, changed by the command line while the gateway runs.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use portcullis::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::oracle;
use crate::world::process::run;

/// The bound within which a running gateway honours a change.
const PROMPTLY: Duration = Duration::from_secs(1);

fn store(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("apps.db").display())
}

/// A gateway that asks for an application key only, on the system's time as the command line is.
fn gateway(folder: &TempDir, workers: u8) -> World {
    let mut setup = Setup::new().defaults("{ require: app, forward: { X-App-Id: app.id } }");
    setup.clock = Clock::system();
    setup
        .checks("\n  app: { app_key: { header: X-App-Key } }\n")
        .routes("\n  - { match: \"* /api/**\", to: api }\n")
        .extra(&format!("store: \"{}\"\nworkers: {workers}", store(folder)))
        .start()
}

/// Runs `portcullis app …` against the store and reads its JSON.
#[track_caller]
fn app(folder: &TempDir, arguments: &[&str]) -> Value {
    let store = store(folder);
    let all = [&["app"], arguments, &["--store", &store, "--output", "json"]].concat();
    let output = run(folder.path(), &all);
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.out).unwrap_or(Value::Null)
}

#[track_caller]
fn created(folder: &TempDir, name: &str) -> (String, String) {
    let made = app(folder, &["create", name]);
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

#[track_caller]
fn status(world: &World, key: &str) -> u16 {
    world.answer(&Ask::get("/api/x").field("X-App-Key", key)).status()
}

/// Waits until the answer to a key is this status on every one of many connections.
#[track_caller]
fn becomes(world: &World, key: &str, wanted: u16, within: Duration) {
    let begun = Instant::now();
    loop {
        if (0..8).all(|_| status(world, key) == wanted) {
            return;
        }
        assert!(begun.elapsed() < within, "{wanted} not within {within:?}");
    }
}

#[test]
fn a_key_works_from_its_creation_to_its_revocation() {
    let folder = TempDir::new().unwrap();
    let (id, key) = created(&folder, "shop");
    let world = gateway(&folder, 2);
    let forwarded = world.pass(&Ask::get("/api/x").field("X-App-Key", &key));
    oracle::identity(&forwarded, &[("X-App-Id", Some(&id)), ("X-App-Key", None)]);
    becomes(&world, &key, 200, PROMPTLY);
    app(&folder, &["revoke", &id]);
    becomes(&world, &key, 401, PROMPTLY);
    let mark = world.upstream.mark();
    assert_eq!(status(&world, &key), 401);
    assert_eq!(world.upstream.since(&mark).unwrap(), []);
}

#[test]
fn a_key_created_later_works_although_it_was_refused_before() {
    let folder = TempDir::new().unwrap();
    created(&folder, "first");
    let world = gateway(&folder, 2);
    let (_, key) = created(&folder, "second");
    becomes(&world, &key, 200, PROMPTLY);
}

#[test]
fn a_key_that_is_almost_right_is_wrong() {
    let folder = TempDir::new().unwrap();
    let (id, key) = created(&folder, "shop");
    let (other_id, other) = created(&folder, "other");
    let world = gateway(&folder, 1);
    assert_eq!((status(&world, &key), status(&world, &other)), (200, 200));
    let mark = world.upstream.mark();
    let tail = |key: &str| key.rsplit('_').next().unwrap().to_owned();
    let last = key.chars().last().unwrap();
    let bent = format!("{}{}", &key[..key.len() - 1], if last == 'a' { 'b' } else { 'a' });
    for wrong in [
        bent,
        key[..key.len() - 1].to_owned(),
        format!("{key}a"),
        key.to_uppercase(),
        tail(&key),
        id.clone(),
        format!("pc_{id}_"),
        format!("pc_{other_id}_{}", tail(&key)),
        format!("pc_{id}_{}", tail(&other)),
        format!("pc__{}", tail(&key)),
        format!("{key},{other}"),
        String::new(),
        "pc_' OR 1=1 --_x".to_owned(),
    ] {
        assert!([400, 401].contains(&status(&world, &wrong)), "{wrong}");
    }
    assert_eq!(world.upstream.since(&mark).unwrap(), []);
}

#[test]
fn two_keys_live_while_one_replaces_the_other() {
    let folder = TempDir::new().unwrap();
    let (id, old) = created(&folder, "shop");
    let world = gateway(&folder, 2);
    let new = app(&folder, &["rotate", &id])["key"].as_str().unwrap().to_owned();
    becomes(&world, &new, 200, PROMPTLY);
    becomes(&world, &old, 200, PROMPTLY);
    let store = store(&folder);
    let third = run(folder.path(), &["app", "rotate", &id, "--store", &store]);
    assert_ne!(third.code, Some(0), "{third:?}");
    app(&folder, &["revoke", &id, "--secret", "1"]);
    becomes(&world, &old, 401, PROMPTLY);
    becomes(&world, &new, 200, PROMPTLY);
    app(&folder, &["revoke", &id]);
    becomes(&world, &new, 401, PROMPTLY);
}

#[test]
fn an_overlap_of_nothing_ends_the_old_key_at_once() {
    let folder = TempDir::new().unwrap();
    let (id, old) = created(&folder, "shop");
    let world = gateway(&folder, 2);
    becomes(&world, &old, 200, PROMPTLY);
    app(&folder, &["rotate", &id, "--overlap", "0s"]);
    becomes(&world, &old, 401, PROMPTLY);
}

#[test]
fn a_revocation_outlives_the_gateway() {
    let folder = TempDir::new().unwrap();
    let (id, key) = created(&folder, "shop");
    let world = gateway(&folder, 1);
    assert_eq!(status(&world, &key), 200);
    drop(world);
    app(&folder, &["revoke", &id]);
    let world = gateway(&folder, 1);
    assert_eq!(status(&world, &key), 401);
    assert_eq!(world.upstream.bytes_seen(), 0);
}

#[test]
fn a_secret_is_shown_once_and_kept_nowhere() {
    let folder = TempDir::new().unwrap();
    let (id, key) = created(&folder, "shop");
    let secret = key.rsplit('_').next().unwrap();
    for arguments in [&["list"][..], &["show", &id]] {
        let shown = app(&folder, arguments).to_string();
        assert!(shown.contains(&id) && !shown.contains(secret), "{shown}");
    }
    let world = gateway(&folder, 1);
    assert_eq!(status(&world, &key), 200);
    drop(world);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(crate::world::find(&bytes, secret.as_bytes()).is_none(), "the secret is on disk");
    }
}

#[test]
fn a_store_that_cannot_be_opened_stops_the_start() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("not.db"), "this is no database, and long enough to tell")
        .unwrap();
    let place = |path: &Path| format!("store: \"sqlite:{}\"", path.display());
    for store in [
        place(&folder.path().join("not.db")),
        place(&folder.path().join("no/such/folder/x.db")),
        "store: \"mysql:x\"".to_owned(),
        "store: \"\"".to_owned(),
    ] {
        assert!(Setup::new().extra(&store).try_start().is_err(), "{store}");
    }
}
