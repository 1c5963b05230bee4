//! The control runtime: store, key sets, files, operators, orders. No request runs here.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Ready;
use super::StartError;
use super::listen::Bound;
use super::logins;
use super::logins::{Desks, Users};
use super::operators;
use super::room::Room;
use super::tls;
use super::tls::{Ground, LiveTls, Tls};
use super::upstreams::Watches;
use crate::admin::Admin;
use crate::clock::Clock;
use crate::config;
use crate::config::Findings;
use crate::config::Http2Settings;
use crate::config::ListenAddress;
use crate::config::Loaded;
use crate::config::NamedFile;
use crate::config::Place;
use crate::config::Report;
use crate::config::SecretRef;
use crate::config::Secrets;
use crate::config::Settings;
use crate::config::ShutdownSettings;
use crate::config::StoreAddress;
use crate::credentials::KeySettings;
use crate::credentials::StoredKeys;
use crate::gateway::Built;
use crate::gateway::Destination;
use crate::gateway::Gateway;
use crate::gateway::Kept;
use crate::gateway::Live;
use crate::inquiry::TrustedProxies;
use crate::jwt::OwnKeys;
use crate::jwt::RemoteKeys;
use crate::login::Asked;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What somebody wants of a running gateway.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again; tell how it went to whoever asked.
    Reload(Option<oneshot::Sender<Result<(), Report>>>),
    /// Fail readiness, serve on for `shutdown.delay`, then finish what is under way.
    Drain,
    /// End now.
    Stop,
}

/// The control thread before it runs.
pub(super) struct Control {
    pub(super) path: PathBuf,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) seed: u64,
    pub(super) watches_files: bool,
    pub(super) shutdown: ShutdownSettings,
    /// Whose bounds a reload changes.
    pub(super) room: Arc<Room>,
    /// Tells the workers until when they may finish.
    pub(super) stop: watch::Sender<Option<Instant>>,
}

/// What only the start needs.
pub(super) struct First {
    pub(super) settings: Settings,
    pub(super) store: Option<StoreAddress>,
    pub(super) findings: Findings,
    pub(super) admin_listener: Option<Bound>,
    /// Calls of login services, as workers hand them over.
    pub(super) calls: mpsc::Receiver<Asked>,
}

/// Why there is nothing to run.
pub(super) enum StartFailure {
    /// The configuration has errors.
    Findings(Findings),
    /// Something else.
    Other(StartError),
}

type Announce = oneshot::Sender<Result<(Ready, Findings), StartFailure>>;

/// The control thread at work.
struct Running {
    control: Control,
    kept: Kept,
    live: Arc<Live>,
    tls: Option<Arc<LiveTls>>,
    admin: Arc<Admin>,
    tasks: JoinSet<()>,
    /// The loops that keep key sets fresh.
    refreshing: Vec<(Arc<RemoteKeys>, AbortHandle)>,
    watches: Watches,
    /// What a reload may not change.
    fixed: Fixed,
    /// The families of our own keys that the keeper puts in force.
    families: Option<Arc<Mutex<Vec<Arc<OwnKeys>>>>>,
    named_files: Vec<NamedFile>,
}

/// Settings that are read once.
#[derive(PartialEq, Eq)]
struct Fixed {
    public: ListenAddress,
    proxied: TrustedProxies,
    is_secure: bool,
    admin: Option<ListenAddress>,
    store: Option<StoreAddress>,
    workers: Option<usize>,
    http2: Http2Settings,
    master: Option<SecretRef>,
}

