//! What expressions see, what they refuse, and what cannot be written.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::Value as Json;
use serde_json::json;

use crate::clock::Timestamp;
use crate::id::AppId;
use crate::principal::App;
use crate::principal::Permissions;
use crate::principal::Principal;
use crate::principal::Subject;

use super::check::MAX_DEPTH;
use super::*;

const PATH: &str = "/users/u1/orders/7";
const PARAMS: [&str; 2] = ["id", "order"];

fn app() -> Arc<App> {
    Arc::new(App { id: AppId::new("mobile"), scopes: vec!["orders".into(), "mail".into()] })
}

fn user_with(claims: Json) -> Arc<Subject> {
    let Json::Object(claims) = claims else { panic!() };
    Arc::new(Subject {
        identity: "u1".into(),
        issuer: "https://id.example.com".into(),
        claims,
        permissions: Permissions::of_claim(&json!({"Users": ["view", "edit"], "Tags": []})),
        expires_at: Timestamp::from_seconds(0),
        bound_to: None,
        own: None,
    })
}

fn everybody() -> Principal {
    let user = user_with(json!({
        "sub": "u1",
        "groups": ["staff", "eu"],
        "level": 3,
        "ratio": 0.5,
        "big": u64::MAX,
        "admin": false,
        "nothing": null,
        "org": {"id": "o1", "tier": {"name": "gold"}},
        "https://example.com/roles": ["auditor"],
        "mixed": [1, "a", [true]],
    }));
    Principal { app: Some(app()), user: Some(user), facts: None, certificate: None }
}

