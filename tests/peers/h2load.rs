//! Many requests over HTTP/2 by its own load generator, over TLS and in clear: none is lost or late.

use std::collections::BTreeMap;
use std::fs;

use crate::certificates;
use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::credentials;
use crate::programs::Nginx;
use crate::programs::command;
use crate::programs::run;

/// As many on each connection as the gateway lets be under way, and twice as many, which must wait.
const STREAMS: [u32; 2] = [100, 200];
const REQUESTS: u32 = 4_000;
const CLIENTS: u32 = 8;

/// What h2load has counted, by its words: `succeeded`, `failed`, `2xx` …
type Counts = BTreeMap<String, u32>;

#[track_caller]
fn load(url: &str, streams: u32, more: &[&str]) -> (Counts, String) {
    let mut h2load = command("h2load");
    h2load.args(["--requests", &REQUESTS.to_string(), "--clients", &CLIENTS.to_string()]);
    h2load.args(["--max-concurrent-streams", &streams.to_string()]).args(more).arg(url);
    let (is_content, said) = run(h2load);
    assert!(is_content, "{said}");
    let counts = said.lines().filter_map(|line| {
        line.strip_prefix("requests: ").or_else(|| line.strip_prefix("status codes: "))
    });
    let counts = counts.flat_map(|line| line.split(", ")).map(|part| {
        let (count, what) = part.split_once(' ').unwrap();
        (what.to_owned(), count.parse().unwrap())
    });
    (counts.collect(), said)
}

#[track_caller]
fn all_are(expected: &str, url: &str, streams: u32, more: &[&str]) -> String {
    let (counts, said) = load(url, streams, more);
    let of = |what: &str| counts.get(what).copied();
    for what in ["done", expected] {
        assert_eq!(of(what), Some(REQUESTS), "{url} {more:?} {what}: {said}");
    }
    for what in ["errored", "timeout"] {
        assert_eq!(of(what), Some(0), "{url} {more:?} {what}: {said}");
    }
    said
}

/// Good requests are answered, all of them; bad ones are refused, all of them.
#[track_caller]
fn is_clean(gateway: &Gateway, scheme: &str) {
    let url = |target: &str| format!("{scheme}://{}{target}", gateway.public);
    let [key, token] = credentials();
    let signed = ["--header", &key, "--header", &token];
    let body = gateway.folder.path().join("body");
    fs::write(&body, "a body ".repeat(3_000)).unwrap();
    let body = ["--data", body.to_str().unwrap()];
    for streams in STREAMS {
        let said = all_are("2xx", &url("/api/x"), streams, &signed);
        assert!(said.contains("\nApplication protocol: h2"), "{said}");
        all_are("2xx", &url("/public/x"), streams, &[]);
        // Neither nginx nor a refusal waits for the end of a body.
        all_are("2xx", &url("/api/x"), streams, &[&signed[..], &body].concat());
        all_are("4xx", &url("/api/x"), streams, &body);
        all_are("4xx", &url("/api/x"), streams, &["--header", &key]);
    }
    assert!(gateway.metric("portcullis_panics_total") == 0.0);
}

#[test]
fn a_load_over_tls_loses_nothing() {
    let upstream = Nginx::answering();
    let text = configuration(&upstream.url(), USERS, "");
    let folder = Gateway::folder(&text.replacen("\"127.0.0.1:0\"", certificates::LISTEN, 1));
    certificates::issue(folder.path());
    is_clean(&Gateway::start_in(folder), "https");
}

#[test]
fn a_load_in_clear_loses_nothing() {
    let upstream = Nginx::answering();
    let known = "http2: { prior_knowledge: true }";
    is_clean(&Gateway::start(&configuration(&upstream.url(), USERS, known)), "http");
}
