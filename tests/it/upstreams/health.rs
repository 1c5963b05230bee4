//! Active checks: an endpoint that fails them is not asked, and is again once it passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::world::eventually;

/// Answers requests, and checks of its health as long as `is_well`.
fn checked(is_well: &Arc<AtomicBool>) -> Upstream {
    let is_well = Arc::clone(is_well);
    Upstream::scripted(move |_, head| {
        let status = if head.starts_with("GET /healthz ") && !is_well.load(Ordering::SeqCst) {
            500
        } else {
            200
        };
        vec![Step::Body, Step::text(&format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"))]
    })
}

/// Requests, leaving checks aside.
fn asked(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    requests.iter().filter(|request| request.target() == "/pool/x").count()
}

const CHECKS: &str = ", health: { path: /healthz, interval: 20ms, timeout: 1s, healthy_after: 1, unhealthy_after: 2 }";

#[test]
fn a_sick_endpoint_is_not_asked_until_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (sick, well) = (checked(&is_well), checked(&Arc::new(AtomicBool::new(true))));
    let world = before(&urls(&[&sick, &well]), CHECKS);
    eventually("found sick", || states(&world) == ["sick", "healthy"]);
    let already = asked(&sick);
    for _ in 0..20 {
        assert_eq!(status(&world, &get()), 200);
    }
    assert_eq!((asked(&sick) - already, asked(&well)), (0, 20));
    let shown = shown(&world);
    assert_eq!(shown["endpoints"][0]["last_check"]["fault"], "status 500", "{shown}");
    is_well.store(true, Ordering::SeqCst);
    eventually("found well", || states(&world) == ["healthy", "healthy"]);
    eventually("asked again", || {
        assert_eq!(status(&world, &get()), 200);
        asked(&sick) > already
    });
}

#[test]
fn with_all_sick_a_request_is_refused_at_once() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (a, b) = (checked(&is_well), checked(&is_well));
    let world = before(&urls(&[&a, &b]), CHECKS);
    eventually("found sick", || states(&world) == ["sick", "sick"]);
    let already = asked(&a) + asked(&b);
    let answer = world.answer(&get());
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.fields.one("retry-after"), "1");
    assert_eq!(asked(&a) + asked(&b), already);
    let unfit = "portcullis_upstream_refused_total{reason=\"unfit\",upstream=\"many\"}";
    assert!((world.metric(unfit) - 1.0).abs() < 0.1);
    is_well.store(true, Ordering::SeqCst);
    eventually("served again", || status(&world, &get()) == 200);
}

#[test]
fn one_that_hangs_does_not_delay_the_checks_of_others() {
    let is_well = Arc::new(AtomicBool::new(true));
    let (hangs, other) = (always(&[Step::Silence]), checked(&is_well));
    let checks = ", health: { path: /healthz, interval: 20ms, timeout: 100ms, healthy_after: 1, unhealthy_after: 1 }";
    let world = before(&urls(&[&hangs, &other]), checks);
    eventually("found sick", || states(&world) == ["sick", "healthy"]);
    is_well.store(false, Ordering::SeqCst);
    eventually("found sick", || states(&world) == ["sick", "sick"]);
}

#[test]
fn checks_end_with_their_upstream_and_verdicts_outlive_a_reload() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (sick, well) = (checked(&is_well), checked(&Arc::new(AtomicBool::new(true))));
    let world = before(&urls(&[&sick, &well]), CHECKS);
    eventually("found sick", || states(&world) == ["sick", "healthy"]);
    world.reload_with("unhealthy_after: 2", "unhealthy_after: 99").unwrap();
    assert_eq!(states(&world), ["sick", "healthy"], "nothing is forgotten");
    world.reload_with("health: {", "health: { no: 1,").unwrap_err();
    world.reload_with(", health: { no: 1,", ", in_flight: 0, health: {").unwrap_err();
    assert_eq!(states(&world), ["sick", "healthy"], "what was refused changes nothing");
    world.reload_with(", in_flight: 0", "").unwrap();
    world.reload_with(&CHECKS.replace("after: 2", "after: 99"), "").unwrap();
    assert_eq!(states(&world), ["healthy", "healthy"], "nobody checks any more");
    // What was under way when the checks ended may still arrive.
    eventually("checks have ended", || {
        let already = heads(&well);
        !well.wait_for(Duration::from_millis(200), |seen| seen.heads() > already)
    });
}
