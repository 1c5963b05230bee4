//! A gateway to be asked and not to serve: for tools that explain a decision.
//!
//! Built from the same configuration by the same code as one that serves. The store is opened and
//! key sets are read from disk and fetched, but nothing is bound, created or written.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use http::Response;
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::StartError;
use super::connection;
use crate::clock::Clock;
use crate::config;
use crate::config::Findings;
use crate::config::Report;
use crate::config::Settings;
use crate::credentials::KeySettings;
use crate::credentials::StoredKeys;
use crate::gateway::Asking;
use crate::gateway::Built;
use crate::gateway::Decision;
use crate::gateway::Gateway;
use crate::gateway::Kept;
use crate::gateway::Round;
use crate::gateway::Trail;
use crate::inquiry::Peer;
use crate::jwt::Recent;
use crate::jwt::RemoteKeys;
use crate::message;
use crate::store::Store;
use crate::store::StoreAddress;
use crate::telemetry::Metrics;

/// A gateway that is only asked; what runs beside it ends when it is dropped.
#[derive(Debug)]
pub struct Trial {
    gateway: Gateway,
    settings: Settings,
    clock: Clock,
    _tasks: JoinSet<()>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Asked {
    /// It cannot be read as HTTP: the listener answers this status, bare, and nothing is judged.
    Unread(StatusCode),
    /// It was judged.
    Judged(Box<Judged>),
}

/// A request, its way through the gateway, and the answer.
#[derive(Debug)]
pub struct Judged {
    /// The head as it was read.
    pub parts: Parts,
    /// Who asked.
    pub peer: Peer,
    /// How the decision came about.
    pub trail: Trail,
    /// Yes or no.
    pub decision: Decision,
}

impl Trial {
    /// Compiles the configuration at `path`, opens its store, and waits a bounded time for key sets.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, StartError> {
        let refused = |report| StartError::Config(Box::new(report));
        let mut loaded = config::load(path).map_err(refused)?;
        let mut findings = Findings::new();
        let Some(settings) = Settings::resolve(&loaded, &mut findings) else {
            return Err(refused(Report::new(loaded.source, findings)));
        };
        let metrics = Metrics::new()?;
        let mut tasks = JoinSet::new();
        let stored = match &settings.store {
            Some(address) if !findings.has_errors() => {
                let store = Store::open_existing(&StoreAddress::try_from(address)?).await?;
                let (keys, keeper) =
                    StoredKeys::new(store, KeySettings::default(), clock.clone(), &metrics);
                tasks.spawn(keeper.run());
                Some(keys)
            }
            _ => None,
        };
        let kept = Kept::new(clock.clone(), metrics, stored, 0).reading_only();
        let Some(built) = Gateway::build(&mut loaded, &settings, &kept, &mut findings) else {
            return Err(refused(Report::new(loaded.source, findings)));
        };
        let Built { gateway, remotes, destinations: _ } = built;
        for keys in &remotes {
            tasks.spawn(Arc::clone(keys).run());
        }
        // Late keys are the answer of a gateway without keys, or with those on disk: the trail says so.
        drop(tokio::time::timeout(KEYS_PATIENCE, settled(&remotes)).await);
        Ok(Self { gateway, settings, clock, _tasks: tasks })
    }

    /// The gateway itself.
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What it was built from.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The clock by which it judges.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Reads the bytes of a request's head as a listener would, and judges it.
    pub async fn ask(&self, head: &[u8], from: IpAddr) -> Asked {
        let parts = match read(head).await {
            Ok(parts) => parts,
            Err(status) => return Asked::Unread(status),
        };
        let connected = Peer::direct(from);
        let peer = if self.gateway.trusted_proxies().contains(from) {
            self.gateway.peer_behind(&connected, &parts.headers)
        } else {
            connected
        };
        let mut trail = Trail::verbose(Instant::now());
        let recent = Recent::new();
        let asking =
            Asking { peer: &peer, now: self.clock.now(), recent: &recent, round: Round::First };
        let decision = self.gateway.decide(&parts, &asking, &mut trail).await;
        Asked::Judged(Box::new(Judged { parts, peer, trail, decision }))
    }
}

/// Gives the bytes to the parser that listeners use; the status with which it refuses them itself.
async fn read(head: &[u8]) -> Result<Parts, StatusCode> {
    let (mut client, server) = tokio::io::duplex(head.len().saturating_add(ROOM_FOR_ANSWER));
    let first: Mutex<Option<Parts>> = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        // Bytes may hold more than one request, as those of a client may; one was asked about.
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| request.into_parts().0);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(
            message::Body::default(),
        )))
    });
    let mut answer = Vec::new();
    if client.write_all(head).await.is_ok() && client.shutdown().await.is_ok() {
        let outcome = connection::protocol().serve_connection(TokioIo::new(server), service).await;
        tracing::debug!(?outcome, "the head was read");
        // The server's side is closed by now: this ends with what was written.
        drop(client.read_to_end(&mut answer).await);
    }
    let parts = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.ok_or_else(|| {
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or(StatusCode::BAD_REQUEST)
    })
}

/// Waits until every key set was fetched, or refused to be. One that is usable already was on disk,
/// and the issuer may have replaced it since.
async fn settled(remotes: &[Arc<RemoteKeys>]) {
    let is_settled = |keys: &Arc<RemoteKeys>| !keys.status().next_fetch.is_zero();
    while !remotes.iter().all(is_settled) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long key sets may take to arrive.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);
/// How often they are looked after meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// More than the parser ever answers on its own.
const ROOM_FOR_ANSWER: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(head: &str) -> Result<String, u16> {
        let parts = read(head.as_bytes()).await.map_err(|status| status.as_u16())?;
        Ok(format!("{} {} {}", parts.method, parts.uri, parts.headers.len()))
    }

    #[tokio::test]
    async fn a_head_is_read_as_a_listener_reads_it() {
        let good = outcome("GET /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\n\r\n").await;
        assert_eq!(good.as_deref(), Ok("GET /a?b 2"));
        let absolute = outcome("GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(absolute.as_deref(), Ok("GET http://y/a 1"));
        let body = outcome("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").await;
        assert_eq!(body.as_deref(), Ok("POST /a 2"));
        let two =
            outcome("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(two.as_deref(), Ok("GET /a 1"));
        let shown = outcome(
            "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(shown.await.as_deref(), Ok("POST /a 3"));
    }

    #[tokio::test]
    async fn what_the_parser_refuses_is_refused_with_its_status() {
        for head in [
            "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET /a HTTP/1.1\r\nA: \u{1}\r\n\r\n",
            "G(T /a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            assert_eq!(outcome(head).await, Err(400), "{head:?}");
        }
        let many = "A: b\r\n".repeat(200);
        assert_eq!(outcome(&format!("GET /a HTTP/1.1\r\n{many}\r\n")).await, Err(431));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
        assert!(outcome(&long).await.is_err_and(|status| status == 414 || status == 431));
        assert_eq!(outcome("").await, Err(400));
        assert_eq!(outcome("GET /a HTTP/1.1\r\n").await, Err(400));
    }
}
