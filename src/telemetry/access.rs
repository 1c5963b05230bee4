//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A worker appends to its buffer and goes on; when the reader of standard output is too slow, lines
//! are lost and counted, and no request waits.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp as Civil;
use prometheus::IntCounter;

use super::Metrics;
use crate::clock::Timestamp;

/// Where lines are gathered; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    filled: Condvar,
    lost: IntCounter,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    is_over: bool,
}

/// One request, as the line tells it. No credential has a field here.
#[derive(Debug)]
pub struct Line<'l> {
    /// When its head arrived.
    pub time: Timestamp,
    /// Ties it to the answer.
    pub request_id: String,
    /// The name of its route; empty when none matched.
    pub route: &'l str,
    /// Method as sent.
    pub method: &'l str,
    /// Host as sent.
    pub host: &'l str,
    /// Path as judged, or as sent when it was refused before.
    pub path: &'l str,
    /// Query, only when the operator wants it.
    pub query: Option<&'l str>,
    /// The version of HTTP that the client speaks.
    pub protocol: &'static str,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// Whether the answer ended before its end.
    pub is_cut: bool,
    /// The public reason of a refusal.
    pub reason: Option<&'l str>,
    /// Why exactly, for the operator.
    pub detail: Option<String>,
    /// The application's public id.
    pub app: Option<&'l str>,
    /// Eight digits of a digest of the user's identity.
    pub subject: Option<String>,
    /// The client's address.
    pub client: String,
    /// From the head of the request to the end of the answer.
    pub duration: Duration,
    /// Named parts of it.
    pub steps: &'l [(&'static str, Duration)],
}

impl AccessLog {
    /// A log whose lines nobody has taken yet.
    pub fn new(metrics: &Metrics) -> Self {
        let shared = Shared {
            pending: Mutex::default(),
            filled: Condvar::new(),
            lost: metrics.access_lines_lost.clone(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Appends a line; never waits for the reader.
    pub fn write(&self, line: &Line<'_>) {
        let text = line.to_json();
        let mut pending = self.lock();
        if pending.bytes.len().saturating_add(text.len()) > MOST_PENDING {
            drop(pending);
            self.shared.lost.inc();
            return;
        }
        let was_empty = pending.bytes.is_empty();
        pending.bytes.extend_from_slice(text.as_bytes());
        drop(pending);
        if was_empty {
            self.shared.filled.notify_one();
        }
    }

    /// Copies lines to `out` until [`AccessLog::close`]; for a thread of its own.
    pub fn drain_into(&self, out: &mut dyn Write) {
        loop {
            let mut pending = self.lock();
            while pending.bytes.is_empty() && !pending.is_over {
                pending = self.shared.filled.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            let is_over = pending.is_over;
            let bytes = std::mem::take(&mut pending.bytes);
            drop(pending);
            // Standard output that went away must not stop the gateway.
            let _ = out.write_all(&bytes).and_then(|()| out.flush());
            if is_over {
                return;
            }
            // Gathers a batch: the lines of a busy moment become one write.
            std::thread::park_timeout(BATCH);
        }
    }

    /// Lets [`AccessLog::drain_into`] write what is left and return.
    pub fn close(&self) {
        self.lock().is_over = true;
        self.shared.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line<'_> {
    fn to_json(&self) -> String {
        let mut out = String::with_capacity(512);
        out.push_str("{\"time\":\"");
        match Civil::from_millisecond(self.time.millis()) {
            Ok(time) => _ = write!(out, "{time:.3}"),
            Err(_) => out.push('?'),
        }
        out.push('"');
        member(&mut out, "request_id", &self.request_id);
        member(&mut out, "route", self.route);
        member(&mut out, "http.request.method", self.method);
        member(&mut out, "server.address", self.host);
        member(&mut out, "url.path", self.path);
        if let Some(query) = self.query {
            member(&mut out, "url.query", query);
        }
        member(&mut out, "network.protocol.version", self.protocol);
        let _ = write!(out, ",\"http.response.status_code\":{}", self.status);
        let _ = write!(out, ",\"http.response.body.size\":{}", self.body_bytes);
        if self.is_cut {
            out.push_str(",\"cut\":true");
        }
        for (name, value) in
            [("reason", self.reason), ("detail", self.detail.as_deref()), ("app", self.app)]
        {
            if let Some(value) = value {
                member(&mut out, name, value);
            }
        }
        if let Some(subject) = &self.subject {
            member(&mut out, "subject", subject);
        }
        member(&mut out, "client.address", &self.client);
        let _ = write!(out, ",\"duration\":{:.6}", self.duration.as_secs_f64());
        for (name, took) in self.steps {
            let _ = write!(out, ",\"duration.{name}\":{:.6}", took.as_secs_f64());
        }
        out.push_str("}\n");
        out
    }
}

/// Appends `,"name":"value"`. Everything that could end the string or the line is escaped, so that
/// nobody can write a line of their own through a path or a host.
fn member(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Bytes that wait for the reader at most.
const MOST_PENDING: usize = 4 * 1024 * 1024;
/// How long lines are gathered before they are written together.
const BATCH: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[(&str, Duration)] = &[("match", Duration::from_micros(3))];

    fn line(path: &str) -> Line<'_> {
        Line {
            time: Timestamp::from_millis(1_700_000_000_123),
            request_id: "id".into(),
            route: "r",
            method: "GET",
            host: "gw.test",
            path,
            query: None,
            protocol: "1.1",
            status: 401,
            body_bytes: 12,
            is_cut: false,
            reason: Some("expired_token"),
            detail: None,
            app: Some("mobile"),
            subject: None,
            client: "192.0.2.1".into(),
            duration: Duration::from_micros(1500),
            steps: STEPS,
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let text = line("/a").to_json();
        assert!(text.ends_with("}\n"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(value["http.response.status_code"], 401);
        assert_eq!(value["network.protocol.version"], "1.1");
        assert_eq!(value["reason"], "expired_token");
        assert_eq!(value["duration.match"], 0.000_003);
    }

    #[test]
    fn nobody_writes_a_line_of_their_own() {
        let hostile = "/a\"}\n{\"x\":\"\u{2028}\u{85}\\";
        let text = line(hostile).to_json();
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["url.path"], hostile);
    }

    #[test]
    fn a_slow_reader_loses_lines_and_delays_nobody() {
        let metrics = Metrics::new().unwrap();
        let log = AccessLog::new(&metrics);
        let path = format!("/{}", "a".repeat(100_000));
        for _ in 0..50 {
            log.write(&line(&path));
        }
        let lost = metrics.access_lines_lost.get();
        assert!(lost > 0);
        log.close();
        let mut out = Vec::new();
        log.drain_into(&mut out);
        let kept = String::from_utf8(out).unwrap().lines().count();
        assert_eq!(u64::try_from(kept).unwrap() + lost, 50);
    }
}
