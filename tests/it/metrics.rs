//! The admin port: health, readiness and metrics, and nothing of it on the public port.

use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Issuer;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::keys::P256;

#[test]
fn health_and_metrics_are_on_the_admin_port_only() {
    let world = World::usual();
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(world.admin(target).status(), 200, "{target}");
        world.deny(&Ask::get(target), &[401]);
        world.deny(&Ask::get(target).signed(), &[404]);
    }
    for target in ["/", "/api/x", "/public/x", "/metrics/", "/metrics/x", "/../metrics", "/admin"] {
        assert_eq!(world.admin(target).status(), 404, "{target}");
    }
    for method in ["POST", "DELETE", "TRACE"] {
        let mut client = world.connect_to_admin();
        client.send(
            format!("{method} /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                .as_bytes(),
        );
        assert_eq!(client.answer(method).unwrap().status(), 405, "{method}");
    }
    assert_eq!(world.upstream.look(crate::world::Record::heads), 6, "only the controls");
}

#[test]
fn decisions_are_counted_by_route_and_reason() {
    let world = World::usual();
    for _ in 0..3 {
        world.pass(&Ask::get("/api/x").signed());
    }
    world.answer(&Ask::get("/api/x"));
    world.answer(&Ask::get("/api/x").keyed().bearing("x"));
    world.answer(&Ask::get("/api/admin/x").signed());
    let page = world.admin("/metrics").text();
    let sum = |name: &str, parts: &[&str]| -> f64 {
        let fits =
            |line: &&str| line.starts_with(name) && parts.iter().all(|part| line.contains(part));
        page.lines()
            .filter(fits)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    let requests = "portcullis_http_requests_total{";
    assert!((sum(requests, &["code=\"200\"", "method=\"GET\""]) - 3.0).abs() < 0.1, "{page}");
    assert!((sum(requests, &["code=\"401\""]) - 2.0).abs() < 0.1);
    assert!((sum(requests, &["code=\"403\""]) - 1.0).abs() < 0.1);
    let decisions = "portcullis_auth_decisions_total{";
    for reason in ["missing_credentials", "invalid_token", "insufficient_permission"] {
        assert!(sum(decisions, &[&format!("reason=\"{reason}\"")]) >= 1.0, "{reason}: {page}");
    }
    assert!(sum("portcullis_http_request_duration_seconds_count{", &[]) >= 6.0);
}

#[test]
fn labels_never_hold_what_a_client_chose() {
    let world = World::usual();
    let canary = "canary-51c2";
    for n in 0..50 {
        world.answer(&Ask::get(&format!("/{canary}/{n}")));
        world.answer(&Ask::get(&format!("/api/{canary}/{n}")).signed());
    }
    world.answer(&Ask::new("CANARY51C2", "/api/x").signed());
    world.answer(&Ask::get("/api/x").keyed().bearing(canary));
    world.answer(&Ask::get("/api/x").field("X-App-Key", canary));
    world.answer(&Ask::get("/api/x").instead("Host", format!("{canary}.test")));
    let page = world.admin("/metrics").text();
    for secret in [canary, "CANARY51C2", &TOKEN, APP_KEY, "ada", "gw.test"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 400, "{series} series");
}

#[test]
fn the_page_is_in_the_form_that_prometheus_reads() {
    let world = World::usual();
    world.pass(&Ask::get("/api/x").signed());
    let answer = world.admin("/metrics");
    assert!(answer.fields.one("content-type").starts_with("text/plain"));
    for line in answer.text().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.starts_with("portcullis_") || series.starts_with("process_"), "{line}");
    }
}

#[test]
fn open_connections_are_counted_down_again() {
    let world = World::usual();
    let held: Vec<_> = (0..5)
        .map(|_| {
            let mut client = world.connect();
            client.send(&Ask::get("/api/x").signed().bytes());
            client.answer("GET").unwrap();
            client
        })
        .collect();
    assert!((world.metric("portcullis_connections") - 5.0).abs() < 0.1);
    drop(held);
    let deadline = std::time::Instant::now() + crate::world::DEADLINE;
    while world.metric("portcullis_connections") > 0.1 {
        assert!(std::time::Instant::now() < deadline, "connections leak");
    }
}

