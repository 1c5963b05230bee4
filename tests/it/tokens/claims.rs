//! What a token claims: its time, its issuer, its audience, its user.

use serde_json::Value;
use serde_json::json;

use super::OwnControl;
use super::ask;
use super::entry;
use super::reason;
use super::refused;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::NOW;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::claims_with;

#[test]
fn an_expiry_is_a_number_in_the_future() {
    let world = World::usual();
    let with = |exp: &str| {
        let body = claims_with(&json!({"exp": "EXP"})).to_string().replace("\"EXP\"", exp);
        P256.compact("ES256", br#"{"alg":"ES256","kid":"p256"}"#, body.as_bytes())
    };
    for exp in [
        &format!("\"{}\"", NOW + 300),
        "\"never\"",
        "\"NaN\"",
        "-1",
        "null",
        "true",
        "[]",
        &format!("[{}]", NOW + 300),
        "{}",
        "1e400",
        "-1e400",
        "0",
        &format!("{}", NOW - 1),
        &format!("{NOW}"),
        &format!("{NOW}.0"),
        &format!("{}.999", NOW - 1),
        &format!("{}", NOW - 59),
    ] {
        refused(&world, &with(exp));
    }
    for huge in ["9223372036854775808", "18446744073709551616", "1e300", "9223372036854775807"] {
        let answer = world.answer(&ask(&with(huge)));
        assert!([200, 401].contains(&answer.status()), "{huge}: {answer:?}");
    }
    refused(&world, &P256.token("ES256", &claims_with(&json!({"exp": null}))));
    for exp in [
        format!("{}.5", NOW + 100),
        format!("{}", NOW + 1),
        format!("{NOW}.001"),
        format!("{}e0", NOW + 5),
    ] {
        world.pass(&ask(&with(&exp)));
    }
}

#[test]
fn a_token_ends_at_its_very_second_and_its_cached_verdict_with_it() {
    let world = World::usual();
    let short = P256.token("ES256", &claims_with(&json!({"exp": NOW + 10})));
    world.pass(&ask(&short));
    world.pass(&ask(&short));
    world.advance(9);
    world.pass(&ask(&short));
    world.advance(1);
    let answer = refused(&world, &short);
    assert_eq!(reason(&answer), "expired_token");
    refused(&world, &short);
}

#[test]
fn leeway_moves_both_ends_by_exactly_itself() {
    let keys = "jwks: \"file:keys.json\", leeway: 30s";
    let world = Setup::new().jwt(&entry("ES256", keys)).start();
    let with = |changes: Value| ask(&P256.token("ES256", &claims_with(&changes)));
    world.pass(&with(json!({"exp": NOW - 29})));
    world.pass(&with(json!({"nbf": NOW + 30})));
    for changes in [
        json!({"exp": NOW - 30}),
        json!({"exp": NOW - 31}),
        json!({"nbf": NOW + 31}),
        json!({"nbf": NOW + 300}),
    ] {
        world.deny(&with(changes), &[401]);
    }
}

#[test]
fn a_token_is_not_good_before_its_time() {
    let world = World::usual();
    for changes in [
        json!({"nbf": NOW + 1}),
        json!({"nbf": NOW + 60}),
        json!({"nbf": format!("{NOW}")}),
        json!({"nbf": "soon"}),
        json!({"nbf": []}),
        json!({"nbf": {}}),
        json!({"nbf": true}),
        json!({"iat": "now"}),
        json!({"iat": {}}),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&changes)));
    }
    let early = P256.token("ES256", &claims_with(&json!({"nbf": NOW + 5})));
    refused(&world, &early);
    world.advance(5);
    world.pass(&ask(&early));
    world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"nbf": NOW, "iat": NOW})))));
}

#[test]
fn a_token_for_another_audience_or_of_another_issuer_is_refused() {
    let world = World::usual();
    for changes in [
        json!({"aud": null}),
        json!({"aud": []}),
        json!({"aud": ""}),
        json!({"aud": "billing"}),
        json!({"aud": "Orders"}),
        json!({"aud": "orders "}),
        json!({"aud": "orders,billing"}),
        json!({"aud": "orders billing"}),
        json!({"aud": ["billing", "orderss"]}),
        json!({"aud": [["orders"]]}),
        json!({"aud": {"orders": true}}),
        json!({"aud": {"0": "orders"}}),
        json!({"aud": 7}),
        json!({"aud": true}),
        json!({"iss": null}),
        json!({"iss": ""}),
        json!({"iss": "https://id.test/"}),
        json!({"iss": "https://ID.test"}),
        json!({"iss": "https://id.test.evil"}),
        json!({"iss": ["https://id.test"]}),
        json!({"iss": ["https://evil.test", "https://id.test"]}),
        json!({"iss": {"0": "https://id.test"}}),
        json!({"iss": 7}),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&changes)));
    }
    for aud in [json!("orders"), json!(["orders"]), json!(["billing", "orders"])] {
        world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"aud": aud})))));
    }
}

#[test]
fn a_user_without_a_usable_name_is_refused() {
    let world = World::usual();
    for sub in [
        json!(null),
        json!(""),
        json!(true),
        json!([]),
        json!(["ada"]),
        json!({}),
        json!({"customer_id": 7}),
        json!("ada\r\nX-Auth-User: root"),
        json!("ada\n"),
        json!("ada\u{0}"),
        json!("\u{7f}"),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&json!({"sub": sub}))));
    }
    let forwarded = world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"sub": 4711})))));
    assert_eq!(forwarded.fields.one("x-auth-user"), "4711");
    let keys = "jwks: \"file:keys.json\", identity: /sub/customer_id";
    let (nested, token) = Setup::new()
        .jwt(&entry("ES256", keys))
        .start_with_claims(&json!({"sub": {"customer_id": 7}}));
    let forwarded = nested.answer(&Ask::get("/api/x").keyed().bearing(&token));
    assert_eq!(forwarded.status(), 200);
    for sub in [json!("ada"), json!({"customer": 7}), json!({"customer_id": {}})] {
        refused(&nested, &P256.token("ES256", &claims_with(&json!({"sub": sub}))));
    }
}

#[test]
fn a_forged_expired_token_is_called_forged() {
    let world = World::usual();
    let old = claims_with(&json!({"exp": NOW - 100}));
    assert_eq!(reason(&refused(&world, &P256.token("ES256", &old))), "expired_token");
    for forged in [
        OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &old),
        format!("{}x", P256.token("ES256", &old)),
        P256.mint(&json!({"alg": "ES256", "kid": "nobody"}), &old),
        P256.token("ES256", &claims_with(&json!({"exp": NOW - 100, "iss": "https://evil.test"}))),
    ] {
        assert_eq!(reason(&refused(&world, &forged)), "invalid_token", "{forged}");
    }
}

#[test]
fn tokens_without_issuer_or_audience_pass_only_where_that_is_written() {
    let open =
        "{ issuer: none, audience: none, typ: any, algorithms: [ES256], jwks: \"file:keys.json\" }";
    let bare = json!({"iss": null, "aud": null});
    let (world, good) = Setup::new().jwt(open).start_with_claims(&bare);
    assert_eq!(world.answer(&ask(&good)).status(), 200);
    let strange =
        P256.mint(&json!({"alg": "ES256", "kid": "p256", "typ": "strange"}), &claims_with(&bare));
    assert_eq!(world.answer(&ask(&strange)).status(), 200);
    let forged = OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &claims_with(&bare));
    assert_eq!(world.answer(&ask(&forged)).status(), 401);
    let usual = World::usual();
    refused(&usual, &good);
    refused(&usual, &strange);
}
