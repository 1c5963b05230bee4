//! Choices, verdicts and bounds, without a connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Verdict::{Healthy, Sick};
use super::*;
use crate::config::Findings;
use crate::config::Settings;
use crate::config::Source;
use crate::config::UpstreamSettings;
use crate::config::parse;
use crate::telemetry::Metrics;

#[track_caller]
fn settings(api: &str) -> UpstreamSettings {
    let text = format!(
        "listen: {{ public: 127.0.0.1:80 }}\nupstreams: {{ api: {{ {api} }} }}\nroutes: []\n"
    );
    let loaded = parse(Source::new("p.yaml", text)).unwrap_or_else(|report| panic!("{report}"));
    let mut findings = Findings::new();
    let settings = Settings::resolve(&loaded, &mut findings).unwrap();
    assert!(!findings.has_errors(), "{findings:?}");
    settings.upstreams["api"].clone()
}

fn pool_after(api: &str, old: Option<&Pool>) -> Arc<Pool> {
    let metrics = Metrics::new().unwrap();
    Arc::new(Pool::new("api", &settings(api), (&Arc::default(), &metrics), old))
}

fn pool(api: &str) -> Arc<Pool> {
    pool_after(api, None)
}

/// How often each endpoint is chosen, by its port, when each request ends before the next comes.
fn choices(pool: &Arc<Pool>, times: usize, now: Instant) -> BTreeMap<String, usize> {
    let mut chosen = BTreeMap::new();
    for _ in 0..times {
        let load = pool.pick(&[], now).unwrap();
        let address = load.endpoint().address.to_string();
        *chosen.entry(address.rsplit(':').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    chosen
}

fn fail(pool: &Arc<Pool>, port: &str, times: usize, now: Instant) {
    for _ in 0..times {
        let endpoints = pool.show().endpoints;
        let at = endpoints.iter().find(|one| one.address.to_string().ends_with(port)).unwrap();
        pool.failed(at, now);
    }
}

const THREE: &str =
    "endpoints: [\"http://10.0.0.1:1\", \"http://10.0.0.1:2\", \"http://10.0.0.1:3\"]";

#[test]
fn round_robin_takes_turns() {
    let pool = pool(&format!("{THREE}, balance: round_robin"));
    let now = Instant::now();
    assert_eq!(choices(&pool, 30, now).into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn weights_are_shares() {
    for balance in ["round_robin", "least_pending"] {
        let pool = pool(&format!(
            "endpoints: [\"http://10.0.0.1:1\", {{ url: \"http://10.0.0.1:2\", weight: 3 }}], balance: {balance}"
        ));
        let chosen = choices(&pool, 4000, Instant::now());
        assert!((900..1100).contains(&chosen["1"]), "{balance}: {chosen:?}");
    }
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let pool = pool(THREE);
    let now = Instant::now();
    let loads: Vec<_> = (0..300).map(|_| pool.pick(&[], now).unwrap()).collect();
    let pending: Vec<_> = pool.show().endpoints.iter().map(|one| one.pending()).collect();
    assert!(pending.iter().all(|count| (97..=103).contains(count)), "{pending:?}");
    drop(loads);
    assert!(pool.show().endpoints.iter().all(|one| one.pending() == 0));
}

#[test]
fn one_that_was_tried_is_not_chosen_again() {
    let pool = pool(THREE);
    let now = Instant::now();
    let mut tried = Vec::new();
    for _ in 0..3 {
        let load = pool.pick(&tried, now).unwrap();
        assert!(!tried.contains(&load.endpoint().slot));
        tried.push(load.endpoint().slot);
    }
    assert!(pool.pick(&tried, now).is_none());
}

#[test]
fn failures_in_a_row_eject_and_a_success_forgives() {
    let pool = pool(&format!("{THREE}, eject: {{ failures: 3, for: 10s }}"));
    let now = Instant::now();
    fail(&pool, ":1", 2, now);
    let endpoints = pool.show().endpoints;
    endpoints[0].succeeded();
    fail(&pool, ":1", 2, now);
    assert_eq!(endpoints[0].verdict(now), Healthy);
    fail(&pool, ":1", 1, now);
    assert_eq!(endpoints[0].verdict(now), Verdict::Ejected);
    assert_eq!(choices(&pool, 100, now).get("1"), None);
    let almost = now + Duration::from_millis(9_990);
    assert_eq!(endpoints[0].verdict(almost), Verdict::Ejected);
    let later = now + Duration::from_secs(10);
    assert_eq!(endpoints[0].verdict(later), Healthy);
    assert!(choices(&pool, 100, later).contains_key("1"));
}

#[test]
fn one_that_comes_back_is_on_probation_and_rests_longer() {
    let pool = pool(&format!("{THREE}, eject: {{ failures: 3, for: 10s }}"));
    let now = Instant::now();
    fail(&pool, ":1", 3, now);
    let endpoints = pool.show().endpoints;
    let back = now + Duration::from_secs(11);
    fail(&pool, ":1", 1, back);
    assert_eq!(endpoints[0].verdict(back + Duration::from_secs(19)), Verdict::Ejected);
    assert_eq!(endpoints[0].verdict(back + Duration::from_secs(21)), Healthy);
}

#[test]
fn however_many_fail_no_more_than_a_share_is_ejected() {
    for (at_most, ejected) in [(0, 0), (33, 0), (34, 1), (50, 1), (66, 1), (67, 2), (100, 3)] {
        let pool = pool(&format!("{THREE}, eject: {{ failures: 1, at_most: {at_most} }}"));
        let now = Instant::now();
        for port in [":1", ":2", ":3"] {
            fail(&pool, port, 5, now);
        }
        let endpoints = pool.show().endpoints;
        let out = endpoints.iter().filter(|one| one.verdict(now) == Verdict::Ejected).count();
        assert_eq!(out, ejected, "{at_most}");
        assert_eq!(pool.pick(&[], now).is_none(), ejected == 3);
    }
}

#[test]
fn several_endpoints_eject_by_default_and_one_never() {
    let now = Instant::now();
    let several = pool(THREE);
    fail(&several, ":1", 5, now);
    assert_eq!(several.show().endpoints[0].verdict(now), Verdict::Ejected);
    for alone in ["url: \"http://10.0.0.1:1\"", "endpoints: [\"http://10.0.0.1:1\"], eject: {}"] {
        let pool = pool(alone);
        fail(&pool, ":1", 50, now);
        assert_eq!(pool.show().endpoints[0].verdict(now), Healthy, "{alone}");
    }
}

#[test]
fn checks_must_agree_before_a_verdict_changes() {
    let pool =
        pool(&format!("{THREE}, health: {{ path: /, healthy_after: 2, unhealthy_after: 3 }}"));
    let endpoints = pool.show().endpoints;
    let now = Instant::now();
    let check = |fault: Option<&str>| {
        let fault = fault.map(str::to_owned);
        pool.checked(&endpoints[0], Checked { at: now, fault });
        endpoints[0].verdict(now)
    };
    for (fault, verdict) in [
        (Some("x"), Healthy),
        (Some("x"), Healthy),
        (None, Healthy),
        (Some("x"), Healthy),
        (Some("x"), Healthy),
        (Some("x"), Sick),
        (None, Sick),
        (Some("x"), Sick),
        (None, Sick),
        (None, Healthy),
        (Some("x"), Healthy),
    ] {
        assert_eq!(check(fault), verdict);
    }
}

#[test]
fn a_slow_start_grows_to_the_whole_share() {
    let pool = pool(&format!(
        "{THREE}, slow_start: 100s, health: {{ path: /, healthy_after: 1, unhealthy_after: 1 }}"
    ));
    let endpoints = pool.show().endpoints;
    let now = Instant::now();
    let seconds = Duration::from_secs;
    let weight = |at| endpoints[0].weight_at(now + at, seconds(100));
    assert_eq!(weight(seconds(0)), 100, "one that was never sick has its whole share");
    pool.checked(&endpoints[0], Checked { at: now, fault: Some("x".to_owned()) });
    pool.checked(&endpoints[0], Checked { at: now, fault: None });
    assert_eq!(weight(seconds(0)), 10);
    assert_eq!(weight(seconds(50)), 50);
    assert_eq!(weight(seconds(100)), 100);
    let share = choices(&pool, 2100, now)["1"];
    assert!((60..150).contains(&share), "{share}");
}

#[test]
fn what_is_known_of_an_endpoint_outlives_a_change_around_it() {
    let now = Instant::now();
    let old = pool(THREE);
    fail(&old, ":2", 5, now);
    let load = old.pick(&[old.show().endpoints[0].slot, old.show().endpoints[1].slot], now);
    let two = "endpoints: [\"http://10.0.0.1:2\", \"http://10.0.0.1:3\"], timeout: 1s";
    let new = pool_after(two, Some(&old));
    let endpoints = new.show().endpoints;
    assert_eq!(endpoints[0].verdict(now), Verdict::Ejected);
    assert_eq!(endpoints[1].pending(), 1);
    drop(load);
    assert_eq!(endpoints[1].pending(), 0);
}

#[test]
fn only_an_upstream_with_nothing_to_watch_is_asked_directly() {
    assert!(pool("url: \"http://10.0.0.1:1\"").sole().is_some());
    assert!(pool("url: \"http://name\", timeout: 1s").sole().is_some());
    for counted in [
        "in_flight: 1",
        "connections: 1",
        "read_timeout: 1s",
        "total_timeout: 1s",
        "health: { path: / }",
        "eject: {}",
    ] {
        assert!(pool(&format!("url: \"http://10.0.0.1:1\", {counted}")).sole().is_none());
    }
    assert!(pool("url: \"http://name\", resolve: 1s").sole().is_none());
    assert!(pool(THREE).sole().is_none());
}

#[test]
fn each_address_of_a_name_is_an_endpoint() {
    let pool = pool("endpoints: [\"http://a:1\", \"http://b:1\"], resolve: 1s");
    let shown = || pool.to_string();
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(pool.names().collect::<Vec<_>>(), [(0, "a".into(), 1), (1, "b".into(), 1)]);
    assert_eq!(shown(), "a:1, b:1");
    pool.found(0, vec![at("10.0.0.2:1"), at("10.0.0.1:1"), at("10.0.0.2:1")]);
    assert_eq!(shown(), "10.0.0.1:1, 10.0.0.2:1, b:1");
    let slot = pool.show().endpoints[1].slot;
    pool.found(1, vec![at("10.0.0.1:1"), at("10.0.0.3:1")]);
    assert_eq!(shown(), "10.0.0.1:1, 10.0.0.2:1, 10.0.0.3:1", "one server twice is one server");
    pool.found(0, vec![]);
    assert_eq!(shown(), "10.0.0.1:1, 10.0.0.2:1, 10.0.0.3:1", "no answer changes nothing");
    pool.found(0, vec![at("10.0.0.2:1")]);
    assert_eq!(shown(), "10.0.0.2:1, 10.0.0.1:1, 10.0.0.3:1");
    assert_eq!(pool.show().endpoints[0].slot, slot);
}

#[tokio::test]
async fn beyond_the_bound_a_queue_and_beyond_the_queue_nobody() {
    let pool = pool("url: \"http://10.0.0.1:1\", in_flight: 2, queue: 1, queue_timeout: 50ms");
    let room = pool.room().unwrap();
    let first = room.enter().await.unwrap();
    let _second = room.enter().await.unwrap();
    let refused = async {
        assert_eq!((room.taken(), room.waiting()), (2, 1));
        assert_eq!(room.enter().await.map(drop), Err(Full), "the queue is full");
        drop(first);
    };
    let (waited, ()) = tokio::join!(room.enter(), refused);
    let _third = waited.unwrap();
    let began = Instant::now();
    assert_eq!(room.enter().await.map(drop), Err(Full));
    assert!(began.elapsed() >= Duration::from_millis(50), "whoever waits does so to the end");
    assert_eq!((room.taken(), room.waiting()), (2, 0));
}

#[test]
fn a_bound_on_connections_is_kept_and_others_are_asked_to_give_way() {
    let pool = pool("url: \"http://10.0.0.1:1\", connections: 2");
    let endpoint = Arc::clone(&pool.show().endpoints[0]);
    let first = endpoint.connect(2).unwrap();
    let second = endpoint.connect(2).unwrap();
    assert!(!first.is_wanted());
    assert!(endpoint.connect(2).is_none());
    assert!(first.is_wanted());
    assert!(!second.is_wanted(), "one is enough");
    drop(first);
    assert!(endpoint.connect(2).is_some());
}
