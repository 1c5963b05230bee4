//! Which route judges a request, and what its demands let through.

use serde_json::json;

use crate::world::Ask;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::claims_with;
use crate::world::oracle;

fn with_roles(roles: &[&str]) -> String {
    P256.token("ES256", &claims_with(&json!({"roles": roles})))
}

#[test]
fn the_most_specific_route_judges() {
    let routes = "
  - { match: \"* /api/**\", to: api }
  - { match: \"GET /api/open\", to: api, public: true }
  - { match: \"GET /api/users/{id}\", to: api, permissions: [see] }
  - { match: \"GET /api/users/me\", to: api }
  - { match: \"* /api/users/*/keys\", to: api, permissions: [keys] }
  - { match: \"DELETE /api/users/**\", to: api, permissions: [delete] }
  - { match: \"* special.test/api/open\", to: api, permissions: [special] }
";
    let world = Setup::new().routes(routes).start();
    for (method, target, status) in [
        ("GET", "/api/open", 200),
        ("POST", "/api/open", 200),
        ("GET", "/api/users/7", 403),
        ("GET", "/api/users/me", 200),
        ("GET", "/api/users/me/", 200),
        ("GET", "/api/users/7/keys", 403),
        ("DELETE", "/api/users/7", 403),
        ("DELETE", "/api/users", 403),
        ("DELETE", "/api/users/me", 403),
        ("PUT", "/api/users/7", 200),
    ] {
        let mark = world.upstream.mark();
        let answer = world.answer(&Ask::new(method, target).signed());
        assert_eq!(answer.status(), status, "{method} {target}: {answer:?}");
        let forwarded = world.upstream.since(&mark).unwrap().len();
        assert_eq!(forwarded, usize::from(status == 200), "{method} {target}");
        let anonymous = world.answer(&Ask::new(method, target)).status();
        assert_eq!(
            anonymous,
            if (method, target) == ("GET", "/api/open") { 200 } else { 401 },
            "{method} {target}"
        );
    }
    world.deny(&Ask::get("/api/open").signed().instead("Host", "special.test"), &[403]);
    world.deny(&Ask::get("/api/open").instead("Host", "special.test"), &[401]);
    let admin = with_roles(&["see", "keys", "delete", "special"]);
    for target in ["/api/users/7", "/api/users/7/keys"] {
        world.pass(&Ask::get(target).keyed().bearing(&admin));
    }
    world.pass(&Ask::get("/api/open").keyed().bearing(&admin).instead("Host", "special.test"));
}

#[test]
fn an_optional_credential_may_be_absent_but_not_bad() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"GET /api/catalog\", to: api, require: \"app and user?\" }\n";
    let world = Setup::new().routes(routes).start();
    let forwarded = world.pass(&Ask::get("/api/catalog").keyed());
    oracle::identity(&forwarded, &[("X-App-Id", Some("mobile")), ("X-Auth-User", None)]);
    let forwarded = world.pass(&Ask::get("/api/catalog").signed());
    oracle::identity(&forwarded, &[("X-App-Id", Some("mobile")), ("X-Auth-User", Some("ada"))]);
    for ask in [
        Ask::get("/api/catalog"),
        Ask::get("/api/catalog").bearing(&with_roles(&[])),
        Ask::get("/api/catalog").keyed().bearing("x"),
        Ask::get("/api/catalog").keyed().bearing(&format!("{}x", with_roles(&[]))),
        Ask::get("/api/catalog")
            .keyed()
            .bearing(&OTHER_P256.token("ES256", &claims_with(&json!({})))),
        Ask::get("/api/catalog")
            .keyed()
            .bearing(&P256.token("ES256", &claims_with(&json!({"exp": 1})))),
        Ask::get("/api/catalog").keyed().field("Authorization", "Basic eDp5"),
        Ask::get("/api/catalog").keyed().field("Authorization", ""),
        Ask::get("/api/catalog").keyed().field("Authorization", "Bearer"),
    ] {
        world.deny(&ask, &[401]);
    }
}

#[test]
fn an_alternative_counts_only_when_the_first_is_absent() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"GET /api/either\", to: api, require: \"user or app\" }\n";
    let world = Setup::new().routes(routes).start();
    for ask in [
        Ask::get("/api/either").keyed(),
        Ask::get("/api/either").bearing(&with_roles(&[])),
        Ask::get("/api/either").signed(),
    ] {
        world.pass(&ask);
    }
    for ask in [
        Ask::get("/api/either"),
        Ask::get("/api/either").keyed().bearing("x"),
        Ask::get("/api/either").field("X-App-Key", "wrong"),
        Ask::get("/api/either").bearing("x"),
    ] {
        world.deny(&ask, &[401]);
    }
}

#[test]
fn permissions_must_all_be_granted() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /api/both\", to: api, permissions: [\"a:x\", b] }\n";
    let world = Setup::new().routes(routes).start();
    let with = |roles: &[&str]| Ask::get("/api/both").keyed().bearing(&with_roles(roles));
    world.pass(&with(&["a:x", "b"]));
    world.pass(&with(&["c", "b", "a:x"]));
    for roles in [
        &[][..],
        &["a:x"],
        &["b"],
        &["a", "x", "b"],
        &["A:X", "B"],
        &["a:x b"],
        &["a:x,b"],
        &["*"],
        &["a:*", "b"],
    ] {
        world.deny(&with(roles), &[403]);
    }
    for claim in [
        json!(null),
        json!("a:x b "),
        json!({"a": ["x"]}),
        json!({"a": "x", "b": true}),
        json!(true),
        json!([["a:x", "b"]]),
    ] {
        let token = P256.token("ES256", &claims_with(&json!({"roles": claim})));
        let answer = world.answer(&Ask::get("/api/both").keyed().bearing(&token));
        let expected = if claim == json!("a:x b ") { 200 } else { 403 };
        assert_eq!(answer.status(), expected, "{claim}");
    }
}

#[test]
fn an_expression_must_be_true() {
    let routes = "
  - { match: \"* /api/**\", to: api }
  - { match: \"* /api/own/{id}\", to: api, allow: 'request.params.id == user.id' }
  - { match: \"* /api/claim\", to: api, allow: 'user.claims.level > 3' }
  - { match: \"* /api/method\", to: api, allow: 'request.method == \"GET\" || user.can(\"write\")' }
";
    let world = Setup::new().routes(routes).start();
    world.pass(&Ask::get("/api/own/ada").signed());
    for target in ["/api/own/eve", "/api/own/ada%20", "/api/own/ADA", "/api/own/adaa"] {
        world.deny(&Ask::get(target).signed(), &[403]);
    }
    let level = |level| P256.token("ES256", &claims_with(&json!({"level": level})));
    world.pass(&Ask::get("/api/claim").keyed().bearing(&level(json!(4))));
    for bad in [json!(3), json!("4"), json!(null), json!([]), json!({"level": 9})] {
        world.deny(&Ask::get("/api/claim").keyed().bearing(&level(bad)), &[403]);
    }
    world.pass(&Ask::get("/api/method").signed());
    world.deny(&Ask::new("DELETE", "/api/method").signed(), &[403]);
    world.pass(&Ask::new("DELETE", "/api/method").keyed().bearing(&with_roles(&["write"])));
}

#[test]
fn a_public_route_needs_nothing_and_tells_nothing() {
    let world = World::usual();
    for ask in [
        Ask::get("/public/x"),
        Ask::get("/public/x").signed(),
        Ask::get("/public/x").keyed().bearing("x.y.z"),
        Ask::get("/public/x").field("Authorization", "Basic eDp5"),
        Ask::get("/public"),
    ] {
        let forwarded = world.pass(&ask);
        oracle::identity(&forwarded, &[("X-Auth-User", None), ("X-App-Id", None)]);
    }
}

#[test]
fn each_route_has_its_own_upstream() {
    let other = Upstream::echo();
    let routes = "
  - { match: \"* /other/**\", to: other, forward: { X-Who: user.sub } }
  - { match: \"* /api/**\", to: api }
";
    let world = Setup::new().routes(routes).start_with_upstream("other", &other);
    let mark = world.upstream.mark();
    assert_eq!(world.answer(&Ask::get("/other/x").signed()).status(), 200);
    assert_eq!(world.upstream.since(&mark).unwrap(), []);
    let seen = other.requests();
    assert_eq!(seen.len(), 1);
    oracle::identity(
        &seen[0],
        &[("X-Who", Some("ada")), ("X-Auth-User", None), ("X-App-Id", None)],
    );
    world.pass(&Ask::get("/api/x").signed());
    assert_eq!(other.requests().len(), 1);
}

#[test]
fn what_is_not_a_route_table_does_not_start() {
    for routes in [
        "\n  - { match: \"GET /a\", to: nowhere }\n",
        "\n  - { match: \"GET /a\", to: api }\n  - { match: \"GET /a\", to: api }\n",
        "\n  - { match: \"GET /{a}\", to: api }\n  - { match: \"GET /{b}\", to: api }\n",
        "\n  - { match: \"GET a\", to: api }\n",
        "\n  - { match: \"GET /a/**/b\", to: api }\n",
        "\n  - { match: \"GET /a/../b\", to: api }\n",
        "\n  - { match: \"G@T /a\", to: api }\n",
        "\n  - { match: \"/a\", to: api }\n",
        "\n  - { match: \"GET /a\", to: api, require: \"app and nobody\" }\n",
        "\n  - { match: \"GET /a\", to: api, require: \"app and\" }\n",
        "\n  - { match: \"GET /a\", to: api, require: \"\" }\n",
        "\n  - { match: \"GET /a\", to: api, public: true, require: app }\n",
        "\n  - { match: \"GET /a\", to: api, public: true, permissions: [x] }\n",
        "\n  - { match: \"GET /a\", to: api, require: app, permissions: [x] }\n",
        "\n  - { match: \"GET /a\", to: api, allow: \"nobody.can()\" }\n",
        "\n  - { match: \"GET /a\", to: api, allow: \"user.\" }\n",
        "\n  - { match: \"GET /a\", to: api, allow: \"request.params.id == 'x'\" }\n",
        "\n  - { match: \"GET /a\", to: api, forward: { X-A: app.nothing } }\n",
        "\n  - { match: \"GET /a\", to: api, forward: { X-A: nobody.id } }\n",
        "\n  - { match: \"GET /a\", to: api, forward: { X-A: user } }\n",
        "\n  - { match: \"GET /a\", to: api, forward: { Content-Length: user.sub } }\n",
        "\n  - { match: \"GET /a\", to: api, forward: { \"X A\": user.sub } }\n",
        "\n  - { match: \"GET /a\", to: api, colour: red }\n",
    ] {
        assert!(Setup::new().routes(routes).try_start().is_err(), "{routes} starts");
    }
    let nothing_required =
        Setup::new().defaults("{}").routes("\n  - { match: \"GET /a\", to: api }\n");
    assert!(nothing_required.try_start().is_err(), "a route without a demand starts");
}
