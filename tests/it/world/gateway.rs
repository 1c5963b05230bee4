//! A gateway in this process with its own upstream, folder, ports and clock.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::clock::Timestamp;
use portcullis::config::ListenAddress;
use portcullis::id::Digest;
use portcullis::server::Options;
use portcullis::server::Running;
use portcullis::server::Server;
use tempfile::TempDir;

use super::APP;
use super::APP_KEY;
use super::Ask;
use super::Client;
use super::End;
use super::Gone;
use super::Message;
use super::TOKEN;
use super::Upstream;
use super::authority::{Authority, LONG, Shown, pems};
use super::http2;
use super::keys::{NOW, P256, jwks};
use super::tls_client::TlsClient;

/// What a gateway is started with; begins as a whole deployment, each part can be replaced.
pub struct Setup {
    /// Entries under `checks`.
    pub checks: String,
    /// Entries under `routes`.
    pub routes: String,
    /// The value of `defaults`.
    pub defaults: String,
    /// More keys of the upstream `api`.
    pub upstream_keys: String,
    /// Anything else at the top level.
    pub extra: String,
    /// Files beside the configuration.
    pub files: Vec<(String, String)>,
    /// How long to serve on after readiness fails.
    pub delay: String,
    /// How long requests in flight may take.
    pub grace: String,
    /// The value of `listen.public`.
    pub public: String,
    /// The value of `listen.admin`.
    pub admin: String,
    /// Whether files are watched.
    pub is_watching: bool,
    /// The value of `access_log`.
    pub access_log: String,
    /// What the gateway takes for the time.
    pub clock: Clock,
    /// More upstreams.
    pub more_upstreams: String,
    /// More keys of `listen`.
    pub listen_keys: String,
    /// The server behind the gateway.
    pub upstream: Upstream,
    wires: &'static [Wire],
    tls: Option<TlsClient>,
}

/// Open, closed and reserved ground: `/public`, `/api` and `/api/admin`.
const ROUTES: &str = r#"
  - { match: "* /public/**", to: api, public: true }
  - { match: "* /api/**", to: api }
  - { match: "* /api/admin/**", to: api, permissions: [admin] }
"#;

const CHECKS: &str = r#"
  app: { app_key: { header: X-App-Key } }
  user:
    jwt:
      - issuer: "https://id.test"
        audience: orders
        algorithms: [ES256]
        jwks: "file:keys.json"
        permissions: /roles
"#;

impl Setup {
    /// The usual deployment in front of an echo.
    pub fn new() -> Self {
        Self::before(Upstream::echo())
    }

    /// The usual deployment in front of this upstream.
    pub fn before(upstream: Upstream) -> Self {
        Self {
            checks: CHECKS.into(),
            routes: ROUTES.into(),
            defaults:
                "{ require: app and user, forward: { X-Auth-User: user.sub, X-App-Id: app.id } }"
                    .into(),
            upstream_keys: String::new(),
            extra: String::new(),
            delay: "0s".into(),
            grace: "10s".into(),
            public: "\"127.0.0.1:0\"".into(),
            admin: "\"127.0.0.1:0\"".into(),
            is_watching: false,
            access_log: "{ enabled: false }".into(),
            clock: Clock::manual(Timestamp::from_seconds(NOW)),
            more_upstreams: String::new(),
            listen_keys: String::new(),
            files: vec![("keys.json".into(), jwks(&[&P256]))],
            upstream,
            wires: &[Wire::Http1],
            tls: None,
        }
    }

    /// Lets clients speak HTTP/2 as well.
    pub fn http2(self) -> Self {
        self.extra("http2: { prior_knowledge: true }")
    }

    /// Sends whatever passes or is denied over both protocols.
    pub fn over_both(self) -> Self {
        Self { wires: &[Wire::Http1, Wire::Http2], ..self.http2() }
    }

