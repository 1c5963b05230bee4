//! The address of its client that an application tells: believed behind its good key, nowhere else.

use crate::world::APP;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::USER;
use crate::world::oracle;

const CHECKS: &str = r#"
  app: { app_key: { header: X-App-Key, client_address: X-Client-Address } }
  plain: { app_key: { header: X-Plain-Key } }
  user:
    jwt:
      - issuer: "https://id.test"
        audience: orders
        algorithms: [ES256]
        jwks: "file:keys.json"
"#;

const ROUTES: &str = r#"
  - { match: "* /public/**", to: api, public: true }
  - { match: "* /api/**", to: api }
  - { match: "* /maybe/**", to: api, require: "user and app?" }
  - { match: "* /other/**", to: api, require: "user and plain?" }
  - { match: "* /api/inside", to: api, allow: 'request.address == "203.0.113.7"' }
  - { match: "* /maybe/inside", to: api, require: "user and app?", allow: 'request.address == "203.0.113.7"' }
  - { match: "* /public/inside", to: api, require: user, allow: 'request.address == "203.0.113.7"' }
"#;

/// The client that is told of, inside of what the routes allow.
const CLIENT: &str = "203.0.113.7";
/// The header in which it is told.
const TOLD: &str = "X-Client-Address";
/// The address of every socket here.
const SOCKET: &str = "127.0.0.1";

pub fn setup() -> Setup {
    Setup::new().checks(CHECKS).routes(ROUTES)
}

/// Forwarded, and the upstream is told of this client, or of nobody but the socket.
#[track_caller]
fn forwarded(world: &World, ask: &Ask, client: Option<&str>) {
    let request = world.pass(ask);
    oracle::identity(&request, &[(TOLD, client)]);
    let way = client.map_or(SOCKET.to_owned(), |client| format!("{client}, {SOCKET}"));
    assert_eq!(request.fields.one("x-forwarded-for"), way, "{ask:?}");
}

fn user(target: &str) -> Ask {
    Ask::get(target).signed().without("X-App-Key")
}

#[test]
fn a_good_key_vouches_for_the_address_of_its_client() {
    let world = setup().start();
    for target in ["/api/x", "/api/inside", "/maybe/x", "/maybe/inside"] {
        forwarded(&world, &Ask::get(target).signed().field(TOLD, CLIENT), Some(CLIENT));
    }
    let lower = Ask::get("/api/x").signed().field("x-client-ADDRESS", format!(" {CLIENT} "));
    forwarded(&world, &lower, Some(CLIENT));
    let mapped = Ask::get("/api/inside").signed().field(TOLD, format!("::ffff:{CLIENT}"));
    forwarded(&world, &mapped, Some(CLIENT));
    let six = Ask::get("/api/x").signed().field(TOLD, "2001:DB8::0:1");
    forwarded(&world, &six, Some("2001:db8::1"));

    for target in ["/api/x", "/maybe/x"] {
        forwarded(&world, &Ask::get(target).signed(), None);
    }
    for target in ["/api/inside", "/maybe/inside"] {
        world.deny(&Ask::get(target).signed(), &[403]);
        world.deny(&Ask::get(target).signed().field(TOLD, "203.0.113.8"), &[403]);
        world.deny(&Ask::get(target).signed().field("X-Forwarded-For", CLIENT), &[403]);
    }
}

#[test]
fn without_a_good_key_the_address_is_not_believed_and_not_passed_on() {
    let world = setup().start();
    let bare = Ask::get("/public/x");
    for ask in [bare.clone(), bare.signed(), user("/maybe/x"), user("/other/x")] {
        forwarded(&world, &ask.field(TOLD, CLIENT), None);
    }
    world.deny(&user("/maybe/inside").field(TOLD, CLIENT), &[403]);
    // A key is there and good, but no check of this route looks at it.
    world.deny(&Ask::get("/public/inside").signed().field(TOLD, CLIENT), &[403]);
    for key in ["wrong", "", "mobile"] {
        for target in ["/api/x", "/api/inside", "/maybe/x", "/maybe/inside"] {
            world.deny(&user(target).field("X-App-Key", key).field(TOLD, CLIENT), &[401]);
        }
    }
}

