//! More sign-ins than fit, callers that go away, and a store that does not answer.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::stage::PASSWORD;
use super::stage::SERVICES;
use super::stage::becomes;
use super::stage::from;
use super::stage::hashes;
use super::stage::login;
use super::stage::operate;
use super::stage::setup;
use super::stage::started;
use super::stage::thing;
use super::stage::token;
use super::stage::world_with;
use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Message;
use crate::world::World;

/// A single hash at a time, which takes long enough for a dozen calls, and room for two more.
fn narrow() -> World {
    let slow = "passwords: { memory: 64MiB, passes: 6, concurrent: 1, queue: 2 }";
    started(setup().extra(slow), &["anna"])
}

/// Nobody's sign-in from a place of its own.
fn stranger(number: u16) -> Ask {
    let ask = login("native", &format!("nobody{number}"), "wrong horse battery");
    from(ask, &format!("2001:db8:{number:x}::1"))
}

#[track_caller]
fn wait(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what} does not come");
    }
}

#[test]
fn who_finds_no_room_to_be_hashed_is_told_so_at_once() {
    let world = narrow();
    let mut first = world.connect();
    first.send(&stranger(0).bytes());
    wait("the first hash", || hashes(&world) == 1);
    let asked = |number| {
        let began = Instant::now();
        let answer = world.answer(&stranger(number));
        (answer, began.elapsed())
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (1..=12).map(|number| scope.spawn(move || asked(number))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    // Two wait, and on a busy machine until they are told the same later.
    let patience = Duration::from_secs(4);
    let is_full =
        |(answer, took): &&(Message, Duration)| answer.status() == 503 && *took < patience;
    let full: Vec<_> = answers.iter().filter(is_full).collect();
    assert!((6..=10).contains(&full.len()), "{answers:?}");
    for (answer, took) in full {
        assert_eq!(answer.fields.one("retry-after"), "1");
        assert!(*took < Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(first.answer("POST").unwrap().status(), 401);
    let hashed = answers.iter().filter(|(answer, _)| answer.status() == 401).count();
    assert_eq!(
        hashes(&world),
        1 + u64::try_from(hashed).unwrap(),
        "nothing was hashed for those that were refused"
    );
    // Finding no room is nobody's failure.
    assert_eq!(world.answer(&login("native", "anna", PASSWORD)).status(), 200);
}

#[test]
fn nothing_is_hashed_for_a_caller_that_went_away() {
    let world = narrow();
    let mut first = world.connect();
    first.send(&stranger(0).bytes());
    wait("the first hash", || hashes(&world) == 1);
    for number in 1..=2 {
        let mut gone = world.connect();
        gone.send(&stranger(number).bytes());
        gone.reset();
    }
    // There is room again, for they gave their places back.
    let last = stranger(3);
    wait("a place", || world.answer(&last).status() == 401);
    assert_eq!(first.answer("POST").unwrap().status(), 401);
    assert_eq!(hashes(&world), 2);
}

#[test]
fn tokens_are_judged_as_fast_while_two_hundred_sign_in() {
    let world = world_with(&["anna"]);
    let ask = thing("native", &token(&world, "native", "anna"));
    let slowest_of = |count: usize| {
        let mut client = world.connect();
        let mut times: Vec<_> = (0..count)
            .map(|_| {
                let began = Instant::now();
                client.send(&ask.bytes());
                assert_eq!(client.answer("GET").unwrap().status(), 200);
                began.elapsed()
            })
            .collect();
        times.sort();
        times[count * 99 / 100]
    };
    slowest_of(200);
    let quiet = slowest_of(500);
    let mut signing_in: Vec<_> = (0..200).map(|_| world.connect()).collect();
    for (number, client) in signing_in.iter_mut().enumerate() {
        client.send(&stranger(u16::try_from(number).unwrap()).bytes());
    }
    let busy = slowest_of(500);
    let done: Vec<_> =
        signing_in.iter_mut().map(|client| client.answer("POST").unwrap().status()).collect();
    assert!(done.iter().all(|status| matches!(status, 401 | 503)), "{done:?}");
    println!("99 of 100 answers within {quiet:?}, and {busy:?} beside 200 logins");
    assert!(busy < quiet * 100 + Duration::from_millis(250), "{quiet:?} became {busy:?}");
}

#[test]
fn without_a_store_nobody_signs_in_and_tokens_are_good_for_a_while() {
    let world = world_with(&["anna", "berta"]);
    let ask = thing("native", &token(&world, "native", "anna"));
    // Once this was heard of, no older news of anna is: what is known of her from then on stays.
    let other = thing("native", &token(&world, "native", "berta"));
    operate(world.folder(), &["user", "disable", "berta"]);
    becomes(&world, &other, 401);
    world.pass(&ask);
    let elsewhere = TempDir::new().unwrap();
    let files = ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"];
    let move_all = |from: &Path, to: &Path| {
        for file in files {
            let _absent = fs::rename(from.join(file), to.join(file));
        }
    };
    move_all(world.folder(), elsewhere.path());
    for service in SERVICES.map(|service| service.name) {
        let answer = world.answer(&login(service, "anna", PASSWORD));
        assert_eq!(answer.status(), 503, "{service}: {answer:?}");
        let text = answer.text().to_lowercase();
        for word in ["sql", "database", "file", "portcullis.db", "src/"] {
            assert!(!text.contains(word), "{text}");
        }
    }
    world.pass(&ask);
    world.advance(31);
    let mark = world.upstream.mark();
    assert_eq!(world.answer(&ask).status(), 503);
    assert_eq!(world.upstream.since(&mark).unwrap().len(), 0);
    move_all(elsewhere.path(), world.folder());
    becomes(&world, &ask, 200);
    becomes(&world, &login("native", "anna", PASSWORD), 200);
}

#[test]
fn a_session_that_cannot_be_written_is_not_granted() {
    let world = world_with(&["anna"]);
    let ask = thing("native", &token(&world, "native", "anna"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SqliteConnectOptions::new().filename(world.folder().join("portcullis.db"));
    let held = runtime.block_on(async {
        let mut held = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut held).await.unwrap();
        held
    });
    assert_eq!(world.answer(&login("native", "anna", PASSWORD)).status(), 503);
    world.pass(&ask);
    runtime.block_on(sqlx::Connection::close(held)).unwrap();
    assert_eq!(world.answer(&login("native", "anna", PASSWORD)).status(), 200);
}
