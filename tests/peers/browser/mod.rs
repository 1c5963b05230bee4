//! A browser whose pages ask the gateway from other origins: what they may, what they read, what arrives.

use std::fs;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;

use crate::gateway::Gateway;
use crate::gateway::TOKEN;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::programs::Api;
use crate::programs::PATIENCE;
use crate::programs::Program;
use crate::programs::any_command;
use crate::programs::each_on_a_thread;
use crate::programs::hear;
use crate::world::APP_KEY;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::pems;
use crate::world::process;

const PAGE: &str = include_str!("page.html");
/// Under the names that distributions and vendors give it.
const BROWSERS: [&str; 5] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];

/// What seals signing keys.
const MASTER: &str = "5f1e0c7a9b3d2846f7a0c1d2e3b4958675645342312011ffeeddccbbaa998877";

/// The value of `listen.public` over TLS.
const SECURE: &str =
    "{ address: \"127.0.0.1:0\", tls: { certificate: file:gw.crt, key: file:gw.key } }";

/// What the page of a named origin reports.
const NAMED: &str = "\
nothing shown: 401 missing_credentials
a forged token: 401 invalid_token
no permission: 403 insufficient_permission
GET: 200 GET /api/x
PUT: 200 PUT /api/x {}
too much: 413 body_too_large
DELETE: TypeError
a header: TypeError
headers: 7 null
sign in: 200 signed in
a wrong password: 401 wrong_credentials
events: one two
a socket: true 1000
a large message: true 1000
no token: refused
a cookie: 200 GET /mine
a socket with a cookie: true 1000";

/// What any other page does: it reads nothing, and opens a socket only with a token in hand.
const OTHER: &str = "\
nothing shown: TypeError
a forged token: TypeError
no permission: TypeError
GET: TypeError
PUT: TypeError
too much: TypeError
DELETE: TypeError
a header: TypeError
headers: TypeError
sign in: TypeError
a wrong password: TypeError
events: error
a socket: true 1000
a large message: true 1000
no token: refused
a cookie: TypeError
a socket with a cookie: refused";

#[test]
fn a_page_of_a_named_origin_does_what_it_may_and_reads_the_answers() {
    let stage = Stage::speaking("http");
    assert_eq!(stage.named.visited(), NAMED);
    let asked = [
        "GET /api/x",
        "PUT /api/x",
        "GET /api/x",
        "GET /events",
        "GET /api/next",
        "GET /socket",
        "GET /socket",
        "GET /mine",
        "GET /socket",
    ];
    assert_eq!(stage.api.asked(), asked);
}

#[test]
fn a_page_of_another_origin_reads_nothing_and_opens_no_socket_with_a_cookie() {
    let stage = Stage::speaking("http");
    assert_eq!(stage.other.visited(), OTHER);
    // What needs no leave of the gateway's is judged by its credentials alone.
    assert_eq!(stage.api.asked(), ["GET /events", "GET /socket", "GET /socket", "GET /mine"]);
}

#[test]
fn all_of_this_holds_over_tls() {
    // A page in clear is of another site, so that the browser keeps its cookies to itself.
    let kept = |report: &str| {
        let report = report.replace("a cookie: 200 GET /mine", "a cookie: 401 missing_credentials");
        report.replace("with a cookie: true 1000", "with a cookie: refused")
    };
    let stage = Stage::speaking("https");
    assert_eq!(stage.named.visited(), kept(NAMED));
    assert_eq!(stage.other.visited(), kept(OTHER));
    let sockets = stage.api.asked().iter().filter(|line| *line == "GET /socket").count();
    assert_eq!(sockets, 4);
}

/// A gateway before an API, and two sites with the same page, of which it knows one.
struct Stage {
    api: Api,
    named: Site,
    other: Site,
    _gateway: Gateway,
}

impl Stage {
    fn speaking(scheme: &str) -> Self {
        let (api, named, other) = (Api::start(), Site::start(), Site::start());
        let users = format!("{USERS}, query: token, cookie: token");
        let routes = "  - { match: \"GET /api/admin\", to: api, permissions: [admin] }\n  \
                      - { match: \"PUT /api/small\", to: api, body: 10B }\n  \
                      - { match: \"GET /events\", to: api, require: user }\n  \
                      - { match: \"GET /mine\", to: api, require: user }\n  \
                      - { match: \"GET /socket\", to: api, require: user, upgrade: websocket }\n\
                      store: sqlite:portcullis.db\nsecrets: { master: \"file:master.key\" }\n\
                      login: [ { dialect: native } ]";
        let cors = format!(
            "defaults: {{ cors: {{ origins: [\"http://{}\"], methods: [GET, PUT, POST], expose: [X-Total], \
             headers: [authorization, content-type, x-app-key], credentials: true, max_age: 1m }},",
            named.address
        );
        let mut text = configuration(&api.url(), &users, routes).replace("defaults: {", &cors);
        if scheme == "https" {
            text = text.replacen("\"127.0.0.1:0\"", SECURE, 1);
        }
        let folder = Gateway::folder(&text);
        let [certificate, key] = pems(&Authority::new("ours").certify("gw.test", LONG));
        for (name, text) in [("master.key", MASTER), ("gw.crt", &certificate), ("gw.key", &key)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let arguments = ["user", "add", "anna", "-c", "portcullis.yaml"];
        let added = process::run_with_input(folder.path(), &arguments, "correct horse battery");
        assert_eq!(added.code, Some(0), "{added:?}");
        let gateway = Gateway::start_in(folder);
        let url = format!("{scheme}://{}", gateway.public);
        named.shows(&url);
        other.shows(&url);
        Self { api, named, other, _gateway: gateway }
    }
}

/// An origin with one page, to which that reports.
struct Site {
    address: SocketAddr,
    page: Arc<Mutex<String>>,
    reports: Mutex<Receiver<String>>,
}

impl Site {
    fn start() -> Self {
        let page = Arc::<Mutex<String>>::default();
        let theirs = Arc::clone(&page);
        let (sender, reports) = mpsc::channel();
        let address = each_on_a_thread(move |mut stream: TcpStream| {
            let Some(heard) = hear(&mut BufReader::new(stream.try_clone()?))? else {
                return Ok(());
            };
            let text = match heard.line.as_str() {
                "GET /" => theirs.lock().unwrap().clone(),
                "POST /report" => {
                    let _nobody_waits = sender.send(heard.body);
                    String::new()
                }
                _ => String::new(),
            };
            let length = text.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            )
        });
        Self { address, page, reports: Mutex::new(reports) }
    }

    /// What the page reports when a browser shows it.
    #[track_caller]
    fn visited(&self) -> String {
        let profile = tempfile::tempdir().unwrap();
        let browser = Program::start(browser(profile.path(), &format!("http://{}/", self.address)));
        let report = self.reports.lock().unwrap().recv_timeout(PATIENCE);
        report.unwrap_or_else(|_| panic!("no report: {}", browser.said()))
    }

    fn shows(&self, gateway: &str) {
        let page = PAGE.replace("GATEWAY", gateway).replace("TOKEN", &TOKEN);
        *self.page.lock().unwrap() = page.replace("'KEY'", &format!("'{APP_KEY}'"));
    }
}

/// A browser without a window and without the network; it goes on until it is ended.
fn browser(profile: &Path, address: &str) -> Command {
    let mut command = any_command(&BROWSERS);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"])
        // The certificate is nobody's.
        .arg("--ignore-certificate-errors")
        .args(["--disable-background-networking", "--no-first-run", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(address)
        .env("HOME", profile);
    command
}
