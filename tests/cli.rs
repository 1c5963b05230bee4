//! The binary as it is typed: every command, its exit code, its streams, its signals.
//!
//! Each run has a folder of its own, also for temporary files, and nothing of the environment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]
#![expect(clippy::indexing_slicing, reason = "a failing test panics")]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

/// What ended with which code and said what.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// A run that goes on.
struct Run {
    child: Child,
    lines: Receiver<String>,
}

/// A folder to run in.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command.env("TMPDIR", self.path("tmp"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    #[track_caller]
    fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        end(self.command(arguments), input)
    }

    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?} {said:?}");
        said.out
    }

    fn start(&self, arguments: &[&str]) -> Run {
        let mut child = self.command(arguments).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        follow(child.stdout.take().unwrap(), sender.clone());
        follow(child.stderr.take().unwrap(), sender);
        Run { child, lines }
    }

    /// A key pair, and a configuration that believes it.
    fn gateway() -> Self {
        let folder = Self::new();
        folder.good(&["token", "keygen", "--private", "key.pem", "--jwks", "keys.json"]);
        folder.good(&["token", "keygen", "--private", "other.pem", "--jwks", "other.json"]);
        folder.write("portcullis.yaml", CONFIGURATION);
        folder
    }

    /// A token of anna's; later arguments replace earlier ones.
    fn mint(&self, key: &str, more: &[&str]) -> String {
        let usual = ["token", "mint", "--key", key, "--iss", "https://id.test", "--sub", "anna"];
        self.good(&[&usual[..], &["--aud", "api"], more].concat()).trim().to_owned()
    }
}

const CONFIGURATION: &str = r#"
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
const KEY: &str = "X-App-Key: test";
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn end(mut command: Command, input: &str) -> Said {
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

fn whole(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        sender.send(text)
    });
    receiver
}

fn follow(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
    });
}

impl Run {
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    #[track_caller]
    fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where a gateway says that it listens: for traffic, for operators.
    #[track_caller]
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let line: Value = serde_json::from_str(&self.line_with("listening")).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        (address("public"), address("admin"))
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    #[track_caller]
    fn end(mut self) -> (i32, Vec<String>) {
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
fn exchange(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// The request that a printed `curl` line sends.
fn request_of(curl: &str) -> (SocketAddr, String) {
    let mut words = Vec::new();
    for (number, part) in curl.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let mut words = words.into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    let (mut method, mut url, mut headers) = ("GET".to_owned(), String::new(), String::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" => {}
            "-X" => method = words.next().unwrap(),
            "-H" => headers.extend([words.next().unwrap().as_str(), "\r\n"]),
            _ => url = word,
        }
    }
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let fixed = format!("Host: {authority}\r\nConnection: close\r\n");
    let request = format!("{method} /{path} HTTP/1.1\r\n{fixed}{headers}\r\n");
    (authority.parse().unwrap(), request)
}

#[test]
fn every_line_that_the_demo_prints_is_answered_as_it_says() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = folder.start(&["demo", "--port", &port]);
    let told = run.line();
    assert!(told.contains("cannot be used") && told.contains(&port), "{told}");
    let (mut expected, mut statuses) = (None, Vec::new());
    loop {
        let line = run.line();
        if let Some(rest) = line.strip_prefix("#    expect ") {
            let (status, shows) = rest.split_once(" with ").unwrap();
            expected = Some((status.parse::<u16>().unwrap(), shows.to_owned()));
        } else if line.starts_with("curl") {
            let (address, request) = request_of(&line);
            let (expected, shows) = expected.take().unwrap();
            let (status, answer) = exchange(address, &request);
            assert!(status == expected && answer.contains(&shows), "{line}\n{answer}");
            statuses.push(status);
        } else if line.starts_with("Ctrl-C") {
            break;
        }
    }
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 403, 200, 200, 401, 404, 400]);
    run.signal("INT");
    assert_eq!(run.end().0, 0);
    assert_eq!(std::fs::read_dir(folder.path("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1, "only tmp itself");
}

#[test]
fn the_demo_checks_itself_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let out = folder.good(&["demo", "--port", "0", "--check"]);
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 12, "{out}");
    for signal in ["TERM", "HUP", "QUIT"] {
        let run = folder.start(&["demo", "--port", "0"]);
        run.line_with("Ctrl-C");
        run.signal(signal);
        assert_eq!(run.end().0, 0, "{signal}");
    }
    assert_eq!(std::fs::read_dir(folder.path("tmp")).unwrap().count(), 0);
}

