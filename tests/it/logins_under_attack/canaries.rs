//! What must never be told: secrets in logs, metrics, answers and arguments; and lines that forge others.

use std::fs;

use portcullis::clock::Clock;
use serde_json::Value;
use serde_json::json;

use super::stage::MASTER;
use super::stage::PASSWORD;
use super::stage::SERVICES;
use super::stage::add;
use super::stage::body;
use super::stage::code;
use super::stage::login;
use super::stage::operate;
use super::stage::post;
use super::stage::send;
use super::stage::setup;
use super::stage::thing;
use super::stage::token_in;
use crate::binary::Served;
use crate::cli::folder_with;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::process::Process;

const WRONG: &str = "wrong canary battery";
const NEW: &str = "new canary battery";

/// A gateway that logs as much as it can.
fn talkative(folder: &tempfile::TempDir) -> Served {
    let arguments = ["serve", "--config", "portcullis.yaml", "--log-level", "trace"];
    Served::of(Process::start(folder.path(), &arguments))
}

#[test]
fn no_secret_is_told_however_much_is_logged() {
    let mut setup = setup();
    setup.access_log = "{ enabled: true }".into();
    let folder = folder_with(&setup);
    let served = talkative(&folder);
    add(folder.path(), "anna", PASSWORD);
    add(folder.path(), "berta", PASSWORD);
    let mut secrets: Vec<String> =
        [PASSWORD, WRONG, NEW, MASTER, APP_KEY].map(str::to_owned).to_vec();
    for service in SERVICES.map(|service| service.name) {
        assert_ne!(served.ask(&login(service, "anna", WRONG)).status(), 200);
        let token = token_in(service, &served.ask(&login(service, "anna", PASSWORD)));
        assert_eq!(served.ask(&thing(service, &token)).status(), 200);
        for other in SERVICES.map(|service| service.name) {
            served.ask(&thing(other, &token));
        }
        secrets.push(token.rsplit('.').next().unwrap().to_owned());
    }
    let granted = body(&served.ask(&login("native", "berta", PASSWORD)));
    let (access, refresh) =
        (granted["access_token"].as_str().unwrap(), granted["refresh_token"].as_str().unwrap());
    served.ask(&post("native", "/auth/refresh", &json!({"refresh_token": refresh})));
    served.ask(
        &Ask::get(&format!("/v1/things/1?access_token={access}")).instead("Host", "native.test"),
    );
    let change = json!({"password": PASSWORD, "new_password": NEW});
    assert_eq!(
        served.ask(&post("native", "/auth/password", &change).bearing(access)).status(),
        204
    );
    secrets.extend([access.rsplit('.').next().unwrap().to_owned(), refresh.to_owned()]);
    let master = ["--master", "file:master.key", "--output", "json"];
    let told = operate(folder.path(), &[&["user", "totp", "anna"][..], &master].concat());
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let seed = told["seed"].as_str().unwrap();
    let recovery = told["recovery_codes"][0].as_str().unwrap();
    let asked = body(&served.ask(&login("native", "anna", PASSWORD)));
    let challenge = asked["challenge"].as_str().unwrap();
    for code in ["987654", recovery, &code(seed, Clock::system().now().seconds())] {
        let body =
            json!({"username": "anna", "password": PASSWORD, "challenge": challenge, "code": code});
        served.ask(&post("native", "/auth/login", &body));
    }
    secrets.extend([seed, recovery, challenge].map(str::to_owned));
    let mut places = vec![served.operator("/metrics").text()];
    let process = format!("/proc/{}", served.process.id());
    for file in ["cmdline", "environ", "status"] {
        let bytes = fs::read(format!("{process}/{file}")).unwrap();
        places.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    served.process.signal("TERM");
    let (_, lines) = served.process.end();
    assert!(lines.len() > 50, "it did log: {}", lines.len());
    places.extend(lines);
    for place in &places {
        for secret in &secrets {
            assert!(!place.contains(secret.as_str()), "{secret} is in {place}");
        }
    }
}

#[test]
fn nobody_writes_a_line_of_the_log_by_signing_in() {
    let mut setup = setup();
    setup.access_log = "{ enabled: true }".into();
    let folder = folder_with(&setup);
    let served = talkative(&folder);
    let forged = "x\r\n{\"level\":\"INFO\",\"message\":\"forged\"}\u{1b}[31m\u{202e}\",\"outcome\":\"success";
    for service in SERVICES.map(|service| service.name) {
        for field in [forged, "anna\",\"outcome\":\"success", "\u{1b}]0;forged\u{7}"] {
            let ask = login(service, field, field).field("User-Agent", "a\",\"outcome\":\"forged");
            assert_ne!(served.ask(&ask).status(), 200);
        }
    }
    let body = format!("{{\"username\":{},\"password\":1}}", json!(forged));
    served.ask(&send("POST", "native", "/auth/login", &body));
    served.process.signal("TERM");
    let (_, lines) = served.process.end();
    for line in lines {
        let read: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(read.is_object(), "{line}");
        assert!(!line.contains('\u{1b}') && !line.contains('\u{202e}'), "{line}");
        assert_ne!(read["outcome"], "success", "{line}");
        assert_ne!(read["message"], "forged", "{line}");
    }
}

#[test]
fn a_profile_writes_nothing_to_the_terminal_of_an_operator() {
    let folder = folder_with(&setup());
    let served = talkative(&folder);
    let name = "\u{1b}[2J\u{9b}31m\nforged \u{202e}line";
    let body =
        json!({"user": {"email": "eve@example.com", "username": name, "password": PASSWORD}});
    let answer = served.ask(&post("analogue", "/api/users", &body));
    assert_eq!(answer.status(), 201, "{answer:?}");
    for arguments in
        [&["user", "show", "eve@example.com"][..], &["user", "list"], &["session", "list"]]
    {
        let shown = operate(folder.path(), arguments);
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.out.contains(bad), "{arguments:?}: {:?}", shown.out);
        assert!(!shown.out.contains("\nforged"), "{:?}", shown.out);
    }
}

#[test]
fn a_stolen_refresh_token_is_told_to_whoever_watches() {
    let folder = folder_with(&setup());
    let mut served = Served::new(&folder);
    add(folder.path(), "anna", PASSWORD);
    let refresh = |served: &Served, token: &str| {
        served.ask(&post("native", "/auth/refresh", &json!({"refresh_token": token})))
    };
    let member = |answer| body(&answer)["refresh_token"].as_str().unwrap().to_owned();
    let first = member(served.ask(&login("native", "anna", PASSWORD)));
    let second = member(refresh(&served, &first));
    refresh(&served, &second);
    assert_eq!(refresh(&served, &first).status(), 401);
    let line: Value = serde_json::from_str(&served.process.line("used twice")).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(line["session"].as_str().unwrap().starts_with("s_"), "{line}");
    let line: Value =
        serde_json::from_str(&served.process.line("\"outcome\":\"invalid_refresh_token\""))
            .unwrap();
    assert!(line["request_id"].is_string() && line["address"].is_string(), "{line}");
}
