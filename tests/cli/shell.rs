//! A shell for the tests: folders to run in, runs that end, runs that go on, raw requests.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// What ended with which code and said what.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A run that goes on.
pub struct Run {
    pub child: Child,
    pub lines: Receiver<String>,
}

/// A folder to run in.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command.env("TMPDIR", self.path("tmp"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        end(self.command(arguments), input)
    }

    #[track_caller]
    pub fn good(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?} {said:?}");
        said.out
    }

    pub fn start(&self, arguments: &[&str]) -> Run {
        let mut child = self.command(arguments).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        follow(child.stdout.take().unwrap(), sender.clone());
        follow(child.stderr.take().unwrap(), sender);
        Run { child, lines }
    }

    /// A key pair, and a configuration that believes it.
    pub fn gateway() -> Self {
        let folder = Self::new();
        folder.good(&["token", "keygen", "--private", "key.pem", "--jwks", "keys.json"]);
        folder.good(&["token", "keygen", "--private", "other.pem", "--jwks", "other.json"]);
        folder.write("portcullis.yaml", CONFIGURATION);
        folder
    }

    /// A token of anna's; later arguments replace earlier ones.
    pub fn mint(&self, key: &str, more: &[&str]) -> String {
        let usual = ["token", "mint", "--key", key, "--iss", "https://id.test", "--sub", "anna"];
        self.good(&[&usual[..], &["--aud", "api"], more].concat()).trim().to_owned()
    }
}

pub const CONFIGURATION: &str = r#"
listen: { public: 127.0.0.1:0, admin: 127.0.0.1:0 }
upstreams: { api: { url: "http://127.0.0.1:9" } }
apps: [ { id: mobile, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" } ]
checks:
  app: { app_key: { header: X-App-Key } }
  user: { jwt: [ { issuer: "https://id.test", audience: api, algorithms: [EdDSA], jwks: "file:keys.json", permissions: /scope } ] }
defaults: { require: app and user, forward: { X-User: user.sub, X-App: app.id } }
routes:
  - { match: "* /orders/**", to: api }
  - { match: "DELETE /orders/{id}", to: api, permissions: [orders:delete] }
  - { match: "GET /open", to: api, public: true }
shutdown: { delay: 0s, grace: 10s }
"#;
/// The key whose digest the configuration holds.
pub const KEY: &str = "X-App-Key: test";
pub const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
pub fn end(mut command: Command, input: &str) -> Said {
    let mut child = command.spawn().unwrap();
    // A process that does not read is no failure.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = whole(child.stdout.take().unwrap());
    let err = whole(child.stderr.take().unwrap());
    let (Ok(out), Ok(err)) = (out.recv_timeout(PATIENCE), err.recv_timeout(PATIENCE)) else {
        child.kill().unwrap();
        panic!("{command:?} does not end");
    };
    Said { code: child.wait().unwrap().code().unwrap(), out, err }
}

pub fn whole(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        sender.send(text)
    });
    receiver
}

pub fn follow(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
    });
}

impl Run {
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    #[track_caller]
    pub fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where a gateway says that it listens: for traffic, for operators.
    #[track_caller]
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let line: Value = serde_json::from_str(&self.line_with("listening")).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        (address("public"), address("admin"))
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    #[track_caller]
    pub fn end(mut self) -> (i32, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {lines:#?}"),
            }
        }
        (self.child.wait().unwrap().code().unwrap(), lines)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes; the status and the rest of the answer.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}
