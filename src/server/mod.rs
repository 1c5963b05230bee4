//! Listeners, workers, reload, drain: what holds a running gateway together.
//!
//! Knows connections and threads, not policy. Requests run on one single-threaded runtime per core;
//! everything that waits for a store, an issuer or a file runs on one more thread, the control runtime,
//! so that no request waits behind it.

mod connection;
mod control;
mod listen;
mod logins;
mod operators;
mod proxied;
mod room;
#[cfg(test)]
mod tests;
mod tls;
mod trial;
mod unix_socket;
mod upstreams;
mod worker;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config;
use crate::config::Findings;
use crate::config::ListenAddress;
use crate::config::Loaded;
use crate::config::Report;
use crate::config::Secrets;
use crate::config::Settings;
use crate::gateway::Built;
use crate::gateway::Gateway;
use crate::gateway::Kept;
use crate::gateway::Live;
use crate::jwt::Recent;
use crate::login::Desk;
use crate::message::RequestIds;
use crate::proxy::{Answerer, Landlord, Proxy, Within};
use crate::store::StoreError;
use crate::telemetry::AccessLog;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;
use connection::Patience;
use control::Control;
pub use control::Order;
use control::StartFailure;
use listen::Bound;
use room::Room;
use tls::{Ground, LiveTls};
pub use trial::{Asked, Judged, Trial};
use worker::{Manner, Stop, Worker};

/// What a gateway is started with beside its configuration.
#[derive(Debug)]
pub struct Options {
    /// Who is asked for the time.
    pub clock: Clock,
    /// Whether the configuration is read again when it changes on disk.
    pub watches_files: bool,
    /// Whether access lines go to standard output; otherwise nobody gets them.
    pub writes_access_lines: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), watches_files: false, writes_access_lines: false }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors.
    #[error("{0}")]
    Config(Box<Report>),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(String, #[source] std::io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The path of the store is none that SQLite would take.
    #[error("cannot open the store")]
    StoreAddress(#[from] crate::store::AddressError),
    /// A thread or runtime could not be had.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
    /// The metrics contradict each other.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The system has no randomness to give.
    #[error("cannot draw random numbers")]
    Random,
    /// The control thread ended while starting.
    #[error("the control thread ended while starting")]
    Control,
}

/// Starts gateways.
#[derive(Debug)]
pub struct Server;

/// A gateway that is listening; dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    public: ListenAddress,
    admin: Option<ListenAddress>,
    orders: mpsc::Sender<Order>,
    threads: Vec<JoinHandle<()>>,
    access: AccessLog,
    /// Ends when the access log is closed.
    writer: Option<JoinHandle<()>>,
    metrics: Metrics,
    warnings: Report,
}

/// What the control thread tells when everything it needs is there.
struct Ready {
    live: Arc<Live>,
    tls: Option<Arc<LiveTls>>,
}

impl Server {
    /// Compiles the configuration at `path`, binds, starts every thread; returns when listening.
    pub fn start(path: &Path, options: Options) -> Result<Running, StartError> {
        let Options { clock, watches_files, writes_access_lines } = options;
        let mut loaded = config::load(path).map_err(config_error)?;
        let source = loaded.source.clone();
        let mut findings = Findings::new();
        let Some(settings) = Settings::resolve(&loaded, &mut findings) else {
            return Err(config_error(Report::new(source, findings)));
        };
        let metrics = Metrics::new()?;
        let access = AccessLog::new(&metrics);
        let (ordered, orders) = mpsc::channel(MOST_ORDERS);
        let (stop, stopped) = watch::channel(None);
        let workers = settings.workers.unwrap_or_else(listen::cores);
        let public = &settings.listen.public;
        let listeners = listen::bind(public, workers)
            .map_err(|error| StartError::Listen(public.to_string(), error))?;
        let operators = settings.listen.admin.as_ref().map(listen_for_operators).transpose()?;
        let (admin, admin_listener) = operators.unzip();
        let room = Arc::new(Room::new(&settings.limits));
        let control = Control {
            path: PathBuf::from(path),
            clock: clock.clone(),
            metrics: metrics.clone(),
            seed: random()?,
            watches_files,
            shutdown: settings.shutdown,
            room: Arc::clone(&room),
            stop,
        };
        let mut threads = Vec::with_capacity(workers + 1);
        let (store, manner) = (settings.store.clone(), manner(&settings));
        let (desk, calls) = Desk::new(metrics.clone());
        let first = control::First { settings, store, findings, admin_listener, calls };
        let (announce, announced) = oneshot::channel();
        threads.push(spawn("control", move || control.run(&mut loaded, first, orders, announce))?);
        let (ready, warnings) = match announced.blocking_recv() {
            Ok(Ok(announced)) => announced,
            Ok(Err(StartFailure::Findings(findings))) => {
                return Err(config_error(Report::new(source, findings)));
            }
            Ok(Err(StartFailure::Other(error))) => return Err(error),
            Err(_) => return Err(StartError::Control),
        };
        for (number, listener) in listeners.sockets.into_iter().enumerate() {
            let proxy = Proxy {
                live: Arc::clone(&ready.live),
                upstreams: Upstreams::new(&metrics, worker::driver()),
                clock: clock.clone(),
                access: access.clone(),
                recent: Recent::new(),
                landlord: Arc::new(Landlord::new(Arc::clone(&ready.live), clock.clone())),
                ids: RequestIds::new(random()?),
                within: within(desk.clone()),
            };
            let tls = ready.tls.clone();
            let worker = Worker::new(proxy, metrics.clone(), Arc::clone(&room), &manner, tls);
            let stop = Stop { signal: stopped.clone() };
            threads.push(spawn_worker(number, worker, listener, stop)?);
        }
        let writer = writes_access_lines.then(|| write_lines(access.clone())).transpose()?;
        Ok(Running {
            public: listeners.address,
            admin,
            orders: ordered,
            threads,
            access,
            writer,
            metrics,
            warnings: Report::new(source, warnings),
        })
    }
}

