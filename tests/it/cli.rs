//! The binary from outside: commands, exit codes, signals.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use portcullis::clock::Clock;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Client;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::keys::P256;
use crate::world::keys::claims_with;
use crate::world::process::Process;
use crate::world::process::run;

/// A token that is good by the system's clock.
pub fn token() -> String {
    let now = Clock::system().now().seconds();
    P256.token("ES256", &claims_with(&json!({"exp": now + 600})))
}

pub fn folder_with(setup: &Setup) -> TempDir {
    let folder = TempDir::new().unwrap();
    setup.write(&folder);
    folder
}

#[test]
fn check_accepts_what_serve_would_run() {
    let folder = folder_with(&Setup::new());
    let output = run(folder.path(), &["check", "portcullis.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = run(folder.path(), &["check"]);
    assert_eq!(output.code, Some(0), "the usual name: {output:?}");
    let output = run(folder.path(), &["check", "portcullis.yaml", "--format", "json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let report: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(report["routes"], 3);
}

#[test]
fn files_are_sought_beside_the_configuration_from_wherever_it_is_named() {
    let folder = folder_with(&Setup::new());
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let above = folder.path().parent().unwrap();
    for path in [format!("{name}/portcullis.yaml"), format!("./{name}/../{name}/portcullis.yaml")] {
        let output = run(above, &["check", &path]);
        assert_eq!(output.code, Some(0), "{output:?}");
    }
}

#[test]
fn check_lists_every_open_route_and_every_exception() {
    let setup = Setup::new().jwt(
        "{ issuer: none, audience: none, typ: any, algorithms: [ES256], jwks: \"file:keys.json\" }",
    );
    let setup = setup.routes(
        "
  - { match: \"GET /open\", to: api, public: true }
  - { match: \"GET /weaker\", to: api, require: app }
  - { match: \"GET /plain\", to: api }
",
    );
    let output = run(folder_with(&setup).path(), &["check", "portcullis.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let text = output.out + &output.err;
    for warned in ["/open", "/weaker", "issuer: none", "audience: none", "typ: any"] {
        assert!(text.contains(warned), "{warned} in {text}");
    }
}

#[test]
fn check_names_the_place_of_every_mistake() {
    for (from, to, told) in [
        ("upstreams:", "upsteams:", "upstreams"),
        ("to: api", "to: apy", "api"),
        ("require: app and user", "require: app and usr", "user"),
        ("file:keys.json", "file:nowhere.json", "nowhere.json"),
        ("algorithms: [ES256]", "algorithms: [ES257]", "ES257"),
        ("public: true", "public: yes please", "portcullis.yaml"),
        ("match: \"* /public/**\"", "match: \"* public\"", "public"),
    ] {
        let folder = folder_with(&Setup::new());
        let path = folder.path().join("portcullis.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let output = run(folder.path(), &["check", "portcullis.yaml"]);
        assert_eq!(output.code, Some(78), "{to}: {output:?}");
        let all = format!("{}{}", output.out, output.err);
        assert!(all.contains(told) && all.contains("portcullis.yaml:"), "{told} in {all}");
        let served = run(folder.path(), &["serve", "--config", "portcullis.yaml"]);
        assert_eq!(served.code, Some(78), "{to}: {served:?}");
    }
}

#[test]
fn check_tells_all_mistakes_at_once() {
    let setup = Setup::new().routes(
        "
  - { match: \"GET /a\", to: nobody }
  - { match: \"GET /b\", to: noone }
  - { match: \"GET /c\", to: api, require: strangers }
",
    );
    let output = run(folder_with(&setup).path(), &["check", "portcullis.yaml"]);
    assert_eq!(output.code, Some(78));
    let all = output.out + &output.err;
    for name in ["nobody", "noone", "strangers"] {
        assert!(all.contains(name), "{name} in {all}");
    }
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_wrong_configuration() {
    let folder = TempDir::new().unwrap();
    for arguments in
        [&["no-such-command"][..], &["init"], &["check", "a", "b"], &["serve", "--no-such-flag"]]
    {
        assert_eq!(run(folder.path(), arguments).code, Some(2), "{arguments:?}");
    }
    assert_eq!(run(folder.path(), &["check", "missing.yaml"]).code, Some(78));
    assert_eq!(run(folder.path(), &["check"]).code, Some(78), "none of the usual name");
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"], &["app", "--help"]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        assert!(output.out.to_lowercase().contains("portcullis"), "{output:?}");
    }
}

#[test]
fn explain_shows_the_decision_that_serve_would_make() {
    let folder = folder_with(&Setup::new());
    let key = format!("X-App-Key: {APP_KEY}");
    let bearer = format!("Authorization: Bearer {}", token());
    let ask = |more: &[&str]| {
        let all = [&["explain", "--config", "portcullis.yaml"], more].concat();
        let output = run(folder.path(), &all);
        assert!(!format!("{output:?}").contains(APP_KEY), "the key is shown: {output:?}");
        assert!(!format!("{output:?}").contains(&token()[..60]), "the token is shown: {output:?}");
        output.out + &output.err
    };
    let good = ask(&["GET", "/api/x", "-H", "Host: gw.test", "-H", &key, "-H", &bearer]);
    for shown in ["/api/x", "x-auth-user", "ada", "mobile"] {
        assert!(good.to_lowercase().contains(shown), "{shown} in {good}");
    }
    for (more, shown) in [
        (vec!["GET", "/api/x", "-H", "Host: gw.test"], "missing_credentials"),
        (
            vec!["GET", "/api/x", "-H", "Host: gw.test", "-H", "X-App-Key: x"],
            "invalid_application_key",
        ),
        (
            vec![
                "GET",
                "/api/x",
                "-H",
                "Host: gw.test",
                "-H",
                &key,
                "-H",
                "Authorization: Bearer x",
            ],
            "invalid_token",
        ),
        (
            vec!["GET", "/api/admin", "-H", "Host: gw.test", "-H", &key, "-H", &bearer],
            "insufficient_permission",
        ),
        (vec!["GET", "/nowhere", "-H", "Host: gw.test", "-H", &key, "-H", &bearer], "not_found"),
        (vec!["GET", "/api/../x", "-H", "Host: gw.test"], "malformed_request"),
    ] {
        let told = ask(&more);
        assert!(told.contains(shown), "{shown} in {told}");
    }
}

/// A spawned gateway and where it listens.
fn serve(folder: &TempDir) -> (Process, SocketAddr) {
    serve_with(folder, &[])
}

fn serve_with(folder: &TempDir, more: &[&str]) -> (Process, SocketAddr) {
    let arguments = [&["serve", "--config", "portcullis.yaml"], more].concat();
    let mut process = Process::start(folder.path(), &arguments);
    let address = loop {
        let line = process.line("127.0.0.1:");
        if line.contains("admin") && !line.contains("public") {
            continue;
        }
        let begin = line.find("127.0.0.1:").unwrap();
        let end = line[begin + 10..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(line.len(), |end| begin + 10 + end);
        break line[begin..end].parse().unwrap();
    };
    (process, address)
}

pub fn asked(address: SocketAddr, ask: &Ask) -> u16 {
    let mut client = Client::connect(address);
    client.send(&ask.bytes());
    client.answer(ask.method()).unwrap().status()
}

#[test]
fn the_process_serves_reloads_and_stops_on_signals() {
    let setup = Setup::new();
    let folder = folder_with(&setup);
    let (mut process, address) = serve(&folder);
    let good = Ask::get("/api/x").keyed().bearing(&token());
    assert_eq!(asked(address, &good), 200);
    assert_eq!(asked(address, &Ask::get("/api/x")), 401);
    let path = folder.path().join("portcullis.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("* /api/admin/**", "* /api/x/**")).unwrap();
    process.signal("HUP");
    let deadline = Instant::now() + Duration::from_secs(8);
    while asked(address, &good) != 403 {
        assert!(Instant::now() < deadline, "the reload does not show");
    }
    std::fs::write(&path, "rubbish").unwrap();
    process.signal("HUP");
    process.line("portcullis.yaml");
    assert_eq!(asked(address, &good), 403, "the old configuration serves on");
    process.signal("TERM");
    let (code, lines) = process.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    for line in &lines {
        assert!(!line.contains(APP_KEY) && !line.contains(&token()[..60]), "{line}");
        assert!(!line.contains("panicked"), "{line}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream =
        Upstream::scripted(move |_, _| vec![Step::Body, Step::Wait(theirs.clone()), Step::Echo]);
    let setup = Setup::before(upstream);
    let folder = folder_with(&setup);
    let (process, address) = serve(&folder);
    let mut client = Client::connect(address);
    client.send(&Ask::get("/api/x").keyed().bearing(&token()).bytes());
    setup.upstream.wait("the request", |seen| seen.heads() == 1);
    process.signal("TERM");
    setup.upstream.wait_for(Duration::from_millis(300), |seen| seen.ended() == 1);
    assert_eq!(setup.upstream.look(crate::world::Record::ended), 0, "the first signal waits");
    process.signal("TERM");
    let begun = Instant::now();
    process.end();
    assert!(begun.elapsed() < Duration::from_secs(5));
    gate.open();
}

#[test]
fn sudden_death_leaves_a_store_that_opens_again() {
    let setup = Setup::new().extra("store: \"sqlite:apps.db\"");
    let folder = folder_with(&setup);
    for _ in 0..2 {
        let (process, address) = serve(&folder);
        assert_eq!(asked(address, &Ask::get("/api/x").keyed().bearing(&token())), 200);
        process.signal("KILL");
        process.end();
    }
}

#[test]
fn the_access_line_tells_what_happened_and_no_secret() {
    let mut setup = Setup::new();
    setup.access_log = "{ enabled: true }".into();
    let folder = folder_with(&setup);
    let (mut process, address) = serve(&folder);
    let secret = "query-secret-93ab";
    let good = Ask::get(&format!("/api/x?key={secret}")).keyed().bearing(&token());
    assert_eq!(asked(address, &good), 200);
    assert_eq!(asked(address, &Ask::get("/api/x").keyed().bearing("canary-token")), 401);
    let line: Value = serde_json::from_str(&process.line("\"/api/x\"")).unwrap();
    let text = line.to_string();
    assert!(text.contains("200") && text.contains("mobile") && text.contains("GET"), "{text}");
    let line: Value = serde_json::from_str(&process.line("invalid_token")).unwrap();
    assert!(line.to_string().contains("401"));
    process.signal("TERM");
    let (_, lines) = process.end();
    for line in lines {
        for hidden in [secret, APP_KEY, "canary-token", &token()[..60], "\"ada\""] {
            assert!(!line.contains(hidden), "{hidden} in {line}");
        }
    }
}

#[test]
fn the_most_talkative_log_tells_no_secret() {
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /public/**\", to: api, public: true }\n";
    let mut setup = Setup::new().routes(routes).extra("store: \"sqlite:apps.db\"");
    setup.access_log = "{ enabled: true }".into();
    let folder = folder_with(&setup);
    let (process, address) = serve_with(&folder, &["--log-level", "trace"]);
    let body = "password=canary-body-1";
    for (ask, status) in [
        (Ask::get("/api/x?code=canary-query-2").keyed().bearing(&token()), 200),
        (Ask::post("/api/x", body).keyed().bearing(&token()), 200),
        (Ask::get("/api/x").keyed().bearing("canary-token-3"), 401),
        (
            Ask::get("/api/x").keyed().bearing("eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOjR9.Y2FuYXJ5LTQ"),
            401,
        ),
        (Ask::get("/api/x").field("X-App-Key", "canary-key-5").bearing(&token()), 401),
        (Ask::get("/api/x").field("X-App-Key", "pc_canary_6").bearing(&token()), 401),
        (Ask::get("/api/x").keyed().field("Authorization", "Basic Y2FuYXJ5OmNhbmFyeQ=="), 401),
        (Ask::get("/public/x").field("Cookie", "session=canary-cookie-7"), 200),
        (Ask::get("/public/x").field("Content-Length", "canary-length-8"), 400),
        (Ask::get("/public/x?canary-raw-9=<>"), 400),
        (Ask::post("/api/x", body).keyed().bearing(&token()).without("Content-Length"), 200),
    ] {
        assert_eq!(asked(address, &ask), status, "{ask:?}");
    }
    process.signal("TERM");
    let (_, lines) = process.end();
    assert!(lines.iter().any(|line| line.contains("DEBUG")), "{lines:#?}");
    let token = token();
    let (_, signature) = token.rsplit_once('.').unwrap();
    let claims = token.split('.').nth(1).unwrap();
    for line in lines {
        for hidden in
            ["canary", APP_KEY, signature, claims, "Y2FuYXJ5", "eyJjYW5hcnkiOjR9", "\"ada\""]
        {
            assert!(!line.contains(hidden), "{hidden} in {line}");
        }
    }
}

#[test]
fn init_writes_a_configuration_that_check_accepts_and_never_overwrites() {
    let folder = TempDir::new().unwrap();
    let arguments = ["init", "--upstream", "http://127.0.0.1:9000", "--output", "new.yaml"];
    assert_eq!(run(folder.path(), &arguments).code, Some(0));
    let checked = run(folder.path(), &["check", "new.yaml"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let before = std::fs::read(folder.path().join("new.yaml")).unwrap();
    assert_ne!(run(folder.path(), &arguments).code, Some(0));
    assert_eq!(std::fs::read(folder.path().join("new.yaml")).unwrap(), before);
}

#[test]
fn the_demo_shows_each_answer_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &["demo"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut commands = 0;
    while commands < 6 && Instant::now() < deadline {
        if process.line("curl").contains("http://127.0.0.1:") {
            commands += 1;
        }
    }
    process.signal("TERM");
    let (code, _) = process.end();
    assert_eq!(code, Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn a_minted_token_is_read_back_and_only_by_its_key() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("secret"), "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4")
        .unwrap();
    let inspected = run(folder.path(), &["token", "inspect", &token()]);
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    for shown in ["ES256", "p256", "ada", "https://id.test"] {
        assert!(inspected.out.contains(shown), "{shown} in {}", inspected.out);
    }
    for bad in ["", "x", "a.b.c", "..."] {
        assert_ne!(run(folder.path(), &["token", "inspect", bad]).code, Some(0), "{bad}");
    }
}
