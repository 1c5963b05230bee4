//! Where `or` lets one credential pass, those that nobody judged go no further.

use crate::world::APP;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::keys::OTHER_P256;
use crate::world::keys::USER;
use crate::world::keys::claims;
use crate::world::oracle;

const CHECKS: &str = r#"
  app: { app_key: { header: X-App-Key } }
  kept: { app_key: { header: X-Kept-Key, keep: true } }
  link: { app_key: { query: key, keep: true } }
  customer: { header: { name: CustomerId, equals: user.CustomerId } }
  staff:
    jwt: [ { issuer: "https://id.test", audience: orders, algorithms: [ES256], jwks: "file:keys.json" } ]
  user:
    jwt:
      - issuer: "https://id.test"
        audience: orders
        algorithms: [ES256]
        jwks: "file:keys.json"
        header: X-User-Token
        cookie: user_token
"#;

const ROUTES: &str = r#"
  - { match: "* /api/**", to: api }
  - { match: "* /both", to: api, require: app and user }
  - { match: "* /perhaps", to: api, require: "app and user?" }
  - { match: "* /either", to: api, require: app or user }
  - { match: "* /grouped", to: api, require: "app and (user or staff)" }
  - { match: "* /token-first", to: api, require: user or kept or link }
  - { match: "* /shared", to: api, require: staff or user }
  - { match: "* /customer", to: api, require: "app or (user and customer)" }
  - { match: "* /app", to: api, require: app }
  - { match: "* /public", to: api, public: true }
"#;

/// A key that seals, in hexadecimal.
const MASTER: &str = "070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0";

fn world() -> World {
    Setup::new().checks(CHECKS).routes(ROUTES).start()
}

fn forged() -> String {
    OTHER_P256.token("ES256", &claims())
}

/// A token nobody would accept, in every place where `user` looks.
fn with_forged(ask: &Ask, token: &str) -> [Ask; 4] {
    [
        ask.clone().field("Authorization", format!("Bearer {token}")),
        ask.clone().field("Authorization", "Bearer").field("Authorization", "Basic eDp5"),
        ask.clone().field("X-User-Token", token),
        ask.clone().field("Cookie", format!("user_token={token}")),
    ]
}

#[track_caller]
fn lacks_tokens(request: &Message) {
    for name in ["authorization", "x-user-token"] {
        assert!(request.fields.lacks(name), "{request:?}");
    }
    for cookies in request.fields.all("cookie") {
        assert!(!cookies.contains("user_token"), "{request:?}");
    }
}

#[test]
fn a_token_that_nobody_judged_goes_no_further() {
    let world = world();
    let keyed = Ask::get("/either").keyed().field("Cookie", "a=b");
    for token in [forged(), TOKEN.clone()] {
        for ask in with_forged(&keyed, &token) {
            let request = world.pass(&ask);
            lacks_tokens(&request);
            oracle::identity(&request, &[("X-App-Id", Some(APP)), ("X-Auth-User", None)]);
            assert!(request.fields.all("cookie").concat().contains("a=b"), "{request:?}");
        }
    }
    // Asked, the same token is judged.
    for target in ["/either", "/token-first", "/grouped"] {
        for ask in with_forged(&Ask::get(target), &forged()) {
            world.deny(&ask, &[400, 401]);
        }
    }
    for target in ["/both", "/perhaps"] {
        for ask in with_forged(&Ask::get(target).keyed(), &forged()) {
            world.deny(&ask, &[400, 401]);
        }
    }
}

#[test]
fn what_was_judged_is_passed_on() {
    let world = world();
    let bearer = format!("Bearer {}", *TOKEN);
    for target in ["/both", "/perhaps"] {
        let request = world.pass(&Ask::get(target).signed());
        assert_eq!(request.fields.one("authorization"), bearer);
    }
    for target in ["/either", "/token-first"] {
        let request = world.pass(&Ask::get(target).bearing(&TOKEN));
        assert_eq!(request.fields.one("authorization"), bearer);
        oracle::identity(&request, &[("X-App-Id", None), ("X-Auth-User", Some(USER))]);
    }
    // One place, two checks: the first one judged what stands there, and nothing but that.
    let both = Ask::get("/shared").bearing(&TOKEN).field("X-User-Token", forged());
    let request = world.pass(&both);
    assert_eq!(request.fields.one("authorization"), bearer);
    assert!(request.fields.lacks("x-user-token"), "{request:?}");
    let request = world.pass(&Ask::get("/grouped").keyed().bearing(&TOKEN));
    assert_eq!(request.fields.one("authorization"), bearer);
}

