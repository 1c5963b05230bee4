//! Pages of other origins: what browsers are told, what reaches the upstream, and what does not.

use crate::logins_under_attack::stage;
use crate::world::Ask;
use crate::world::End;
use crate::world::Gate;
use crate::world::Gone;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::eventually;

const APP_PAGE: &str = "https://app.test";
const OTHER_PAGE: &str = "https://two.test:8443";
const SHOP_PAGE: &str = "https://shop.test";
const FOREIGN: [&str; 8] = [
    "https://evil.test",
    "https://app.test.evil.test",
    "https://app.test:8443",
    "https://two.test",
    "http://app.test",
    "HTTPS://APP.TEST",
    "https://app.test https://app.test",
    "null",
];

const DEFAULTS: &str = "{ require: app and user, forward: { X-Auth-User: user.sub, X-App-Id: app.id }, \
    cors: { origins: [\"https://app.test\", \"https://two.test:8443\"], headers: [Authorization, X-App-Key], \
    expose: [X-Total], max_age: 10m } }";
const ROUTES: &str = r#"
  - { match: "GET,POST,OPTIONS /api/**", to: api }
  - { match: "* /api/admin/**", to: api, permissions: [admin] }
  - { match: "POST /api/small", to: api, body: 10B }
  - { match: "GET /api/slow", to: api, timeout: 100ms }
  - { match: "* /shop/**", to: api, cors: { origins: ["https://shop.test"], methods: [GET, PUT], credentials: true } }
  - { match: "* /open/**", to: api, public: true, cors: { origins: ["*"] } }
  - { match: "GET,OPTIONS /half/**", to: api, public: true, cors: { origins: ["*"] } }
  - { match: "* /many/**", to: api, public: true, cors: { origins: ["https://*.many.test", "http://*.dev.many.test:3000"] } }
"#;
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: DELETE\r\nVary: Accept\r\n\
    X-Total: 7\r\n\r\n";

fn setup() -> Setup {
    let upstream = Upstream::scripted(|_, head| match head.split(' ').nth(1) {
        Some("/api/slow") => vec![Step::Silence],
        Some("/api/broken") => vec![Step::Body, Step::Close],
        Some(_) | None => vec![Step::Body, Step::text(ANSWER)],
    });
    Setup::before(upstream).defaults(DEFAULTS).routes(ROUTES).http2()
}

fn preflight(target: &str, origin: &str, method: &str) -> Ask {
    Ask::new("OPTIONS", target)
        .field("Origin", origin)
        .field("Access-Control-Request-Method", method)
}

/// What HTTP/1.1 and HTTP/2 answer alike.
#[track_caller]
fn answer(world: &World, ask: &Ask) -> Message {
    let first = world.answer(ask);
    let mut client = world.connect_http2();
    let stream = client.ask(ask);
    let second = client.answer(stream).unwrap_or_else(|gone| panic!("{ask:?}: {gone:?}"));
    let told = |message: &Message| {
        let fields = message.fields.0.iter().map(|(name, value)| (name.to_lowercase(), value));
        let told = fields.filter(|(name, _)| name.starts_with("access-") || name == "vary");
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        (message.status(), format!("{told:?}"))
    };
    assert_eq!(told(&first), told(&second), "{ask:?}");
    first
}

/// The same, of which the upstream hears nothing at all.
#[track_caller]
fn untouched(world: &World, ask: &Ask) -> Message {
    let before = world.upstream.bytes_seen();
    let answer = answer(world, ask);
    assert_eq!(world.upstream.bytes_seen(), before, "{ask:?}");
    answer
}

#[track_caller]
fn tells(answer: &Message, name: &str, expected: Option<&str>) {
    let found = answer.fields.all(name);
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}: {answer:?}");
}

/// Nothing in the answer lets any page do anything.
#[track_caller]
fn tells_nothing(answer: &Message) {
    let told = answer.fields.0.iter().find(|(name, _)| name.to_lowercase().starts_with("access-"));
    assert_eq!(told, None, "{answer:?}");
}

