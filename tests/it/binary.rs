//! The binary at work: one id per request, stops under load, files that change below it, keys on disk.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::folder_with;
use crate::cli::token;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Client;
use crate::world::DEADLINE;
use crate::world::Gate;
use crate::world::Issuer;
use crate::world::Manner;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::jwks;
use crate::world::process::Process;
use crate::world::process::run;

/// A spawned gateway and where it listens.
pub struct Served {
    pub process: Process,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Served {
    pub fn new(folder: &TempDir) -> Self {
        Self::of(Process::start(folder.path(), &["serve", "--config", "portcullis.yaml"]))
    }

    pub fn trusting(folder: &TempDir, roots: &Path) -> Self {
        let arguments = ["serve", "--config", "portcullis.yaml"];
        Self::of(Process::start_trusting(folder.path(), &arguments, roots))
    }

    pub fn of(mut process: Process) -> Self {
        let line: Value = serde_json::from_str(&process.line("\"listening\"")).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let (public, admin) = (address("public"), address("admin"));
        Self { process, public, admin }
    }

    #[track_caller]
    pub fn ask(&self, ask: &Ask) -> Message {
        let mut client = Client::connect(self.public);
        client.send(&ask.bytes());
        client.answer(ask.method()).unwrap()
    }

    #[track_caller]
    fn becomes(&self, ask: &Ask, status: u16) {
        let deadline = Instant::now() + DEADLINE;
        while self.ask(ask).status() != status {
            assert!(Instant::now() < deadline, "{status} does not come");
        }
    }

    pub fn operator(&self, target: &str) -> Message {
        let mut client = Client::connect(self.admin);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        client.answer("GET").unwrap()
    }

    #[track_caller]
    fn ends(self) {
        let (code, lines) = self.process.end();
        assert_eq!(code, Some(0), "{lines:#?}");
    }
}

fn good(target: &str) -> Ask {
    Ask::get(target).keyed().bearing(&token())
}

#[test]
fn one_id_names_a_request_in_its_answer_its_line_and_upstream() {
    let upstream = Upstream::scripted(|_, head| {
        vec![Step::Body, if head.contains(" /api/bad ") { Step::Close } else { Step::Echo }]
    });
    let mut setup = Setup::before(upstream);
    setup.access_log = "{ enabled: true }".into();
    let mut served = Served::new(&folder_with(&setup));
    let mut seen = Vec::new();
    for ask in [good("/api/1"), good("/api/2"), good("/api/3").field("X-Request-Id", "mine")] {
        let mark = setup.upstream.mark();
        let answer = served.ask(&ask);
        assert_eq!(answer.status(), 200);
        let sent = setup.upstream.since(&mark).unwrap().remove(0);
        let line: Value = serde_json::from_str(&served.process.line(sent.target())).unwrap();
        assert_eq!(line["request_id"], sent.fields.one("x-request-id"));
        seen.push(line["request_id"].to_string());
    }
    for (ask, status) in [
        (Ask::get("/api/4"), 401),
        (Ask::get("/api/5").field("X-Request-Id", "mine").keyed().bearing("x"), 401),
        (good("/api/admin/6"), 403),
        (good("/none/7"), 404),
        (good("/api//8"), 400),
        (
            good("/api/bad")
                .field("Content-Length", 1)
                .body("9")
                .with_line("POST /api/bad HTTP/1.1"),
            502,
        ),
    ] {
        let answer = served.ask(&ask);
        assert_eq!(answer.status(), status);
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        let id = document["request_id"].as_str().unwrap();
        assert_eq!(answer.fields.one("x-request-id"), id);
        let line: Value = serde_json::from_str(&served.process.line(id)).unwrap();
        assert_eq!(line["request_id"], id);
        assert_eq!(line["reason"], document["reason"]);
        seen.push(id.to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 9, "each has its own: {seen:?}");
    served.process.signal("TERM");
    served.ends();
}

#[test]
fn a_line_tells_the_client_that_a_good_key_vouched_for() {
    let mut setup = crate::clients::setup();
    setup.access_log = "{ enabled: true }".into();
    let mut served = Served::new(&folder_with(&setup));
    let told = "203.0.113.7";
    let mut line = |ask: Ask, target: &str, status: u16| {
        assert_eq!(served.ask(&ask.field("X-Client-Address", told)).status(), status, "{target}");
        let line: Value = serde_json::from_str(&served.process.line(target)).unwrap();
        line["client.address"].as_str().unwrap().to_owned()
    };
    assert_eq!(line(good("/api/1"), "/api/1", 200), told);
    assert_eq!(line(Ask::get("/api/2").keyed(), "/api/2", 401), told);
    assert_eq!(line(Ask::get("/api/3").keyed().bearing("x"), "/api/3", 401), told);
    assert_eq!(line(good("/maybe/4").without("X-App-Key"), "/maybe/4", 200), "127.0.0.1");
    let wrong = Ask::get("/api/5").field("X-App-Key", "wrong");
    assert_eq!(line(wrong, "/api/5", 401), "127.0.0.1");
    assert_eq!(line(good("/public/6"), "/public/6", 200), "127.0.0.1");
    served.process.signal("TERM");
    served.ends();
}

#[test]
fn a_stop_under_load_answers_what_was_begun_and_nothing_more() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream =
        Upstream::scripted(move |_, _| vec![Step::Body, Step::Wait(theirs.clone()), Step::Echo]);
    let setup = Setup::before(upstream);
    let mut served = Served::new(&folder_with(&setup));
    assert_eq!(served.operator("/readyz").status(), 200);
    let mut clients: Vec<_> = (0..16).map(|_| Client::connect(served.public)).collect();
    for client in &mut clients {
        client.send(&good("/api/x").bytes());
    }
    setup.upstream.wait("every request", |seen| seen.heads() == 16);
    served.process.signal("TERM");
    served.process.line("draining");
    assert_eq!(served.operator("/readyz").status(), 503);
    assert_eq!(served.operator("/healthz").status(), 200);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer("GET").unwrap().status(), 200);
        client.end().unwrap();
    }
    let public = served.public;
    served.ends();
    assert!(std::net::TcpStream::connect(public).is_err(), "somebody still listens");
    assert_eq!(setup.upstream.requests().len(), 16);
}

