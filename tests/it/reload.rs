//! A new configuration replaces the old one whole, or not at all.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use portcullis::id::Digest;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys::NOW;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::P384;
use crate::world::keys::claims;
use crate::world::keys::jwks;

#[test]
fn a_good_configuration_takes_over_and_connections_stay() {
    let world = World::usual();
    let mut client = world.connect();
    client.send(&Ask::get("/api/new").signed().bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    world.reload_with("* /api/admin/**", "* /api/new/**").unwrap();
    client.send(&Ask::get("/api/new").signed().bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 403);
    client.send(&Ask::get("/api/admin").signed().bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    assert!(world.metric("portcullis_config_reload_total{result=\"success\"}") >= 1.0);
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told() {
    let world = World::usual();
    let good = world.config();
    let cases = [
        ("routes:", "rutes:"),
        ("to: api", "to: nobody"),
        ("file:keys.json", "file:gone.json"),
        ("require: app and user", "require: app and usr"),
        ("algorithms: [ES256]", "algorithms: [RS256]"),
        ("listen:", "listen: ["),
        ("public: true", "public: maybe"),
        ("* /public/**", "* /api/**"),
        ("permissions: /roles", "permissions: roles"),
    ];
    for (from, to) in cases {
        world.write("portcullis.yaml", &good);
        let report = world.reload_with(from, to).expect_err(to);
        assert!(report.contains("portcullis.yaml"), "{report}");
        world.deny(&Ask::get("/api/admin/x").signed(), &[403]);
        world.deny(&Ask::get("/api/x"), &[401]);
        world.pass(&Ask::get("/public/x"));
    }
    for text in ["", "x", "listen: {}", "\u{0}", "a: &a [*a]"] {
        world.write("portcullis.yaml", text);
        assert!(world.reload().is_err(), "{text}");
        world.pass(&Ask::get("/api/x").signed());
    }
    let failed = world.metric("portcullis_config_reload_total{result=\"failure\"}");
    assert!(failed >= 14.0, "{failed}");
    world.write("portcullis.yaml", &good);
    world.reload().unwrap();
    world.pass(&Ask::get("/api/x").signed());
}

#[test]
fn what_needs_a_restart_is_refused() {
    let world = World::usual();
    let good = world.config();
    for (from, to) in [
        ("public: \"127.0.0.1:0\"", "public: \"127.0.0.1:1\""),
        ("admin: \"127.0.0.1:0\"", "admin: \"127.0.0.1:1\""),
        ("routes:", "workers: 7\nroutes:"),
        ("routes:", "store: \"sqlite:x.db\"\nroutes:"),
    ] {
        world.write("portcullis.yaml", &good);
        let report = world.reload_with(from, to).expect_err(to);
        assert!(report.contains("restart"), "{report}");
        world.pass(&Ask::get("/api/x").signed());
    }
}

#[test]
fn a_key_taken_away_is_refused_even_where_its_token_was_cached() {
    let world = World::usual();
    let (old, new) = (P256.token("ES256", &claims()), OTHER_P256.token("ES256", &claims()));
    let with = |token: &str| world.answer(&Ask::get("/api/x").keyed().bearing(token)).status();
    for _ in 0..8 {
        assert_eq!((with(&old), with(&new)), (200, 401));
    }
    world.write("keys.json", &jwks(&[&P256, &OTHER_P256]));
    world.reload().unwrap();
    assert_eq!((with(&old), with(&new)), (200, 200));
    world.write("keys.json", &jwks(&[&OTHER_P256]));
    world.reload().unwrap();
    for _ in 0..8 {
        assert_eq!((with(&old), with(&new)), (401, 200));
    }
}

/// The entry of the usual check with one of its lines replaced.
fn with_rule(from: &str, to: &str) -> (String, String) {
    let usual = r#"{ issuer: "https://id.test", audience: [orders], algorithms: [ES256], jwks: "file:keys.json", permissions: /roles, identity: /sub, leeway: 0s }"#;
    assert!(usual.contains(from), "{from} is not in {usual}");
    (usual.to_owned(), usual.replace(from, to))
}

#[test]
fn a_token_that_was_cached_is_judged_by_the_rules_in_force() {
    for (from, to) in [
        ("issuer: \"https://id.test\"", "issuer: \"https://other.test\""),
        ("audience: [orders]", "audience: [others]"),
        ("algorithms: [ES256]", "algorithms: [ES384]"),
        ("identity: /sub", "identity: /nobody"),
        ("leeway: 0s", "leeway: 0s, typ: [at+jwt]"),
    ] {
        let (usual, changed) = with_rule(from, to);
        let keys = jwks(&[&P256, &P384]);
        let world = Setup::new().jwt(&usual).file("keys.json", &keys).extra("workers: 2").start();
        let status = || world.answer(&Ask::get("/api/x").signed()).status();
        for _ in 0..8 {
            assert_eq!(status(), 200);
        }
        world.reload_with(&usual, &changed).unwrap();
        for _ in 0..8 {
            let mark = world.upstream.mark();
            assert_eq!(status(), 401, "{to}");
            assert_eq!(world.upstream.since(&mark).unwrap(), [], "{to}");
        }
        world.reload_with(&changed, &usual).unwrap();
        assert_eq!(status(), 200, "{to}");
    }
}

#[test]
fn a_token_that_was_cached_with_leeway_expires_when_the_leeway_goes() {
    let (usual, changed) = with_rule("leeway: 0s", "leeway: 60s");
    let world = Setup::new().jwt(&changed).extra("workers: 2").start();
    let status = || world.answer(&Ask::get("/api/x").signed()).status();
    let lifetime = claims()["exp"].as_i64().unwrap() - NOW;
    world.advance(u64::try_from(lifetime).unwrap() + 30);
    for _ in 0..8 {
        assert_eq!(status(), 200, "within the leeway");
    }
    world.reload_with(&changed, &usual).unwrap();
    for _ in 0..8 {
        assert_eq!(status(), 401, "without it");
    }
}

#[test]
fn a_token_that_was_cached_for_one_check_is_not_good_for_another() {
    let entry = |audience: &str| {
        format!(
            "{{ issuer: \"https://id.test\", audience: {audience}, algorithms: [ES256], jwks: \"file:keys.json\" }}"
        )
    };
    let checks = format!(
        "\n  app: {{ app_key: {{ header: X-App-Key }} }}\n  user: {{ jwt: [ {} ] }}\n  staff: {{ jwt: [ {} ] }}\n",
        entry("orders"),
        entry("staff")
    );
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /staff/**\", to: api, require: app and staff }\n";
    let world = Setup::new().checks(&checks).routes(routes).extra("workers: 1").start();
    for _ in 0..4 {
        world.pass(&Ask::get("/api/x").signed());
        world.deny(&Ask::get("/staff/x").signed(), &[401]);
    }
}

#[test]
fn an_application_taken_away_is_refused_at_once() {
    let world = World::usual();
    world.pass(&Ask::get("/api/x").signed());
    let ours = Digest::of(APP_KEY.as_bytes()).to_string();
    world.reload_with(&ours, &Digest::of(b"another key").to_string()).unwrap();
    for _ in 0..8 {
        assert_eq!(world.answer(&Ask::get("/api/x").signed()).status(), 401);
    }
}

#[test]
fn reloads_under_load_lose_no_request() {
    let world = Setup::before(Upstream::echo()).start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let loads = [true, false].map(|kept| {
            let (world, over) = (&world, &over);
            scope.spawn(move || load(world, over, kept))
        });
        let (mut from, mut to) = ("* /api/admin/**", "* /api/other/**");
        for _ in 0..40 {
            world.reload_with(from, to).unwrap();
            std::mem::swap(&mut from, &mut to);
        }
        over.store(true, Ordering::Release);
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
    });
}

/// Asks until it is over, on one connection or on a new one each time; how often it was served.
fn load(world: &World, over: &AtomicBool, keep_alive: bool) -> u32 {
    let (mut client, mut served) = (world.connect(), 0);
    while !over.load(Ordering::Acquire) {
        if !keep_alive {
            client = world.connect();
        }
        client.send(&Ask::get("/api/x").signed().bytes());
        let answer = client.answer("GET").unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.fields.lacks("connection"), "a reload ends no connection: {answer:?}");
        served += 1;
    }
    served
}
