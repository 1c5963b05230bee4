//! What of a command line reaches the parser, and what of a request is shown.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    explain: ExplainArgs,
}

fn head_of(words: &[&str], input: &str) -> anyhow::Result<String> {
    let line = Line::try_parse_from([&["explain"], words].concat())?;
    head(&line.explain, &mut input.as_bytes())
}

#[test]
fn what_was_typed_is_sent_as_it_is() {
    for (words, expected) in [
        (&["/a"][..], "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (&["PUT", "/a b"], "PUT /a b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (&["/a", "--host", "x:1"], "GET /a HTTP/1.1\r\nHost: x:1\r\n\r\n"),
        (&["/a", "--host", ""], "GET /a HTTP/1.1\r\nHost: \r\n\r\n"),
        (&["/a", "-H", "hOst:x", "-H", "A: b"], "GET /a HTTP/1.1\r\nhOst:x\r\nA: b\r\n\r\n"),
        (&["/a", "-H", "Host: x", "--host", "y"], "GET /a HTTP/1.1\r\nHost: y\r\nHost: x\r\n\r\n"),
        (&["/a", "-H", "B : c"], "GET /a HTTP/1.1\r\nHost: localhost\r\nB : c\r\n\r\n"),
    ] {
        assert_eq!(head_of(words, "").unwrap(), expected, "{words:?}");
    }
    let read = head_of(&["/a", "-H", "A: 1", "-H", "-"], "B: 2\r\nHost: x\n\n").unwrap();
    assert_eq!(read, "GET /a HTTP/1.1\r\nA: 1\r\nB: 2\r\nHost: x\r\n\r\n");
}

#[test]
fn a_line_that_is_no_header_is_refused_and_not_repeated() {
    for (words, input) in [
        (&["/a", "-H", "canary"][..], ""),
        (&["/a", "-H", "-"], "A: b\ncanary\n"),
        (&["/a", "-H", "A: b", "-H", ""], ""),
    ] {
        let error = head_of(words, input).unwrap_err();
        assert!(!format!("{error:#}").contains("canary"), "{error:#}");
    }
    assert!(head_of(&[], "").is_err());
    assert!(head_of(&["GET", "/a", "/b"], "").is_err());
}

#[test]
fn an_instant_makes_time_stand_still() {
    let clock_at = |words: &[&str]| {
        let line = Line::try_parse_from([&["explain", "/a"], words].concat()).unwrap();
        clock(&line.explain).map(|clock| clock.now().seconds())
    };
    assert_eq!(clock_at(&["--at", "2027-01-15T08:00:00Z"]).unwrap(), 1_800_000_000);
    assert!(clock_at(&["--at", "-1h"]).unwrap() < clock_at(&[]).unwrap());
    for bad in ["", "soon", "1h", "2027-13-15T08:00:00Z"] {
        assert!(clock_at(&["--at", bad]).is_err(), "{bad}");
    }
}

/// What is told about a request to a gateway whose upstream gets every credential.
async fn told(words: &[&str]) -> (Exit, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(folder.path().join("s"), "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4").unwrap();
    std::fs::write(&file, CONFIGURATION).unwrap();
    let config = file.display().to_string();
    let line = Line::try_parse_from([&["explain", "-c", &config], words].concat()).unwrap();
    let mut out = Vec::new();
    let exit = run(&line.explain, &mut out).await.unwrap();
    (exit, String::from_utf8(out).unwrap())
}

const CONFIGURATION: &str = r#"
listen: { public: 127.0.0.1:0 }
trusted_proxies: [ 10.0.0.0/8 ]
upstreams: { api: { url: "http://api.internal:9" } }
apps: [ { id: mobile, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" } ]
checks:
  whole: { app_key: { header: X-Key, keep: true } }
  asked: { app_key: { query: key, keep: true } }
  pair: { app_key: { id: X-Id, secret: X-Secret, keep: true } }
  user: { jwt: [ { issuer: i, audience: none, algorithms: [HS256], secret: "file:s", header: X-Token } ] }
defaults: { forward: { X-App: app.id } }
routes:
  - { match: "* /whole", to: api, require: whole }
  - { match: "* /asked", to: api, require: asked }
  - { match: "* /pair", to: api, require: pair }
  - { match: "* /open", to: api, public: true }
"#;

#[tokio::test]
async fn credentials_that_an_upstream_gets_are_sent_and_not_shown() {
    for words in [
        &["/whole", "-H", "X-Key: test"][..],
        &["/asked?a=1&key=test"],
        &["/pair", "-H", "X-Id: mobile", "-H", "X-Secret: test"],
        &["/open", "-H", "X-Token: test", "-H", "Authorization: test", "-H", "Cookie: test"],
        &["/open?%6bey=test&Key=test"],
    ] {
        for output in ["text", "json"] {
            let (exit, text) = told(&[words, &["-o", output]].concat()).await;
            assert_eq!(exit, Exit::Done, "{text}");
            assert!(text.contains("[secret]") && !text.contains("test"), "{text}");
            assert!(text.contains("api.internal:9"), "{text}");
        }
    }
    let (exit, text) = told(&["/whole", "-H", "X-Key: toast"]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("401 invalid_application_key") && !text.contains("toast"), "{text}");
}

#[tokio::test]
async fn a_request_through_a_trusted_proxy_is_of_its_client() {
    let forwarded = ["/open", "-H", "X-Forwarded-For: 192.0.2.7", "--from"];
    let (_, text) = told(&[&forwarded[..], &["10.0.0.1"]].concat()).await;
    assert!(text.contains("from 192.0.2.7"), "{text}");
    let (_, text) = told(&[&forwarded[..], &["11.0.0.1"]].concat()).await;
    assert!(text.contains("from 11.0.0.1") && !text.contains("192.0.2.7"), "{text}");
}

#[tokio::test]
async fn what_is_no_http_is_told_without_a_judgement() {
    let (exit, text) = told(&["/a b"]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(text.starts_with("decision   refused: 400, this cannot be read as HTTP"), "{text}");
    let (_, text) = told(&["/open", "-H", "A\u{1}: b", "-o", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["denial"]["status"], 400);
}