#[test]
fn a_preflight_is_answered_by_the_gateway() {
    let world = setup().start();
    for origin in [APP_PAGE, OTHER_PAGE] {
        let asked = preflight("/api/x", origin, "POST")
            .field("Access-Control-Request-Headers", "authorization,x-app-key");
        let answer = untouched(&world, &asked);
        assert_eq!(answer.status(), 204, "{answer:?}");
        assert!(answer.body.is_empty());
        tells(&answer, "access-control-allow-origin", Some(origin));
        tells(&answer, "access-control-allow-methods", Some("POST"));
        tells(&answer, "access-control-allow-headers", Some("Authorization, X-App-Key"));
        tells(&answer, "access-control-max-age", Some("600"));
        tells(&answer, "access-control-allow-credentials", None);
        tells(&answer, "vary", Some("Origin"));
    }

    let answer = untouched(&world, &preflight("/shop/x", SHOP_PAGE, "PUT"));
    tells(&answer, "access-control-allow-origin", Some(SHOP_PAGE));
    tells(&answer, "access-control-allow-methods", Some("GET, PUT"));
    tells(&answer, "access-control-allow-credentials", Some("true"));
    tells(&answer, "access-control-max-age", None);

    let answer = untouched(&world, &preflight("/open/x", "null", "DELETE"));
    assert_eq!(answer.status(), 204, "{answer:?}");
    tells(&answer, "access-control-allow-origin", Some("*"));
    tells(&answer, "vary", None);
}

#[test]
fn credentials_on_a_preflight_change_nothing() {
    let world = setup().start();
    let answer = untouched(&world, &preflight("/api/x", APP_PAGE, "POST").signed());
    assert_eq!(answer.status(), 204, "{answer:?}");
    assert_eq!(untouched(&world, &preflight("/api/x", FOREIGN[0], "POST").signed()).status(), 403);
}

#[test]
fn a_preflight_from_elsewhere_is_refused_and_not_forwarded() {
    let world = setup().start();
    for origin in FOREIGN.iter().chain(&[SHOP_PAGE]) {
        let answer = untouched(&world, &preflight("/api/x", origin, "GET"));
        assert_eq!(answer.status(), 403, "{origin}");
        tells_nothing(&answer);
    }
    assert_eq!(untouched(&world, &preflight("/shop/x", APP_PAGE, "GET")).status(), 403);
}

/// Browsers send GET, HEAD and POST whatever methods they are told, so that only a refusal tells.
#[test]
fn a_preflight_for_more_than_is_given_is_refused() {
    let world = setup().start();
    for method in ["POST", "DELETE", "get", "GET, PUT"] {
        let answer = untouched(&world, &preflight("/shop/x", SHOP_PAGE, method));
        assert!([401, 403].contains(&answer.status()), "{method}: {answer:?}");
        tells(&answer, "access-control-allow-methods", None);
        if method == "POST" {
            assert_eq!(answer.status(), 403);
            tells_nothing(&answer);
        }
    }
    let names = "Access-Control-Request-Headers";
    for headers in ["x-other", "authorization,x-other", "authorization x-app-key", "*", "\u{e9}"] {
        let answer = untouched(&world, &preflight("/api/x", APP_PAGE, "GET").field(names, headers));
        assert_eq!(answer.status(), 403, "{headers}");
        tells_nothing(&answer);
    }
    let twice = preflight("/api/x", APP_PAGE, "GET").field(names, "authorization");
    assert_eq!(untouched(&world, &twice.clone().field(names, "x-other")).status(), 403);
    for headers in ["", "X-APP-KEY", " authorization , ,x-app-key"] {
        let answer = untouched(&world, &twice.clone().field(names, headers));
        assert_eq!(answer.status(), 204, "{headers}");
    }
}

