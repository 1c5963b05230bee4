//! What only a clock shows: how long a refusal takes tells nobody who is a user.
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

use std::time::Instant;

use portcullis::store::UserState;
use serde_json::Value;
use serde_json::json;

use world::Ask;
use world::Setup;
use world::World;
use world::people::People;
use world::people::now;

/// Times that each is asked; enough for the medians to be steady.
const ROUNDS: usize = 400;
/// What disturbs one take does not disturb all; a difference in the code does.
const TAKES: usize = 3;
/// How far a median may be from that of a wrong password, relatively.
const LIKENESS: f64 = 0.05;

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
