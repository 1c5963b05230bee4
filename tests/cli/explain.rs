//! Explaining: the same answer as the running gateway's, and no credential shown.

use serde_json::Value;

use crate::shell::CONFIGURATION;
use crate::shell::Folder;
use crate::shell::KEY;
use crate::shell::end;
use crate::shell::exchange;

#[test]
fn explain_answers_as_the_gateway_does() {
    let folder = Folder::gateway();
    let run = folder.start(&["serve"]);
    let (public, _) = run.addresses();
    let user = |more: &[&str]| format!("Authorization: Bearer {}", folder.mint("key.pem", more));
    let good = user(&[]);
    let deleter = user(&["--claim", "scope=orders:delete"]);
    let forged = format!("Authorization: Bearer {}", folder.mint("other.pem", &[]));
    for (method, target, headers) in [
        ("GET", "/orders/7?a=b", vec![KEY, &good]),
        ("GET", "/orders", vec![KEY]),
        ("GET", "/orders", vec![&*good]),
        ("GET", "/orders", vec!["X-App-Key: toast", &good]),
        ("GET", "/orders", vec![KEY, KEY, &good]),
        ("GET", "/orders", vec![KEY, &forged]),
        ("GET", "/orders", vec![KEY, &user(&["--ttl", "-1s"])]),
        ("GET", "/orders", vec![KEY, "Authorization: Basic YTpi"]),
        ("DELETE", "/orders/7", vec![KEY, &good]),
        ("DELETE", "/orders/7", vec![KEY, &deleter]),
        ("GET", "/open", vec![]),
        ("POST", "/open", vec![KEY, &good]),
        ("GET", "/nowhere", vec![]),
        ("GET", "/nowhere", vec![KEY, &good]),
        ("TRACE", "/open", vec![]),
        ("GET", "/orders/%2e%2e/open", vec![]),
        ("GET", "//open", vec![]),
        ("GET", "http://other/open", vec![]),
        ("GET", "/open", vec!["Host: a", "Host: b"]),
        ("GET", "/open x", vec![]),
        ("GET", "/open", vec!["Bad Name: x"]),
    ] {
        let names_host = headers.iter().any(|line| line.starts_with("Host:"));
        let host = if names_host { "" } else { "Host: localhost\r\n" };
        let lines = headers.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
        let close = "Connection: close\r\n";
        let request = format!("{method} {target} HTTP/1.1\r\n{host}{lines}{close}\r\n");
        let (served, _) = exchange(public, &request);

        let mut line = vec!["explain", "-o", "json", method, target, "-H", "Connection: close"];
        line.extend(headers.iter().flat_map(|&header| ["-H", header]));
        let said = folder.run(&line);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["allowed"] == true, said.code == 0, "{said:?}");
        // Nobody listens where the upstream should be: forwarding is what fails.
        let explained = told["denial"]["status"].as_u64().unwrap_or(502);
        assert_eq!(u64::from(served), explained, "{method} {target} {headers:?} {told:#}");
    }
    run.signal("TERM");
    assert_eq!(run.end().0, 0);
}