impl Control {
    /// Runs until it is ordered to stop.
    pub(super) fn run(
        self,
        loaded: &mut Loaded,
        first: First,
        orders: mpsc::Receiver<Order>,
        announce: Announce,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.start(loaded, first, orders, announce)),
            Err(error) => {
                let _ = announce.send(Err(StartFailure::Other(error.into())));
            }
        }
    }

    async fn start(
        self,
        loaded: &mut Loaded,
        first: First,
        orders: mpsc::Receiver<Order>,
        announce: Announce,
    ) {
        match self.prepare(loaded, first).await {
            Ok((running, ready, findings)) => {
                if announce.send(Ok((ready, findings))).is_ok() {
                    running.obey(orders).await;
                }
            }
            Err(failure) => {
                let _ = announce.send(Err(failure));
            }
        }
    }

    async fn prepare(
        self,
        loaded: &mut Loaded,
        first: First,
    ) -> Result<(Running, Ready, Findings), StartFailure> {
        let First { settings, store, mut findings, admin_listener, calls } = first;
        let mut tasks = JoinSet::new();
        let (opened, stored) = match &store {
            Some(address) if !findings.has_errors() => {
                let (store, stored) = self.open_store(address, &settings, &mut tasks).await?;
                (Some(store), Some(stored))
            }
            _ => (None, None),
        };
        let mut secrets = Secrets::new(loaded.source.folder());
        let users = Users::prepare(&settings, &mut secrets, &self.metrics, &mut findings);
        let users = users.map_err(StartFailure::Other)?;
        let mut kept =
            Kept::new(self.clock.clone(), self.metrics.clone(), stored.clone(), self.seed);
        if let Some(users) = &users {
            kept = kept.with_users(Arc::clone(&users.known), Arc::clone(&users.vouching));
        }
        let ground = Ground { metrics: &self.metrics, clock: &self.clock, before: None };
        let tls = tls::compile(loaded, &settings, &ground, &mut findings);
        let Some(built) = Gateway::build(loaded, &settings, &kept, &mut findings) else {
            return Err(StartFailure::Findings(findings));
        };
        let Built { gateway, remotes, destinations } = built;
        let mut families = None;
        if let (Some(users), Some(store)) = (users, &opened) {
            let Desks { mut keeper, known, clerk, accounts, vouches } =
                users.open(store, &kept, &self.clock, &self.metrics);
            // Before anybody is served: without keys no token of ours could be judged.
            keeper.step().await;
            tasks.spawn(keeper.run());
            tasks.spawn(logins::answer_calls(clerk, calls));
            tasks.spawn(logins::answer_vouches(accounts, vouches));
            families = Some(known.families);
        }
        let admin = Arc::new(Admin::new(self.metrics.clone(), self.clock.clone(), stored));
        if let Some(bound) = admin_listener {
            let listener = bound.into_listener().map_err(|e| StartFailure::Other(e.into()))?;
            tasks.spawn(operators::serve(listener, Arc::clone(&admin)));
        }
        let fixed = Fixed::of(&settings);
        self.mark_success();
        let live = Arc::new(Live::new(gateway));
        let tls = tls.map(|tls| Arc::new(LiveTls::new(tls, &self.metrics)));
        let ready = Ready { live: Arc::clone(&live), tls: tls.clone() };
        let mut running = Running {
            control: self,
            kept,
            live,
            tls,
            admin,
            tasks,
            refreshing: Vec::new(),
            watches: Watches::default(),
            fixed,
            families,
            named_files: std::mem::take(&mut loaded.named_files),
        };
        running.refresh(remotes, destinations);
        Ok((running, ready, findings))
    }

    async fn open_store(
        &self,
        address: &StoreAddress,
        settings: &Settings,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Store, Arc<StoredKeys>), StartFailure> {
        let address = crate::store::StoreAddress::try_from(address)
            .map_err(|error| StartFailure::Other(error.into()))?;
        let store =
            Store::open(&address).await.map_err(|error| StartFailure::Other(error.into()))?;
        let capacity = u64::try_from(settings.cache.apps).unwrap_or(u64::MAX);
        let settings = KeySettings { capacity, ..KeySettings::default() };
        let (keys, keeper) =
            StoredKeys::new(store.clone(), settings, self.clock.clone(), &self.metrics);
        tasks.spawn(keeper.run());
        Ok((store, keys))
    }

    fn mark_success(&self) {
        self.metrics.reloads.with_label_values(&["success"]).inc();
        let seconds = Duration::from_millis(u64::try_from(self.clock.now().millis()).unwrap_or(0));
        self.metrics.reload_success.set(seconds.as_secs_f64());
    }
}

impl Fixed {
    fn of(settings: &Settings) -> Self {
        Self {
            public: settings.listen.public.clone(),
            proxied: settings.proxied.clone(),
            is_secure: settings.listen.tls.is_some(),
            admin: settings.listen.admin.clone(),
            store: settings.store.clone(),
            workers: settings.workers,
            http2: settings.http2,
            master: settings.master.as_ref().map(|master| master.value.clone()),
        }
    }
}

impl Fixed {
    fn listeners(&self) -> (&ListenAddress, bool, Option<&ListenAddress>, &TrustedProxies) {
        (&self.public, self.is_secure, self.admin.as_ref(), &self.proxied)
    }
}