    /// Replaces the routes.
    pub fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.into();
        self
    }

    /// Replaces the checks.
    pub fn checks(mut self, checks: &str) -> Self {
        self.checks = checks.into();
        self
    }

    /// Replaces the entries of the user's check by one.
    pub fn jwt(self, entry: &str) -> Self {
        let app = "app: { app_key: { header: X-App-Key } }";
        self.checks(&format!("\n  {app}\n  user: {{ jwt: [ {entry} ] }}\n"))
    }

    /// Replaces the defaults.
    pub fn defaults(mut self, defaults: &str) -> Self {
        self.defaults = defaults.into();
        self
    }

    /// Speaks TLS with these keys, such as `certificate: file:a.crt, key: file:a.key`.
    pub fn tls(mut self, keys: &str) -> Self {
        self.public = format!("{{ address: \"127.0.0.1:0\", tls: {{ {keys} }} }}");
        self
    }

    /// Speaks TLS as `gw.test`, and whoever asks does.
    pub fn over_tls(self) -> Self {
        let authority = Authority::new("ours");
        let keys = "certificate: file:gw.crt, key: file:gw.key";
        let setup = self.pair("gw", &authority.certify("gw.test", LONG)).tls(keys);
        Self { tls: Some(TlsClient::of(&authority)), ..setup }
    }

    /// Watches the files on disk.
    pub fn watching(mut self) -> Self {
        self.is_watching = true;
        self
    }

    /// Adds a certificate and its key as `NAME.crt` and `NAME.key`.
    pub fn pair(self, name: &str, shown: &Shown) -> Self {
        let [certificate, key] = pems(shown);
        self.file(&format!("{name}.crt"), &certificate).file(&format!("{name}.key"), &key)
    }

    /// Adds keys to the upstream `api`, such as `timeout: 1s`.
    pub fn upstream_keys(mut self, keys: &str) -> Self {
        self.upstream_keys = format!(", {keys}");
        self
    }

    /// Adds top-level lines.
    pub fn extra(mut self, lines: &str) -> Self {
        self.extra += lines;
        self.extra += "\n";
        self
    }

    /// Adds a file beside the configuration, or replaces it.
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.into(), content.into()));
        self
    }

    /// The whole configuration.
    pub fn text(&self) -> String {
        let digest = Digest::of(APP_KEY.as_bytes());
        let Self { checks, routes, defaults, upstream_keys, extra, upstream, .. } = self;
        let Self { delay, grace, access_log, more_upstreams, public, admin, listen_keys, .. } =
            self;
        let url = upstream.url();
        format!(
            "listen: {{ public: {public}, admin: {admin}{listen_keys} }}\n\
             access_log: {access_log}\n\
             shutdown: {{ delay: {delay}, grace: {grace} }}\n\
             upstreams: {{ api: {{ url: \"{url}\"{upstream_keys} }}{more_upstreams} }}\n\
             apps: [ {{ id: {APP}, sha256: \"{digest}\" }} ]\n\
             checks:{checks}\
             defaults: {defaults}\n\
             routes:{routes}\
             {extra}"
        )
    }

    /// Writes everything into a folder; the path of the configuration.
    pub fn write(&self, folder: &TempDir) -> PathBuf {
        for (name, content) in &self.files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join("portcullis.yaml");
        fs::write(&path, self.text()).unwrap();
        path
    }

    /// Starts a gateway that knows one more upstream.
    #[track_caller]
    pub fn start_with_upstream(mut self, name: &str, upstream: &Upstream) -> World {
        self.more_upstreams = format!(", {name}: {{ url: \"{}\" }}", upstream.url());
        self.start()
    }

    /// Starts a gateway.
    #[track_caller]
    pub fn start(self) -> World {
        match self.try_start() {
            Ok(world) => world,
            Err(why) => panic!("the gateway does not start: {why}"),
        }
    }

    /// Starts a gateway, or says why it does not start.
    pub fn try_start(self) -> Result<World, String> {
        let folder = TempDir::new().unwrap();
        let path = self.write(&folder);
        let clock = self.clock;
        let watches_files = self.is_watching;
        let options = Options { clock: clock.clone(), watches_files, ..Options::default() };
        let running = Server::start(&path, options).map_err(|error| error.to_string())?;
        let controls = AtomicUsize::new(0);
        let Self { upstream, wires, tls, .. } = self;
        let control = TOKEN.clone();
        Ok(World { running, upstream, clock, folder, controls, control, wires, tls })
    }
}

