//! What clients cost that are connected and ask for nothing.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::process_table::memory_kb;
use crate::programs::Haproxy;
use crate::programs::Nginx;
use crate::programs::eventually;
use crate::world::Ask;
use crate::world::Client;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::pems;
use crate::world::tls_client::Session;
use crate::world::tls_client::TlsClient;

/// A build for development keeps more for each.
const IN_CLEAR: usize = if cfg!(debug_assertions) { 500 } else { 5000 };
const WITH_TLS: usize = if cfg!(debug_assertions) { 100 } else { 1000 };
const MOST_IN_CLEAR_KB: f64 = if cfg!(debug_assertions) { 64.0 } else { 4.0 };
const MOST_WITH_TLS_KB: f64 = if cfg!(debug_assertions) { 256.0 } else { 24.0 };
/// Connections before those that are counted: what the first of them needs is not theirs alone.
const BEFORE: usize = 64;

#[test]
fn idle_clients_cost_a_few_kibibytes_each() {
    may_open(3 * IN_CLEAR);
    let upstream = Nginx::answering();
    let gateway = Gateway::start(&configuration(&upstream.url(), USERS, "workers: 1"));
    let nginx = Nginx::proxy(upstream.address, "keepalive_timeout 10m;");
    let haproxy = Haproxy::proxy(upstream.address, "", "");
    let settled = |count| parked(&gateway, count);
    let wanted = (IN_CLEAR, MOST_IN_CLEAR_KB);
    let ours = cost(gateway.id(), wanted, |_| idle(gateway.public), settled);
    let any = (IN_CLEAR, f64::INFINITY);
    let theirs = [
        ("nginx", cost(nginx.worker(), any, |_| idle(nginx.address), |_| {})),
        ("HAProxy", cost(haproxy.id(), any, |_| idle(haproxy.address), |_| {})),
    ];
    println!("idle: {IN_CLEAR} clients, KiB each: portcullis {ours:.1}, {theirs:.1?}");
    assert!(ours <= MOST_IN_CLEAR_KB, "{ours} KiB for each idle client");
}

#[test]
fn idle_clients_of_tls_cost_their_session() {
    may_open(3 * WITH_TLS);
    let upstream = Nginx::answering();
    let authority = Authority::new("root");
    let text = configuration(&upstream.url(), USERS, "workers: 1").replace(
        "public: \"127.0.0.1:0\"",
        "public: { address: \"127.0.0.1:0\", tls: { certificate: file:gw.crt, key: file:gw.key } }",
    );
    let folder = Gateway::folder(&text);
    let [certificate, key] = pems(&authority.certify("gw.test", LONG));
    fs::write(folder.path().join("gw.crt"), certificate).unwrap();
    fs::write(folder.path().join("gw.key"), key).unwrap();
    let gateway = Gateway::start_in(folder);
    let client = TlsClient::of(&authority);
    let open = |_| idle_with_tls(&client, gateway.public);
    let wanted = (WITH_TLS, MOST_WITH_TLS_KB);
    let ours = cost(gateway.id(), wanted, open, |count| parked(&gateway, count));
    println!("idle: {WITH_TLS} clients of TLS, KiB each: portcullis {ours:.1}");
    assert!(ours <= MOST_WITH_TLS_KB, "{ours} KiB for each idle client");
}

/// Waits until so many connections have given up what they need for requests.
#[track_caller]
fn parked(gateway: &Gateway, count: usize) {
    let all = f64::from(u32::try_from(count).unwrap());
    eventually("every connection is parked", || {
        (gateway.metric("portcullis_connections_parked") >= all).then_some(())
    });
}

/// KiB that each of so many connections costs a process, once they are settled.
///
/// Memory that was let go is the allocator's for some seconds more.
fn cost<C>(
    process: u32,
    (count, enough): (usize, f64),
    open: impl Fn(usize) -> C,
    settled: impl Fn(usize),
) -> f64 {
    let mut clients: Vec<C> = (0..BEFORE).map(&open).collect();
    settled(clients.len());
    let before = memory_kb(process, "VmRSS");
    clients.extend((0..count).map(&open));
    settled(clients.len());
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let more = memory_kb(process, "VmRSS").saturating_sub(before);
        let each =
            f64::from(u32::try_from(more).unwrap()) / f64::from(u32::try_from(count).unwrap());
        if each <= enough || Instant::now() > until {
            return each;
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// A client that has asked once.
#[track_caller]
fn idle(to: SocketAddr) -> Client {
    let mut client = Client::connect(to);
    client.send(&signed(Ask::get("/api/x")).bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
    client
}

#[track_caller]
fn idle_with_tls(client: &TlsClient, to: SocketAddr) -> Session {
    let mut session = client.connect(to).unwrap();
    assert_eq!(session.ask(&signed(Ask::get("/api/x"))).unwrap().status(), 200);
    session
}

/// Raises the bound on open files, for this process and those that it starts.
fn may_open(files: usize) {
    let limits = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(files + 1000).unwrap();
    let current = limits.current.map(|current| current.max(wanted));
    let are_allowed = limits.maximum.is_none_or(|most| most >= wanted);
    assert!(are_allowed, "{wanted} open files are needed, {:?} are allowed", limits.maximum);
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limits.maximum }).unwrap();
}
