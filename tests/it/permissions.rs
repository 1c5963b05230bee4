//! What a user may do, in each form in which issuers tell it.

use serde_json::Value;
use serde_json::json;

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::P256;
use crate::world::keys::claims_with;

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "* /api/edit", to: api, permissions: ["orders:edit"] }
  - { match: "* /api/both", to: api, permissions: ["orders:edit", "stock:view"] }
  - { match: "* /api/orders", to: api, permissions: [orders] }
  - { match: "* /api/expr", to: api, allow: 'user.can("orders:edit")' }
"#;

/// A gateway that reads permissions from the claim that this pointer names.
fn reading(pointer: &str) -> World {
    let entry = format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], \
         jwks: \"file:keys.json\", permissions: {pointer} }}"
    );
    Setup::new().jwt(&entry).routes(ROUTES).start()
}

fn ask(method: &str, target: &str, claims: &Value) -> Ask {
    Ask::new(method, target).keyed().bearing(&P256.token("ES256", &claims_with(claims)))
}

#[track_caller]
fn refused(world: &World, ask: &Ask) {
    let answer = world.deny(ask, &[403]);
    let challenge = answer.fields.one("www-authenticate");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["reason"], "insufficient_permission", "{document}");
}

/// Passes where every one of these claims should, and refuses each of those.
#[track_caller]
fn judged(world: &World, target: &str, good: &[Value], bad: &[Value]) {
    for claims in good {
        world.pass(&ask("GET", target, claims));
    }
    for claims in bad {
        refused(world, &ask("GET", target, claims));
    }
}

#[test]
fn a_list_grants_each_of_its_names() {
    let world = reading("/perms");
    let list = |names: &[&str]| json!({"perms": names});
    let good = [list(&["orders:edit"]), list(&["a", "stock:view", "orders:edit"])];
    let bad = [
        list(&[]),
        list(&["orders"]),
        list(&["edit"]),
        list(&["orders:view"]),
        list(&["orders:edit stock:view"]),
        list(&["Orders:edit"]),
        list(&["orders:*"]),
        json!({"perms": [["orders:edit"]]}),
        json!({"other": ["orders:edit"]}),
    ];
    judged(&world, "/api/edit", &good, &bad);
    judged(&world, "/api/expr", &good, &bad);
    judged(&world, "/api/both", &good[1..], &[good[0].clone(), list(&["stock:view"])]);
    judged(&world, "/api/orders", &[list(&["orders"])], &[list(&["orders:view"]), list(&[])]);
}

#[test]
fn a_scope_grants_each_of_its_words() {
    let world = reading("/scope");
    let scope = |words: &str| json!({"scope": words});
    let good = [scope("orders:edit"), scope("openid  stock:view orders:edit ")];
    let bad = [
        scope(""),
        scope(" "),
        scope("orders"),
        scope("orders:editor"),
        scope("orders:edit,stock:view"),
        scope("ORDERS:EDIT"),
        scope("orders :edit"),
        json!({"scope": 7}),
        json!({"scopes": "orders:edit"}),
    ];
    judged(&world, "/api/edit", &good, &bad);
    judged(&world, "/api/expr", &good, &bad);
    judged(&world, "/api/both", &good[1..], &[good[0].clone(), scope("stock:view")]);
}

#[test]
fn a_map_grants_the_verbs_of_each_resource() {
    let world = reading("/access/rights");
    let map = |map: Value| json!({"access": {"rights": map}});
    let good = [
        map(json!({"orders": ["edit"]})),
        map(json!({"stock": ["view"], "orders": ["view", "edit"]})),
    ];
    let bad = [
        map(json!({})),
        map(json!({"orders": []})),
        map(json!({"orders": ["view"]})),
        map(json!({"stock": ["edit"]})),
        map(json!({"orders": "edit"})),
        map(json!({"orders": {"edit": true}})),
        map(json!({"orders:edit": ["x"]})),
        map(json!({"Orders": ["edit"]})),
        json!({"access": "orders:view"}),
        json!({"rights": {"orders": ["edit"]}}),
    ];
    judged(&world, "/api/edit", &good, &bad);
    judged(&world, "/api/expr", &good, &bad);
    judged(&world, "/api/both", &good[1..], &[good[0].clone(), map(json!({"stock": ["view"]}))]);
    // A resource without a verb means the one that the method implies.
    for (method, verb) in [
        ("GET", "view"),
        ("HEAD", "view"),
        ("POST", "edit"),
        ("PUT", "edit"),
        ("PATCH", "edit"),
        ("DELETE", "delete"),
    ] {
        world.pass(&ask(method, "/api/orders", &map(json!({"orders": [verb]}))));
        for other in ["view", "edit", "delete", "orders"].into_iter().filter(|v| *v != verb) {
            let ask = ask(method, "/api/orders", &map(json!({"orders": [other], "stock": [verb]})));
            assert_eq!(world.deny(&ask, &[403]).status(), 403, "{method} {other}");
        }
    }
    refused(&world, &ask("OPTIONS", "/api/orders", &map(json!({"orders": ["view", "edit"]}))));
}

#[test]
fn nobody_may_anything_where_no_claim_is_named() {
    let entry = "{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"file:keys.json\" }";
    let world = Setup::new().jwt(entry).routes(ROUTES).start();
    let claims =
        json!({"scope": "orders:edit", "permissions": ["orders:edit"], "roles": ["orders:edit"]});
    world.pass(&ask("GET", "/api/x", &claims));
    refused(&world, &ask("GET", "/api/edit", &claims));
    refused(&world, &ask("GET", "/api/expr", &claims));
}
