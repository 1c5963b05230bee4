//! Passwords of every form, and login calls of every wrong one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::stage::PASSWORD;
use super::stage::add;
use super::stage::body;
use super::stage::hashes;
use super::stage::login;
use super::stage::send;
use super::stage::world_with;
use crate::world::Ask;

const TARGET: &str = "/auth/login";

#[test]
fn a_password_is_compared_as_it_was_written() {
    let world = world_with(&[]);
    let long = "x1".repeat(16) + &"y2".repeat(16);
    for (number, password) in [
        long.as_str(),
        " with spaces around ",
        "MiXeD cAsE",
        "e\u{301}galite\u{301}",
        "😀😀😀😀😀😀😀😀x",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{number}");
        add(world.folder(), &name, password);
        let try_with = |text: &str| world.answer(&login("native", &name, text)).status();
        assert_eq!(try_with(password), 200, "{password:?}");
        let swapped: String = password
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        let longer = format!("{password}\u{0}");
        let shorter: String = password.chars().take(password.chars().count() - 1).collect();
        let composed = password.replace("e\u{301}", "\u{e9}");
        for other in [swapped, longer, shorter, composed, password.trim().to_owned()] {
            if other != password {
                assert_eq!(try_with(&other), 401, "{other:?} for {password:?}");
            }
        }
    }
}

#[test]
fn what_is_after_a_nul_counts() {
    let world = world_with(&["anna"]);
    let token = super::stage::token(&world, "native", "anna");
    let change = serde_json::json!({"password": PASSWORD, "new_password": "nul\u{0}and more"});
    let change = super::stage::post("native", "/auth/password", &change).bearing(&token);
    assert_eq!(world.answer(&change).status(), 204);
    for (password, status) in
        [("nul", 401), ("nul\u{0}", 401), ("nul\u{0}and morE", 401), ("nul\u{0}and more", 200)]
    {
        let answer = world.answer(&login("native", "anna", password));
        assert_eq!(answer.status(), status, "{password:?}");
    }
}

#[test]
fn a_call_of_another_form_is_refused_before_anything_is_hashed() {
    let world = world_with(&["anna"]);
    let good = format!(r#"{{"username":"anna","password":"{PASSWORD}"}}"#);
    let call = |text: &str| send("POST", "native", TARGET, text);
    let deep = format!("{}{}", r#"{"a":"#.repeat(200), "1".to_owned() + &"}".repeat(200));
    let padded = |length: usize| {
        let rest = length - good.len() - r#","x":"""#.len();
        format!("{},\"x\":\"{}\"}}", &good[..good.len() - 1], "x".repeat(rest))
    };
    let form = format!("username=anna&password={}", PASSWORD.replace(' ', "+"));
    let before = hashes(&world);
    for (ask, status) in [
        (call(&padded(16 * 1024 + 1)), 413),
        (call(&format!(r#"{{"username":"anna","password":"{}"}}"#, "x".repeat(1 << 20))), 413),
        (call(&deep), 400),
        (call(&good.replace("{\"u", "{\"password\":\"x\",\"u")), 400),
        (call(&good.replace("{\"u", "{\"usernam\\u0065\":\"berta\",\"u")), 400),
        (call(&format!("{good}{good}")), 400),
        (call(&format!("[{good}]")), 400),
        (call(&format!("\u{feff}{good}")), 400),
        (call(&good.replace("anna", "an\nna")), 400),
        (call(r#"{"username":["anna"],"password":"x"}"#), 400),
        (call(r#"{"username":"anna","password":12345678}"#), 400),
        (call(r#"{"username":"anna","password":null}"#), 400),
        (call(r#"{"username":"anna","password":{"$ne":""}}"#), 400),
        (call(""), 400),
        (call(&good[..good.len() - 1]), 400),
        (call(&good).instead("Content-Type", "application/x-www-form-urlencoded"), 415),
        (call(&good).instead("Content-Type", "text/plain"), 415),
        (call(&good).without("Content-Type"), 415),
        (call(&good).field("Content-Type", "application/json"), 415),
        (call(&form).instead("Content-Type", "application/x-www-form-urlencoded"), 415),
        (call(&form), 400),
        (call(&good).instead("Content-Encoding", "gzip"), 415),
        (call(&good).with_line(format!("GET {TARGET} HTTP/1.1")), 405),
        (call("").with_line(format!("POST {TARGET}?username=anna&password=x HTTP/1.1")), 400),
    ] {
        let answer = world.deny(&ask, &[status]);
        assert_eq!(body(&answer)["status"], status, "{answer:?}");
    }
    assert_eq!(hashes(&world) - before, 0);
    assert_eq!(world.answer(&call(&padded(16 * 1024))).status(), 200);
    assert_eq!(world.answer(&call(&good)).status(), 200);
}

#[test]
fn http_basic_has_one_reading() {
    let world = world_with(&["anna"]);
    let pair = |text: &str| STANDARD.encode(text);
    let good = pair(&format!("anna:{PASSWORD}"));
    let call = || send("POST", "redis", "/v1/users/authorize", "").without("Content-Type");
    let bearing = |value: &str| call().field("Authorization", value);
    let before = hashes(&world);
    let refused: Vec<Ask> = vec![
        call(),
        bearing("Basic"),
        bearing("Basic "),
        bearing(&format!("Bearer {good}")),
        bearing(&format!("Basic {good} {good}")),
        bearing(&format!("Basic {}", pair("anna"))),
        bearing(&format!("Basic {good}")).field("Authorization", format!("Basic {good}")),
        bearing(&format!("Basic {}", &good[1..])),
        call().field("Proxy-Authorization", format!("Basic {good}")),
    ];
    for ask in refused {
        world.deny(&ask, &[400, 401]);
    }
    assert_eq!(hashes(&world) - before, 0);
    for ask in [bearing(&format!("Basic {good}")), bearing(&format!("bAsIc {good}"))] {
        assert_eq!(world.answer(&ask).status(), 200);
    }
}