#[test]
fn another_spelling_of_the_header_tells_nothing_and_goes_no_further() {
    let world = setup().start();
    for name in ["X_Client_Address", "X-Client_Address", "x.client.address", "XClientAddress"] {
        for ask in [Ask::get("/public/x"), Ask::get("/api/x").signed()] {
            forwarded(&world, &ask.field(name, "6.6.6.6"), None);
        }
        let both = Ask::get("/api/x").signed().field(name, "6.6.6.6").field(TOLD, CLIENT);
        forwarded(&world, &both, Some(CLIENT));
        world.deny(&Ask::get("/api/inside").signed().field(name, CLIENT), &[403]);
        let trailing = Ask::new("POST", "/api/x")
            .signed()
            .field("Transfer-Encoding", "chunked")
            .field("Trailer", name)
            .body(format!("2\r\nhi\r\n0\r\n{name}: 6.6.6.6\r\n\r\n"));
        forwarded(&world, &trailing, None);
    }
    let nominated = Ask::get("/api/inside").signed().field("Connection", TOLD).field(TOLD, CLIENT);
    forwarded(&world, &nominated, Some(CLIENT));
}

#[test]
fn what_is_no_address_is_a_bad_request_where_it_would_be_believed() {
    let world = setup().start();
    for odd in [
        "",
        "x",
        "localhost",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.07",
        "203.0.113.7:80",
        "203.0.113.7/32",
        "203.0.113.7, 6.6.6.6",
        "203.0.113.7 6.6.6.6",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "\"203.0.113.7\"",
        "caf\u{e9}",
    ] {
        world.deny(&Ask::get("/api/x").signed().field(TOLD, odd), &[400]);
        world.deny(&Ask::get("/maybe/x").signed().field(TOLD, odd), &[400]);
        world.deny(&Ask::get("/api/x").field("X-App-Key", "wrong").field(TOLD, odd), &[401]);
        forwarded(&world, &Ask::get("/public/x").field(TOLD, odd), None);
        forwarded(&world, &user("/maybe/x").field(TOLD, odd), None);
    }
    let twice = Ask::get("/api/x").signed().field(TOLD, CLIENT).field(TOLD, CLIENT);
    world.deny(&twice, &[400]);
}

#[test]
fn who_an_application_speaks_for_comes_before_the_proxies_between() {
    let world = setup().extra("trusted_proxies: [ \"127.0.0.0/8\" ]").start();
    let through = |ask: Ask| ask.field("X-Forwarded-For", "6.6.6.6, 198.51.100.4");
    let way = |ask: Ask| world.pass(&ask).fields.one("x-forwarded-for").to_owned();
    let asked = through(Ask::get("/api/inside").signed()).field(TOLD, CLIENT);
    assert_eq!(way(asked), format!("{CLIENT}, 198.51.100.4, {SOCKET}"));
    let bare = through(Ask::get("/public/x")).field(TOLD, CLIENT);
    assert_eq!(way(bare), format!("198.51.100.4, {SOCKET}"));
}

#[test]
fn a_header_of_the_gateway_itself_cannot_tell_an_address() {
    for name in [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-FORWARDED-PROTO",
        "X_Forwarded_For",
        "X-Request-Id",
        "Host",
        "Connection",
        "Authorization",
        "X-App-Key",
    ] {
        let checks = CHECKS.replace(TOLD, name);
        assert!(setup().checks(&checks).try_start().is_err(), "{name}");
    }
    let rule = "{ require: app and user, forward: { X-Auth-User: user.sub, X-App-Id: app.id } }";
    for name in ["X-Real-IP", "X-Client-Ip"] {
        let world = setup().checks(&CHECKS.replace(TOLD, name)).defaults(rule).start();
        let request = world.pass(&Ask::get("/api/x").signed().field(name, CLIENT));
        let expected = [(name, Some(CLIENT)), ("X-Auth-User", Some(USER)), ("X-App-Id", Some(APP))];
        oracle::identity(&request, &expected);
        let request = world.pass(&Ask::get("/public/x").field(name, CLIENT));
        oracle::identity(&request, &[(name, None)]);
    }
}
