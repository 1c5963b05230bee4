//! The login service stays behind the gateway: its call goes through, its tokens are judged here. The
//! checks and routes are those of the examples.

use serde_json::{Value, json};

use crate::world::keys::{Key, NOW};
use crate::world::{APP, APP_KEY, Ask, Setup, World};

const SECRET: &str = "what both sides know, and nobody else does";

struct Vendor {
    world: World,
    key: Key,
}

impl Vendor {
    /// A gateway with the checks and routes of an example; what the default requires is `require`.
    fn of(example: &str, upstream: &str, require: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
        let text = std::fs::read_to_string(format!("{folder}/{example}.yaml")).unwrap();
        let checks = section(&text, "checks")
            .replace("file:keys/example-shared.secret", "file:shared.secret");
        let checks = format!("\n{checks}  control: {{ app_key: {{ header: X-App-Key }} }}\n");
        let routes = section(&text, "routes").replace(&format!("to: {upstream}"), "to: api");
        let control = "  - { match: GET /api/control, to: api, require: control }\n";
        let defaults = format!("{{ require: {require}, forward: {{ X-App-Id: app.id }} }}");
        let world = Setup::new()
            .file("shared.secret", SECRET)
            .checks(&checks)
            .routes(&format!("\n{routes}{control}"))
            .defaults(&defaults)
            .start();
        Self { world, key: Key::shared("theirs", SECRET.as_bytes()) }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.key.mint(header, claims)
    }

    /// A good token passes in each of these forms; everything that is wrong with one is refused.
    #[track_caller]
    fn judges(&self, ask: &Ask, schemes: &[&str], header: &Value, claims: &Value) {
        let with = |scheme: &str, token: &str| {
            ask.clone().field("Authorization", format!("{scheme}{token}"))
        };
        let scheme = schemes[0];
        for scheme in schemes {
            let good = with(scheme, &self.token(header, claims));
            let seen = self.world.pass(&good);
            assert!(seen.fields.one("authorization").starts_with(scheme));
        }
        let mut last_second = claims.clone();
        last_second["exp"] = json!(NOW + 1);
        self.world.pass(&with(scheme, &self.token(header, &last_second)));
        let mut expired = claims.clone();
        expired["exp"] = json!(NOW);
        let answer = self.world.deny(&with(scheme, &self.token(header, &expired)), &[401]);
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(document["reason"], json!("expired_token"));

        let forger = Key::shared("theirs", b"what somebody else made up, of the same length");
        let mut unsigned = header.clone();
        unsigned["alg"] = json!("none");
        let mut endless = claims.clone();
        endless.as_object_mut().unwrap().remove("exp");
        let good = self.token(header, claims);
        let (signed, _) = good.rsplit_once('.').unwrap();
        for token in [
            forger.mint(header, claims),
            forger.mint(header, &expired),
            self.token(&unsigned, claims),
            self.token(header, &endless),
            format!("{signed}."),
            signed.to_owned(),
        ] {
            let answer = self.world.deny(&with(scheme, &token), &[401]);
            let document: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(document["reason"], json!("invalid_token"), "{token}");
        }
        self.world.deny(&with("Digest ", &good), &[401]);
        self.world.deny(ask, &[401]);
    }
}

/// The lines below a top-level key.
fn section(text: &str, key: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != format!("{key}:")).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn ping_proxies_keeps_its_login_behind_the_application_key() {
    let vendor = Vendor::of("pass-through-ping-proxies", "proxies", "app and customer");
    let pair = |ask: Ask| {
        ask.field("X-Application-API-Public-Key", APP)
            .field("X-Application-API-Private-Key", APP_KEY)
            .field("X-Application-Forwarded-Client-IP-Address", "203.0.113.9")
    };
    let body = r#"{"customer_email_address":"a@example.com","customer_password":"p"}"#;
    let login = Ask::post("/v1.0/private/user/customer/login", body);
    let seen = vendor.world.pass(&pair(login.clone()));
    assert_eq!(seen.body, body.as_bytes());
    assert!(seen.fields.lacks("x-application-api-private-key"));
    assert_eq!(seen.fields.one("x-application-forwarded-client-ip-address"), "203.0.113.9");
    vendor.world.deny(&login, &[401]);
    let half = login.clone().field("X-Application-API-Public-Key", APP);
    vendor.world.deny(&half, &[401]);
    let wrong = half.field("X-Application-API-Private-Key", format!("{APP_KEY}x"));
    vendor.world.deny(&wrong, &[401]);

    let claims = json!({
        "fresh": false, "iat": NOW, "jti": "0", "type": "access",
        "sub": { "customer_id": 7, "customer_is_admin": true, "customer_admin_type": "ALL" },
        "nbf": NOW, "exp": NOW + 31_536_000,
    });
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let ask = Ask::get("/v1.0/private/user/service/search");
    vendor.judges(&pair(ask.clone()), &["Bearer ", ""], &header, &claims);
    // A good token does not stand in for the key.
    let token = vendor.token(&header, &claims);
    vendor.world.deny(&ask.bearing(&token), &[401]);
    // Nor a number that is not there for a customer.
    let nobody = json!({"sub": "7", "exp": NOW + 60});
    let ask = pair(Ask::get("/v1.0/private/user/service/search"));
    vendor.world.deny(&ask.bearing(&vendor.token(&header, &nobody)), &[401]);
}