#[test]
fn a_key_that_nobody_judged_goes_no_further_either() {
    let world = world();
    for key in [APP_KEY, "forged"] {
        let request =
            world.pass(&Ask::get("/token-first").bearing(&TOKEN).field("X-Kept-Key", key));
        assert!(request.fields.lacks("x-kept-key"), "{request:?}");
        let target = format!("/token-first?a=b&key={key}&c=d");
        let request = world.pass(&Ask::get(&target).bearing(&TOKEN));
        assert!(request.line.contains("/token-first?a=b&c=d "), "{request:?}");
    }
    let request = world.pass(&Ask::get("/token-first").field("X-Kept-Key", APP_KEY));
    assert_eq!(request.fields.one("x-kept-key"), APP_KEY);
    let request = world.pass(&Ask::get(&format!("/token-first?key={APP_KEY}")));
    assert!(request.line.contains(&format!("?key={APP_KEY} ")), "{request:?}");
    world.deny(&Ask::get("/token-first").field("X-Kept-Key", "forged"), &[401]);
    world.deny(&Ask::get("/token-first?key=forged"), &[401]);
}

#[test]
fn a_claim_in_a_header_that_nobody_compared_goes_no_further() {
    let world = world();
    let ask = |key: &str| Ask::get("/customer").field("X-App-Key", key).field("CustomerId", "7");
    let request = world.pass(&ask(APP_KEY).field("Customer-Id", "8"));
    oracle::identity(&request, &[("CustomerId", None), ("X-App-Id", Some(APP))]);
    world.deny(&ask("wrong"), &[401]);
    // Nobody knows anything about this user that the header could equal.
    let user = Ask::get("/customer").bearing(&TOKEN);
    world.deny(&user, &[401, 403]);
    world.deny(&user.field("CustomerId", "7"), &[401, 403]);
}

#[test]
fn a_password_goes_no_further_wherever_it_is_sent() {
    let basic = format!("{CHECKS}  basic: {{ basic: self }}\n");
    let routes = format!("{ROUTES}  - {{ match: \"* /basic\", to: api, require: app or basic }}\n");
    let world = Setup::new()
        .checks(&basic)
        .routes(&routes)
        .file("master.key", MASTER)
        .extra("store: sqlite:p.db\nsecrets: { master: \"file:master.key\" }")
        .start();
    for target in ["/basic", "/either", "/app", "/public"] {
        for held in ["Basic eDp5", "basic eDp5", "Basic"] {
            let request = world.pass(&Ask::get(target).keyed().field("Authorization", held));
            assert!(request.fields.lacks("authorization"), "{target}: {request:?}");
        }
        let other = Ask::get(target).keyed().field("Authorization", "Digest x");
        assert_eq!(world.pass(&other).fields.one("authorization"), "Digest x");
    }
    for held in ["Basic eDp5", "Basic"] {
        world.deny(&Ask::get("/basic").field("Authorization", held), &[400, 401, 503]);
        world.deny(&Ask::get("/both").keyed().field("Authorization", held), &[400, 401]);
    }
}

#[test]
fn where_no_check_looks_a_header_is_forwarded_as_it_was_written() {
    let world = world();
    let token = forged();
    for ask in [Ask::get("/app").keyed(), Ask::get("/public")] {
        let request = world.pass(&ask.bearing(&token).field("X-User-Token", "own"));
        assert_eq!(request.fields.one("authorization"), format!("Bearer {token}"));
        assert_eq!(request.fields.one("x-user-token"), "own");
    }
}

#[test]
fn a_second_spelling_of_a_credential_goes_no_further() {
    let world = world();
    for name in ["X_User_Token", "X-User_Token", "x.user.token", "XUserToken"] {
        let ask = Ask::get("/both").keyed().field("X-User-Token", &*TOKEN).field(name, "forged");
        oracle::identity(&world.pass(&ask), &[("X-User-Token", Some(TOKEN.as_str()))]);
        let ask = Ask::get("/public").field(name, "forged");
        oracle::identity(&world.pass(&ask), &[("X-User-Token", None)]);
        world.deny(&Ask::get("/both").keyed().field(name, &*TOKEN), &[401]);
    }
    for name in ["X-User-Tokens", "X-Token"] {
        assert_eq!(world.pass(&Ask::get("/public").field(name, "own")).fields.one(name), "own");
    }
}

#[test]
fn trailers_hold_no_credential() {
    let world = world();
    for name in ["X-User-Token", "X-Kept-Key", "X-App-Key", "CustomerId", "Authorization", "Cookie"]
    {
        for ask in [Ask::new("POST", "/both").signed(), Ask::new("POST", "/public")] {
            let ask = ask
                .field("Transfer-Encoding", "chunked")
                .body(format!("2\r\nhi\r\n0\r\n{name}: forged\r\nX-Sum: 7\r\n\r\n"));
            let request = world.pass(&ask);
            assert!(request.trailers.lacks(name), "{name}: {request:?}");
            assert_eq!(request.trailers.one("x-sum"), "7");
        }
    }
}