#[test]
fn a_stop_under_load_ends_what_does_not_end() {
    let upstream = Upstream::scripted(|_, head| {
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun";
        let begun = if head.contains(" /api/half ") { half } else { "" };
        vec![Step::Body, Step::text(begun), Step::Silence]
    });
    let mut setup = Setup::before(upstream);
    setup.grace = "500ms".into();
    let served = Served::new(&folder_with(&setup));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(served.public)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&good(["/api/x", "/api/half"][number % 2]).bytes());
    }
    setup.upstream.wait("every request", |seen| seen.heads() == 8);
    served.process.signal("TERM");
    // Bounded by the deadline of every wait here; without the grace it would never end.
    served.ends();
    for client in &mut clients {
        let answer = client.answer("GET");
        assert!(answer.as_ref().map_or(true, |answer| answer.status() == 503), "{answer:?}");
    }
    setup.upstream.wait("the end of each connection", |seen| seen.ended() == 8);
}

/// Puts the files of a configuration in place as Kubernetes does: a new folder, then one link.
fn publish(folder: &Path, version: &str, files: &[(&str, &str)]) {
    let new = folder.join(version);
    fs::create_dir(&new).unwrap();
    for (name, content) in files {
        fs::write(new.join(name), content).unwrap();
        let link = folder.join(name);
        if !link.exists() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_link_that_leads_elsewhere_is_a_new_configuration() {
    let setup = Setup::new();
    let (text, keys) = (setup.text(), jwks(&[&P256]));
    let folder = TempDir::new().unwrap();
    let put = |version: &str, text: &str, keys: &str| {
        publish(folder.path(), version, &[("keys.json", keys), ("portcullis.yaml", text)]);
    };
    put("..1", &text, &keys);
    let mut served = Served::new(&folder);
    let ask = good("/api/x");
    assert_eq!(served.ask(&ask).status(), 200);
    let mut kept = Client::connect(served.public);
    kept.send(&ask.bytes());
    assert_eq!(kept.answer("GET").unwrap().status(), 200);

    let narrow = text.replace("* /api/admin/**", "* /api/x/**");
    put("..2", &narrow, &keys);
    fs::remove_dir_all(folder.path().join("..1")).unwrap();
    served.becomes(&ask, 403);
    kept.send(&ask.bytes());
    assert_eq!(kept.answer("GET").unwrap().status(), 403, "on a connection from before");

    for (version, text, keys) in [
        ("..3", "rubbish", &*keys),
        ("..4", &narrow.replace("to: api", "to: apy"), &keys),
        ("..5", &text, "{}"),
    ] {
        put(version, text, keys);
        served.process.line("refused");
        assert_eq!(served.ask(&ask).status(), 403, "the old one serves on");
        let page = served.operator("/metrics").text();
        assert!(page.contains("portcullis_config_reload_total{result=\"failure\"}"), "{page}");
    }
    put("..6", &text, &jwks(&[&OTHER_P256]));
    served.becomes(&ask, 401);
    put("..7", &text, &keys);
    served.becomes(&ask, 200);
    served.process.signal("TERM");
    served.ends();
}

#[test]
fn explain_knows_the_keys_that_serve_would_have_and_writes_none() {
    let issuer = Issuer::publishing(&[&P256]);
    let entry = format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"{}\" }}",
        issuer.jwks_url()
    );
    let setup = Setup::new().jwt(&entry).extra("cache: { key_sets: kept }");
    let folder = folder_with(&setup);
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let shelf = || -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
    };
    let bearer = format!("Authorization: Bearer {}", token());
    let key = format!("X-App-Key: {APP_KEY}");
    let explained = || {
        let config = ["explain", "-c", "portcullis.yaml", "-o", "json"];
        let ask = ["GET", "/api/x", "-H", "Host: gw.test", "-H", &key, "-H", &bearer];
        let told: Value =
            serde_json::from_str(&run(folder.path(), &[&config[..], &ask].concat()).out).unwrap();
        told["denial"]["status"].as_u64().unwrap_or(200)
    };
    assert_eq!(explained(), 200, "from the issuer itself");
    assert_eq!(shelf(), [], "only a gateway that serves keeps keys");

    let served = Served::new(&folder);
    served.becomes(&good("/api/x"), 200);
    let deadline = Instant::now() + DEADLINE;
    // What ends in `.new` is still being written, and may be gone before it is read.
    let is_kept = |name: OsString| !name.to_string_lossy().ends_with(".new");
    while !fs::read_dir(&kept).unwrap().any(|entry| is_kept(entry.unwrap().file_name())) {
        assert!(Instant::now() < deadline, "the keys are not kept");
    }
    served.process.signal("KILL");
    served.process.end();
    let before = shelf();

    issuer.becomes(Manner::Gone);
    assert_eq!(explained(), 200, "from the disk");
    let served = Served::new(&folder);
    assert_eq!(served.ask(&good("/api/x")).status(), 200, "as the gateway does");
    served.process.signal("KILL");
    served.process.end();

    issuer.becomes(Manner::Fine(jwks(&[&OTHER_P256])));
    assert_eq!(explained(), 401, "the issuer's word is newer than the disk");
    assert_eq!(shelf(), before, "explaining wrote");
    issuer.becomes(Manner::Gone);
    for (name, _) in before {
        fs::remove_file(name).unwrap();
    }
    assert_eq!(explained(), 503, "nowhere");
    assert_eq!(shelf(), []);
}