/// A running gateway and everything around it.
pub struct World {
    /// The gateway; dropped first.
    pub running: Running,
    /// The server behind it.
    pub upstream: Upstream,
    /// What it takes for the time.
    pub clock: Clock,
    folder: TempDir,
    controls: AtomicUsize,
    control: String,
    wires: &'static [Wire],
    /// What connections are opened with, where that is TLS.
    pub(super) tls: Option<TlsClient>,
}

#[track_caller]
fn connect(to: &ListenAddress) -> Client {
    match to.unix() {
        Some(unix) => Client::connect_unix(&unix.path),
        None => Client::connect(to.socket().unwrap()),
    }
}

/// What a request is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Http1,
    Http2,
}

impl World {
    /// The usual deployment.
    #[track_caller]
    pub fn usual() -> Self {
        Setup::new().start()
    }

    /// The usual deployment, where each request is sent over HTTP/1.1 and over HTTP/2.
    #[track_caller]
    pub fn usual_over_both() -> Self {
        Setup::new().over_both().start()
    }

    /// Uses another token for the good request that follows each refusal.
    pub fn with_control(mut self, token: &str) -> Self {
        self.control = token.into();
        self
    }

    /// Where traffic is accepted.
    #[track_caller]
    pub fn public(&self) -> SocketAddr {
        self.running.public().socket().expect("a port")
    }

    #[track_caller]
    fn answer_over(&self, wire: Wire, ask: &Ask) -> Message {
        if wire == Wire::Http1 {
            return self.answer(ask);
        }
        let mut client = self.connect_http2();
        let stream = client.ask(ask);
        match client.answer(stream) {
            Ok(answer) => answer,
            // Refused below the decision: over HTTP/1.1 the same would be a bad request.
            Err(Gone::Reset(http2::PROTOCOL_ERROR) | Gone::Closed(Some(http2::PROTOCOL_ERROR))) => {
                Message::bad_request()
            }
            Err(gone) => panic!("{ask:?} was answered badly: {gone:?}"),
        }
    }

    /// Asks on a new connection and reads the answer.
    #[track_caller]
    pub fn answer(&self, ask: &Ask) -> Message {
        let mut client = self.connect();
        client.send(&ask.bytes());
        client
            .answer(ask.method())
            .unwrap_or_else(|fault| panic!("{ask:?} was answered badly: {fault}"))
    }

    /// Asks, expects 200 and exactly one request upstream, and returns that.
    #[track_caller]
    pub fn pass(&self, ask: &Ask) -> Message {
        let mut requests = self.wires.iter().map(|wire| self.pass_over(*wire, ask));
        let first = requests.next().unwrap();
        for other in requests {
            let names = |message: &Message| message.fields.lines_but(&["x-request-id"]);
            assert_eq!((&other.line, names(&other)), (&first.line, names(&first)), "{ask:?}");
        }
        first
    }

    #[track_caller]
    fn pass_over(&self, wire: Wire, ask: &Ask) -> Message {
        let mark = self.upstream.mark();
        let answer = self.answer_over(wire, ask);
        assert_eq!(answer.status(), 200, "{ask:?} must pass over {wire:?}: {answer:?}");
        let mut requests =
            self.upstream.since(&mark).unwrap_or_else(|fault| panic!("{ask:?}: {fault}"));
        assert_eq!(requests.len(), 1, "{ask:?} must be forwarded once: {requests:?}");
        requests.remove(0)
    }

