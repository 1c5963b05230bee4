//! Browsers beyond a limit: what they ask beforehand is counted too, and pages can read why they are refused.

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;

const PAGE: &str = "https://shop.test";
const EVIL: &str = "https://evil.test";
const ROUTES: &str = r#"
  - { match: "GET,POST /shop/**", to: api, public: true, rates: [few], cors: { origins: ["https://shop.test"] } }
  - { match: "GET,OPTIONS /half/**", to: api, public: true, rates: [few], cors: { origins: ["https://shop.test"] } }
  - { match: "* /plain/**", to: api, public: true, rates: [few] }
"#;

/// A proxy may tell addresses, each of which may come twice in a minute.
fn world() -> World {
    Setup::new()
        .routes(ROUTES)
        .extra("trusted_proxies: [127.0.0.0/8]")
        .extra("rates: { few: { per: address, requests: 2, every: 1m } }")
        .start()
}

fn preflight(target: &str, method: &str) -> Ask {
    Ask::new("OPTIONS", target).field("Access-Control-Request-Method", method)
}

/// What the gateway itself answers to a page, of which the upstream hears nothing.
#[track_caller]
fn told(world: &World, ask: &Ask, (address, origin): (&str, &str)) -> Message {
    let before = world.upstream.bytes_seen();
    let ask = ask.clone().field("Origin", origin).field("X-Forwarded-For", address);
    let answer = world.answer(&ask);
    assert_eq!(world.upstream.bytes_seen(), before, "{ask:?}");
    answer
}

/// Refused as coming too fast, which this page may read or may not.
#[track_caller]
fn too_fast(world: &World, ask: &Ask, (address, origin): (&str, &str)) {
    let answer = told(world, ask, (address, origin));
    assert_eq!(answer.status(), 429, "{answer:?}");
    assert!(answer.text().contains(r#""reason":"rate_limited""#), "{answer:?}");
    assert_eq!(answer.fields.one("retry-after"), "30");
    reads(&answer, origin);
}

#[track_caller]
fn reads(answer: &Message, origin: &str) {
    let readers = answer.fields.all("access-control-allow-origin");
    let expected = (origin == PAGE).then_some(PAGE);
    assert_eq!(readers, expected.into_iter().collect::<Vec<_>>(), "{answer:?}");
    assert_eq!(answer.fields.all("vary"), ["Origin"], "{answer:?}");
}

#[test]
fn what_a_browser_asks_beforehand_is_counted_by_the_route_of_what_is_to_follow() {
    let world = world();
    let ask = preflight("/shop/x", "POST");
    let here = ("192.0.2.1", PAGE);
    for _ in 0..2 {
        assert_eq!(told(&world, &ask, here).status(), 204);
    }
    too_fast(&world, &ask, here);
    too_fast(&world, &ask, ("192.0.2.1", EVIL));
    too_fast(&world, &Ask::get("/shop/x"), here);
    assert_eq!(told(&world, &ask, ("192.0.2.2", PAGE)).status(), 204);
}

#[test]
fn so_is_what_is_refused() {
    let world = world();
    let (foreign, here) = (("192.0.2.1", EVIL), ("192.0.2.1", PAGE));
    let ask = preflight("/shop/x", "POST");
    for _ in 0..2 {
        assert_eq!(told(&world, &ask, foreign).status(), 403);
    }
    too_fast(&world, &ask, here);

    let (ask, here) = (preflight("/half/x", "DELETE"), ("192.0.2.2", PAGE));
    for _ in 0..2 {
        assert_eq!(told(&world, &ask, here).status(), 403);
    }
    too_fast(&world, &ask, here);
    too_fast(&world, &Ask::get("/half/x"), here);
}

#[test]
fn where_nothing_is_said_of_origins_it_is_counted_once_like_any_request() {
    let world = world();
    let ask = preflight("/plain/x", "POST");
    for _ in 0..2 {
        world.pass(&ask.clone().field("Origin", PAGE).field("X-Forwarded-For", "192.0.2.1"));
    }
    let answer = told(&world, &ask, ("192.0.2.1", PAGE));
    assert_eq!((answer.status(), answer.fields.all("vary")), (429, vec![]));
}

#[test]
fn a_page_can_read_that_it_asks_too_fast_for_what_is_not_there() {
    let world = world();
    let (ask, here) = (Ask::new("DELETE", "/shop/x"), ("192.0.2.1", PAGE));
    for _ in 0..2 {
        assert_eq!(told(&world, &ask, here).status(), 405);
    }
    too_fast(&world, &ask, here);
    too_fast(&world, &ask, ("192.0.2.1", EVIL));
}

/// No route is looked for then: the pages that `defaults` names.
#[test]
fn a_page_can_read_that_there_is_no_room() {
    for (limit, status) in [("connections", 503), ("connections_per_address", 429)] {
        let world = Setup::new()
            .defaults("{ require: app and user, cors: { origins: [\"https://shop.test\"] } }")
            .extra(&format!("limits: {{ {limit}: 1 }}"))
            .start();
        let mut served = world.connect();
        served.send(&Ask::new("POST", "/api/x").signed().field("Content-Length", 1).bytes());
        world.upstream.wait("what is under way", |seen| seen.connections() == 1);
        for origin in [PAGE, EVIL] {
            let answer = told(&world, &Ask::get("/api/x").signed(), ("192.0.2.1", origin));
            assert_eq!(answer.status(), status, "{answer:?}");
            reads(&answer, origin);
        }
    }
}
