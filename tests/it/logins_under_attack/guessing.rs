//! Passwords guessed at: what is counted, what is hashed, and who is not locked out.

use serde_json::Value;
use serde_json::json;

use super::stage::PASSWORD;
use super::stage::add;
use super::stage::at_once;
use super::stage::becomes;
use super::stage::body;
use super::stage::count;
use super::stage::from;
use super::stage::hashes;
use super::stage::login;
use super::stage::operate;
use super::stage::post;
use super::stage::send;
use super::stage::world_with;
use crate::world::Ask;
use crate::world::Message;
use crate::world::World;

const HOME: &str = "198.51.100.7";
const ABROAD: &str = "203.0.113.9";

fn right() -> Ask {
    login("native", "anna", PASSWORD)
}

fn wrong(name: &str) -> Ask {
    login("native", name, "wrong horse battery")
}

/// Status and document of an answer, without what is another for each request.
fn told(answer: &Message) -> (u16, Value) {
    let mut document = body(answer);
    document.as_object_mut().unwrap().remove("request_id");
    (answer.status(), document)
}

#[track_caller]
fn unhashed(world: &World, ask: &Ask, status: u16) -> Message {
    let before = hashes(world);
    let answer = world.answer(ask);
    assert_eq!(answer.status(), status, "{ask:?}: {answer:?}");
    assert_eq!(answer.fields.lacks("Retry-After"), status != 429, "{answer:?}");
    assert_eq!(hashes(world) - before, 0, "{ask:?} was hashed");
    answer
}

#[test]
fn a_burst_of_guesses_is_hashed_no_oftener_than_the_limit_allows() {
    let world = world_with(&["anna"]);
    let mark = world.upstream.mark();
    let before = hashes(&world);
    let answers = at_once(&world, &vec![wrong("anna"); 200]);
    assert_eq!(hashes(&world) - before, 10);
    assert_eq!(count(&answers, 401), 10, "{answers:?}");
    assert_eq!(count(&answers, 401) + count(&answers, 429) + count(&answers, 503), 200);
    assert!(count(&answers, 429) > 0);
    // Whoever has the right one by now comes too late, and learns nothing.
    assert_eq!(
        told(&unhashed(&world, &right(), 429)),
        told(&unhashed(&world, &wrong("anna"), 429))
    );
    world.only_control_since(&mark, &right());
}

#[test]
fn a_limit_tells_nothing_about_whether_there_is_such_a_user() {
    let world = world_with(&["anna"]);
    let tries = |name: &str| -> Vec<_> {
        let before = hashes(&world);
        let answers: Vec<_> = (0..12).map(|_| told(&world.answer(&wrong(name)))).collect();
        assert_eq!(hashes(&world) - before, 10, "{name}");
        answers
    };
    let known = tries("anna");
    assert_eq!(known[9].0, 401);
    assert_eq!(known[10].0, 429);
    assert_eq!(tries("nobody"), known);
    // Nor does one that could not be a name.
    assert_eq!(tries("no body"), known);
}

#[test]
fn every_spelling_of_a_name_is_one_account() {
    let world = world_with(&["anna@example.com"]);
    let spellings =
        ["anna@example.com", "ANNA@EXAMPLE.COM", "Anna@example.com", "anna@Example.Com"];
    for spelling in spellings.iter().cycle().take(10) {
        assert_eq!(world.answer(&wrong(spelling)).status(), 401, "{spelling}");
    }
    for spelling in spellings {
        unhashed(&world, &login("native", spelling, PASSWORD), 429);
    }
}

#[test]
fn what_only_looks_like_a_name_is_nobody() {
    let world = world_with(&["anna@example.com"]);
    for (number, name) in [
        "anna@example.com ",
        " anna@example.com",
        "anna@example.com\u{0}",
        "anna@example.com\n",
        "anna@@example.com",
        "anna@example.com@example.com",
        "\u{430}nna@example.com",
        "anna@example.com\u{200b}",
        "\u{ff41}nna@example.com",
        "anna%40example.com",
    ]
    .into_iter()
    .enumerate()
    {
        let ask = from(login("native", name, PASSWORD), &format!("192.0.2.{number}"));
        assert_eq!(world.answer(&ask).status(), 401, "{name:?}");
    }
    let ask = login("native", "ANNA@example.com", PASSWORD);
    assert_eq!(world.answer(&ask).status(), 200);
}

#[test]
fn a_stranger_does_not_lock_the_owner_out_of_the_usual_place() {
    let world = world_with(&["anna"]);
    assert_eq!(world.answer(&from(right(), HOME)).status(), 200);
    for _ in 0..10 {
        assert_eq!(world.answer(&from(wrong("anna"), ABROAD)).status(), 401);
    }
    unhashed(&world, &from(right(), ABROAD), 429);
    unhashed(&world, &from(right(), "192.0.2.1"), 429);
    assert_eq!(world.answer(&from(right(), HOME)).status(), 200);
    assert_eq!(world.answer(&from(wrong("anna"), HOME)).status(), 401);
    assert_eq!(world.answer(&from(right(), HOME)).status(), 200);
    // Time opens the account again, to the second.
    world.advance(15 * 60 - 1);
    unhashed(&world, &from(right(), ABROAD), 429);
    world.advance(1);
    assert_eq!(world.answer(&from(right(), ABROAD)).status(), 200);
}

