//! What only a clock shows: how long a refusal takes tells nobody who is a user, and whoever signs in
//! keeps no request waiting.
//!
//! Behind the feature `peers` and in a binary of its own, so that no other test has the machine
//! meanwhile.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![expect(clippy::unwrap_in_result, clippy::panic, reason = "a failing test panics")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "a failing test panics")]
#![expect(unreachable_pub, reason = "one binary: nothing is reachable from outside")]

#[path = "it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the rest is for other tests")]
mod world;

use std::fs;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use portcullis::store::UserState;
use serde_json::Value;
use serde_json::json;

use world::Ask;
use world::Client;
use world::Setup;
use world::TOKEN;
use world::World;
use world::people::People;
use world::people::now;

/// Times that each is asked; enough for the medians to be steady.
const ROUNDS: usize = 400;
/// What disturbs one take does not disturb all; a difference in the code does.
const TAKES: usize = 3;
/// How far a median may be from that of a wrong password, relatively.
const LIKENESS: f64 = 0.05;

/// Who sign in at once.
const CROWD: usize = 200;
/// Requests whose times are compared, enough for a hundredth of them to say something.
const REQUESTS: usize = 1_000;
/// Those of the crowd who are sure to find no room: 64 wait by default.
const REFUSED: usize = 100;
/// When they are to be told.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How much longer the slowest of a hundred may take beside them.
const SLOWER: u32 = 2;
/// What a hash takes where nobody says otherwise, and how many are computed at once here.
const HASH_KB: u64 = 19 << 10;
const HASHES: u64 = 2;
/// Connections of the crowd, at both ends, and what the allocator keeps of them.
const SLACK_KB: u64 = 12 << 10;

/// One test at a time has the machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Whom somebody guesses at; the first is who the others must look like.
const NAMES: [&str; 4] = ["active", "nobody", "locked", "disabled"];

/// The native dialect without a limit that a guess could reach.
const PATIENT: &str =
    "dialect: patient\nextends: native\nlockout: { failures: 10000, window: 15m, lock: 15m }\n";

/// Passwords cost what they cost where nobody says otherwise.
fn gateway(people: &People) -> World {
    Setup::new()
        .file("patient.yaml", PATIENT)
        .extra(&people.lines())
        .extra("trusted_proxies: [\"127.0.0.0/8\"]")
        .extra("login: [ { dialect: \"file:patient.yaml\" } ]")
        .start()
}

/// Seconds until a wrong password was refused, from a place that nobody asked from before.
#[track_caller]
fn refused(world: &World, login: &str, place: usize) -> f64 {
    let body = json!({"username": login, "password": "wrong horse battery"}).to_string();
    let ask = Ask::post("/auth/login", &body).field("Content-Type", "application/json");
    let ask = ask.instead("X-Forwarded-For", format!("2001:db8:{place:x}::1"));
    let mut client = world.connect();
    let start = Instant::now();
    client.send(&ask.bytes());
    let answer = client.answer("POST").unwrap();
    let took = start.elapsed().as_secs_f64();
    assert_eq!(answer.status(), 401, "{login}: {answer:?}");
    took
}

/// The medians, in the order of [`NAMES`].
fn take(world: &World, number: usize) -> [f64; NAMES.len()] {
    let mut took: [Vec<f64>; NAMES.len()] = Default::default();
    for round in 0..ROUNDS {
        // Each comes at each turn as often as the others.
        for turn in 0..NAMES.len() {
            let which = (round + turn) % NAMES.len();
            let place = (number * ROUNDS + round) * NAMES.len() + which;
            took[which].push(refused(world, NAMES[which], place));
        }
    }
    took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took[ROUNDS / 2]
    })
}

#[test]
fn a_refused_sign_in_takes_as_long_whoever_has_the_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let people = People::new();
    for (login, state) in [
        ("active", UserState::Active),
        ("locked", UserState::Locked),
        ("disabled", UserState::Disabled),
    ] {
        let id = people.add(login, "correct horse", &Value::Null, &Value::Null);
        people.act(async |store| store.set_state(&id, state, now()).await.unwrap());
    }
    let world = gateway(&people);
    let takes = (0..TAKES).map(|number| take(&world, number));
    let alike = |medians: &[f64; NAMES.len()]| {
        medians.iter().all(|median| (median / medians[0] - 1.0).abs() < LIKENESS)
    };
    let mut seen = vec![];
    for medians in takes {
        println!("medians of {NAMES:?}: {medians:.6?} s");
        if alike(&medians) {
            return;
        }
        seen.push(medians);
    }
    panic!("in {TAKES} takes {NAMES:?} took, by medians, {seen:?} s");
}

/// A build for development needs many times longer for a request, and says only how long.
fn is_promised() -> bool {
    !cfg!(debug_assertions)
}

