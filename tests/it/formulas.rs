//! Requirements against every mixture of good, bad and absent credentials: bad is never absent.

use crate::world::APP;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::keys::OTHER_P256;
use crate::world::keys::USER;
use crate::world::keys::claims;
use crate::world::oracle;

/// What a request says of one kind of caller.
type Lines = Vec<Vec<u8>>;

fn line(name: &str, value: &str) -> Vec<u8> {
    format!("{name}: {value}").into_bytes()
}

/// Every way to bring a bad application key.
fn bad_keys() -> Vec<Lines> {
    let key = |value: &str| line("X-App-Key", value);
    vec![
        vec![key("wrong")],
        vec![key("")],
        vec![key(&format!("{APP_KEY}x"))],
        vec![key(&APP_KEY.to_uppercase())],
        vec![key(APP_KEY), key(APP_KEY)],
        vec![key(&format!("{APP_KEY}, {APP_KEY}"))],
        vec![key(&format!("{APP_KEY}\u{e4}"))],
    ]
}

/// Every way to bring a bad token.
fn bad_tokens() -> Vec<Lines> {
    let held = |value: &str| line("Authorization", value);
    let good = format!("Bearer {}", *TOKEN);
    vec![
        vec![held(&format!("Bearer {}", OTHER_P256.token("ES256", &claims())))],
        vec![held(&good), held(&good)],
        vec![held(&good), held("")],
        vec![held("")],
        vec![held("Bearer")],
        vec![held("Bearer null")],
        vec![held("Basic eDp5")],
        vec![held(&format!("Basic eDp5, {good}"))],
        vec![held(&format!("{good}, Basic eDp5"))],
        vec![held(&format!("Bearer\t{}", *TOKEN))],
        vec![held(&format!("Token {}", *TOKEN))],
        vec![held(TOKEN.as_str())],
    ]
}

/// Whose credentials pass, in words that do not come from the gateway: `None` refuses, else whether
/// the application and the user are known.
fn expected(formula: &str, app: Option<bool>, user: Option<bool>) -> Option<(bool, bool)> {
    let is_bad = |side: Option<bool>| side == Some(false);
    let both = app == Some(true) && user == Some(true);
    match formula {
        "app and user" => both.then_some((true, true)),
        "app or user" => match app {
            Some(good) => good.then_some((true, false)),
            None => (user == Some(true)).then_some((false, true)),
        },
        "user or app" => match user {
            Some(good) => good.then_some((false, true)),
            None => (app == Some(true)).then_some((true, false)),
        },
        "app and user?" => {
            (app == Some(true) && !is_bad(user)).then_some((true, user == Some(true)))
        }
        "app? and user" => {
            (user == Some(true) && !is_bad(app)).then_some((app == Some(true), true))
        }
        "(app and user)?" if app.is_none() && user.is_none() => Some((false, false)),
        "(app and user)?" => both.then_some((true, true)),
        other => panic!("{other} has no meaning here"),
    }
}

#[track_caller]
fn judged(world: &World, formula: &str, (app, user): (Option<bool>, Option<bool>), lines: &Lines) {
    let ask = lines.iter().fold(Ask::get("/api/tried"), |ask, line| ask.raw_line(line.clone()));
    // What concerns one connection only is taken out, but not before it was judged.
    for ask in [ask.clone(), ask.field("Connection", "authorization, x-app-key, x-auth-user")] {
        match expected(formula, app, user) {
            Some((knows_app, knows_user)) => {
                let forwarded = world.pass(&ask);
                let known = [
                    ("X-App-Id", knows_app.then_some(APP)),
                    ("X-Auth-User", knows_user.then_some(USER)),
                ];
                oracle::identity(&forwarded, &known);
                assert!(forwarded.fields.lacks("x-app-key"), "{formula}: {forwarded:?}");
            }
            None => _ = world.deny(&ask, &[400, 401]),
        }
    }
}

#[test]
fn what_is_bad_is_never_taken_for_absent() {
    let good_key = vec![line("X-App-Key", APP_KEY)];
    let good_token = vec![line("Authorization", &format!("Bearer {}", *TOKEN))];
    let states = |good: &Lines, bad: Vec<Lines>| -> Vec<(Option<bool>, Lines)> {
        let bad = bad.into_iter().map(|lines| (Some(false), lines));
        [(None, vec![]), (Some(true), good.clone())].into_iter().chain(bad).collect()
    };
    for formula in [
        "app and user",
        "app or user",
        "user or app",
        "app and user?",
        "app? and user",
        "(app and user)?",
    ] {
        let routes = format!(
            "\n  - {{ match: \"* /api/**\", to: api }}\n  - {{ match: \"* /api/tried\", to: api, require: \"{formula}\" }}\n"
        );
        let world = Setup::new().routes(&routes).extra("workers: 1").start();
        for (app, key) in states(&good_key, bad_keys()) {
            for (user, token) in states(&good_token, bad_tokens()) {
                let lines = [key.clone(), token].concat();
                judged(&world, formula, (app, user), &lines);
            }
        }
    }
}
