//! The gateway as its users have it: the binary, with a file, a folder and real time.

use std::fs;
use std::net::SocketAddr;
use std::sync::LazyLock;

use portcullis::id::Digest;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::programs::eventually;
use crate::world::APP;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Client;
use crate::world::Message;
use crate::world::keys::RSA;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;
use crate::world::process;
use crate::world::process::Process;

/// A good token; it is good for as long as these tests will be run.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| RSA.token("RS256", &lasting(&json!({}))));

/// The check of users by keys in a file, of which [`TOKEN`] is one.
pub const USERS: &str = "issuer: \"https://id.test\", audience: orders, algorithms: [RS256], \
                         jwks: \"file:keys.json\"";

/// Claims that do not end.
pub fn lasting(changes: &Value) -> Value {
    let mut claims = claims_with(changes);
    claims["exp"] = json!(4_000_000_000_u32);
    claims
}

/// A request with the good key and the good token.
pub fn signed(ask: Ask) -> Ask {
    ask.keyed().bearing(&TOKEN)
}

/// The two fields of the good credentials.
pub fn credentials() -> [String; 2] {
    [format!("X-App-Key: {APP_KEY}"), format!("Authorization: Bearer {}", *TOKEN)]
}

/// A running gateway.
pub struct Gateway {
    process: Process,
    /// Where it takes traffic.
    pub public: SocketAddr,
    /// Where operators ask.
    pub admin: SocketAddr,
    /// Where its files are.
    pub folder: TempDir,
}

/// `/api` behind key and token, `/public` open; `users` is the one entry of the user's check.
pub fn configuration(upstream: &str, users: &str, extra: &str) -> String {
    let digest = Digest::of(APP_KEY.as_bytes());
    format!(
        "listen: {{ public: \"127.0.0.1:0\", admin: \"127.0.0.1:0\" }}\n\
         access_log: {{ enabled: false }}\n\
         shutdown: {{ delay: 0s, grace: 10s }}\n\
         upstreams: {{ api: {{ url: \"{upstream}\" }} }}\n\
         apps: [ {{ id: {APP}, sha256: \"{digest}\" }} ]\n\
         checks:\n\
         \u{20} app: {{ app_key: {{ header: X-App-Key }} }}\n\
         \u{20} user: {{ jwt: [ {{ {users} }} ] }}\n\
         defaults: {{ require: app and user, forward: {{ X-App: app.id, X-User: user.sub }} }}\n\
         routes:\n\
         \u{20} - {{ match: \"* /api/**\", to: api }}\n\
         \u{20} - {{ match: \"* /public/**\", to: api, public: true }}\n\
         {extra}\n"
    )
}

impl Gateway {
    /// A folder with a configuration, and the keys that it may name.
    pub fn folder(configuration: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("portcullis.yaml"), configuration).unwrap();
        fs::write(folder.path().join("keys.json"), jwks(&[&RSA])).unwrap();
        folder
    }

    /// Starts one.
    #[track_caller]
    pub fn start(configuration: &str) -> Self {
        Self::start_in(Self::folder(configuration))
    }

    /// Starts one in a folder that holds everything.
    #[track_caller]
    pub fn start_in(folder: TempDir) -> Self {
        let mut process = Process::start(folder.path(), &["serve"]);
        let (public, admin) = addresses(&process.line("\"listening\""));
        let gateway = Self { process, public, admin, folder };
        eventually("the gateway is ready", || {
            (gateway.ask_admin("/readyz").status() == 200).then_some(())
        });
        gateway
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to read its configuration.
    pub fn reload(&self) {
        self.process.signal("HUP");
    }

    /// Asks on a connection of its own.
    #[track_caller]
    pub fn answer(&self, ask: &Ask) -> Message {
        answer(self.public, ask)
    }

    /// Asks as operators do.
    #[track_caller]
    pub fn ask_admin(&self, target: &str) -> Message {
        answer(self.admin, &Ask::get(target))
    }

    /// The value of a metric without labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.ask_admin("/metrics").text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

/// Asks on a connection of its own.
#[track_caller]
pub fn answer(to: SocketAddr, ask: &Ask) -> Message {
    let mut client = Client::connect(to);
    client.send(&ask.bytes());
    client.answer(ask.method()).unwrap_or_else(|fault| panic!("{ask:?}: {fault}"))
}

/// Runs the binary in a folder to its good end; what it printed.
#[track_caller]
pub fn portcullis(folder: &TempDir, arguments: &[&str]) -> String {
    let output = process::run(folder.path(), arguments);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output.out
}

/// Where a gateway says that it listens: for traffic, for operators.
#[track_caller]
pub fn addresses(line: &str) -> (SocketAddr, SocketAddr) {
    let line: Value = serde_json::from_str(line).unwrap();
    let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
    (address("public"), address("admin"))
}
