//! Credentials in the wrong place, twice, or in a form with two readings open nothing.

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::keys::P256;
use crate::world::keys::claims_with;

fn token() -> &'static str {
    &TOKEN
}

fn other_token() -> String {
    P256.token("ES256", &claims_with(&serde_json::json!({"sub": "eve"})))
}

#[test]
fn both_gates_must_open() {
    let world = World::usual_over_both();
    world.pass(&Ask::get("/api/x").signed());
    world.deny(&Ask::get("/api/x"), &[401]);
    world.deny(&Ask::get("/api/x").keyed(), &[401]);
    world.deny(&Ask::get("/api/x").bearing(token()), &[401]);
}

#[test]
fn an_application_key_is_right_or_wrong_as_a_whole() {
    let world = World::usual_over_both();
    let with = |key: &str| Ask::get("/api/x").bearing(token()).field("X-App-Key", key);
    for key in [
        "",
        "x",
        "mobile",
        token(),
        &APP_KEY.to_uppercase(),
        &APP_KEY[1..],
        &APP_KEY[..APP_KEY.len() - 1],
        &format!("{APP_KEY}x"),
        &format!("{APP_KEY} {APP_KEY}"),
        &format!("{APP_KEY},{APP_KEY}"),
        &format!("{APP_KEY}, other"),
        &format!("Bearer {APP_KEY}"),
        &format!("\"{APP_KEY}\""),
        "pc_mobile_000000000000000000000000000000000000",
        "pc__",
        "pc_",
        &"k".repeat(5_000),
        "caf\u{e9}",
    ] {
        world.deny(&with(key), &[400, 401]);
    }
    for line in [&b"X-App-Key: \xff\xfe"[..], b"X-App-Key: \x80"] {
        world.deny(&Ask::get("/api/x").bearing(token()).raw_line(line), &[400, 401]);
    }
    world.pass(&with(APP_KEY));
    world.pass(&Ask::get("/api/x").bearing(token()).raw_line(format!("x-app-KEY:{APP_KEY}  ")));
}

#[test]
fn a_credential_that_occurs_twice_is_refused() {
    let world = World::usual_over_both();
    let signed = || Ask::get("/api/x").signed();
    let cases = [
        signed().bearing(&other_token()),
        signed().bearing(token()),
        signed().field("authorization", format!("Bearer {}", token())),
        signed().field("Authorization", "Basic eDp5"),
        signed().field("Authorization", ""),
        signed().field("X-App-Key", "other"),
        signed().field("X-App-Key", APP_KEY),
        signed().field("x-app-key", ""),
        Ask::get("/api/x")
            .keyed()
            .field("Authorization", format!("Basic eDp5, Bearer {}", token())),
        Ask::get("/api/x")
            .keyed()
            .field("Authorization", format!("Bearer {}, Basic eDp5", token())),
        Ask::get("/api/x")
            .keyed()
            .field("Authorization", format!("Bearer {0}, Bearer {0}", token())),
        Ask::get("/api/x").keyed().field("Authorization", format!("Bearer {0},{0}", token())),
    ];
    for ask in cases {
        world.deny(&ask, &[400, 401]);
    }
}