#[test]
fn a_preflight_that_no_route_would_follow_is_judged_like_any_request() {
    let world = setup().start();
    for (target, method) in [("/nowhere", "GET"), ("/nowhere", "G T"), ("/nowhere", "")] {
        let answer = untouched(&world, &preflight(target, APP_PAGE, method));
        assert_eq!(answer.status(), 401, "{method} {target}: {answer:?}");
        tells(&answer, "access-control-allow-methods", None);
    }
    for odd in [
        Ask::new("OPTIONS", "/api/x"),
        Ask::new("OPTIONS", "/api/x").field("Origin", APP_PAGE),
        Ask::new("OPTIONS", "/api/x").field("Access-Control-Request-Method", "GET"),
        preflight("/api/x", APP_PAGE, "GET").field("Origin", SHOP_PAGE),
        preflight("/api/x", APP_PAGE, "GET").field("Access-Control-Request-Method", "POST"),
    ] {
        let answer = untouched(&world, &odd);
        assert_eq!(answer.status(), 401, "{odd:?}");
        tells(&answer, "access-control-allow-methods", None);
    }
    let traversal = preflight("/api/../shop/x", APP_PAGE, "GET");
    assert_eq!(untouched(&world, &traversal).status(), 400);
}

/// The route takes OPTIONS itself, but not what is asked about.
#[test]
fn a_route_that_speaks_of_origins_forwards_no_preflight() {
    let world = setup().start();
    for method in ["DELETE", "G T", "TRACE", "", "options"] {
        for (target, origin) in [("/half/x", FOREIGN[0]), ("/api/x", APP_PAGE)] {
            let answer = untouched(&world, &preflight(target, origin, method));
            assert_eq!(answer.status(), 403, "{method} {target}: {answer:?}");
            tells_nothing(&answer);
        }
    }
    let plain = Ask::new("OPTIONS", "/half/x").field("Origin", APP_PAGE);
    world.pass(&plain);
}

#[test]
fn a_plain_options_is_a_request_like_any_other() {
    let world = setup().start();
    world.pass(&Ask::new("OPTIONS", "/api/x").signed());
    world.pass(&Ask::new("OPTIONS", "/api/x").field("Origin", APP_PAGE).signed());
}

#[test]
fn a_domain_lets_all_names_below_it_in_and_no_other() {
    let world = setup().start();
    for origin in [
        "https://a.many.test",
        "https://a.b-1.many.test",
        "http://x.dev.many.test:3000",
        "https://x.dev.many.test",
    ] {
        let answer = untouched(&world, &preflight("/many/x", origin, "GET"));
        tells(&answer, "access-control-allow-origin", Some(origin));
        tells(&answer, "vary", Some("Origin"));
    }
    for origin in [
        "https://many.test",
        "https://.many.test",
        "https://a..many.test",
        "https://amany.test",
        "https://evil.test/.many.test",
        "https://evil.test#.many.test",
        "https://evil@a.many.test",
        "https://evil.test:1.many.test",
        "https://a.many.test:8443",
        "https://a.many.test.evil.test",
        "http://a.many.test",
        "http://x.many.test:3000",
        "http://dev.many.test:3000",
        "https://A.many.test",
        "https://*.many.test",
        "null",
    ] {
        let answer = untouched(&world, &preflight("/many/x", origin, "GET"));
        assert_eq!(answer.status(), 403, "{origin}");
        tells_nothing(&answer);
    }
}

#[test]
fn without_a_word_about_origins_nothing_changes() {
    let world = Setup::new().start();
    world.deny(&preflight("/api/x", APP_PAGE, "GET"), &[401]);
    let sent = world.pass(&preflight("/api/x", APP_PAGE, "GET").signed());
    assert_eq!(sent.method(), "OPTIONS");
    let answer = world.answer(&Ask::get("/api/x").field("Origin", APP_PAGE).signed());
    tells(&answer, "access-control-allow-origin", None);
    tells(&answer, "vary", None);
}

