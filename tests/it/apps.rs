//! Application keys from a store, changed by the command line while the gateway runs.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use portcullis::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::DEADLINE;
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

/// A gateway that knows one stored key, one from the configuration, and stands still in time.
fn still_gateway(folder: &TempDir) -> World {
    let mut setup = Setup::new().defaults("{ require: app }");
    setup.clock = Clock::manual(Clock::system().now());
    setup
        .checks("\n  app: { app_key: { header: X-App-Key } }\n")
        .routes("\n  - { match: \"* /api/**\", to: api }\n")
        .extra(&format!("store: \"{}\"\nworkers: 2", store(folder)))
        .start()
}

/// A key as it should be, of which no store but its own knows.
fn strange() -> String {
    created(&TempDir::new().unwrap(), "stranger").1
}

const FILES: [&str; 3] = ["apps.db", "apps.db-wal", "apps.db-shm"];

fn move_store(from: &TempDir, to: &TempDir) {
    for name in FILES {
        let from = from.path().join(name);
        if from.exists() {
            std::fs::rename(from, to.path().join(name)).unwrap();
        }
    }
}

#[test]
fn a_store_that_is_gone_makes_its_keys_unavailable_and_no_others() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (stranger, (_, key)) = (strange(), created(&folder, "shop"));
    let (_, unseen) = created(&folder, "other");
    let (gone, known) = created(&folder, "gone");
    let world = still_gateway(&folder);
    becomes(&world, &known, 200, DEADLINE);
    app(&folder, &["revoke", &gone]);
    // From here on the log was read: what is looked up now is remembered.
    becomes(&world, &known, 401, DEADLINE);
    becomes(&world, &key, 200, DEADLINE);
    move_store(&folder, &elsewhere);
    let mark = world.upstream.mark();
    becomes(&world, &unseen, 503, DEADLINE);
    assert_eq!(world.upstream.since(&mark).unwrap(), [], "a key that cannot be looked up");
    assert_eq!(status(&world, &key), 200, "one that is remembered, for a while");
    world.advance(31);
    let mark = world.upstream.mark();
    becomes(&world, &key, 503, DEADLINE);
    becomes(&world, &stranger, 503, DEADLINE);
    assert_eq!(world.upstream.since(&mark).unwrap(), []);
    assert_eq!(status(&world, APP_KEY), 200, "a key of the configuration");
    assert_eq!(world.admin("/readyz").status(), 503);
    let until = Instant::now() + DEADLINE;
    while world.metric("portcullis_store_age_seconds") < 30.0 {
        assert!(Instant::now() < until, "the silence of the store is not counted");
    }

    move_store(&elsewhere, &folder);
    for good in [&key, &unseen] {
        becomes(&world, good, 200, DEADLINE);
    }
    becomes(&world, &stranger, 401, DEADLINE);
    assert_eq!(world.admin("/readyz").status(), 200);
}

#[test]
fn a_store_that_was_replaced_is_the_one_that_counts() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (id, key) = created(&folder, "shop");
    let world = still_gateway(&folder);
    becomes(&world, &key, 200, DEADLINE);
    move_store(&folder, &elsewhere);
    let (_, new) = created(&folder, "shop");
    becomes(&world, &key, 401, DEADLINE);
    becomes(&world, &new, 200, DEADLINE);
    move_store(&folder, &TempDir::new().unwrap());
    move_store(&elsewhere, &folder);
    becomes(&world, &new, 401, DEADLINE);
    becomes(&world, &key, 200, DEADLINE);
    app(&folder, &["revoke", &id]);
    becomes(&world, &key, 401, DEADLINE);
}

