//! The face for operators: health, readiness, metrics. Never on the public port.

mod upstreams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use prometheus::Encoder;
use prometheus::TextEncoder;
use serde_json::json;

use crate::clock::Clock;
use crate::credentials::StoredKeys;
use crate::endpoint::Pool;
use crate::jwt::RemoteKeys;
use crate::message;
use crate::message::Body;
use crate::telemetry::Metrics;

/// What operators can ask about.
#[derive(Debug)]
pub struct Admin {
    metrics: Metrics,
    clock: Clock,
    stored: Option<Arc<StoredKeys>>,
    remotes: arc_swap::ArcSwap<Vec<Arc<RemoteKeys>>>,
    pools: arc_swap::ArcSwap<Vec<Arc<Pool>>>,
    is_draining: AtomicBool,
}

/// One thing that readiness depends on.
struct Condition {
    name: String,
    is_met: bool,
    detail: String,
}

impl Admin {
    /// Nothing to wait for but the store, when there is one.
    pub fn new(metrics: Metrics, clock: Clock, stored: Option<Arc<StoredKeys>>) -> Self {
        let (remotes, pools) = Default::default();
        Self { metrics, clock, stored, remotes, pools, is_draining: AtomicBool::new(false) }
    }

    /// The key sets and upstreams that the configuration in force names.
    pub fn watch(&self, remotes: Vec<Arc<RemoteKeys>>, pools: Vec<Arc<Pool>>) {
        self.remotes.store(Arc::new(remotes));
        self.pools.store(Arc::new(pools));
    }

    /// From now on readiness fails, so that nobody sends new traffic.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Answers one request on the admin listener.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = message::text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            let allowed = http::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        match request.uri().path() {
            "/healthz" => message::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(request.uri().query() == Some("verbose")),
            "/metrics" => self.scrape(),
            "/upstreams" => self.upstreams(),
            _ => message::text(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics, /upstreams\n"),
        }
    }

    /// 200 when every condition is met; else 503 with those that are not.
    fn readiness(&self, is_verbose: bool) -> Response<Body> {
        let conditions = self.conditions();
        let is_ready = conditions.iter().all(|condition| condition.is_met);
        let shown: Vec<_> = conditions
            .iter()
            .filter(|condition| is_verbose || !condition.is_met)
            .map(|condition| {
                let Condition { name, is_met, detail } = condition;
                json!({"name": name, "met": is_met, "detail": detail})
            })
            .collect();
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let document = json!({"ready": is_ready, "conditions": shown});
        message::with_type(status, "application/json", format!("{document}\n"))
    }

    fn conditions(&self) -> Vec<Condition> {
        let is_draining = self.is_draining.load(Ordering::Relaxed);
        let mut all = vec![Condition {
            name: "serving".to_owned(),
            is_met: !is_draining,
            detail: if is_draining { "draining" } else { "serving" }.to_owned(),
        }];
        if let Some(stored) = &self.stored {
            let is_stale = stored.is_stale(self.clock.now());
            all.push(Condition {
                name: "store".to_owned(),
                is_met: !is_stale,
                detail: if is_stale { "silent for too long" } else { "answers" }.to_owned(),
            });
        }
        for keys in self.remotes.load().iter() {
            let status = keys.status();
            let kids = status.kids.join(" ");
            let age = status.age.map_or("never fetched".to_owned(), |age| {
                format!("keys {kids}; fetched {}s ago", age.as_secs())
            });
            let failure = status.last_error.map_or(String::new(), |error| format!("; {error}"));
            all.push(Condition {
                name: format!("keys of {}", status.issuer),
                is_met: status.is_usable,
                detail: format!("{age}; next fetch in {}s{failure}", status.next_fetch.as_secs()),
            });
        }
        all
    }

    fn upstreams(&self) -> Response<Body> {
        let now = Instant::now();
        let shown: Vec<_> =
            self.pools.load().iter().map(|pool| upstreams::show(pool, now)).collect();
        let document = json!({"upstreams": shown});
        message::with_type(StatusCode::OK, "application/json", format!("{document}\n"))
    }

    fn scrape(&self) -> Response<Body> {
        let now = Instant::now();
        self.pools.load().iter().for_each(|pool| pool.observe(now));
        for keys in self.remotes.load().iter() {
            keys.observe();
        }
        let mut text = Vec::new();
        let families = self.metrics.registry.gather();
        if TextEncoder::new().encode(&families, &mut text).is_err() {
            return message::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n");
        }
        message::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
    }
}