#[test]
fn explain_shows_each_step_and_no_credential() {
    let folder = Folder::gateway();
    let token = folder.mint("key.pem", &["--ttl", "1h"]);
    let signature = token.rsplit('.').next().unwrap();
    let lines = format!("{KEY}\nAuthorization: Bearer {token}\nX-User: eve\nCookie: s=canary\n");
    let ask = |more: &[&str]| {
        let said = folder.run_with(&[&["explain"], more, &["-H", "-"]].concat(), &lines);
        for hidden in [signature, "canary", ": test"] {
            assert!(!format!("{said:?}").contains(hidden), "{hidden} in {said:?}");
        }
        (said.code, said.out)
    };
    let (code, told) = ask(&["/orders/7", "--host", "API.example.com:80", "--from", "192.0.2.7"]);
    assert_eq!(code, 0, "{told}");
    for shown in [
        "GET api.example.com /orders/7",
        "route `* /orders/**`",
        "app: valid, application mobile",
        "user: valid, user anna",
        "allowed, to upstream `api` at 127.0.0.1:9",
        "x-user: anna",
        "x-app: mobile",
        "authorization: [secret]",
        "x-forwarded-for: 192.0.2.7",
    ] {
        assert!(told.contains(shown), "{shown} in {told}");
    }
    assert!(!told.contains("eve"), "{told}");
    let (code, told) = ask(&["DELETE", "/orders/7"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("permission orders:delete: does not hold"), "{told}");
    assert!(told.contains("403 insufficient_permission"), "{told}");
    assert_eq!(ask(&["/orders", "--at", "+59m"]).0, 0);
    let (code, told) = ask(&["/orders", "--at", "+61m"]);
    assert!(code == 1 && told.contains("401 expired_token"), "{told}");
    let odd = folder.run(&["explain", "/orders", "-H", "canary"]);
    assert!(odd.code == 1 && !odd.err.contains("canary"), "{odd:?}");
    assert_eq!(folder.run(&["explain", "/orders", "--at", "soon"]).code, 1);
}

#[test]
fn explain_tells_of_checks_that_nobody_makes() {
    let folder = Folder::gateway();
    let either = "  - { match: \"GET /either\", to: api, require: app or user }\nshutdown:";
    folder.write("portcullis.yaml", &CONFIGURATION.replace("shutdown:", either));
    let token = format!("Authorization: Bearer {}", folder.mint("key.pem", &[]));
    let said = folder.run(&["explain", "/open", "-H", KEY, "-H", &token]);
    assert!(said.out.contains("check      none, the route is public\n"), "{said:?}");
    assert!(said.code == 0 && said.out.contains("authorization: [secret]"), "{said:?}");
    let said = folder.run(&["explain", "/either", "-H", KEY, "-H", &token]);
    assert!(
        said.out.contains("check      user: not asked, its credential is removed\n"),
        "{said:?}"
    );
    assert!(said.code == 0 && !said.out.contains("authorization"), "{said:?}");
    for (target, lines) in [("/orders", vec![KEY, &token]), ("/either", vec![&*token])] {
        let lines = lines.iter().flat_map(|line| ["-H", line]);
        let line: Vec<&str> = ["explain", target].into_iter().chain(lines).collect();
        let said = folder.run(&line);
        assert!(said.code == 0 && said.out.contains("authorization: [secret]"), "{said:?}");
        assert!(!said.out.contains("public") && !said.out.contains("not asked"), "{said:?}");
    }
}

#[test]
fn explain_tells_what_a_page_of_another_origin_may() {
    let folder = Folder::gateway();
    let cors =
        "  - { match: \"GET /page\", to: api, cors: { origins: [\"https://a.test\"] } }\nshutdown:";
    folder.write("portcullis.yaml", &CONFIGURATION.replace("shutdown:", cors));
    let asks = |origin: &str, method: &str| {
        let origin = format!("Origin: {origin}");
        let method = format!("Access-Control-Request-Method: {method}");
        folder.run(&["explain", "OPTIONS", "/page", "-H", &origin, "-H", &method])
    };
    let said = asks("https://a.test", "GET");
    assert!(said.code == 0 && said.out.contains("the gateway answers the preflight"), "{said:?}");
    let said = asks("https://b.test", "GET");
    assert!(said.code == 1 && said.out.contains("not among `cors.origins`"), "{said:?}");
    let said = asks("https://a.test", "PUT");
    assert!(said.code == 1 && !said.out.contains("preflight"), "{said:?}");
}

#[test]
fn applications_are_kept_beside_the_configuration_that_names_them() {
    let folder = Folder::gateway();
    std::fs::create_dir(folder.path("etc")).unwrap();
    std::fs::copy(folder.path("keys.json"), folder.path("etc/keys.json")).unwrap();
    folder.write("etc/portcullis.yaml", &format!("{CONFIGURATION}store: sqlite:apps.db\n"));
    let config = folder.path("etc/portcullis.yaml").display().to_string();
    let mut command = folder.command(&["app", "create", "stock", "-o", "json"]);
    command.env("PORTCULLIS_CONFIG", &config);
    let created = end(command, "");
    assert_eq!(created.code, 0, "{created:?}");
    assert!(folder.path("etc/apps.db").exists() && !folder.path("apps.db").exists());
    let created: Value = serde_json::from_str(&created.out).unwrap();
    let (id, key) = (created["id"].as_str().unwrap(), created["key"].as_str().unwrap());

    let token = folder.mint("key.pem", &[]);
    let lines = format!("X-App-Key: {key}\nAuthorization: Bearer {token}\n");
    let explain = ["explain", "-c", &config, "/orders", "-H", "-"];
    let said = folder.run_with(&explain, &lines);
    assert!(said.code == 0 && said.out.contains(&format!("application {id}")), "{said:?}");
    assert!(!said.out.contains(key), "{said:?}");
    folder.good(&["app", "revoke", id, "--store", "sqlite:etc/apps.db"]);
    let said = folder.run_with(&explain, &lines);
    assert!(said.code == 1 && said.out.contains("401 invalid_application_key"), "{said:?}");
}