#[test]
fn only_the_form_of_a_bearer_token_is_one() {
    let world = World::usual_over_both();
    let with = |value: &str| Ask::get("/api/x").keyed().raw_line(format!("Authorization:{value}"));
    let t = token();
    for value in [
        "",
        " ",
        " Bearer",
        " Bearer ",
        " bearer",
        &format!(" Bearer{t}"),
        &format!(" fooBearer {t}"),
        &format!(" Bearer:{t}"),
        &format!(" Bearer: {t}"),
        &format!(" Bearer={t}"),
        &format!(" Bearer\t{t}"),
        &format!(" Bearer \t{t}"),
        &format!(" Bearer {t} x"),
        &format!(" Bearer {t}\tx"),
        &format!(" Bearer {t};"),
        &format!(" Bearer {t},"),
        &format!(" Bearer ,{t}"),
        &format!(" Bearer \"{t}\""),
        &format!(" Bearer <{t}>"),
        &format!(" Bearer token={t}"),
        &format!(" Bearer Bearer {t}"),
        &format!(" {t}"),
        &format!(" Token {t}"),
        &format!(" JWT {t}"),
        &format!(" Basic {t}"),
        &format!(" Digest {t}"),
        &format!(" , Bearer {t}"),
        &format!(" Bearer caf\u{e9}{t}"),
        " Basic eDp5",
        " Bearer undefined",
        " Bearer null",
        " Negotiate YII=",
    ] {
        world.deny(&with(value), &[400, 401]);
    }
    for value in [
        format!(" Bearer {t}"),
        format!("Bearer {t}"),
        format!("\t bEaReR {t} \t"),
        format!(" BEARER {t}"),
    ] {
        world.pass(&with(&value));
    }
    let line = [b"Authorization: Bearer ", t.as_bytes(), b"\xff"].concat();
    world.deny(&Ask::get("/api/x").keyed().raw_line(line), &[400, 401]);
}

#[test]
fn two_blanks_after_the_scheme_never_change_who_is_calling() {
    let world = World::usual_over_both();
    let ask = Ask::get("/api/x").keyed().field("Authorization", format!("Bearer  {}", token()));
    let answer = world.answer(&ask);
    assert!([200, 401].contains(&answer.status()), "{answer:?}");
    let forged = Ask::get("/api/x").keyed().field("Authorization", format!("Bearer  {}x", token()));
    world.deny(&forged, &[401]);
}

#[test]
fn a_credential_in_a_place_nobody_configured_is_no_credential() {
    let world = World::usual_over_both();
    let t = token();
    let keyed = || Ask::get("/api/x").keyed();
    let form = format!("access_token={t}");
    let cases = [
        Ask::get(&format!("/api/x?access_token={t}")).keyed(),
        Ask::get(&format!("/api/x?token={t}")).keyed(),
        Ask::get(&format!("/api/x?authorization=Bearer%20{t}")).keyed(),
        keyed().field("Cookie", format!("access_token={t}")),
        keyed().field("Cookie", format!("Authorization=Bearer {t}")),
        keyed().field("Proxy-Authorization", format!("Bearer {t}")),
        keyed().field("X-Authorization", format!("Bearer {t}")),
        keyed().field("X-Auth-Token", t),
        keyed().raw_line(format!("Authorization_: Bearer {t}")),
        Ask::post("/api/x", &form)
            .keyed()
            .field("Content-Type", "application/x-www-form-urlencoded"),
        Ask::get(&format!("/api/x?X-App-Key={APP_KEY}")).bearing(t),
        Ask::get(&format!("/api/x?app_key={APP_KEY}")).bearing(t),
        Ask::get("/api/x").bearing(t).field("Cookie", format!("X-App-Key={APP_KEY}")),
        Ask::get("/api/x").bearing(t).field("X_App_Key", APP_KEY),
        Ask::get("/api/x").bearing(t).field("X-App-Keys", APP_KEY),
        Ask::get("/api/x").bearing(t).field("App-Key", APP_KEY),
    ];
    for ask in cases {
        world.deny(&ask, &[400, 401]);
    }
}

#[test]
fn a_credential_beside_the_good_one_is_not_looked_at() {
    let world = World::usual_over_both();
    let other = other_token();
    for ask in [
        Ask::get(&format!("/api/x?access_token={other}")).signed(),
        Ask::get("/api/x").signed().field("Cookie", format!("access_token={other}")),
    ] {
        let forwarded = world.pass(&ask);
        crate::world::oracle::identity(&forwarded, &[("X-Auth-User", Some("ada"))]);
    }
}