#[test]
fn who_tries_many_accounts_is_limited_with_the_whole_network() {
    let world = world_with(&["anna"]);
    for number in 0..40 {
        let ask = from(wrong(&format!("user{number}")), &format!("2001:db8:1:2::{number:x}"));
        assert_eq!(world.answer(&ask).status(), 401, "{number}");
    }
    for address in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::"] {
        for ask in [right(), wrong("nobody"), login("analogue", "anna", PASSWORD)] {
            let answer = unhashed(&world, &from(ask, address), 429);
            assert_eq!(answer.fields.one("retry-after"), "900");
        }
    }
    assert_eq!(world.answer(&from(right(), "2001:db8:1:3::1")).status(), 200);
}

#[test]
fn one_place_registers_so_many_users_and_no_more() {
    let world = world_with(&[]);
    let register = |number: usize, address: &str| {
        let (email, name) = (format!("user{number}"), format!("u{number}"));
        let user = json!({"email": email, "username": name, "password": PASSWORD});
        from(post("analogue", "/api/users", &json!({"user": user})), address)
    };
    for number in 0..20 {
        assert_eq!(world.answer(&register(number, ABROAD)).status(), 201, "{number}");
    }
    let answer = unhashed(&world, &register(20, ABROAD), 429);
    assert_eq!(answer.fields.one("retry-after"), "900");
    assert_eq!(world.answer(&register(20, HOME)).status(), 201);
    // Whoever lives there signs in all the same.
    assert_eq!(world.answer(&from(login("native", "user3", PASSWORD), ABROAD)).status(), 200);
    world.advance(15 * 60);
    assert_eq!(world.answer(&register(21, ABROAD)).status(), 201);
}

#[test]
fn failures_at_one_service_count_at_every_other() {
    let world = world_with(&["anna"]);
    for (service, status) in [("native", 401), ("monogoto", 404), ("analogue", 422)] {
        for _ in 0..2 {
            let answer = world.answer(&login(service, "anna", "wrong horse battery"));
            assert_eq!(answer.status(), status, "{service}");
        }
    }
    // Five are too many here, ten there.
    for service in ["redis", "old"] {
        unhashed(&world, &login(service, "anna", PASSWORD), 401);
    }
    assert_eq!(world.answer(&right()).status(), 200);
}

#[test]
fn an_unlocked_account_is_open_and_another_change_opens_none() {
    let world = world_with(&["anna", "berta"]);
    for name in ["anna", "berta"] {
        for _ in 0..10 {
            assert_eq!(world.answer(&wrong(name)).status(), 401);
        }
    }
    operate(world.folder(), &["user", "attributes", "berta", "{\"city\":\"Bonn\"}"]);
    operate(world.folder(), &["user", "unlock", "anna"]);
    // The later of the two has been noticed when this succeeds, and so has the earlier.
    becomes(&world, &right(), 200);
    unhashed(&world, &login("native", "berta", PASSWORD), 429);
}

#[test]
fn a_user_who_changes_the_profile_wins_no_further_guesses() {
    let world = world_with(&["anna"]);
    let token = super::stage::token(&world, "analogue", "anna");
    for _ in 0..10 {
        assert_eq!(world.answer(&from(wrong("anna"), ABROAD)).status(), 401);
    }
    let change = send("PUT", "analogue", "/api/user", r#"{"user":{"bio":"x"}}"#)
        .field("Authorization", format!("Token {token}"));
    assert_eq!(world.answer(&change).status(), 200);
    add(world.folder(), "berta", PASSWORD);
    operate(world.folder(), &["user", "lock", "berta"]);
    operate(world.folder(), &["user", "unlock", "berta"]);
    becomes(&world, &login("native", "berta", PASSWORD), 200);
    unhashed(&world, &from(right(), ABROAD), 429);
}

#[test]
fn outcomes_are_counted_by_service_dialect_and_reason() {
    let world = world_with(&["anna"]);
    for (service, dialect) in [("ping", "ping-proxies"), ("old", "redis-7.4"), ("native", "native")]
    {
        for (password, outcome) in [(PASSWORD, "success"), ("wrong", "wrong_credentials")] {
            world.answer(&login(service, "anna", password));
            let labels =
                format!("dialect=\"{dialect}\",outcome=\"{outcome}\",service=\"{service}\"");
            let series = format!("portcullis_login_calls_total{{call=\"login\",{labels}}}");
            assert!((world.metric(&series) - 1.0).abs() < 0.5, "{series}");
        }
    }
}

#[test]
fn a_call_that_nobody_could_read_is_counted_as_others_are() {
    let world = world_with(&["anna"]);
    let bare = || send("POST", "redis", "/v1/users/authorize", "").without("Content-Type");
    let told = |text: &str| send("POST", "native", "/auth/login", text);
    for (ask, status, service, dialect, outcome) in [
        (told("{"), 400, "native", "native", "malformed"),
        (told(r#"{"username":"anna"}"#), 400, "native", "native", "missing_field"),
        (told("{}").without("Content-Type"), 415, "native", "native", "unsupported_type"),
        (bare(), 401, "redis", "redis-7.8", "missing_credentials"),
    ] {
        let labels = format!("dialect=\"{dialect}\",outcome=\"{outcome}\",service=\"{service}\"");
        let series = format!("portcullis_login_calls_total{{call=\"login\",{labels}}}");
        for count in [1.0, 2.0] {
            world.deny(&ask, &[status]);
            let counted = world.metric(&series);
            assert!((counted - count).abs() < 0.5, "{series}: {counted}");
        }
    }
    // Nor is one counted twice that the clerk saw.
    world.answer(&wrong("anna"));
    let labels = "dialect=\"native\",outcome=\"wrong_credentials\",service=\"native\"";
    let series = format!("portcullis_login_calls_total{{call=\"login\",{labels}}}");
    assert!((world.metric(&series) - 1.0).abs() < 0.5);
}