/// Every family of ours, its kind and its labels; nothing else is on the page.
const FAMILIES: [(&str, &str, &[&str]); 29] = [
    ("access_lines_lost_total", "counter", &[]),
    ("app_key_cache_hits_total", "counter", &[]),
    ("app_key_cache_misses_total", "counter", &[]),
    ("auth_decisions_total", "counter", &["reason", "result", "route"]),
    ("auth_duration_seconds", "histogram", &["route"]),
    ("build_info", "gauge", &["version"]),
    ("config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ("config_reload_total", "counter", &["result"]),
    ("connections", "gauge", &[]),
    ("connections_parked", "gauge", &[]),
    ("connections_refused_total", "counter", &[]),
    ("http2_abandoned_total", "counter", &[]),
    ("http2_connections", "gauge", &[]),
    ("http2_requests_total", "counter", &[]),
    ("http_malformed_total", "counter", &[]),
    ("http_request_duration_seconds", "histogram", &["route"]),
    ("http_requests_total", "counter", &["code", "method", "route"]),
    ("jwks_age_seconds", "gauge", &["issuer"]),
    ("jwks_keys", "gauge", &["issuer", "kid"]),
    ("jwks_next_fetch_seconds", "gauge", &["issuer"]),
    ("jwks_refresh_total", "counter", &["issuer", "result"]),
    ("panics_total", "counter", &[]),
    ("password_hashes_total", "counter", &[]),
    ("store_age_seconds", "gauge", &[]),
    ("token_cache_evictions_total", "counter", &[]),
    ("token_cache_hits_total", "counter", &[]),
    ("token_cache_misses_total", "counter", &[]),
    ("upstream_connections_total", "counter", &["outcome", "upstream"]),
    ("upstream_duration_seconds", "histogram", &["route"]),
];

/// The labels of a series, but for the bound of a bucket.
fn labels(series: &str) -> Vec<&str> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    let mut names: Vec<_> =
        inside.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0)).collect();
    names.retain(|name| *name != "le");
    names.sort_unstable();
    names
}

#[test]
fn the_metrics_are_a_closed_list_of_names_kinds_and_labels() {
    let issuer = Issuer::publishing(&[&P256]);
    let entry = format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"{}\" }}",
        issuer.jwks_url()
    );
    let folder = tempfile::TempDir::new().unwrap();
    let store = format!("store: \"sqlite:{}\"", folder.path().join("apps.db").display());
    let world = Setup::new().jwt(&entry).extra(&store).start();
    world.pass(&Ask::get("/api/x").signed());
    world.deny(&Ask::get("/api/x"), &[401]);
    world.deny(&Ask::get("/nowhere").signed(), &[404]);
    world.deny(&Ask::get("/api/x").field("X-App-Key", "pc_x_y"), &[401]);
    world.connect().send(b"nonsense\r\n\r\n");
    assert!(world.reload_with("routes:", "rutes:").is_err());
    let page = world.admin("/metrics").text();
    let mut found = Vec::new();
    for (name, kind) in
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
    {
        let Some(ours) = name.strip_prefix("portcullis_") else {
            assert!(name.starts_with("process_"), "{name}");
            continue;
        };
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let series =
            page.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series);
        let of_it = series.filter(|series| {
            let plain = series.split('{').next().unwrap();
            suffixes.iter().any(|suffix| plain.strip_suffix(suffix) == Some(name))
        });
        let mut sets: Vec<_> = of_it.map(labels).collect();
        sets.dedup();
        assert_eq!(sets.len(), 1, "{name} has series with different labels: {sets:?}");
        found.push((ours, kind, sets.remove(0)));
    }
    let expected: Vec<_> =
        FAMILIES.iter().map(|(name, kind, labels)| (*name, *kind, labels.to_vec())).collect();
    assert_eq!(found, expected);
    for (name, kind, _) in found {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has a unit");
    }
}
