//! Refresh tokens: one successor each, and a second use is a theft.

use serde_json::Value;
use serde_json::json;

use super::stage::PASSWORD;
use super::stage::at_once;
use super::stage::becomes;
use super::stage::body;
use super::stage::from;
use super::stage::login;
use super::stage::operate;
use super::stage::post;
use super::stage::setup;
use super::stage::started;
use super::stage::thing;
use super::stage::world_with;
use crate::world::Ask;
use crate::world::Message;
use crate::world::World;

const DAY: u64 = 24 * 60 * 60;

fn refresh(token: &str) -> Ask {
    post("native", "/auth/refresh", &json!({"refresh_token": token}))
}

fn member(answer: &Message, name: &str) -> String {
    body(answer)[name].as_str().unwrap_or_else(|| panic!("{name}: {answer:?}")).to_owned()
}

/// A first refresh token and the access token beside it.
#[track_caller]
fn granted(world: &World) -> (String, String) {
    let answer = world.answer(&login("native", "anna", PASSWORD));
    assert_eq!(answer.status(), 200, "{answer:?}");
    (member(&answer, "refresh_token"), member(&answer, "access_token"))
}

#[track_caller]
fn refreshed(world: &World, token: &str) -> String {
    let answer = world.answer(&refresh(token));
    assert_eq!(answer.status(), 200, "{answer:?}");
    member(&answer, "refresh_token")
}

#[track_caller]
fn refused(world: &World, token: &str) -> Value {
    let answer = world.answer(&refresh(token));
    assert_eq!(answer.status(), 401, "{answer:?}");
    assert_eq!(body(&answer)["reason"], "invalid_refresh_token");
    body(&answer)
}

#[test]
fn a_hundred_uses_at_once_have_one_successor() {
    let world = world_with(&["anna"]);
    let (first, access) = granted(&world);
    let answers = at_once(&world, &vec![refresh(&first); 100]);
    let mut next: Vec<_> = answers.iter().map(|answer| member(answer, "refresh_token")).collect();
    next.dedup();
    assert_eq!(next.len(), 1, "one generation follows, whoever was served");
    refreshed(&world, &next[0]);
    world.pass(&thing("native", &access));
}

#[test]
fn a_lost_reply_is_repeated_for_thirty_seconds() {
    let world = world_with(&["anna"]);
    let (first, _) = granted(&world);
    let second = refreshed(&world, &first);
    world.advance(29);
    assert_eq!(refreshed(&world, &first), second);
    world.advance(1);
    refused(&world, &first);
    refused(&world, &second);
}

#[test]
fn a_second_use_ends_the_session_with_all_its_tokens() {
    let world = world_with(&["anna"]);
    let (other, other_access) = granted(&world);
    let (first, access) = granted(&world);
    let second = refreshed(&world, &first);
    let answer = world.answer(&refresh(&second));
    let (third, latest) = (member(&answer, "refresh_token"), member(&answer, "access_token"));
    // At once: two generations back is no lost reply.
    refused(&world, &first);
    for token in [&second, &third] {
        refused(&world, token);
    }
    for token in [&access, &latest] {
        becomes(&world, &thing("native", token), 401);
        world.deny(&thing("native", token), &[401]);
    }
    world.pass(&thing("native", &other_access));
    refreshed(&world, &other);
}

#[test]
fn a_refresh_is_possible_for_so_long_after_the_last_and_after_the_first() {
    let world = world_with(&["anna"]);
    let (first, _) = granted(&world);
    world.advance(7 * DAY - 1);
    let mut token = refreshed(&world, &first);
    world.advance(7 * DAY);
    refused(&world, &token);
    let (first, _) = granted(&world);
    token = first;
    for _ in 0..4 {
        world.advance(7 * DAY - 1);
        token = refreshed(&world, &token);
    }
    // The thirtieth day is the last, however often it was refreshed.
    world.advance(2 * DAY + 3);
    token = refreshed(&world, &token);
    world.advance(1);
    refused(&world, &token);
}

