//! Traffic at a Unix socket: the same judgement, a file that comes and goes with the gateway, and clients
//! without an address.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;

use crate::world::Ask;
use crate::world::Client;
use crate::world::End;
use crate::world::Gate;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::eventually;

/// A place for the socket, and its path.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("p.sock");
    (folder, path)
}

fn at(path: &Path) -> Setup {
    let mut setup = Setup::new();
    setup.public = format!("\"unix:{}\"", path.display());
    setup
}

/// A gateway whose `listen.proxy_protocol` and `trusted_proxies` are these.
fn believing(path: &Path, proxied: &str, trusted: &str) -> World {
    let mut setup = at(path).extra(&format!("trusted_proxies: [{trusted}]"));
    setup.listen_keys = format!(", proxy_protocol: [{proxied}]");
    setup.start()
}

fn good() -> Ask {
    Ask::get("/api/x").signed()
}

#[test]
fn requests_are_judged_as_at_any_port() {
    let (_folder, path) = place();
    let world = at(&path).extra("workers: 2").start();
    for _ in 0..20 {
        world.pass(&good());
        world.deny(&Ask::get("/api/x"), &[401]);
        world.deny(&Ask::get("/api/x").keyed(), &[401]);
    }
    let mut kept = world.connect();
    for _ in 0..3 {
        kept.send(&good().bytes());
        assert_eq!(kept.answer("GET").unwrap().status(), 200);
    }
    let mut broken = world.connect();
    broken.send(b"nonsense\r\n\r\n");
    assert_eq!(broken.answer("GET").unwrap().status(), 400);
    let open = || world.metric("portcullis_connections");
    eventually("the kept connection is the only one", || (open() - 1.0).abs() < 0.1);
    drop(kept);
    eventually("none is left", || open() < 0.1);
}

#[test]
fn http2_is_spoken_where_it_is_allowed() {
    for (is_allowed, extra) in [(true, "http2: { prior_knowledge: true }"), (false, "")] {
        let (_folder, path) = place();
        let world = at(&path).extra(extra).start();
        let mut client = world.connect();
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        // Our settings are acknowledged, or the connection is closed.
        let is_spoken = client.until(b"\0\0\0\x04\x01\0\0\0\0").is_ok();
        assert_eq!(is_spoken, is_allowed);
    }
}

#[test]
fn the_file_has_its_mode_and_goes_before_requests_under_way_have_ended() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |_, _| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
        vec![Step::Body, Step::Wait(theirs.clone()), Step::text(answer)]
    });
    let (_folder, path) = place();
    let mut setup = Setup::before(upstream).extra("workers: 2");
    setup.public = format!("{{ address: \"unix:{}\", mode: 600 }}", path.display());
    let world = setup.start();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let (mut busy, mut idle) = (world.connect(), world.connect());
    busy.send(&good().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    let (running, _upstream) = world.stopping();
    let stop = thread::spawn(move || running.drain());
    assert_eq!(idle.end().unwrap().1, b"", "an idle connection is closed without an answer");
    eventually("gone", || !path.exists());
    // Whoever comes next takes the place, and keeps it when the first has ended.
    let (next, theirs) = (at(&path).start(), path.clone());
    gate.open();
    assert_eq!(busy.answer("GET").unwrap().body, b"done");
    stop.join().unwrap();
    next.pass(&good());
    drop(next);
    assert!(!theirs.exists());
}