#[test]
fn where_another_route_speaks_of_origins_nothing_changes_either() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /public/**\", to: api, public: true }\n  \
                  - { match: \"* /open/**\", to: api, public: true, cors: { origins: [\"*\"] } }\n";
    let world = Setup::before(Upstream::answering(ANSWER)).routes(routes).http2().start();
    assert_eq!(untouched(&world, &preflight("/api/x", APP_PAGE, "GET")).status(), 401);
    world.pass(&preflight("/public/x", APP_PAGE, "GET"));
    let answer = answer(&world, &Ask::get("/api/x").field("Origin", APP_PAGE).signed());
    tells(&answer, "access-control-allow-origin", Some("*"));
    tells(&answer, "access-control-allow-methods", Some("DELETE"));
    tells(&answer, "vary", Some("Accept"));
    tells_nothing(&untouched(&world, &Ask::get("/api/x").field("Origin", APP_PAGE)));
    tells_nothing(&untouched(&world, &Ask::get("/nowhere").field("Origin", APP_PAGE)));
    let wrong = Ask::get("/open/../x").field("Origin", APP_PAGE);
    tells_nothing(&untouched(&world, &wrong));
}

#[test]
fn an_answer_says_who_may_read_it_whatever_its_upstream_says() {
    let world = setup().start();
    for origin in [APP_PAGE, OTHER_PAGE] {
        let answer = answer(&world, &Ask::get("/api/x").field("Origin", origin).signed());
        tells(&answer, "access-control-allow-origin", Some(origin));
        tells(&answer, "access-control-allow-credentials", None);
        tells(&answer, "access-control-allow-methods", None);
        tells(&answer, "access-control-expose-headers", Some("X-Total"));
        assert_eq!(answer.fields.all("vary"), ["Accept", "Origin"]);
    }
    for origin in FOREIGN {
        let answer = answer(&world, &Ask::get("/api/x").field("Origin", origin).signed());
        assert_eq!(answer.status(), 200, "{origin}");
        tells_nothing(&answer);
        assert_eq!(answer.fields.all("vary"), ["Accept", "Origin"]);
    }
    let both = Ask::get("/api/x").field("Origin", APP_PAGE).field("Origin", OTHER_PAGE).signed();
    tells_nothing(&answer(&world, &both));
    let bare = answer(&world, &Ask::get("/api/x").signed());
    tells_nothing(&bare);
    assert_eq!(bare.fields.all("vary"), ["Accept", "Origin"]);
    let open = answer(&world, &Ask::get("/open/x").field("Origin", "https://evil.test"));
    tells(&open, "access-control-allow-origin", Some("*"));
    tells(&open, "access-control-allow-credentials", None);
    tells(&open, "vary", Some("Accept"));
}

#[test]
fn what_an_answer_varies_by_is_told_once() {
    for (theirs, expected) in [
        ("Vary: Origin", &["Origin"][..]),
        ("Vary: accept, ORIGIN", &["accept, ORIGIN"]),
        ("Vary: *", &["*"]),
        ("Vary: X-Origin", &["X-Origin", "Origin"]),
        ("X: y", &["Origin"]),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{theirs}\r\n\r\n");
        let world = Setup::before(Upstream::answering(&answer)).defaults(DEFAULTS).start();
        let answer = world.answer(&Ask::get("/api/x").field("Origin", APP_PAGE).signed());
        assert_eq!(answer.fields.all("vary"), expected, "{theirs}");
    }
}

#[test]
fn a_page_can_read_why_it_was_refused() {
    let world = setup().start();
    for (ask, status) in [
        (Ask::get("/api/x"), 401),
        (Ask::get("/api/x").keyed().bearing("a.b.c"), 401),
        (Ask::get("/api/admin/x").signed(), 403),
        (Ask::get("/nowhere"), 401),
        (Ask::get("/nowhere").signed(), 404),
        (Ask::new("DELETE", "/api/x").signed(), 405),
        (Ask::get("/api/../x").signed(), 400),
        (Ask::get(&format!("/api/{}", "x".repeat(10_000))).signed(), 414),
        (Ask::get("/api/x").signed().field("X-Long", "x".repeat(40_000)), 431),
        (Ask::post("/api/small", "01234567890").signed(), 413),
    ] {
        let answer = untouched(&world, &ask.clone().field("Origin", APP_PAGE));
        assert_eq!(answer.status(), status, "{ask:?}");
        is_readable(&answer, APP_PAGE);
        let answer = untouched(&world, &ask.field("Origin", "https://evil.test"));
        assert_eq!(answer.status(), status);
        tells_nothing(&answer);
    }
    for (target, status) in [("/api/slow", 504), ("/api/broken", 502)] {
        let answer = answer(&world, &Ask::get(target).signed().field("Origin", APP_PAGE));
        assert_eq!(answer.status(), status);
        is_readable(&answer, APP_PAGE);
    }
}

#[track_caller]
fn is_readable(answer: &Message, origin: &str) {
    tells(answer, "access-control-allow-origin", Some(origin));
    tells(answer, "vary", Some("Origin"));
}

#[test]
fn a_page_can_read_that_a_body_without_a_length_was_too_large() {
    let world = setup().start();
    let body = "b\r\n01234567890\r\n0\r\n\r\n";
    let ask = Ask::new("POST", "/api/small").field("Transfer-Encoding", "chunked").body(body);
    let answer = world.answer(&ask.signed().field("Origin", APP_PAGE));
    assert_eq!(answer.status(), 413, "{answer:?}");
    is_readable(&answer, APP_PAGE);
}

#[test]
fn the_route_that_encloses_a_path_says_who_reads_that_there_is_nothing() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"GET /shop/**\", to: api, \
                  cors: { origins: [\"https://shop.test\"] } }\n";
    let world = Setup::new().routes(routes).http2().start();
    for (method, target, status) in [("POST", "/shop/x", 405), ("GET", "/shopping", 404)] {
        let ask = Ask::new(method, target).signed().field("Origin", SHOP_PAGE);
        let answer = untouched(&world, &ask);
        assert_eq!(answer.status(), status, "{answer:?}");
        let expected = (status == 405).then_some(SHOP_PAGE);
        tells(&answer, "access-control-allow-origin", expected);
    }
}

#[test]
fn a_page_can_read_that_there_is_no_room() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream =
        Upstream::scripted(move |_, _| vec![Step::Wait(theirs.clone()), Step::text(ANSWER)]);
    let setup = Setup::before(upstream).defaults(DEFAULTS).upstream_keys("in_flight: 1, queue: 0");
    let world = setup.http2().start();
    let mut first = world.connect();
    first.send(&Ask::get("/api/x").signed().bytes());
    world.upstream.wait("one under way", |seen| seen.heads() == 1);
    let answer = untouched(&world, &Ask::get("/api/x").signed().field("Origin", APP_PAGE));
    assert_eq!(answer.status(), 503, "{answer:?}");
    is_readable(&answer, APP_PAGE);
    gate.open();
    assert_eq!(first.answer("GET").unwrap().status(), 200);
}

#[test]
fn a_page_can_follow_a_stream_until_it_is_cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                6\r\nevent1\r\n";
    let upstream = Upstream::scripted(move |_, head_of| match head_of.split(' ').nth(1) {
        Some("/api/late") => vec![Step::Silence],
        Some(_) | None => vec![Step::text(head), Step::Silence],
    });
    let world = Setup::before(upstream).defaults(DEFAULTS).http2().start();
    let mut client = world.connect();
    client.send(&Ask::get("/api/x").signed().field("Origin", APP_PAGE).bytes());
    let head = crate::world::latin1(client.until(b"event1").unwrap()).to_lowercase();
    assert!(head.contains(&format!("access-control-allow-origin: {APP_PAGE}\r\n")), "{head}");
    let mut other = world.connect_http2();
    let stream = other.ask(&Ask::get("/api/x").signed().field("Origin", APP_PAGE));
    other.wait(stream, 6).unwrap();
    assert_eq!(other.fields(stream).all("access-control-allow-origin"), [APP_PAGE]);
    let refused = other.ask(&Ask::get("/api/late").signed().field("Origin", APP_PAGE));
    let mut late = world.connect();
    late.send(&Ask::get("/api/late").signed().field("Origin", APP_PAGE).bytes());
    world.upstream.wait("all under way", |seen| seen.heads() == 4);
    world.advance(1000);
    let (end, _) = client.end().unwrap();
    assert!(matches!(end, End::Fin | End::Reset));
    assert!(matches!(other.answer(stream), Err(Gone::Reset(_))));
    for answer in [late.answer("GET").unwrap(), other.answer(refused).unwrap()] {
        assert_eq!(answer.status(), 401, "{answer:?}");
        is_readable(&answer, APP_PAGE);
    }
    eventually("all are closed", || world.upstream.look(|seen| seen.ended() == 4));
}

#[test]
fn a_page_can_sign_in() {
    let mut setup = stage::setup().http2();
    setup.defaults = "{ require: app and user, forward: { X-App-Id: app.id }, cors: { \
        origins: [\"https://app.test\"], headers: [content-type, authorization] } }"
        .into();
    let world = stage::started(setup, &["anna"]);
    let ask = |password| stage::login("native", "anna", password);
    for target in ["/auth/login", "/auth/refresh"] {
        let asked = preflight(target, APP_PAGE, "POST")
            .instead("Host", "native.test")
            .field("Access-Control-Request-Headers", "content-type");
        let answer = untouched(&world, &asked);
        assert_eq!(answer.status(), 204, "{target}: {answer:?}");
        is_readable(&answer, APP_PAGE);
        let asked = asked.instead("Origin", "https://evil.test");
        assert_eq!(untouched(&world, &asked).status(), 403);
        let asked = preflight(target, APP_PAGE, "PUT").instead("Host", "native.test");
        let answer = untouched(&world, &asked);
        assert!([401, 403, 405].contains(&answer.status()), "{answer:?}");
        tells(&answer, "access-control-allow-methods", None);
    }
    let signed_in = untouched(&world, &ask(stage::PASSWORD).field("Origin", APP_PAGE));
    assert_eq!(signed_in.status(), 200);
    is_readable(&signed_in, APP_PAGE);
    let good = stage::body(&signed_in)["refresh_token"].as_str().unwrap().to_owned();
    for (token, status) in [(good.as_str(), 200), ("nonsense", 401)] {
        let body = serde_json::json!({ "refresh_token": token });
        let ask = stage::post("native", "/auth/refresh", &body);
        let answer = world.answer(&ask.field("Origin", APP_PAGE));
        assert_eq!(answer.status(), status, "{answer:?}");
        is_readable(&answer, APP_PAGE);
    }

    let wrong = untouched(&world, &ask("wrong").field("Origin", APP_PAGE));
    assert_eq!(wrong.status(), 401);
    is_readable(&wrong, APP_PAGE);
    let shapeless = stage::send("POST", "native", "/auth/login", "{").field("Origin", APP_PAGE);
    let shapeless = untouched(&world, &shapeless);
    assert!((400..500).contains(&shapeless.status()), "{shapeless:?}");
    is_readable(&shapeless, APP_PAGE);
    let foreign = untouched(&world, &ask(stage::PASSWORD).field("Origin", "https://evil.test"));
    assert_eq!(foreign.status(), 200);
    tells_nothing(&foreign);

    let mut locked = wrong;
    for _ in 0..30 {
        if locked.status() != 429 {
            locked = world.answer(&ask("wrong").field("Origin", APP_PAGE));
        }
    }
    assert_eq!(locked.status(), 429, "{locked:?}");
    is_readable(&locked, APP_PAGE);
}