#[test]
fn another_application_ends_the_session_that_it_would_refresh() {
    let bound = setup();
    let extra = bound.extra.replace(
        "host: native.test, name: native",
        "host: native.test, name: native, require: app",
    );
    let mut bound = bound;
    bound.extra = extra;
    let world = started(bound, &["anna"]);
    let other = operate(world.folder(), &["app", "create", "other", "--output", "json"]);
    let other: Value = serde_json::from_str(&other.out).unwrap();
    let other = other["key"].as_str().unwrap_or_else(|| panic!("{other}")).to_owned();
    let mine = |ask: Ask| ask.keyed();
    let answer = world.answer(&mine(login("native", "anna", PASSWORD)));
    let (first, access) = (member(&answer, "refresh_token"), member(&answer, "access_token"));
    let answer = world.answer(&mine(refresh(&first)));
    let second = member(&answer, "refresh_token");
    world.pass(&thing("native", &access));
    assert_eq!(world.answer(&refresh(&second)).status(), 401, "without any");
    assert_eq!(world.answer(&mine(refresh(&second))).status(), 200);
    let stolen = member(&world.answer(&mine(refresh(&second))), "refresh_token");
    let answer = world.answer(&refresh(&stolen).field("X-App-Key", &other));
    assert_eq!(answer.status(), 401);
    assert_eq!(body(&answer)["reason"], "invalid_refresh_token");
    assert_eq!(world.answer(&mine(refresh(&stolen))).status(), 401);
    becomes(&world, &thing("native", &access), 401);
}

#[test]
fn who_may_not_sign_in_may_not_refresh() {
    for act in ["lock", "disable", "delete", "logout"] {
        let world = world_with(&["anna"]);
        let (first, _) = granted(&world);
        let second = refreshed(&world, &first);
        operate(world.folder(), &["user", act, "anna"]);
        refused(&world, &second);
    }
}

#[test]
fn a_token_that_was_altered_is_nobodys() {
    let world = world_with(&["anna"]);
    let (first, _) = granted(&world);
    for place in [0, 4, 5, 20, first.len() / 2, first.len() - 1] {
        let mut altered = first.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        refused(&world, std::str::from_utf8(&altered).unwrap());
    }
    for text in [&first[..first.len() - 1], &format!("{first}A"), &format!("{first}="), "pcr_"] {
        refused(&world, text);
    }
    refreshed(&world, &first);
}

#[test]
fn a_place_that_forges_tokens_is_told_to_wait_and_harms_nobody_there() {
    let world = world_with(&["anna"]);
    let (first, _) = granted(&world);
    let forge = |number: usize, address: &str| {
        world.answer(&from(refresh(&format!("pcr_{}{number:02}", &first[6..])), address))
    };
    for number in 0..40 {
        let answer = forge(number, "2001:db8:1:2::1");
        assert_eq!(answer.status(), 401, "{number}");
        assert!(answer.fields.lacks("retry-after"));
    }
    let answer = forge(40, "2001:db8:1:2:ffff::");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.fields.one("retry-after"), "900");
    assert_eq!(body(&answer)["reason"], "throttled");
    assert_eq!(forge(41, "2001:db8:1:3::1").status(), 401);
    // Whoever lives there goes on, and signs in.
    let answer = world.answer(&from(refresh(&first), "2001:db8:1:2::1"));
    assert_eq!(answer.status(), 200, "{answer:?}");
    let answer = world.answer(&from(login("native", "anna", PASSWORD), "2001:db8:1:2::2"));
    assert_eq!(answer.status(), 200, "{answer:?}");
    world.advance(15 * 60 - 1);
    assert_eq!(forge(42, "2001:db8:1:2::1").status(), 429);
    world.advance(1);
    assert_eq!(forge(43, "2001:db8:1:2::1").status(), 401);
}
