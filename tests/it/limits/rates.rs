//! Rates by address, application, user and route.

use std::time::Duration;

use serde_json::json;

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::P256;
use crate::world::keys::claims_with;

/// Behind a proxy that may tell addresses; `entry` is a rate called `few`.
fn limited(entry: &str, limits: &str) -> World {
    Setup::new()
        .extra("trusted_proxies: [127.0.0.0/8]")
        .extra(&format!("rates: {{ few: {entry} }}"))
        .extra(&format!("limits: {{ {limits} }}"))
        .start()
}

fn from(address: &str) -> Ask {
    Ask::get("/api/x").signed().field("X-Forwarded-For", address)
}

#[track_caller]
fn refused(world: &World, ask: &Ask) -> Message {
    let mark = world.upstream.mark();
    let answer = world.answer(ask);
    assert_eq!(answer.status(), 429, "{answer:?}");
    assert!(answer.text().contains(r#""reason":"rate_limited""#), "{answer:?}");
    assert!(world.upstream.since(&mark).unwrap().is_empty(), "{ask:?} reached the upstream");
    answer
}

#[test]
fn an_address_passes_as_often_as_its_rate_says_and_is_told_when_again() {
    let rate = "{ per: address, requests: 2, every: 10s }";
    let world = limited(rate, "rates: [few]");
    let ask = from("192.0.2.1");
    world.pass(&ask);
    world.pass(&ask);
    let answer = refused(&world, &ask);
    assert_eq!(answer.fields.one("retry-after"), "5");
    assert_eq!(answer.fields.one("ratelimit-policy"), r#""few";q=2;w=10"#);
    assert_eq!(answer.fields.one("ratelimit"), r#""few";r=0;t=5"#);
    world.pass(&from("192.0.2.2"));
    world.clock.advance(Duration::from_millis(4999));
    assert_eq!(refused(&world, &ask).fields.one("retry-after"), "1");
    world.clock.advance(Duration::from_millis(1));
    world.pass(&ask);
    refused(&world, &ask);
    assert!(world.metric(r#"portcullis_rate_limited_total{rate="few"}"#) >= 3.0);
}

#[test]
fn an_address_is_counted_before_its_credentials_are_looked_at() {
    let rate = "{ per: address, requests: 2, every: 10s }";
    let world = limited(rate, "rates: [few]");
    let forged = |n: u32| from("192.0.2.1").instead("Authorization", format!("Bearer x{n}"));
    assert_eq!(world.answer(&forged(1)).status(), 401);
    assert_eq!(world.answer(&forged(2)).status(), 401);
    refused(&world, &forged(3));
    refused(&world, &from("192.0.2.1"));
    // Not even a request without a canonical form is looked at.
    let broken = Ask::get("/api/../x").field("X-Forwarded-For", "192.0.2.1");
    refused(&world, &broken);
    world.pass(&from("192.0.2.9"));
}

#[test]
fn a_network_of_ipv6_is_counted_together_and_its_neighbour_apart() {
    let rate = "{ per: address, requests: 1, every: 1m }";
    let world = limited(rate, "rates: [few]");
    world.pass(&from("2001:db8:0:1::1"));
    refused(&world, &from("2001:db8:0:1::2"));
    refused(&world, &from("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    world.pass(&from("2001:db8:0:2::1"));
    world.pass(&from("2001:db8:0:0:ffff::1"));
    world.pass(&from("192.0.2.1"));
    refused(&world, &from("::ffff:192.0.2.1"));
    world.pass(&from("192.0.2.2"));
}

#[test]
fn an_address_that_a_stranger_tells_is_not_believed() {
    let world = Setup::new()
        .extra("rates: { few: { per: address, requests: 2, every: 1m } }")
        .extra("limits: { rates: [few] }")
        .start();
    world.pass(&from("192.0.2.1"));
    world.pass(&from("192.0.2.2"));
    refused(&world, &from("192.0.2.3"));
    refused(&world, &Ask::get("/api/x").signed().field("Forwarded", "for=192.0.2.4"));
    refused(&world, &Ask::get("/api/x").signed().field("X-Real-IP", "192.0.2.5"));
}

#[test]
fn users_are_counted_apart_and_strangers_use_up_nobodys_share() {
    let world = limited("{ per: user, requests: 2, every: 1m }", "rates: [few]");
    let other = P256.token("ES256", &claims_with(&json!({"sub": "somebody-else"})));
    let (mine, theirs) = (from("192.0.2.1"), Ask::get("/api/x").keyed().bearing(&other));
    for _ in 0..5 {
        assert_eq!(world.answer(&mine.clone().without("X-App-Key")).status(), 401);
    }
    world.pass(&mine);
    world.pass(&from("192.0.2.2"));
    refused(&world, &from("192.0.2.3"));
    world.pass(&theirs);
    world.pass(&theirs);
    refused(&world, &theirs);
}

#[test]
fn whoever_is_no_user_is_counted_by_address() {
    let world = limited("{ per: user, requests: 1, every: 1m }", "rates: [few]");
    let public = |address| Ask::get("/public/x").field("X-Forwarded-For", address);
    world.pass(&public("192.0.2.1"));
    refused(&world, &public("192.0.2.1"));
    world.pass(&public("192.0.2.2"));
    world.pass(&from("192.0.2.1"));
}

#[test]
fn a_route_is_counted_by_its_own_rates_instead_of_the_default_ones() {
    let world = Setup::new()
        .extra("rates: { one: { per: route, requests: 1, every: 1m }, two: { per: app, requests: 2, every: 1m } }")
        .defaults("{ require: app, rates: [two] }")
        .routes(
            r#"
  - { match: "* /a", to: api, rates: [one] }
  - { match: "* /b", to: api, rates: [one] }
  - { match: "* /c", to: api, rates: [] }
  - { match: "* /d", to: api }
  - { match: "* /e", to: api }
"#,
        )
        .start();
    let ask = |target| Ask::get(target).keyed();
    for target in ["/a", "/b"] {
        world.pass(&ask(target));
        refused(&world, &ask(target));
    }
    for _ in 0..5 {
        world.pass(&ask("/c"));
    }
    // One application, wherever the rate is named.
    world.pass(&ask("/d"));
    world.pass(&ask("/e"));
    refused(&world, &ask("/d"));
    refused(&world, &ask("/e"));
}

#[test]
fn who_comes_too_soon_for_one_rate_uses_nothing_of_another_up() {
    let world = Setup::new()
        .extra("rates: { day: { per: app, requests: 3, every: 1d }, second: { per: app, requests: 1, every: 1s } }")
        .extra("limits: { rates: [day, second], tell_rates: true }")
        .start();
    let ask = Ask::get("/api/x").signed();
    for left in [2, 1, 0] {
        let answer = world.answer(&ask);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.fields.one("ratelimit-policy"), r#""day";q=3;w=86400, "second";q=1;w=1"#);
        let told = format!(r#""day";r={left};t={}, "second";r=0;t=1"#, told_reset(left));
        assert_eq!(answer.fields.one("ratelimit"), told);
        if left > 0 {
            refused(&world, &ask);
            refused(&world, &ask);
        }
        world.advance(1);
    }
    assert_eq!(refused(&world, &ask).fields.one("ratelimit-policy"), r#""day";q=3;w=86400"#);
}

/// A third of a day for each one taken, less the seconds that have passed.
fn told_reset(left: u64) -> u64 {
    (3 - left) * 28_800 - (2 - left)
}

#[test]
fn two_hundred_at_once_pass_exactly_as_often_as_the_burst_says() {
    let world = Setup::new()
        .extra("workers: 2")
        .extra("rates: { few: { per: app, requests: 1, every: 1m, burst: 50 } }")
        .extra("limits: { rates: [few] }")
        .start();
    let ask = Ask::get("/api/x").signed();
    let mark = world.upstream.mark();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || (0..10).map(|_| world.answer(&ask).status()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 50);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 150);
    assert_eq!(world.upstream.since(&mark).unwrap().len(), 50);
}

#[test]
fn a_reload_keeps_what_was_counted_while_the_rate_stays_as_it_is() {
    let rate = "{ per: address, requests: 1, every: 1m }";
    let world = limited(rate, "rates: [few]");
    world.pass(&from("192.0.2.1"));
    world.reload().unwrap();
    refused(&world, &from("192.0.2.1"));
    world.reload_with("requests: 1", "requests: 2").unwrap();
    world.pass(&from("192.0.2.1"));
}

#[test]
fn a_rate_that_does_not_exist_is_a_finding() {
    let world = limited("{ per: app, requests: 1, every: 1m }", "rates: [few]");
    let report = world.reload_with("rates: [few]", "rates: [fews]").unwrap_err();
    assert!(report.contains("no rate is named `fews`"), "{report}");
    world.reload_with("rates: [fews]", "rates: [few]").unwrap();
    let report = world.reload_with("requests: 1,", "requests: 0,").unwrap_err();
    assert!(report.contains("out of bounds"), "{report}");
}