#[test]
fn every_command_explains_itself() {
    let folder = Folder::new();
    let help = folder.good(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        let help = folder.good(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: portcullis {command}")), "{help}");
    }
    for line in ["app create", "app rotate", "token mint", "token inspect", "token keygen"] {
        let words: Vec<&str> = line.split(' ').chain(["--help"]).collect();
        assert!(folder.good(&words).contains("Usage: portcullis "), "{line}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_why() {
    let folder = Folder::new();
    for line in [
        "",
        "serv",
        "serve extra",
        "explain",
        "explain GET /a /b",
        "explain /a --from localhost",
        "token",
        "token mint",
        "token mint --key a --secret-file b",
        "token mint --key a --alg none",
        "demo --port 65536",
        "completions tcsh",
        "--log-format xml version",
        "--log-level =,= version",
    ] {
        let said = folder.run(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(said.code, 2, "{line}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{line}: {said:?}");
    }
}

#[test]
fn version_schema_and_completions_are_printed() {
    let folder = Folder::new();
    assert!(folder.good(&["--version"]).starts_with("portcullis "));
    assert_eq!(folder.good(&["-V"]), folder.good(&["--version"]));
    let version: Value = serde_json::from_str(&folder.good(&["version", "-o", "json"])).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let schema: Value = serde_json::from_str(&folder.good(&["schema"])).unwrap();
    assert!(schema["properties"]["routes"].is_object());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(folder.good(&["completions", shell]).contains("healthcheck"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let mut child = folder.command(&["completions", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    let err = whole(child.stderr.take().unwrap()).recv_timeout(PATIENCE).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*err), (Some(0), ""));
}

#[test]
fn a_minted_token_is_verified_and_another_is_not() {
    let folder = Folder::gateway();
    let verify = |token: &str| {
        let said = folder.run(&["token", "verify", "-o", "json", token]);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(said.code == 0, told[0]["valid"] == true, "{said:?}");
        told[0].clone()
    };
    let good = verify(&folder.mint("key.pem", &["--claim", "scope=orders:edit x"]));
    assert_eq!((&good["check"], &good["subject"]), (&json!("user"), &json!("anna")));
    assert_eq!(good["permissions"], json!(["orders:edit", "x"]));
    for (key, more, error) in [
        ("key.pem", &["--ttl", "-1s"][..], "expired"),
        ("key.pem", &["--claim", "nbf=4102444800"], "not_yet_valid"),
        ("key.pem", &["--claim", "aud=other"], "audience"),
        ("key.pem", &["--claim", "iss=https://other"], "issuer"),
        ("key.pem", &["--claim", "exp=\"soon\""], "claims"),
        ("key.pem", &["--typ", "refresh+jwt"], "type"),
        ("other.pem", &[], "signature"),
    ] {
        assert_eq!(verify(&folder.mint(key, more))["error"], error, "{more:?}");
    }
    assert_eq!(verify("a.b.c")["error"], "malformed");

    let token = folder.mint("key.pem", &[]);
    let by_input = folder.run_with(&["token", "verify", "-"], &format!("Bearer {token}\n"));
    assert!(by_input.code == 0 && by_input.out.starts_with("user: valid"), "{by_input:?}");
    let unknown = folder.run(&["token", "verify", "--check", "app", &token]);
    assert!(unknown.code == 1 && unknown.err.contains("user"), "{unknown:?}");
    assert_eq!(folder.run_with(&["token", "verify", "-"], "").code, 1);
}

#[test]
fn every_algorithm_that_is_accepted_can_be_minted() {
    let folder = Folder::new();
    folder.write("secret", "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4-Xs0bVq3zW8rYt6uNk5mPl2Gd9e\n");
    for alg in ["ES256", "ES384", "EdDSA", "RS256", "HS512"] {
        let is_shared = alg == "HS512";
        let (private, public) = (format!("{alg}.pem"), format!("{alg}.json"));
        let keys = if is_shared {
            "secret: \"file:secret\"".to_owned()
        } else {
            let line = ["token", "keygen", "--alg", alg, "--kid", "k", "--private", &private];
            let line = [&line[..], &["--jwks", &public]].concat();
            folder.good(&line);
            let mode = std::fs::metadata(folder.path(&private)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{alg}");
            assert_eq!(folder.run(&line).code, 1, "a key is never overwritten");
            format!("jwks: \"file:{public}\"")
        };
        let entry = format!("{{ issuer: i, audience: none, algorithms: [{alg}], {keys} }}");
        let base = "\
listen: { public: 127.0.0.1:0 }
upstreams: { api: { url: \"http://127.0.0.1:9\" } }
routes: [ { match: GET /, to: api, public: true } ]
";
        let checks = format!("{base}checks: {{ user: {{ jwt: [ {entry} ] }} }}\n");
        folder.write("portcullis.yaml", &checks);
        let line = if is_shared {
            vec!["--secret-file", "secret", "--alg", alg]
        } else {
            // What fits the key is found without being told.
            vec!["--key", &private, "--kid", "k"]
        };
        let claims = ["token", "mint", "--claims", r#"{"iss":"i","sub":"a"}"#];
        let token = folder.good(&[&claims[..], &line].concat());
        let said = folder.run(&["token", "verify", token.trim()]);
        assert_eq!(said.code, 0, "{alg}: {said:?}");
    }
}

#[test]
fn inspecting_says_that_nothing_is_verified() {
    let folder = Folder::gateway();
    let token = folder.mint("other.pem", &["--ttl", "-90m", "--claim", "deep={\"a\":[1]}"]);
    let told = folder.good(&["token", "inspect", &token]);
    for shown in ["NOT VERIFIED", "\"EdDSA\"", "\"anna\"", "EXPIRED", "1h 30m ago"] {
        assert!(told.contains(shown), "{shown} in {told}");
    }
    let told = folder.run_with(&["token", "inspect", "-", "-o", "json"], &token);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["verified"], false);
    assert_eq!(told["claims"]["deep"], json!({"a": [1]}));
    for bad in ["", "a", "a.b", "a.b.c", "bnVsbA.e30.x", "e30.W10.x", "a.b.c.d.e"] {
        assert_eq!(folder.run(&["token", "inspect", bad]).code, 1, "{bad}");
    }
}

#[test]
fn explain_answers_as_the_gateway_does() {
    let folder = Folder::gateway();
    let run = folder.start(&["serve"]);
    let (public, _) = run.addresses();
    let user = |more: &[&str]| format!("Authorization: Bearer {}", folder.mint("key.pem", more));
    let good = user(&[]);
    let deleter = user(&["--claim", "scope=orders:delete"]);
    let forged = format!("Authorization: Bearer {}", folder.mint("other.pem", &[]));
    for (method, target, headers) in [
        ("GET", "/orders/7?a=b", vec![KEY, &good]),
        ("GET", "/orders", vec![KEY]),
        ("GET", "/orders", vec![&*good]),
        ("GET", "/orders", vec!["X-App-Key: toast", &good]),
        ("GET", "/orders", vec![KEY, KEY, &good]),
        ("GET", "/orders", vec![KEY, &forged]),
        ("GET", "/orders", vec![KEY, &user(&["--ttl", "-1s"])]),
        ("GET", "/orders", vec![KEY, "Authorization: Basic YTpi"]),
        ("DELETE", "/orders/7", vec![KEY, &good]),
        ("DELETE", "/orders/7", vec![KEY, &deleter]),
        ("GET", "/open", vec![]),
        ("POST", "/open", vec![KEY, &good]),
        ("GET", "/nowhere", vec![]),
        ("GET", "/nowhere", vec![KEY, &good]),
        ("TRACE", "/open", vec![]),
        ("GET", "/orders/%2e%2e/open", vec![]),
        ("GET", "//open", vec![]),
        ("GET", "http://other/open", vec![]),
        ("GET", "/open", vec!["Host: a", "Host: b"]),
        ("GET", "/open x", vec![]),
        ("GET", "/open", vec!["Bad Name: x"]),
    ] {
        let names_host = headers.iter().any(|line| line.starts_with("Host:"));
        let host = if names_host { "" } else { "Host: localhost\r\n" };
        let lines = headers.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
        let close = "Connection: close\r\n";
        let request = format!("{method} {target} HTTP/1.1\r\n{host}{lines}{close}\r\n");
        let (served, _) = exchange(public, &request);

        let mut line = vec!["explain", "-o", "json", method, target, "-H", "Connection: close"];
        line.extend(headers.iter().flat_map(|&header| ["-H", header]));
        let said = folder.run(&line);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["allowed"] == true, said.code == 0, "{said:?}");
        // Nobody listens where the upstream should be: forwarding is what fails.
        let explained = told["denial"]["status"].as_u64().unwrap_or(502);
        assert_eq!(u64::from(served), explained, "{method} {target} {headers:?} {told:#}");
    }
    run.signal("TERM");
    assert_eq!(run.end().0, 0);
}

#[test]
fn explain_shows_each_step_and_no_credential() {
    let folder = Folder::gateway();
    let token = folder.mint("key.pem", &["--ttl", "1h"]);
    let signature = token.rsplit('.').next().unwrap();
    let lines = format!("{KEY}\nAuthorization: Bearer {token}\nX-User: eve\nCookie: s=canary\n");
    let ask = |more: &[&str]| {
        let said = folder.run_with(&[&["explain"], more, &["-H", "-"]].concat(), &lines);
        for hidden in [signature, "canary", ": test"] {
            assert!(!format!("{said:?}").contains(hidden), "{hidden} in {said:?}");
        }
        (said.code, said.out)
    };
    let (code, told) = ask(&["/orders/7", "--host", "API.example.com:80", "--from", "192.0.2.7"]);
    assert_eq!(code, 0, "{told}");
    for shown in [
        "GET api.example.com /orders/7",
        "route `* /orders/**`",
        "app: valid, application mobile",
        "user: valid, user anna",
        "allowed, to upstream `api` at 127.0.0.1:9",
        "x-user: anna",
        "x-app: mobile",
        "authorization: [secret]",
        "x-forwarded-for: 192.0.2.7",
    ] {
        assert!(told.contains(shown), "{shown} in {told}");
    }
    assert!(!told.contains("eve"), "{told}");
    let (code, told) = ask(&["DELETE", "/orders/7"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("permission orders:delete: does not hold"), "{told}");
    assert!(told.contains("403 insufficient_permission"), "{told}");
    assert_eq!(ask(&["/orders", "--at", "+59m"]).0, 0);
    let (code, told) = ask(&["/orders", "--at", "+61m"]);
    assert!(code == 1 && told.contains("401 expired_token"), "{told}");
    let odd = folder.run(&["explain", "/orders", "-H", "canary"]);
    assert!(odd.code == 1 && !odd.err.contains("canary"), "{odd:?}");
    assert_eq!(folder.run(&["explain", "/orders", "--at", "soon"]).code, 1);
}

#[test]
fn what_cannot_be_had_at_the_start_is_told_by_the_exit_code() {
    let folder = Folder::gateway();
    let with_store = format!("{CONFIGURATION}store: sqlite:nowhere/apps.db\n");
    folder.write("store.yaml", &with_store);
    folder.write("bad.yaml", &CONFIGURATION.replace("to: api", "to: apy"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let on_taken = CONFIGURATION.replacen("127.0.0.1:0", &address, 1);
    folder.write("taken.yaml", &on_taken);
    for (line, code) in [
        ("serve -c taken.yaml", 69),
        ("serve -c store.yaml", 69),
        ("explain -c store.yaml /open", 69),
        ("app list -c store.yaml", 69),
        ("serve -c bad.yaml", 78),
        ("explain -c bad.yaml /open", 78),
        ("token verify -c bad.yaml x", 78),
        ("check bad.yaml", 78),
        ("serve -c missing.yaml", 78),
        ("healthcheck -c missing.yaml", 78),
        ("app list -c missing.yaml", 78),
        ("check portcullis.yaml", 0),
        ("app list -c portcullis.yaml", 1),
    ] {
        let said = folder.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, code, "{line}: {said:?}");
    }
    folder.write("empty.yaml", &format!("{CONFIGURATION}store: sqlite:apps.db\n"));
    assert_eq!(folder.run(&["explain", "-c", "empty.yaml", "/open"]).code, 69);
    assert!(!folder.path("apps.db").exists(), "explaining makes no store");
}

#[test]
fn applications_are_kept_beside_the_configuration_that_names_them() {
    let folder = Folder::gateway();
    std::fs::create_dir(folder.path("etc")).unwrap();
    std::fs::copy(folder.path("keys.json"), folder.path("etc/keys.json")).unwrap();
    folder.write("etc/portcullis.yaml", &format!("{CONFIGURATION}store: sqlite:apps.db\n"));
    let config = folder.path("etc/portcullis.yaml").display().to_string();
    let mut command = folder.command(&["app", "create", "stock", "-o", "json"]);
    command.env("PORTCULLIS_CONFIG", &config);
    let created = end(command, "");
    assert_eq!(created.code, 0, "{created:?}");
    assert!(folder.path("etc/apps.db").exists() && !folder.path("apps.db").exists());
    let created: Value = serde_json::from_str(&created.out).unwrap();
    let (id, key) = (created["id"].as_str().unwrap(), created["key"].as_str().unwrap());

    let token = folder.mint("key.pem", &[]);
    let lines = format!("X-App-Key: {key}\nAuthorization: Bearer {token}\n");
    let explain = ["explain", "-c", &config, "/orders", "-H", "-"];
    let said = folder.run_with(&explain, &lines);
    assert!(said.code == 0 && said.out.contains(&format!("application {id}")), "{said:?}");
    assert!(!said.out.contains(key), "{said:?}");
    folder.good(&["app", "revoke", id, "--store", "sqlite:etc/apps.db"]);
    let said = folder.run_with(&explain, &lines);
    assert!(said.code == 1 && said.out.contains("401 invalid_application_key"), "{said:?}");
}

#[test]
fn a_gateway_tells_its_readiness_and_obeys_its_signals() {
    let folder = Folder::gateway();
    let slow = CONFIGURATION.replace("delay: 0s", "delay: 50s");
    folder.write("portcullis.yaml", &slow);
    let run = folder.start(&["serve"]);
    let warning = run.line_with("WARN");
    assert!(warning.contains("GET /open"), "an open route is told: {warning}");
    let (_, admin) = run.addresses();
    let url = format!("http://{admin}");
    let ask = || folder.run(&["healthcheck", "--admin-url", &url]);
    let said = ask();
    assert!(said.code == 0 && said.out.starts_with("ready\n"), "{said:?}");
    run.signal("HUP");
    run.line_with("configuration reloaded");
    folder.write("portcullis.yaml", &slow.replace("to: api", "to: apy"));
    run.signal("HUP");
    run.line_with("refused");
    assert_eq!(ask().code, 0);
    run.signal("TERM");
    run.line_with("draining");
    let said = ask();
    assert!(said.code == 1 && said.out.contains("NO  serving: draining"), "{said:?}");
    run.signal("INT");
    assert_eq!(run.end().0, 0, "the second signal ends it within the delay");
    let said = ask();
    assert!(said.code == 1 && said.err.contains("no answer from"), "{said:?}");

    folder.write("portcullis.yaml", &slow);
    let run = folder.start(&["serve"]);
    run.addresses();
    run.signal("QUIT");
    assert_eq!(run.end().0, 0);
}

#[test]
fn access_lines_go_to_standard_output_up_to_the_last() {
    let folder = Folder::gateway();
    let mut child = folder.command(&["serve"]).spawn().unwrap();
    let (sender, err) = mpsc::channel();
    follow(child.stderr.take().unwrap(), sender);
    let out = whole(child.stdout.take().unwrap());
    let run = Run { child, lines: err };
    let (public, _) = run.addresses();
    let request = "GET /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(public, request).0, 401);
    run.signal("TERM");
    assert_eq!(run.end().0, 0);
    let out = out.recv_timeout(PATIENCE).unwrap();
    let line: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(line["url.path"], "/orders");
    assert!(line.to_string().contains("missing_credentials"), "{line}");
}
