//! The presets that come with the gateway say what the documents say.

use serde_json::{Map, Value, json};

use super::*;
use crate::config::At;
use crate::config::Findings;
use crate::config::PRESETS;
use crate::config::Place;
use crate::config::Report;
use crate::config::Secrets;
use crate::config::Source;

/// A preset by its name, of the generation that is spoken by default or of another.
#[track_caller]
pub(super) fn dialect(name: &str, generation: Option<&str>) -> Dialect {
    let at = |text: &str| At { value: text.to_owned(), place: Place::default() };
    let mut findings = Findings::new();
    let generation = generation.map(at);
    let loaded =
        Dialect::load(&at(name), generation.as_ref(), &mut Secrets::new("/"), &mut findings);
    let report = Report::new(Source::new("none", ""), findings);
    loaded.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn every_preset_loads_in_every_generation() {
    for (name, _) in PRESETS {
        assert_eq!(dialect(name, None).name, name);
    }
    for generation in ["rails", "node", "spec-2026"] {
        dialect("analogue", Some(generation));
    }
}

/// What a call reads from a JSON body.
#[track_caller]
fn read(dialect: &Dialect, kind: CallKind, body: &str) -> Result<Fields, ReadError> {
    dialect.calls[&kind].read(Some(b"application/json"), body.as_bytes())
}

#[track_caller]
fn assert_refused(dialect: &Dialect, kind: CallKind, body: &str, failure: Failure, field: &str) {
    let error = read(dialect, kind, body).unwrap_err();
    let found = (error.failure, error.field.unwrap_or_default());
    assert_eq!(found, (failure, field.to_owned()), "{body}");
}

/// Status and body of what a call answers to a failure.
fn answered(answers: &Answers, failure: Failure, scope: &Scope<'_>) -> (u16, String) {
    shown(answers.answer(failure), scope)
}

fn shown(answer: &Answer, scope: &Scope<'_>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = match &answer.body {
        answer::Content::Empty => String::new(),
        answer::Content::Text(_, text) => text.text(scope),
        answer::Content::Json(_, json) => json.render(scope).to_string(),
    };
    (status, body)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

#[test]
fn tokens_have_the_documented_claims_in_their_order() {
    let attributes = object(json!({"customer_first_name": "Johnz", "customer_is_admin": true}));
    let scope = Scope::new()
        .with(Name::Now, 100)
        .with(Name::Expires, 400)
        .with(Name::TokenId, "id")
        .with(Name::UserNumber, 6)
        .with(Name::UserNumberText, "6")
        .with(Name::UserId, "u_6")
        .with(Name::UserLogin, "a@b")
        .with_attributes(&attributes);
    for (name, identity, expected) in [
        ("redis-7.4", IdentityKind::NumberText, r#"{"iat":100,"uid":"6","exp":400}"#),
        ("redis-7.8", IdentityKind::NumberText, r#"{"iat":100,"uid":"6","exp":400}"#),
        ("analogue", IdentityKind::Number, r#"{"id":6,"exp":400}"#),
        (
            "ping-proxies",
            IdentityKind::Number,
            concat!(
                r#"{"fresh":false,"iat":100,"jti":"id","type":"access","sub":{"customer_id":6,"#,
                r#""customer_first_name":"Johnz","customer_last_name":null,"#,
                r#""customer_email_address":"a@b","customer_session_key":null,"#,
                r#""customer_is_admin":true,"customer_admin_type":null,"#,
                r#""session_creation_time":null,"session_ip_address":null},"nbf":100,"exp":400}"#,
            ),
        ),
    ] {
        let recipe = dialect(name, None).token;
        assert_eq!(Value::Object(recipe.claims(&scope)).to_string(), expected);
        assert_eq!((recipe.identity.kind, recipe.is_shared()), (identity, true), "{name}");
        assert!(!recipe.names_issuer && !recipe.names_audience);
    }
    let monogoto = dialect("monogoto", None).token;
    assert_eq!(monogoto.claims(&scope)["UserId"], "UserId_u_6");
    let found = (&*monogoto.identity.pointer, monogoto.identity.kind, &*monogoto.identity.prefix);
    assert_eq!(found, ("/UserId", IdentityKind::Id, "UserId_"));
    let native = dialect("native", None).token;
    assert!(native.names_issuer && native.names_audience && !native.is_shared());
    assert_eq!(native.typ.as_deref(), Some("at+jwt"));
    assert_eq!(dialect("analogue", None).token.typ, None);
}

#[test]
fn lifetimes_schemes_and_families_are_the_documented_ones() {
    for (name, family, seconds, schemes) in [
        ("ping-proxies", "ping-proxies", 31_536_000, "Bearer none"),
        ("redis-7.4", "redis", 300, "JWT Bearer"),
        ("redis-7.8", "redis", 300, "JWT Bearer"),
        ("analogue", "analogue", 5_184_000, "Token"),
        ("monogoto", "monogoto", 14_400, "Bearer"),
    ] {
        let dialect = dialect(name, None);
        assert_eq!(dialect.family, family);
        assert_eq!(dialect.token.lifetime.as_secs(), seconds, "{name}");
        assert_eq!(dialect.token.schemes.join(" "), schemes, "{name}");
    }
    let lockout = dialect("redis-7.8", None).lockout;
    assert_eq!(lockout, dialect("redis-7.4", None).lockout);
    assert_eq!(
        (lockout.failures, lockout.window.as_secs(), lockout.lock.as_secs()),
        (5, 900, 1800)
    );
}

#[test]
fn a_time_to_live_is_a_whole_number_within_its_bounds() {
    let (old, new) = (dialect("redis-7.4", None), dialect("redis-7.8", None));
    let ttl = |ttl: u64| Some(Duration::from_secs(ttl));
    for good in [1, 300, 86_400] {
        let fields = read(&new, CallKind::Login, &format!("{{\"ttl\":{good}}}")).unwrap();
        assert_eq!(fields.ttl, ttl(good));
    }
    assert_eq!(read(&new, CallKind::Login, "{}").unwrap().ttl, None);
    assert_eq!(new.calls[&CallKind::Login].read(None, b"").unwrap().ttl, None);
    assert_eq!(new.calls[&CallKind::Login].caller, Caller::Basic);
    for bad in ["0", "86401", "-1", "1.5", "300.0", "1e2", "null", "\"300\"", "true", "[300]"] {
        let login = format!("{{\"username\":\"a\",\"password\":\"b\",\"ttl\":{bad}}}");
        for (dialect, body) in [(&new, format!("{{\"ttl\":{bad}}}")), (&old, login)] {
            let error = read(dialect, CallKind::Login, &body).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("ttl"), "{body}");
            let scope = Scope::new().with(Name::Field, "ttl");
            let (status, _) = answered(&dialect.answers, error.failure, &scope);
            assert_eq!(status, 400, "{body}");
        }
    }
}

#[test]
fn a_body_is_read_in_one_way_or_not_at_all() {
    let redis = dialect("redis-7.4", None);
    let good = r#"{"username":"a","password":"b","extra":{"x":[]}}"#;
    let fields = read(&redis, CallKind::Login, good).unwrap();
    assert_eq!((fields.login.as_deref(), fields.ttl), (Some("a"), None));
    assert_eq!(fields.password.map(|text| text.expose().clone()).as_deref(), Some("b"));
    for body in [
        "",
        " ",
        "[]",
        "null",
        r#"{"username":"a","password":"b","password":"c"}"#,
        r#"{"username":"a","password":"b"} x"#,
        r#"{"user": { "email" "e", "password": "p" }}"#,
        r#"{"username":"a","password":"\ud800"}"#,
        &format!(r#"{{"username":"a","password":"b","x":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
    ] {
        assert_refused(&redis, CallKind::Login, body, Failure::Malformed, "");
    }
    let login = |body: &str, failure, field| {
        assert_refused(&redis, CallKind::Login, body, failure, field);
    };
    login(r#"{"password":"b"}"#, Failure::MissingField, "username");
    login(r#"{"username":"a"}"#, Failure::MissingField, "password");
    login(r#"{"username":"","password":"b"}"#, Failure::BlankField, "username");
    login(r#"{"username":null,"password":"b"}"#, Failure::BlankField, "username");
    login(r#"{"username":7,"password":"b"}"#, Failure::WrongType, "username");
    login(r#"{"username":["a"],"password":""}"#, Failure::WrongType, "username");
    login(r#"{"username":"","password":7}"#, Failure::WrongType, "password");
    let long = |n: usize| format!(r#"{{"username":"a","password":"{}"}}"#, "x".repeat(n));
    assert!(read(&redis, CallKind::Login, &long(1024)).is_ok());
    login(&long(1025), Failure::BadOption, "password");
    login(&long(17 << 10), Failure::TooLarge, "");
    let analogue = dialect("analogue", None);
    for (body, failure) in [
        (r#"{"user":7}"#, Failure::WrongType),
        (r#"{"user":null}"#, Failure::WrongType),
        (r#"{"user":["email"]}"#, Failure::WrongType),
        (r#"{"email":"a","password":"b"}"#, Failure::MissingField),
    ] {
        assert_refused(&analogue, CallKind::Login, body, failure, "email");
    }
}

#[test]
fn a_body_of_another_media_type_is_not_read() {
    let redis = dialect("redis-7.4", None);
    let call = &redis.calls[&CallKind::Login];
    let body = br#"{"username":"a","password":"b"}"#;
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
    ] {
        assert!(call.read(Some(good.as_bytes()), body).is_ok(), "{good}");
    }
    for bad in ["", "text/plain", "application/jsonx", "application/json; charset=utf-16", "*/*"] {
        let error = call.read(Some(bad.as_bytes()), body).unwrap_err();
        assert_eq!(error.failure, Failure::UnsupportedType, "{bad}");
    }
    assert_eq!(call.read(None, body).unwrap_err().failure, Failure::UnsupportedType);
}

#[test]
fn a_challenge_is_answered_whole() {
    let ping = dialect("ping-proxies", None);
    let body =
        |rest: &str| format!(r#"{{"customer_email_address":"a@b","customer_password":"p"{rest}}}"#);
    let (key, code) = (
        r#","two_factor_authentication_public_key":"k""#,
        r#","two_factor_authentication_private_key":"123456""#,
    );
    assert!(read(&ping, CallKind::Login, &body("")).unwrap().code.is_none());
    assert!(read(&ping, CallKind::Login, &body(&format!("{key}{code}"))).unwrap().code.is_some());
    let private = "two_factor_authentication_private_key";
    assert_refused(&ping, CallKind::Login, &body(key), Failure::MissingField, private);
    let public = "two_factor_authentication_public_key";
    assert_refused(&ping, CallKind::Login, &body(code), Failure::MissingField, public);
}

#[test]
fn answers_are_the_documented_ones() {
    let scope = Scope::new()
        .with(Name::RequestId, "r")
        .with(Name::Field, "email")
        .with(Name::ChallengeKey, "k")
        .with(Name::ChallengeService, "totp")
        .with(Name::ChallengeTarget, "a**@b");
    let says = |name: &str, generation: Option<&str>, failure, status: u16, body: &str| {
        let found = answered(&dialect(name, generation).answers, failure, &scope);
        assert_eq!(found, (status, body.to_owned()), "{name} {generation:?}");
    };
    says(
        "ping-proxies",
        None,
        Failure::SecondFactorNeeded,
        499,
        concat!(
            r#"{"error":"Two Factor Authentication Required","#,
            r#""message":"Repeat the request with the two-factor authentication keys.","#,
            r#""two_factor_authentication_public_key":"k","#,
            r#""two_factor_authentication_service":"totp","two_factor_authentication_target":"a**@b"}"#,
        ),
    );
    says(
        "redis-7.8",
        None,
        Failure::PasswordExpired,
        401,
        concat!(
            r#"{"error_code":"password_expired","#,
            r#""message":"The password has expired and must be changed.","#,
            r#""description":"The password has expired and must be changed."}"#,
        ),
    );
    says("monogoto", None, Failure::WrongCredentials, 404, "Access denied");
    says("monogoto", None, Failure::Disabled, 404, "Access denied");
    let rails = r#"{"errors":{"email or password":["is invalid"]}}"#;
    says("analogue", None, Failure::WrongCredentials, 422, rails);
    says("analogue", Some("rails"), Failure::BlankField, 422, rails);
    says("analogue", Some("node"), Failure::WrongCredentials, 403, rails);
    let blank = r#"{"errors":{"email":["can't be blank"]}}"#;
    says("analogue", Some("node"), Failure::BlankField, 422, blank);
    let credentials = r#"{"errors":{"credentials":["invalid"]}}"#;
    says("analogue", Some("spec-2026"), Failure::WrongCredentials, 401, credentials);
    let taken = r#"{"errors":{"email":["has already been taken"]}}"#;
    says("analogue", None, Failure::NameTaken, 422, taken);
    says("analogue", Some("spec-2026"), Failure::NameTaken, 409, taken);
    says("analogue", None, Failure::ExpiredToken, 401, "");
}

#[test]
fn what_looks_alike_is_answered_alike() {
    let alike = |name: &str, failures: &[Failure]| {
        let dialect = dialect(name, None);
        let scope = Scope::new();
        let first = answered(&dialect.answers, Failure::WrongCredentials, &scope);
        for failure in failures {
            assert_eq!(answered(&dialect.answers, *failure, &scope), first, "{name} {failure:?}");
        }
    };
    alike("redis-7.4", &[Failure::Locked, Failure::Disabled]);
    alike("redis-7.8", &[Failure::Locked, Failure::Disabled, Failure::MissingCredentials]);
    alike("monogoto", &[Failure::Locked, Failure::Disabled, Failure::PasswordExpired]);
}

#[test]
fn an_expired_token_is_401_in_every_voice() {
    let generations = [Some("rails"), Some("node"), Some("spec-2026")].map(|one| ("analogue", one));
    let all = PRESETS.iter().map(|(name, _)| (*name, None)).chain(generations);
    for (name, generation) in all {
        let dialect = dialect(name, generation);
        let spoken = dialect.voice.answer(Refusal::ExpiredToken);
        assert!(spoken.is_none_or(|answer| answer.status() == 401), "{name}");
        assert_eq!(dialect.answers.answer(Failure::ExpiredToken).status(), 401, "{name}");
    }
    let rails = dialect("analogue", None);
    let scope = Scope::new();
    let voice = |refusal| rails.voice.answer(refusal).map(|answer| shown(answer, &scope));
    assert_eq!(voice(Refusal::ExpiredToken), Some((401, String::new())));
    assert_eq!(voice(Refusal::BadSignature), Some((401, String::new())));
    let other = "HTTP Token: Access denied.\n".to_owned();
    assert_eq!(voice(Refusal::OtherScheme), Some((401, other)));
    assert_eq!(voice(Refusal::SecondFactorNeeded), None);
}

#[test]
fn a_login_is_answered_as_documented() {
    let attributes = object(json!({"username": "analogue", "CustomerId": "cid_1"}));
    let scope = Scope::new()
        .with(Name::Token, "t")
        .with(Name::RefreshToken, "r")
        .with(Name::UserNumber, 1)
        .with(Name::UserId, "u_1")
        .with(Name::UserLogin, "a@b")
        .with(Name::UserHasTotp, false)
        .with(Name::UserPermissions, json!({"API": ["view"]}))
        .with_attributes(&attributes);
    let says = |name: &str| shown(&dialect(name, None).calls[&CallKind::Login].success, &scope);
    for (name, body) in [
        ("redis-7.4", r#"{"access_token":"t"}"#),
        ("redis-7.8", r#"{"access_token":"t"}"#),
        ("ping-proxies", r#"{"data":{"access_token":"t"},"message":"Login successful."}"#),
        (
            "analogue",
            r#"{"user":{"id":1,"email":"a@b","username":"analogue","name":null,"bio":null,"topics":[],"image":null,"token":"t"}}"#,
        ),
    ] {
        assert_eq!(says(name), (200, body.to_owned()));
    }
    let (_, body) = says("monogoto");
    let body: Value = serde_json::from_str(&body).unwrap();
    let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        [
            "token",
            "refreshToken",
            "CustomerId",
            "UserId",
            "UserName",
            "Role",
            "Realm",
            "OrganizationId",
            "AccountSettings",
            "ThingsGroupIds",
            "UserProfile"
        ]
    );
    assert_eq!(body["UserProfile"]["Permissions"], json!({"API": ["view"]}));
    assert_eq!(body["AccountSettings"], json!({"TwoFactorAuthentication": false}));
    assert_eq!(body["Realm"], "customer");
}

#[test]
fn a_profile_is_changed_and_null_removes() {
    let analogue = dialect("analogue", None);
    let body = r#"{"user":{"bio":"","image":null,"username":"u","password":"n","topics":["a"]}}"#;
    let fields = read(&analogue, CallKind::Update, body).unwrap();
    let expected = object(json!({"bio": null, "image": null, "topics": ["a"], "username": "u"}));
    assert_eq!(fields.attributes, expected);
    assert!(fields.new_password.is_some() && fields.login.is_none());
    let blank = r#"{"user":{"username":""}}"#;
    assert_refused(&analogue, CallKind::Update, blank, Failure::BlankField, "username");
    let blank = r#"{"user":{"email":null}}"#;
    assert_refused(&analogue, CallKind::Update, blank, Failure::BlankField, "email");
    let number = r#"{"user":{"bio":7}}"#;
    assert_refused(&analogue, CallKind::Update, number, Failure::WrongType, "bio");
}

#[test]
fn an_answer_is_never_stored_and_leaves_out_what_nobody_knows() {
    let redis = dialect("redis-7.4", None);
    let answer = redis.answers.answer(Failure::Throttled);
    let known = answer.respond(&Scope::new().with(Name::RetryAfter, 7));
    assert_eq!(known.headers()["retry-after"], "7");
    assert_eq!(known.headers()["cache-control"], "no-store");
    assert_eq!(known.headers()["content-type"], "application/json");
    assert!(!answer.respond(&Scope::new()).headers().contains_key("retry-after"));
    let keys = dialect("native", None);
    let keys = keys.calls[&CallKind::KeySet].success.respond(&Scope::new());
    assert_eq!(keys.headers()["cache-control"], "public, max-age=300");
}