    /// Asks, expects a refusal with one of these statuses, not one byte upstream, and a gateway
    /// that serves a good request right after.
    #[track_caller]
    pub fn deny(&self, ask: &Ask, statuses: &[u16]) -> Message {
        let mut answers = self.wires.iter().map(|wire| self.deny_over(*wire, ask, statuses));
        let first = answers.next().unwrap();
        answers.for_each(drop);
        first
    }

    #[track_caller]
    fn deny_over(&self, wire: Wire, ask: &Ask, statuses: &[u16]) -> Message {
        let mark = self.upstream.mark();
        let answer = self.answer_over(wire, ask);
        let status = answer.status();
        let of = format!("{ask:?} over {wire:?}");
        assert!(statuses.contains(&status), "{of} must give {statuses:?}: {answer:?}");
        self.only_control_since(&mark, ask);
        answer
    }

    /// Like [`World::deny`], and the connection must be closed after the answer.
    #[track_caller]
    pub fn deny_and_close(&self, ask: &Ask, statuses: &[u16]) -> Message {
        let mark = self.upstream.mark();
        let mut client = self.connect();
        client.send(&ask.bytes());
        let answer = client.answer(ask.method()).unwrap_or_else(|fault| panic!("{ask:?}: {fault}"));
        let status = answer.status();
        assert!(statuses.contains(&status), "{ask:?} must give {statuses:?}: {answer:?}");
        let (end, rest) =
            client.end().unwrap_or_else(|fault| panic!("{ask:?} must close: {fault}"));
        assert!(matches!(end, End::Fin | End::Reset) && rest.is_empty(), "{ask:?}: {rest:?}");
        self.only_control_since(&mark, ask);
        answer
    }

    /// A good request passes, and nothing but it has reached the upstream since the mark.
    #[track_caller]
    pub fn only_control_since(&self, mark: &super::Mark, ask: &Ask) {
        let target = format!("/api/control?n={}", self.controls.fetch_add(1, Ordering::Relaxed));
        let answer = self.answer(&Ask::get(&target).keyed().bearing(&self.control));
        assert_eq!(answer.status(), 200, "a good request after {ask:?}: {answer:?}");
        match self.upstream.since(mark) {
            Ok(requests) => {
                let targets: Vec<_> = requests.iter().map(Message::target).collect();
                assert_eq!(targets, [target.as_str()], "{ask:?} reached the upstream");
                assert_eq!(requests[0].fields.one("x-app-id"), APP);
            }
            Err(fault) => panic!("{ask:?} reached the upstream: {fault}"),
        }
    }

    /// A new connection for operators.
    #[track_caller]
    pub fn connect_to_admin(&self) -> Client {
        connect(self.running.admin().expect("an admin listener"))
    }

    /// Asks the admin port.
    #[track_caller]
    pub fn admin(&self, target: &str) -> Message {
        let mut client = self.connect_to_admin();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes());
        client.answer("GET").unwrap()
    }

    /// The value of one series on `/metrics`, written as it stands there; 0 when it is not there.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.admin("/metrics").text();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Where the configuration and the files beside it are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Reads the configuration as it stands.
    pub fn config(&self) -> String {
        fs::read_to_string(self.folder.path().join("portcullis.yaml")).unwrap()
    }

    /// Replaces text in the configuration and reloads.
    pub fn reload_with(&self, from: &str, to: &str) -> Result<(), String> {
        let text = self.config();
        assert!(text.contains(from), "{from} is not in {text}");
        self.write("portcullis.yaml", &text.replace(from, to));
        self.reload()
    }

    /// Reloads the configuration.
    pub fn reload(&self) -> Result<(), String> {
        self.running.reload().map_err(|report| report.to_string())
    }

    /// Moves the clock.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The gateway by itself, to be stopped, and its upstream.
    pub fn stopping(self) -> (Running, Upstream) {
        (self.running, self.upstream)
    }
}
