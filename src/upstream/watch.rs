//! What is done for an upstream beside its requests: active checks, and look-ups of names.
//!
//! Futures that never end; whoever runs them drops them when the upstream is not named any more.

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use tokio::time::MissedTickBehavior;

use super::probe;
use crate::config::HealthSettings;
use crate::endpoint::Checked;
use crate::endpoint::Endpoint;
use crate::endpoint::Pool;
use crate::gateway::Destination;

/// Asks each endpoint how it fares, all at once, and then again after the interval.
pub async fn check(destination: Arc<Destination>) {
    let pool = &destination.pool;
    let Some(health) = pool.settings().health.clone() else { return };
    let mut ticks = tokio::time::interval(health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let endpoints = pool.show().endpoints;
        let checks = endpoints.iter().map(|endpoint| {
            let (destination, health) = (&destination, &health);
            let check = async move {
                let fault = check_one(destination, endpoint, health).await.err();
                pool.checked(endpoint, Checked { at: Instant::now(), fault });
            };
            Box::pin(check)
        });
        all(checks.collect()).await;
    }
}

/// Looks the names of an upstream up, again and again. An answer that fails changes nothing.
pub async fn resolve(pool: Arc<Pool>) {
    let Some(interval) = pool.settings().resolve else { return };
    let names: Vec<_> = pool.names().collect();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (index, name, port) in &names {
            let asked = tokio::net::lookup_host((name.as_str(), *port));
            let upstream = pool.name();
            match tokio::time::timeout(LOOK_UP, asked).await {
                Ok(Ok(addresses)) => pool.found(*index, addresses.collect()),
                Ok(Err(error)) => tracing::warn!(upstream, name, %error, "cannot look a name up"),
                Err(_) => tracing::warn!(upstream, name, "a name was not looked up in time"),
            }
        }
    }
}

/// What is wrong with an endpoint, if anything is.
async fn check_one(
    destination: &Destination,
    endpoint: &Endpoint,
    health: &HealthSettings,
) -> Result<(), String> {
    let asking = probe::ask(destination, endpoint, &health.path);
    let status = tokio::time::timeout(health.timeout, asking)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let is_good = match health.expect.as_slice() {
        [] => (200..400).contains(&status),
        expected => expected.contains(&status),
    };
    if is_good { Ok(()) } else { Err(format!("status {status}")) }
}

/// Drives futures side by side within one task, until each has ended.
async fn all<F: Future<Output = ()>>(mut futures: Vec<Pin<Box<F>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// How long one look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);
