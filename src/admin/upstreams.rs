//! `GET /upstreams`: every upstream and how its endpoints fare, as JSON.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::config::UpstreamHttp2;
use crate::endpoint::Checked;
use crate::endpoint::Endpoint;
use crate::endpoint::Pool;
use crate::endpoint::Shown;
use crate::endpoint::Verdict;

/// One upstream. What is not counted, for want of a need, is null.
pub(super) fn show(pool: &Pool, now: Instant) -> Value {
    let Shown { room, endpoints } = pool.show();
    let is_counted = pool.sole().is_none();
    json!({
        "name": pool.name(),
        "tls": pool.settings().transport.tls.is_some(),
        "in_flight": room.as_ref().map(|room| room.taken()),
        "queued": room.as_ref().map(|room| room.waiting()),
        "endpoints": endpoints
            .iter()
            .map(|endpoint| endpoint_of(pool, endpoint, is_counted, now))
            .collect::<Vec<_>>(),
    })
}

fn endpoint_of(pool: &Pool, endpoint: &Endpoint, is_counted: bool, now: Instant) -> Value {
    let state = match endpoint.verdict(now) {
        Verdict::Healthy => "healthy",
        Verdict::Sick => "sick",
        Verdict::Ejected => "ejected",
    };
    let is_bounded = pool.settings().connections.is_some();
    json!({
        "address": endpoint.address.to_string(),
        "protocol": protocol(pool, endpoint),
        "state": state,
        "pending": is_counted.then(|| endpoint.pending()),
        "connections": is_bounded.then(|| endpoint.connections()),
        "ejected_for_ms": endpoint.rests_for(now).map(millis),
        "last_check": endpoint.last_check().map(|Checked { at, fault }| {
            json!({
                "passed": fault.is_none(),
                "fault": fault,
                "ago_ms": millis(now.saturating_duration_since(at)),
            })
        }),
    })
}

/// What an endpoint is spoken to in, by its name in ALPN; null until both ends have agreed.
fn protocol(pool: &Pool, endpoint: &Endpoint) -> Option<&'static str> {
    let is_http2 = match pool.settings().transport.http2 {
        UpstreamHttp2::Never => false,
        UpstreamHttp2::Always => true,
        UpstreamHttp2::Auto => endpoint.agreed_on_http2()?,
    };
    Some(if is_http2 { "h2" } else { "http/1.1" })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