#[test]
fn what_was_left_behind_is_taken_over_and_what_is_in_use_is_not() {
    let (_folder, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let world = at(&path).start();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
    let why = at(&path).try_start().err().expect("two at one socket");
    assert!(why.contains(&format!("cannot listen on unix:{}", path.display())), "{why}");
    world.pass(&good());
    drop(world);
    fs::write(&path, "precious").unwrap();
    assert!(at(&path).try_start().is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_gateway_that_does_not_start_leaves_no_file() {
    let (_folder, path) = place();
    assert!(at(&path).routes(" [ { match: \"* /x\", to: nobody } ]\n").try_start().is_err());
    assert!(!path.exists());
}

#[test]
fn a_reload_keeps_the_socket_and_cannot_move_it() {
    let (_folder, path) = place();
    let world = at(&path).start();
    let mut kept = world.connect();
    let inode = fs::metadata(&path).unwrap().ino();
    world.reload_with("admin]", "admin, other]").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    kept.send(&good().bytes());
    assert_eq!(kept.answer("GET").unwrap().status(), 200);
    for moved in ["unix:/nowhere/p.sock", "127.0.0.1:0"] {
        let why = world.reload_with(&format!("unix:{}", path.display()), moved).unwrap_err();
        assert!(why.contains("a change of `listen` needs a restart"), "{why}");
        world.write(
            "portcullis.yaml",
            &world.config().replace(moved, &format!("unix:{}", path.display())),
        );
    }
    world.pass(&good());
}

#[test]
fn a_client_has_the_address_that_whoever_connects_may_tell() {
    let everybody = "0.0.0.0/1, 128.0.0.0/1";
    for (proxied, trusted, told, forwarded, expected) in [
        ("", "", "", "", "unknown"),
        ("", "", "", "192.0.2.7", "unknown"),
        ("", everybody, "", "192.0.2.7", "unknown"),
        ("", "unix", "", "", "unknown"),
        ("", "unix", "", "nonsense", "unknown"),
        ("", "unix", "", "192.0.2.7", "192.0.2.7"),
        ("", "unix", "", "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("", "unix, 192.0.2.0/24", "", "6.6.6.6, 192.0.2.7", "6.6.6.6, 192.0.2.7"),
        ("unix", "", "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n", "6.6.6.6", "192.0.2.7"),
        ("unix", "unix", "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n", "6.6.6.6", "192.0.2.7"),
        ("unix", "", "PROXY UNKNOWN\r\n", "6.6.6.6", "unknown"),
        ("unix", "unix", "PROXY UNKNOWN\r\n", "6.6.6.6", "6.6.6.6"),
    ] {
        let (_folder, path) = place();
        let world = believing(&path, proxied, trusted);
        let mut ask = good();
        if !forwarded.is_empty() {
            ask = ask.field("X-Forwarded-For", forwarded);
        }
        let mut client = world.connect();
        client.send(told.as_bytes());
        client.send(&ask.bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200);
        let seen = world.upstream.requests().remove(0);
        let why = format!("[{proxied}] [{trusted}] {told:?} {forwarded}");
        assert_eq!(seen.fields.one("x-forwarded-for"), expected, "{why}");
    }
}

#[test]
fn whoever_must_tell_and_does_not_is_not_served() {
    for proxied in ["unix", "unix, 127.0.0.0/8"] {
        let (_folder, path) = place();
        let world = believing(&path, proxied, "");
        for start in ["", "PROXY TCP4 192.0.2.7\r\n"] {
            let mut client = world.connect();
            client.send(start.as_bytes());
            client.send(&good().bytes());
            let (end, rest) = client.end().unwrap();
            assert!(matches!(end, End::Fin | End::Reset) && rest.is_empty(), "{rest:?}");
        }
        assert_eq!(world.upstream.bytes_seen(), 0);
    }
}

#[test]
fn a_policy_does_not_take_nobody_for_somebody() {
    for (address, status) in [("192.0.2.7", 200), ("127.0.0.1", 403), ("::1", 403)] {
        let (_folder, path) = place();
        let routes = format!(
            "\n  - {{ match: \"* /api/**\", to: api, allow: \"request.address == '{address}'\" }}\n"
        );
        let trusting = at(&path).routes(&routes).extra("trusted_proxies: [unix]");
        let world = trusting.start();
        let told = world.answer(&good().field("X-Forwarded-For", "192.0.2.7"));
        assert_eq!(told.status(), status, "{address}");
        drop(world);
        let world = at(&path).routes(&routes).start();
        let untold = world.answer(&good().field("X-Forwarded-For", address));
        assert_eq!(untold.status(), 403, "{address}");
        assert_eq!(world.upstream.bytes_seen(), 0);
    }
}

#[test]
fn what_is_unwise_is_told() {
    let warnings = |setup: Setup| setup.start().running.warnings().to_string();
    let (_folder, path) = place();
    let open = || {
        let mut setup = at(&path);
        setup.public = format!("{{ address: \"unix:{}\", mode: \"666\" }}", path.display());
        setup
    };
    let trusting = "trusted_proxies: [unix]";
    for (setup, expected) in [
        (at(&path), Some("all of them look alike")),
        (at(&path).extra(trusting), None),
        (open().extra(trusting), Some("every program on this machine may connect")),
        (Setup::new().extra(trusting), Some("nobody connects by a Unix socket")),
        (Setup::new(), None),
    ] {
        let told = warnings(setup);
        match expected {
            Some(expected) => assert!(told.contains(expected), "{told}"),
            None => assert!(!told.contains("nix socket") && !told.contains("machine"), "{told}"),
        }
    }
    let mut sealed = at(&path);
    sealed.public = format!("{{ address: \"unix:{}\", tls: {{}} }}", path.display());
    let why = sealed.try_start().err().unwrap();
    assert!(why.contains("TLS is not spoken at a Unix socket"), "{why}");
}

#[test]
fn operators_ask_at_a_socket_of_their_own() {
    let (_folder, path) = place();
    let public = path.with_extension("public");
    let mut setup = at(&public);
    setup.admin = format!("\"unix:{}\"", path.display());
    let world = setup.start();
    assert_eq!(world.admin("/readyz").status(), 200);
    assert!((world.metric("portcullis_connections") - 0.0).abs() < 0.1);
    world.deny(&Ask::get("/readyz").signed(), &[404]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
    drop(world);
    assert!(!path.exists() && !public.exists());
    let mut setup = at(&path);
    setup.admin = setup.public.clone();
    let why = setup.try_start().err().unwrap();
    assert!(why.contains("cannot listen on unix:"), "{why}");
    assert!(!path.exists(), "nobody listens");
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let (_folder, path) = place();
    let mut setup = Setup::before(upstream);
    setup.public = format!("\"unix:{}\"", path.display());
    let world = setup.start();
    let mut client = Client::connect_unix(&path);
    client.send(&good().bytes());
    world.upstream.wait("the request", |seen| seen.heads() == 1);
    drop(client);
    world.upstream.wait("the end", |seen| seen.ended() == 1);
    let refused = UnixStream::connect(path.with_extension("none")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}