/// How connections are treated, and which begin with a PROXY header.
fn manner(settings: &Settings) -> Manner {
    Manner {
        patience: Patience { head: settings.timeouts.header, idle: settings.timeouts.idle },
        http2: settings.http2,
        proxied: Arc::new(settings.proxied.clone()),
    }
}

/// What ends with us is answered at the desk.
fn within(desk: Desk) -> Answerer {
    Box::new(move |within| {
        let Within { entry, parts, body, id } = within;
        Box::pin(desk.clone().answer(entry, parts, body, id))
    })
}

fn config_error(report: Report) -> StartError {
    StartError::Config(Box::new(report))
}

fn listen_for_operators(address: &ListenAddress) -> Result<(ListenAddress, Bound), StartError> {
    listen::bind_alone(address).map_err(|error| StartError::Listen(address.to_string(), error))
}

fn spawn(
    name: impl Into<String>,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

fn write_lines(access: AccessLog) -> std::io::Result<JoinHandle<()>> {
    spawn("access", move || access.drain_into(&mut std::io::stdout()))
}

fn spawn_worker(
    number: usize,
    worker: Worker,
    bound: Bound,
    stop: Stop,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = async move {
        match bound.into_listener() {
            Ok(listener) => Arc::new(worker).run(listener, stop).await,
            Err(error) => tracing::error!(%error, "a worker cannot listen"),
        }
    };
    spawn(format!("worker-{number}"), move || runtime.block_on(run))
}

impl Running {
    /// Where traffic is accepted.
    pub const fn public(&self) -> &ListenAddress {
        &self.public
    }

    /// Where operators ask, when they can.
    pub const fn admin(&self) -> Option<&ListenAddress> {
        self.admin.as_ref()
    }

    /// The counters of this gateway.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What was remarked about the configuration without refusing it.
    pub const fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Orders from elsewhere, such as signals.
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Reads the configuration again and puts it in force, or tells why not.
    pub fn reload(&self) -> Result<(), Report> {
        let (reply, outcome) = oneshot::channel();
        if self.orders.blocking_send(Order::Reload(Some(reply))).is_err() {
            return Ok(());
        }
        outcome.blocking_recv().unwrap_or(Ok(()))
    }

    /// Stops as a SIGTERM would, and returns when everything has ended.
    pub fn drain(mut self) {
        let _ = self.orders.blocking_send(Order::Drain);
        self.join();
    }

    /// Waits until the gateway was stopped by an order.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // Nobody writes lines any more: those of the last requests go out before the process ends.
        self.access.close();
        let deadline = Instant::now() + LAST_LINES;
        // Not joined: it may be writing to a pipe that nobody reads.
        while self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
            && Instant::now() < deadline
        {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.orders.try_send(Order::Stop);
        self.join();
    }
}

/// Compiles for `check`: nothing is opened, bound or fetched.
pub fn compile(loaded: &mut Loaded, findings: &mut Findings) -> Option<Gateway> {
    let settings = Settings::resolve(loaded, findings)?;
    let mut secrets = Secrets::new(loaded.source.folder());
    // Only what it says is wanted: `build` ends with nothing when there is an error.
    drop(logins::sealing(&settings, &mut secrets, findings));
    let (clock, metrics) = (Clock::system(), Metrics::new().ok()?);
    let ground = Ground { metrics: &metrics, clock: &clock, before: None };
    tls::compile(loaded, &settings, &ground, findings);
    let kept = Kept::new(clock, metrics, None, 0);
    Gateway::build(loaded, &settings, &kept, findings).map(|built| {
        let Built { gateway, remotes: _, destinations: _ } = built;
        gateway
    })
}

fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Orders that wait at most.
const MOST_ORDERS: usize = 16;
/// How long the last access lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