#[test]
fn a_store_that_holds_rubbish_gives_no_answer() {
    let folder = TempDir::new().unwrap();
    let (_, key) = created(&folder, "shop");
    let world = still_gateway(&folder);
    let good = std::fs::read(folder.path().join("apps.db")).unwrap();
    let rubbish = [vec![], vec![b'x'; 100], vec![b'x'; good.len()], vec![0; good.len()]];
    for rubbish in rubbish {
        let stranger = strange();
        // Put in the place of the file, as a copy that failed would be.
        let broken = folder.path().join("broken");
        std::fs::write(&broken, rubbish).unwrap();
        std::fs::rename(&broken, folder.path().join("apps.db")).unwrap();
        let mark = world.upstream.mark();
        becomes(&world, &stranger, 503, DEADLINE);
        world.advance(31);
        becomes(&world, &key, 503, DEADLINE);
        assert_eq!(world.upstream.since(&mark).unwrap(), []);
        assert_eq!(status(&world, APP_KEY), 200);
        for name in FILES {
            let _absent = std::fs::remove_file(folder.path().join(name));
        }
        let whole = folder.path().join("whole");
        std::fs::write(&whole, &good).unwrap();
        std::fs::rename(&whole, folder.path().join("apps.db")).unwrap();
        becomes(&world, &key, 200, DEADLINE);
        becomes(&world, &stranger, 401, DEADLINE);
    }
}

#[test]
fn rubbish_written_over_a_store_opens_nothing() {
    let (folder, stranger) = (TempDir::new().unwrap(), strange());
    created(&folder, "shop");
    let world = still_gateway(&folder);
    let path = folder.path().join("apps.db");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![b'x'; good.len()]).unwrap();
    for _ in 0..20 {
        // What was read before may still be known; nothing that was not there is.
        assert!([401, 503].contains(&status(&world, &stranger)));
        assert_eq!(status(&world, APP_KEY), 200);
        world.advance(7);
    }
}

/// Moves a store into the place of another while somebody holds it for himself alone.
fn hold(store: &TempDir, place: &TempDir) -> impl FnOnce() {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::sqlite::SqliteLockingMode;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(store.path().join("apps.db"))
        .locking_mode(SqliteLockingMode::Exclusive);
    let held = runtime.block_on(async {
        let mut held = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut held).await.unwrap();
        held
    });
    move_store(place, &TempDir::new().unwrap());
    move_store(store, place);
    move || runtime.block_on(sqlx::Connection::close(held)).unwrap()
}

#[test]
fn a_store_that_somebody_holds_alone_gives_no_answer_until_it_is_let_go() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (stranger, (_, key)) = (strange(), created(&folder, "shop"));
    std::fs::copy(folder.path().join("apps.db"), elsewhere.path().join("apps.db")).unwrap();
    let world = still_gateway(&folder);
    becomes(&world, &key, 200, DEADLINE);
    let let_go = hold(&elsewhere, &folder);
    let mark = world.upstream.mark();
    // Each of these waits as long as a request waits for the store.
    assert_eq!(status(&world, &stranger), 503);
    world.advance(31);
    becomes(&world, &key, 503, DEADLINE);
    assert_eq!(world.upstream.since(&mark).unwrap(), []);
    assert_eq!(status(&world, APP_KEY), 200);
    let_go();
    becomes(&world, &key, 200, DEADLINE);
    becomes(&world, &stranger, 401, DEADLINE);
}

#[test]
fn a_store_that_somebody_else_is_writing_answers_on() {
    let folder = TempDir::new().unwrap();
    let (stranger, (_, key)) = (strange(), created(&folder, "shop"));
    let world = still_gateway(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = folder.path().join("apps.db");
    let held = runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut held = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut held).await.unwrap();
        held
    });
    for _ in 0..3 {
        becomes(&world, &key, 200, DEADLINE);
        becomes(&world, &stranger, 401, DEADLINE);
        becomes(&world, APP_KEY, 200, DEADLINE);
        world.advance(20);
    }
    let until = Instant::now() + DEADLINE;
    while world.metric("portcullis_store_age_seconds") > 1.0 {
        assert!(Instant::now() < until, "the log of changes is not read");
    }
    drop(held);
}
