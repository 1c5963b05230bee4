//! One kind of credential shown where another is wanted: each opens its own door and no other.

use serde_json::{Value, json};

use super::stage::PASSWORD;
use super::stage::SERVICES;
use super::stage::body;
use super::stage::login;
use super::stage::operate;
use super::stage::post;
use super::stage::thing;
use super::stage::token;
use super::stage::world_with;

/// Services whose tokens are of one family.
fn are_one_family(left: &str, right: &str) -> bool {
    let family = |name| if name == "old" { "redis" } else { name };
    family(left) == family(right)
}

#[test]
fn a_token_is_good_at_the_doors_of_its_family_only() {
    let world = world_with(&["anna"]);
    let tokens = SERVICES.map(|service| (service.name, token(&world, service.name, "anna")));
    for (of, token) in &tokens {
        for at in SERVICES.map(|service| service.name) {
            let ask = thing(at, token);
            if are_one_family(of, at) {
                world.pass(&ask);
            } else {
                world.deny(&ask, &[401]);
            }
        }
        world.deny(&crate::world::Ask::get("/api/x").keyed().bearing(token), &[401]);
    }
}

#[test]
fn what_is_no_token_opens_nothing() {
    let world = world_with(&["anna"]);
    let granted = body(&world.answer(&login("native", "anna", PASSWORD)));
    let refresh = granted["refresh_token"].as_str().unwrap().to_owned();
    operate(
        world.folder(),
        &["user", "totp", "anna", "--master", "file:master.key", "--output", "json"],
    );
    let challenge = body(&world.answer(&login("native", "anna", PASSWORD)));
    let challenge = challenge["challenge"].as_str().unwrap().to_owned();
    for text in [&refresh, &challenge, PASSWORD, super::stage::MASTER, crate::world::APP_KEY] {
        for service in SERVICES.map(|service| service.name) {
            world.deny(&thing(service, text), &[400, 401]);
        }
    }
}

#[test]
fn a_refresh_call_takes_nothing_but_a_refresh_token() {
    let world = world_with(&["anna"]);
    let tokens = SERVICES.map(|service| token(&world, service.name, "anna"));
    let mark = world.upstream.mark();
    for text in tokens.iter().map(String::as_str).chain(["pcr_", PASSWORD, crate::world::APP_KEY]) {
        for service in ["native", "monogoto"] {
            let ask = post(service, "/auth/refresh", &json!({"refresh_token": text}));
            let answer = world.answer(&ask);
            // Some are longer than any refresh token.
            assert!(matches!(answer.status(), 400 | 401), "{answer:?}");
        }
    }
    world.only_control_since(&mark, &thing("native", ""));
}

#[test]
fn a_refresh_token_is_good_at_its_own_service_and_where_any_is_taken() {
    let world = world_with(&["anna"]);
    let refreshed = |service: &str, token: &Value| {
        let refresh = json!({"refresh_token": token});
        world.answer(&post(service, "/auth/refresh", &refresh)).status()
    };
    let native = body(&world.answer(&login("native", "anna", PASSWORD)));
    assert_eq!(refreshed("monogoto", &native["refresh_token"]), 401);
    assert_eq!(refreshed("native", &native["refresh_token"]), 200);
    for (service, expected) in [("monogoto", 200), ("native", 200)] {
        let granted = body(&world.answer(&login("monogoto", "anna", PASSWORD)));
        assert_eq!(refreshed(service, &granted["refreshToken"]), expected, "at {service}");
    }
}

#[test]
fn a_call_about_oneself_takes_the_tokens_of_its_service_only() {
    let world = world_with(&["anna"]);
    for service in SERVICES.map(|service| service.name) {
        let token = token(&world, service, "anna");
        let sessions =
            crate::world::Ask::get("/auth/sessions").instead("Host", "native.test").bearing(&token);
        let current = crate::world::Ask::get("/api/user")
            .instead("Host", "analogue.test")
            .field("Authorization", format!("Token {token}"));
        let refresh = post("redis", "/v1/users/refresh_jwt", &json!({})).bearing(&token);
        for (ask, owner) in [(sessions, "native"), (current, "analogue"), (refresh, "redis")] {
            let expected = if are_one_family(service, owner) { 200 } else { 401 };
            assert_eq!(world.answer(&ask).status(), expected, "{service} at {owner}");
        }
    }
}