impl Running {
    async fn obey(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut watch = None;
        if self.control.watches_files {
            watch = Some(config::Watch::new(self.named_files.clone()));
        }
        loop {
            // Both may be dropped at their await: an order stays in the queue, a change on disk is
            // found by comparing contents at the next look.
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Reload(reply)) => {
                        let outcome = self.reload();
                        self.watch_again(&mut watch);
                        if let Some(reply) = reply {
                            let _ = reply.send(outcome);
                        }
                    }
                    Some(Order::Drain) => break,
                    Some(Order::Stop) | None => {
                        let _ = self.control.stop.send(Some(Instant::now()));
                        return;
                    }
                },
                () = changed(&mut watch) => {
                    let _ = self.reload();
                    self.watch_again(&mut watch);
                }
            }
        }
        self.drain(orders).await;
    }

    /// Readiness fails first; only when whoever sends traffic had time to see it, connections end.
    async fn drain(mut self, mut orders: mpsc::Receiver<Order>) {
        tracing::info!("draining");
        self.admin.drain();
        let ShutdownSettings { delay, grace } = self.control.shutdown;
        if within(delay, second_order(&mut orders)).await {
            let _ = self.control.stop.send(Some(Instant::now()));
            return;
        }
        let _ = self.control.stop.send(Some(Instant::now() + grace));
        // Workers drop their receivers when they are done.
        let done = async { self.control.stop.closed().await };
        tokio::select! {
            () = done => {}
            () = second_order(&mut orders) => {
                let _ = self.control.stop.send(Some(Instant::now()));
            }
        }
        self.tasks.shutdown().await;
    }

    /// Compiles beside the gateway in force and swaps, or keeps what is in force and says why.
    fn reload(&mut self) -> Result<(), Report> {
        let outcome = self.try_reload();
        match &outcome {
            Ok(()) => {
                self.control.mark_success();
                tracing::info!("configuration reloaded");
            }
            Err(report) => {
                self.control.metrics.reloads.with_label_values(&["failure"]).inc();
                tracing::error!("the new configuration was refused, the old one stays:\n{report}");
            }
        }
        outcome
    }

    fn try_reload(&mut self) -> Result<(), Report> {
        let mut loaded = config::load(&self.control.path)?;
        let mut findings = Findings::new();
        let built = match Settings::resolve(&loaded, &mut findings) {
            Some(settings) => {
                self.refuse_fixed(&settings, &loaded, &mut findings);
                let tls = self.compile_tls(&mut loaded, &settings, &mut findings);
                Gateway::build(&mut loaded, &settings, &self.kept, &mut findings)
                    .map(|built| (built, tls, settings))
            }
            None => None,
        };
        // Also of a refused one: its files may be what is mended next.
        self.named_files.clone_from(&loaded.named_files);
        let Some((Built { gateway, remotes, destinations }, tls, settings)) = built else {
            return Err(Report::new(loaded.source, findings));
        };
        self.control.shutdown = settings.shutdown;
        self.control.room.resize(&settings.limits);
        if let Some(families) = &self.families {
            *families.lock().unwrap_or_else(PoisonError::into_inner) = self.kept.all_own_keys();
        }
        self.live.replace(gateway);
        if let (Some(live), Some(tls)) = (&self.tls, tls) {
            live.replace(tls, &self.control.metrics);
        }
        self.kept.retain_remotes(&remotes);
        self.refresh(remotes, destinations);
        Ok(())
    }

    fn compile_tls(
        &self,
        loaded: &mut Loaded,
        settings: &Settings,
        findings: &mut Findings,
    ) -> Option<Tls> {
        let before = self.tls.as_ref().map(|live| live.current());
        let Control { metrics, clock, .. } = &self.control;
        let ground = Ground { metrics, clock, before: before.as_deref() };
        tls::compile(loaded, settings, &ground, findings)
    }

    fn refuse_fixed(&self, settings: &Settings, loaded: &Loaded, findings: &mut Findings) {
        let new = Fixed::of(settings);
        if new == self.fixed {
            return;
        }
        let document = &loaded.document;
        let changed: [(&str, bool, Place); 5] = [
            (
                "secrets.master",
                new.master != self.fixed.master,
                document.secrets.master.as_ref().map_or_else(Place::default, |key| key.place),
            ),
            ("listen", new.listeners() != self.fixed.listeners(), document.listen.public.place),
            ("http2", new.http2 != self.fixed.http2, Place::default()),
            (
                "store",
                new.store != self.fixed.store,
                document.store.as_ref().map_or_else(Place::default, |store| store.place),
            ),
            (
                "workers",
                new.workers != self.fixed.workers,
                document.workers.as_ref().map_or_else(Place::default, |workers| workers.place),
            ),
        ];
        for (key, is_changed, place) in changed {
            if is_changed {
                findings.error(place, format!("a change of `{key}` needs a restart"));
            }
        }
    }

    /// Starts a loop for each key set and upstream that has none, ends those that nobody names.
    fn refresh(&mut self, remotes: Vec<Arc<RemoteKeys>>, destinations: Vec<Arc<Destination>>) {
        self.refreshing.retain(|(keys, task)| {
            let is_named = remotes.iter().any(|named| Arc::ptr_eq(named, keys));
            if !is_named {
                task.abort();
            }
            is_named
        });
        for keys in &remotes {
            if !self.refreshing.iter().any(|(running, _)| Arc::ptr_eq(running, keys)) {
                let task = self.tasks.spawn(Arc::clone(keys).run());
                self.refreshing.push((Arc::clone(keys), task));
            }
        }
        let pools: Vec<_> = destinations.iter().map(|to| Arc::clone(&to.pool)).collect();
        self.kept.keep_pools(&pools);
        self.watches.replace(destinations, &mut self.tasks);
        self.admin.watch(remotes, pools);
    }

    /// A reload may have changed which files are named.
    fn watch_again(&self, watch: &mut Option<config::Watch>) {
        if let Some(watch) = watch {
            watch.replace(self.named_files.iter().cloned());
        }
    }
}

async fn changed(watch: &mut Option<config::Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Ends at an order to stop, or at a second one to drain.
async fn second_order(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            // A reload would only delay the end.
            Some(Order::Reload(_)) => {}
            Some(Order::Drain | Order::Stop) | None => return,
        }
    }
}

/// Whether `future` ended within `time`.
async fn within(time: Duration, future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(time, future).await.is_ok()
}

/// Threads for name look-ups, files and hashes of passwords, which have permits of their own.
const BLOCKING_THREADS: usize = 260;