#[test]
fn the_application_key_stays_with_the_gateway() {
    let world = World::usual_over_both();
    let forwarded = world.pass(&Ask::get("/api/x").signed());
    assert!(forwarded.fields.lacks("x-app-key"));
    assert!(!format!("{forwarded:?}").contains(APP_KEY));
    let kept = Setup::new()
        .checks("\n  app: { app_key: { header: X-App-Key, keep: true } }\n  user: { jwt: [ { issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"file:keys.json\", keep: false } ] }\n")
        .start();
    let forwarded = kept.pass(&Ask::get("/api/x").signed());
    assert_eq!(forwarded.fields.one("x-app-key"), APP_KEY);
    assert!(forwarded.fields.lacks("authorization"));
}

#[test]
fn a_pair_of_headers_is_one_key() {
    let world = Setup::new()
        .checks("\n  app: { app_key: { id: X-Id, secret: X-Secret } }\n")
        .defaults("{ require: app, forward: { X-App-Id: app.id } }")
        .routes("\n  - { match: \"* /api/**\", to: api }\n")
        .start();
    let mark = world.upstream.mark();
    let pair =
        |id: &str, secret: &str| Ask::get("/api/x").field("X-Id", id).field("X-Secret", secret);
    assert_eq!(world.answer(&pair("mobile", APP_KEY)).status(), 200);
    for ask in [
        pair("mobile", "wrong"),
        pair("other", APP_KEY),
        pair("Mobile", APP_KEY),
        pair("", APP_KEY),
        pair("mobile", ""),
        pair("mobile ", &format!("{APP_KEY}x")),
        pair(APP_KEY, "mobile"),
        Ask::get("/api/x").field("X-Id", "mobile"),
        Ask::get("/api/x").field("X-Secret", APP_KEY),
        pair("mobile", APP_KEY).field("X-Id", "mobile"),
        pair("mobile", APP_KEY).field("X-Secret", "x"),
        Ask::get("/api/x").keyed(),
        Ask::get("/api/x"),
    ] {
        let answer = world.answer(&ask);
        assert!([400, 401].contains(&answer.status()), "{ask:?}: {answer:?}");
    }
    let requests = world.upstream.since(&mark).unwrap();
    assert_eq!(requests.len(), 1, "only the good pair reached the upstream");
    assert!(requests[0].fields.lacks("x-secret") && requests[0].fields.lacks("x-id"));
}

#[test]
fn a_key_in_the_query_or_a_cookie_counts_where_it_was_configured_and_goes_no_further() {
    for (place, target, cookie) in [
        ("query: key", format!("/api/x?a=1&key={APP_KEY}&b=2"), None),
        ("cookie: key", "/api/x?a=1&b=2".to_owned(), Some(format!("a=1; key={APP_KEY}; b=2"))),
    ] {
        let world = Setup::new()
            .checks(&format!("\n  app: {{ app_key: {{ {place} }} }}\n"))
            .defaults("{ require: app }")
            .routes("\n  - { match: \"* /api/**\", to: api }\n")
            .start();
        let mut ask = Ask::get(&target);
        if let Some(cookie) = &cookie {
            ask = ask.field("Cookie", cookie);
        }
        let forwarded = world.pass(&ask);
        assert_eq!(forwarded.target(), "/api/x?a=1&b=2");
        assert!(!format!("{forwarded:?}").contains(APP_KEY));
        if cookie.is_some() {
            assert_eq!(forwarded.fields.one("cookie"), "a=1; b=2");
        }
        let mark = world.upstream.mark();
        let twice = Ask::get(&format!("{target}&key={APP_KEY}"))
            .field("Cookie", format!("key={APP_KEY}; key=x"));
        for ask in
            [twice, Ask::get("/api/x").keyed(), Ask::get("/api/x?key=").field("Cookie", "key=")]
        {
            let answer = world.answer(&ask);
            assert!([400, 401].contains(&answer.status()), "{place} {ask:?}: {answer:?}");
        }
        assert_eq!(world.upstream.since(&mark).unwrap(), []);
    }
}
