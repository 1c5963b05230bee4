//! The unused connections of one worker, per endpoint; the last one used is the first one taken.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use prometheus::IntCounterVec;

use super::UpstreamError;
use super::link::Link;
use crate::endpoint::Endpoint;
use crate::gateway::Destination;
use crate::telemetry::Metrics;

/// One stack of unused connections per slot. The lock is never contended (one worker)
/// and never held across an await.
#[derive(Debug)]
pub(super) struct Pools {
    idle: Mutex<Stacks>,
    connections: IntCounterVec,
}

/// Boxed: a link travels on into the body of its answer, as a pointer.
type Stacks = Vec<Vec<Box<Link>>>;

impl Pools {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { idle: Mutex::default(), connections: metrics.upstream_connections.clone() }
    }

    /// Takes an unused connection that is still open.
    pub(super) fn checkout(
        &self,
        destination: &Destination,
        slot: usize,
        now: Instant,
    ) -> Option<Box<Link>> {
        let mut stacks = self.lock();
        let stack = stacks.get_mut(slot)?;
        while let Some(mut link) = stack.pop() {
            if link.is_stale(now) {
                // Those below have been unused for longer still.
                stack.clear();
            } else if link.suits(destination) && link.is_open() {
                return Some(link);
            }
        }
        None
    }

    /// Opens a new connection.
    pub(super) async fn open(
        &self,
        destination: &Destination,
        endpoint: &Endpoint,
        client: IpAddr,
    ) -> Result<Box<Link>, UpstreamError> {
        let link = Link::open(destination, endpoint, client).await.map(Box::new);
        let outcome = if link.is_ok() { "opened" } else { "failed" };
        self.connections.with_label_values(&[destination.name.as_str(), outcome]).inc();
        link
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn give_back(&self, destination: &Destination, mut link: Box<Link>) {
        let now = Instant::now();
        if link.is_wanted() || link.expires.is_some_and(|at| now >= at) {
            return;
        }
        link.idle_since = now;
        let slot = link.slot;
        let mut stacks = self.lock();
        if stacks.len() <= slot {
            stacks.resize_with(slot + 1, Vec::new);
        }
        if let Some(stack) = stacks.get_mut(slot)
            && stack.len() < destination.idle_connections
        {
            stack.push(link);
        }
    }

    /// Drops what was unused for too long or was closed by the other end.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for stack in self.lock().iter_mut() {
            stack.retain_mut(|link| !link.is_stale(now) && link.is_open() && !link.is_wanted());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stacks> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Findings;
    use crate::config::Settings;
    use crate::config::Source;
    use crate::config::UpstreamHttp2;
    use crate::config::parse;
    use crate::endpoint::Pool;
    use crate::endpoint::Slots;
    use crate::gateway::Transport;
    use crate::id::UpstreamName;

    async fn linked(pools: &Pools) -> (Destination, TcpStream, Box<Link>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!(
            "listen: {{ public: 127.0.0.1:80 }}\nupstreams: {{ api: {{ url: \"http://{address}\" }} }}\nroutes: []\n"
        );
        let loaded = parse(Source::new("p.yaml", text)).unwrap();
        let settings = Settings::resolve(&loaded, &mut Findings::new()).unwrap();
        let metrics = Metrics::new().unwrap();
        let pool = Pool::new(
            "api",
            &settings.upstreams["api"],
            (&Arc::new(Slots::default()), &metrics),
            None,
        );
        let destination = Destination {
            name: UpstreamName::new("api"),
            sole: pool.sole(),
            pool: Arc::new(pool),
            transport: Transport { secured: None, http2: UpstreamHttp2::Never },
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            idle_connections: 1,
            connections: None,
            announces: None,
        };
        let link =
            pools.open(&destination, sole(&destination), Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (destination, theirs, link)
    }

    fn sole(destination: &Destination) -> &Endpoint {
        destination.sole.as_ref().unwrap()
    }

    /// Takes a connection within a task that may do no more before it has waited.
    async fn checkout_when_exhausted(pools: &Pools, destination: &Destination) -> bool {
        poll_fn(|cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(
                pools.checkout(destination, sole(destination).slot, Instant::now()).is_some(),
            )
        })
        .await
    }

    #[tokio::test]
    async fn a_busy_task_takes_no_connection_that_ended_or_spoke_unasked() {
        let pools = Pools::new(&Metrics::new().unwrap());
        let (destination, theirs, link) = linked(&pools).await;
        pools.give_back(&destination, link);
        assert!(checkout_when_exhausted(&pools, &destination).await, "open and silent");
        drop(theirs);
        for says in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b""] {
            let (destination, mut theirs, link) = linked(&pools).await;
            theirs.write_all(says).await.unwrap();
            theirs.shutdown().await.unwrap();
            link.stream.readable().await.unwrap();
            pools.give_back(&destination, link);
            assert!(!checkout_when_exhausted(&pools, &destination).await, "{says:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_by_name_is_kept_until_the_name_is_looked_up_again() {
        let pools = Pools::new(&Metrics::new().unwrap());
        let (destination, _theirs, mut link) = linked(&pools).await;
        assert_eq!(link.expires, None, "an address stays what it is");
        let now = Instant::now();
        link.expires = Some(now + Duration::from_secs(100));
        pools.give_back(&destination, link);
        let mut link = pools.checkout(&destination, sole(&destination).slot, now).unwrap();
        link.expires = Some(now);
        pools.give_back(&destination, link);
        assert!(pools.checkout(&destination, sole(&destination).slot, now).is_none());
    }

    #[tokio::test]
    async fn one_sweep_closes_every_connection_that_ended() {
        let pools = Pools::new(&Metrics::new().unwrap());
        let mut all = Vec::new();
        for _ in 0..200 {
            let (mut destination, mut theirs, link) = linked(&pools).await;
            theirs.shutdown().await.unwrap();
            link.stream.readable().await.unwrap();
            destination.idle_connections = 200;
            pools.give_back(&destination, link);
            all.push(theirs);
        }
        pools.sweep();
        assert!(pools.lock().iter().all(Vec::is_empty));
    }
}