#[test]
fn redis_keeps_its_login_in_both_of_its_forms() {
    let vendor = Vendor::of("pass-through-redis", "cluster", "user");
    let body = r#"{"username":"a@example.com","password":"p","ttl":5}"#;
    let seen = vendor.world.pass(&Ask::post("/v1/users/authorize", body));
    assert_eq!(seen.body, body.as_bytes());
    let basic = Ask::post("/v1/users/authorize", "").field("Authorization", "Basic YTpi");
    assert_eq!(vendor.world.pass(&basic).fields.one("authorization"), "Basic YTpi");
    vendor.world.pass(&basic.with_line("PUT /v1/users/password HTTP/1.1"));
    // Only the call itself is open, in one spelling.
    for target in ["/v1/users/authorize/", "/v1/users/Authorize", "/v1/users"] {
        vendor.world.deny(&Ask::post(target, body), &[400, 401, 404]);
    }
    vendor.world.deny(&Ask::get("/v1/users/authorize"), &[401]);
    let claims = json!({"iat": NOW, "uid": "1", "exp": NOW + 300});
    let header = json!({"alg": "HS256", "typ": "JWT"});
    vendor.judges(&Ask::get("/v1/bdbs"), &["JWT ", "Bearer "], &header, &claims);
    vendor.judges(&Ask::post("/v1/users/refresh_jwt", ""), &["JWT "], &header, &claims);
}

#[test]
fn analogue_keeps_its_login_and_its_open_routes() {
    let vendor = Vendor::of("pass-through-analogue", "logs", "user");
    let body = r#"{"user":{"email":"a@example.com","password":"p"}}"#;
    for target in ["/api/users/login", "/api/users"] {
        assert_eq!(vendor.world.pass(&Ask::post(target, body)).body, body.as_bytes());
    }
    vendor.world.deny(&Ask::get("/api/users"), &[401]);
    vendor.world.deny(&Ask::post("/api/users/logins", body), &[401]);
    let claims = json!({"id": 12, "exp": NOW + 5_184_000});
    let header = json!({"alg": "HS256"});
    vendor.judges(&Ask::get("/api/user"), &["Token "], &header, &claims);
    // Open to anybody; what is brought must be good.
    let open = Ask::get("/api/logs");
    vendor.world.pass(&open);
    let good = vendor.token(&header, &claims);
    vendor.world.pass(&open.clone().field("Authorization", format!("Token {good}")));
    vendor.world.deny(&open.clone().field("Authorization", format!("Token {good}x")), &[401]);
    let expired = vendor.token(&header, &json!({"id": 12, "exp": NOW}));
    vendor.world.deny(&open.field("Authorization", format!("Token {expired}")), &[401]);
}

#[test]
fn monogoto_keeps_its_login_and_its_customer_key() {
    let vendor = Vendor::of("pass-through-monogoto", "console", "user");
    let body = r#"{"UserName":"a@example.com","Password":"p"}"#;
    assert_eq!(vendor.world.pass(&Ask::post("/Auth", body)).body, body.as_bytes());
    vendor.world.deny(&Ask::get("/Auth"), &[401]);
    vendor.world.deny(&Ask::post("/Auth/refresh", body), &[401]);
    let claims = json!({
        "Role": "r", "CustomerId": "c", "UserId": "UserId_1", "OrganizationId": "o",
        "iat": NOW, "exp": NOW + 14_400,
    });
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let ask = Ask::post("/thing/searchCDR", "").field("apikey", "c");
    vendor.judges(&ask, &["Bearer "], &header, &claims);
    let seen = vendor.world.pass(&ask.bearing(&vendor.token(&header, &claims)));
    assert_eq!(seen.fields.one("apikey"), "c");
}