fn with_facts<R>(principal: &Principal, ask: impl FnOnce(&Facts<'_>) -> R) -> R {
    ask(&Facts {
        principal,
        method: "GET",
        host: "api.example.com",
        path: PATH,
        params: &[7..9, 17..18],
        address: "::ffff:192.0.2.7".parse::<IpAddr>().unwrap(),
    })
}

#[track_caller]
fn evaluate(text: &str, principal: &Principal) -> Result<bool, String> {
    let expression = Expression::parse(text, &PARAMS).unwrap_or_else(|e| panic!("{text}: {e}"));
    with_facts(principal, |facts| expression.evaluate(facts))
}

#[test]
fn facts_have_their_values() {
    for text in [
        "user.id == 'u1' && user.issuer.startsWith('https://id.')",
        "user.present && app.present",
        r#"app.id == "mobile" && 'orders' in app.scopes && size(app.scopes) == 2"#,
        "request.method == 'GET' && request.host.endsWith('.example.com')",
        "request.path.contains('/orders/') && request.address == '192.0.2.7'",
        "request.params.id == user.id && request.params.order == '7'",
        "user.can('Users:edit') && user.can('Users:view')",
        "user.can(request.method == 'GET' ? 'Users:view' : 'Users:delete')",
        "!user.can('Users') && !user.can('Users:delete') && !user.can('Tags:view')",
        "'Users:view' in user.permissions && !('Users' in user.permissions)",
        "user.claims.sub == user.id && user.claims['sub'] == 'u1'",
        "user.claims.level >= 3 && user.claims.level < 3.5 && user.claims.ratio == 0.5",
        "user.claims.big > 0u && user.claims.admin == false && user.claims.nothing == null",
        "user.claims.level > -1",
        "user.claims.org.tier.name == 'gold' && user.claims.org['id'] in ['o1', 'o2']",
        "'auditor' in user.claims['https://example.com/roles']",
        "user.claims.groups == ['staff', 'eu'] && user.claims.groups[1] == 'eu'",
        "['staff', 'eu'] == user.claims.groups",
        "user.claims.groups.exists(g, g == 'eu') && user.claims.groups.all(g, size(g) > 1)",
        "!user.claims.groups.exists(g, g == request.params.id)",
        "user.claims.groups.exists(g, user.can('Users:edit') && g == 'eu')",
        "user.claims.org.exists(key, key == 'id') && size(user.claims.org) == 2",
        "has(user.claims.sub) && has(user.claims.org.tier) && !has(user.claims.other)",
        "'sub' in user.claims && !('other' in user.claims)",
        "user.claims.mixed[2][0] && size(user.claims.mixed) == 3",
        "app.scopes.all(s, s in ['orders', 'mail'])",
        "user.claims.other == 1 || request.method == 'GET'",
    ] {
        assert_eq!(evaluate(text, &everybody()), Ok(true), "{text}");
    }
}

#[test]
fn what_is_false_is_refused() {
    for text in [
        "user.id == 'U1'",
        "user.can('Users:delete')",
        "user.can('')",
        "'admin' in app.scopes",
        "user.claims.level > 3",
        "user.claims.level == '3'",
        "request.method == 'HEAD'",
        "user.claims.groups.exists(g, g == 'us')",
        "user.claims.groups.all(g, g == 'eu')",
        "has(user.claims.Sub)",
        "request.params.id == request.params.order",
    ] {
        assert_eq!(evaluate(text, &everybody()), Ok(false), "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_without_telling_a_value() {
    for (text, reason) in [
        ("user.claims.other == 'x'", "there is no `other`"),
        ("user.claims.other != 'x'", "there is no `other`"),
        ("!(user.claims.other == 'x')", "there is no `other`"),
        ("user.claims.sub", "it is neither true nor false"),
        ("user.claims.sub.name == 'x'", ""),
        ("user.claims.level.startsWith('3')", ""),
        ("user.claims.level > 'a'", ""),
        ("'x' in user.claims.sub", ""),
        ("user.can(user.claims.level)", ""),
        ("user.claims[user.claims.level] == 1", ""),
        ("user.claims.groups[2] == 'x'", "the list is shorter"),
        ("user.claims.groups[-1] == 'x'", ""),
        ("user.claims.level.exists(x, x == 1)", ""),
        ("user.claims.mixed.all(x, x > 0)", ""),
        ("user.claims.sub && true", ""),
        ("has(user.claims.other.name)", "there is no `other`"),
        ("size(user.claims.level) == 1", ""),
        ("user.claims.sub ? true : false", ""),
    ] {
        let failure = evaluate(text, &everybody()).expect_err(text);
        assert!(failure.starts_with(reason), "{text}: {failure}");
        assert!(!failure.contains("u1"), "{text}: {failure}");
    }
}

#[test]
fn a_caller_who_is_not_there_fails_everything_but_present() {
    let nobody = Principal::default();
    for text in ["!user.present", "!app.present", "user.present || request.method == 'GET'"] {
        assert_eq!(evaluate(text, &nobody), Ok(true), "{text}");
    }
    assert_eq!(evaluate("user.present && user.id == 'u1'", &nobody), Ok(false));
    for text in [
        "user.id == ''",
        "user.id != 'u1'",
        "user.issuer == ''",
        "!user.can('x')",
        "size(user.permissions) == 0",
        "!has(user.claims.sub)",
        "!('sub' in user.claims)",
        "user.claims.sub != 'u1'",
        "user.permissions.all(p, p == 'x')",
        "app.id != 'x'",
        "size(app.scopes) == 0",
        "app.scopes.all(s, true)",
    ] {
        let failure = evaluate(text, &nobody).expect_err(text);
        assert!(failure.starts_with("there is no "), "{text}: {failure}");
    }
    let user_only = Principal { app: None, ..everybody() };
    assert_eq!(evaluate("user.id == 'u1'", &user_only), Ok(true));
    assert!(evaluate("app.id == 'mobile'", &user_only).is_err());
}

#[test]
fn a_parameter_that_was_not_captured_fails_the_expression() {
    let expression = Expression::parse("request.params.order != '8'", &PARAMS).unwrap();
    let nobody = Principal::default();
    with_facts(&nobody, |facts| {
        assert_eq!(expression.evaluate(facts), Ok(true));
        assert!(expression.evaluate(&Facts { params: &[], ..*facts }).is_err());
        assert!(expression.evaluate(&Facts { params: &[7..9, 17..99], ..*facts }).is_err());
    });
}

#[test]
fn what_is_not_listed_is_a_load_error_with_its_place() {
    for (text, blamed) in [
        ("usr.id == 'x'", "usr"),
        ("user.name == 'x'", "."),
        ("request.headers == 'x'", "."),
        ("request.params.other == 'x'", "."),
        ("request.params == 'x'", "."),
        ("user == 'x'", "user"),
        ("request", "request"),
        ("user['id'] == 'x'", "user"),
        (".user.id == 'x'", ""),
        ("user.id.matches('x')", "("),
        ("matches(user.id, 'x')", "("),
        ("user.id.size() == 1", "("),
        ("type(user.id) == string", "("),
        ("int(user.id) == 1", "("),
        ("user.can()", "("),
        ("user.can('a', 'b')", "("),
        ("user.can(1)", "1"),
        ("app.can('x')", "("),
        ("user.id in user.can", "."),
        ("1 + 1 == 2", "+"),
        ("-user.claims.level == 1", "-"),
        ("{'a': 1}.a == 1", "{"),
        ("Foo{a: 1}.a == 1", "{"),
        ("b'x' == user.id", "b'x'"),
        ("has(user.id)", ""),
        ("has(user)", ""),
        ("has(request.params.id)", ""),
        ("app.scopes.map(s, s) == ['x']", ""),
        ("app.scopes.filter(s, true) == ['x']", ""),
        ("app.scopes.exists_one(s, true)", ""),
        ("app.scopes.exists(s, app.scopes.exists(t, s == t))", ""),
        ("app.scopes.exists(user, user == 'x')", ""),
        ("app.scopes.exists(s, t == 'x')", "t"),
        ("app.scopes.exists(s, s == 'x') && s == 'x'", "s"),
        ("user.claims.exists(c, true)", "."),
        ("user.claims == user.claims", "=="),
        ("size(user.claims) == 1", "."),
        ("[user.claims] == []", "."),
        // What can never fit is found at load, too.
        ("user.id", "."),
        ("'x'", "'x'"),
        ("user.id && true", "."),
        ("!user.id", "."),
        ("user.id == 1", "=="),
        ("app.scopes == 'x'", "=="),
        ("app.scopes < 'x'", "<"),
        ("user.present < true", "<"),
        ("'x' in user.id", "."),
        ("user.id.startsWith(1)", "1"),
        ("app.scopes.contains('x')", "."),
        ("user.id ? true : false", "."),
        ("true ? 'a' : 'b'", "?"),
        ("user.id.name == 'x'", "."),
        ("user.id[0] == 'x'", "."),
        ("", ""),
        ("user.id ==", ""),
        ("user.id = 'x'", "="),
        ("(user.present", ""),
        ("user.?id == 'x'", ""),
        ("'é' == 'x' && x", "x"),
        ("'unclosed", ""),
        ("user.`id` == 'x'", ""),
    ] {
        let error = Expression::parse(text, &PARAMS).expect_err(text);
        let range = text.get(error.range.clone());
        assert!(range.is_some(), "{text}: {error:?}");
        if !blamed.is_empty() {
            assert_eq!(range, Some(blamed), "{text}: {error}");
        }
    }
}

#[test]
fn bounds_hold_at_their_neighbours() {
    let long = |bytes: usize| format!("user.id == '{}'", "a".repeat(bytes - 13));
    assert!(Expression::parse(&long(MAX_TEXT_BYTES), &[]).is_ok());
    assert!(Expression::parse(&long(MAX_TEXT_BYTES + 1), &[]).is_err());
    let list = |count: usize| format!("user.id in [{}]", vec!["'u'"; count].join(","));
    assert_eq!(evaluate(&list(256), &everybody()), Ok(false));
    assert!(Expression::parse(&list(257), &[]).is_err());
    // The comparison and `user.claims` are two levels.
    let chain = |fields: usize| format!("user.claims{} == 1", ".a".repeat(fields));
    assert!(Expression::parse(&chain(MAX_DEPTH - 2), &[]).is_ok());
    assert!(Expression::parse(&chain(MAX_DEPTH - 1), &[]).is_err());
}

#[test]
fn no_nesting_exhausts_the_stack() {
    let count = MAX_OPERATORS;
    for text in [
        format!("{}true{}", "(".repeat(count), ")".repeat(count)),
        format!("{}true", "!".repeat(count)),
        format!("{}1 == 1", "-".repeat(count)),
        format!("{}1 == 1", "- ".repeat(count)),
        format!("user.claims{}", ".a".repeat(count - 1)),
        format!("user.claims{}", "[0]".repeat(count - 1)),
        format!("{}1{}", "[".repeat(count), "]".repeat(count)),
        format!("{}1", "1+".repeat(count)),
        format!("{}1", "1==".repeat(count / 2)),
        format!("{}1", "1<".repeat(count)),
        format!("{}true", "true?true:".repeat(count)),
        format!("{}true", "true&&".repeat(count / 2)),
        format!("{}true", "true||".repeat(count / 2)),
        format!("{}1", "1 in ".repeat(400)),
        format!("user.id{}", ".f()".repeat(count / 2)),
        format!("{}1{}", "f(".repeat(count), ")".repeat(count)),
        format!("{}1{}", "{1:".repeat(count), "}".repeat(count)),
        "(".repeat(count),
    ] {
        // Whether it is an expression does not matter; that nothing overflows does.
        if let Ok(expression) = Expression::parse(&text, &[]) {
            let _ = with_facts(&everybody(), |facts| expression.permit(facts));
        }
    }
}

#[test]
fn the_deepest_expression_evaluates_on_an_ordinary_stack() {
    let deepest = MAX_DEPTH - 1;
    for text in [
        format!("{}true", "true==".repeat(deepest)),
        format!("{}true", "false?true:".repeat(deepest)),
        format!("user.claims.mixed{} == 1", "[2]".repeat(deepest - 3)),
        format!("user.claims{} == 1", ".org".repeat(deepest - 2)),
    ] {
        let expression = Expression::parse(&text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
        let _ = with_facts(&everybody(), |facts| expression.permit(facts));
    }
}

#[test]
fn an_oversized_claim_fails_the_expression() {
    let with_groups = |count: usize| {
        let user = user_with(json!({ "groups": vec!["g"; count] }));
        Principal { app: None, user: Some(user), facts: None, certificate: None }
    };
    // The list itself counts.
    assert_eq!(evaluate("'g' in user.claims.groups", &with_groups(1023)), Ok(true));
    assert!(evaluate("'g' in user.claims.groups", &with_groups(1024)).is_err());
}

#[test]
fn terms_are_cut_only_where_the_top_joins_them() {
    for (text, expected) in [
        ("a", vec!["a"]),
        ("a && b&&c", vec!["a", "b", "c"]),
        ("(a && b) && [c && d]", vec!["(a && b)", "[c && d]"]),
        ("a && b || c", vec!["a && b || c"]),
        ("a && b ? c : d", vec!["a && b ? c : d"]),
        ("a && (b || c)", vec!["a", "(b || c)"]),
        (r#"a == '&&' && b == "'&&""#, vec!["a == '&&'", r#"b == "'&&""#]),
        (r"a == 'x\'&&' && b", vec![r"a == 'x\'&&'", "b"]),
        ("a == '''x'&&''' && b", vec!["a == '''x'&&'''", "b"]),
        ("é && 'é' && b", vec!["é", "'é'", "b"]),
        ("a && 'open && b", vec!["a", "'open && b"]),
    ] {
        assert_eq!(terms(text), expected, "{text}");
    }
}

#[test]
fn a_debug_view_shows_the_text_alone() {
    let expression = Expression::parse("user.id == 'u1'", &[]).unwrap();
    assert_eq!(format!("{expression:?}"), r#"Expression("user.id == 'u1'")"#);
}

/// Conditions, each with the value that it has for [`everybody`]; none when it cannot be evaluated.
fn condition() -> impl Strategy<Value = (String, Option<bool>)> {
    let atom = prop::sample::select(vec![
        ("true", Some(true)),
        ("false", Some(false)),
        ("user.present", Some(true)),
        ("user.can('Users:edit')", Some(true)),
        ("user.can('Users:delete')", Some(false)),
        ("'eu' in user.claims.groups", Some(true)),
        ("user.claims.other == 1", None),
        ("app.id == 'x'", Some(false)),
    ])
    .prop_map(|(text, value)| (text.to_owned(), value));
    atom.prop_recursive(4, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|(text, value)| (format!("!({text})"), value.map(|v| !v))),
            pair.clone().prop_map(|((left, l), (right, r))| {
                let value = match (l, r) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                (format!("({left}) && ({right})"), value)
            }),
            pair.prop_map(|((left, l), (right, r))| {
                let value = match (l, r) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
                (format!("({left}) || ({right})"), value)
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn logic_is_three_valued_and_only_true_permits((text, value) in condition()) {
        let expression = Expression::parse(&text, &[]).unwrap();
        let permitted = with_facts(&everybody(), |facts| expression.permit(facts));
        prop_assert_eq!(permitted.is_ok(), value == Some(true), "{}", &text);
        prop_assert_eq!(evaluate(&text, &everybody()).ok(), value, "{}", text);
    }

    #[test]
    fn any_text_is_an_expression_or_an_error_with_a_place(
        text in r#"[a-z.'"()\[\]{}!&|<>=?:, é0-9+-]{0,40}"#
    ) {
        if let Err(error) = Expression::parse(&text, &PARAMS) {
            prop_assert!(text.get(error.range).is_some());
        }
    }
}