/// A gateway that a crowd asks, set up with `extra` beside.
fn crowded(extra: &str) -> World {
    Setup::new()
        .extra("store: sqlite:people.db")
        .extra("secrets: { master: \"file:master.key\" }")
        .extra("trusted_proxies: [\"127.0.0.0/8\"]")
        .extra("login: [ { dialect: native } ]")
        .extra(extra)
        .file("master.key", "5f1e0c7a9b3d2846f7a0c1d2e3b4958675645342312011ffeeddccbbaa998877")
        .start()
}

/// How long the slowest of a hundred requests took, of as many as say something.
#[track_caller]
fn slowest(world: &World) -> Duration {
    let ask = Ask::get("/api/x").keyed().bearing(&TOKEN);
    let mut client = world.connect();
    let mut took: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let start = Instant::now();
            client.send(&ask.bytes());
            assert_eq!(client.answer("GET").unwrap().status(), 200);
            start.elapsed()
        })
        .collect();
    took.sort();
    took[REQUESTS * 99 / 100]
}

/// What this process has (`VmRSS`), or had at most since [`forget_peak`] (`VmHWM`), in kB.
fn memory_kb(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rest = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    rest.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// So many who sign in at once, each from elsewhere, and when each began.
#[track_caller]
fn crowd(world: &World, number: usize) -> Vec<(Client, Instant)> {
    let body = |who| json!({"username": format!("nobody{who}"), "password": "wrong"}).to_string();
    let clients: Vec<_> = (0..CROWD).map(|_| world.connect()).collect();
    let began = clients.into_iter().enumerate().map(|(who, mut client)| {
        let ask = Ask::post("/auth/login", &body(who)).field("Content-Type", "application/json");
        let place = format!("2001:db8:{number:x}:{who:x}::1");
        let start = Instant::now();
        client.send(&ask.instead("X-Forwarded-For", place).bytes());
        (client, start)
    });
    began.collect()
}

/// The slowest of a hundred requests beside a crowd that signs in, and how many of it were hashed.
#[track_caller]
fn beside_a_crowd(world: &World, number: usize) -> (Duration, usize) {
    let mut crowd = crowd(world, number);
    let took = slowest(world);
    let done = crowd.iter_mut().map(|(client, _)| client.answer("POST").unwrap().status());
    let done: Vec<_> = done.collect();
    assert!(done.iter().all(|status| matches!(status, 401 | 503)), "{done:?}");
    (took, done.iter().filter(|&&status| status == 401).count())
}

/// How long the slowest waited of those for whom there was no room, and how many they were.
#[track_caller]
fn refused_for_want_of_room(world: &World, number: usize) -> (Duration, usize) {
    let mut took = vec![];
    // The last came too late; of those before them the first wait for their hash.
    for (mut client, began) in crowd(world, number).into_iter().rev() {
        let answer = client.answer("POST").unwrap();
        if answer.status() == 503 && took.len() < REFUSED {
            assert_eq!(answer.fields.one("retry-after"), "1");
            took.push(began.elapsed());
        }
    }
    (took.iter().max().copied().unwrap_or_default(), took.len())
}

#[test]
fn requests_are_answered_as_soon_beside_a_crowd_that_signs_in() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = crowded("");
    slowest(&world);
    let mut seen = vec![];
    for number in 0..TAKES {
        let quiet = slowest(&world);
        let (busy, hashed) = beside_a_crowd(&world, number);
        println!("of 100 requests the slowest: {quiet:?}; beside {hashed} hashes {busy:?}");
        assert!(hashed > 1, "somebody was hashed meanwhile");
        if busy <= quiet * SLOWER {
            return;
        }
        seen.push((quiet, busy));
    }
    assert!(!is_promised(), "in {TAKES} takes the slowest of 100 requests took {seen:?}");
}

#[test]
fn a_crowd_that_signs_in_takes_no_more_memory_than_the_hashes_that_are_allowed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = crowded(&format!("passwords: {{ concurrent: {HASHES} }}"));
    slowest(&world);
    forget_peak();
    let before = memory_kb("VmRSS");
    let (_, hashed) = beside_a_crowd(&world, 0);
    let most = memory_kb("VmHWM");
    println!("{before} kB before, {most} kB at most, {hashed} of {CROWD} hashed");
    assert!(hashed > usize::try_from(HASHES).unwrap());
    assert!(most >= before + HASH_KB, "it is hashing that is measured");
    assert!(most <= before + HASHES * HASH_KB + SLACK_KB, "{before} kB became {most} kB");
}

#[test]
fn who_finds_no_room_is_told_so_within_a_tenth_of_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = crowded("");
    let mut seen = vec![];
    for number in 0..TAKES {
        let (took, count) = refused_for_want_of_room(&world, number);
        println!("{count} were told within {took:?} that there is no room");
        assert_eq!(count, REFUSED, "there was room for so many");
        if took <= AT_ONCE {
            return;
        }
        seen.push(took);
    }
    assert!(!is_promised(), "in {TAKES} takes the slowest was told after {seen:?}");
}
