//! Sockets that a foreign page opens with what a browser keeps of its user (cross-site WebSocket hijacking).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::people::People;

const PAGE: &str = "https://app.test";
const FOREIGN: [&str; 7] = [
    "https://evil.test",
    "https://app.test.evil.test",
    "https://app.test:8443",
    "http://app.test",
    "https://gw.test",
    "null",
    "",
];
/// The first names a page, the second everybody, the third nobody.
const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "GET /named", to: api, upgrade: websocket, cors: { origins: ["https://app.test"] } }
  - { match: "GET /any", to: api, upgrade: websocket, cors: { origins: ["*"] } }
  - { match: "GET /silent", to: api, upgrade: websocket }
  - { match: "GET /below", to: api, upgrade: websocket, cors: { origins: ["https://*.app.test"] } }
"#;

/// Credentials that a browser adds by itself open sockets for the named page alone.
#[track_caller]
fn only_the_named_page_opens(world: &World, signed: impl Fn(Ask) -> Ask) {
    let opening = |target: &str| signed(Ask::get(target).opening());
    for origin in FOREIGN {
        for target in ["/named", "/any", "/silent", "/below"] {
            world.deny(&opening(target).field("Origin", origin), &[403]);
        }
    }
    for target in ["/any", "/silent", "/below"] {
        world.deny(&opening(target).field("Origin", PAGE), &[403]);
    }
    let twice = opening("/named").field("Origin", PAGE);
    world.deny(&twice.field("Origin", FOREIGN[0]), &[403]);
    let twice = opening("/named").field("Origin", FOREIGN[0]);
    world.deny(&twice.field("Origin", PAGE), &[403]);
    assert!(
        world.pass(&opening("/named").field("Origin", PAGE)).fields.one("upgrade") == "websocket"
    );
    world.pass(&opening("/below").field("Origin", "https://a.app.test"));
    // Who tells no origin is no browser.
    world.pass(&opening("/named"));
    world.pass(&opening("/silent"));
    // Not a socket: a foreign page cannot read the answer, which is what protects it.
    world.pass(&signed(Ask::get("/named")).field("Origin", FOREIGN[0]));
}

fn with_cookies(check: &str) -> World {
    let checks = format!(
        "\n  app: {{ app_key: {{ {check} }} }}\n  user: {{ jwt: [ {{ issuer: \"https://id.test\", \
         audience: orders, algorithms: [ES256], jwks: \"file:keys.json\", cookie: token }} ] }}\n"
    );
    Setup::new().checks(&checks).routes(ROUTES).start()
}

#[test]
fn a_token_in_a_cookie_opens_no_socket_for_a_foreign_page() {
    let world = with_cookies("header: X-App-Key");
    let cookie = format!("token={}", *TOKEN);
    only_the_named_page_opens(&world, |ask| ask.keyed().field("Cookie", &cookie));
}

#[test]
fn a_page_that_has_the_token_itself_opens_one_from_anywhere() {
    let world = with_cookies("header: X-App-Key");
    for origin in FOREIGN {
        world.pass(&Ask::get("/named").opening().signed().field("Origin", origin));
        world.pass(&Ask::get("/silent").opening().signed().field("Origin", origin));
    }
}

#[test]
fn a_user_whose_password_the_browser_repeats_is_not_hijacked() {
    let people = People::new();
    people.add("anna", "correct horse", &Value::Null, &Value::Null);
    let checks = "\n  basic: { basic: self }\n  app: { app_key: { header: X-App-Key } }\n";
    // The good request that follows each refusal comes with a key.
    let routes = ROUTES
        .replace("to: api", "to: api, require: basic")
        .replace("/api/**\", to: api, require: basic", "/api/**\", to: api, require: app");
    let world = people.setup(checks, &routes, "redis-7.8").start();
    let pair = STANDARD.encode("anna:correct horse");
    only_the_named_page_opens(&world, |ask| ask.field("Authorization", format!("Basic {pair}")));
}

#[test]
fn an_application_key_in_a_cookie_counts_as_well() {
    let world = with_cookies("cookie: key");
    let control = format!("key={APP_KEY}");
    let opening = |origin| {
        Ask::get("/named")
            .opening()
            .bearing(&TOKEN)
            .field("Cookie", &control)
            .field("Origin", origin)
    };
    let mark = world.upstream.mark();
    for origin in FOREIGN {
        assert_eq!(world.answer(&opening(origin)).status(), 403, "{origin}");
    }
    assert!(world.upstream.since(&mark).unwrap().is_empty());
    world.pass(&opening(PAGE));
}
