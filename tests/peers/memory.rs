//! Many users: what is remembered of their tokens stays within its bound.

use std::fs;
use std::net::SocketAddr;
use std::thread;

use serde_json::json;

use crate::gateway::Gateway;
use crate::gateway::configuration;
use crate::gateway::lasting;
use crate::process_table::memory_kb;
use crate::programs::Nginx;
use crate::world::Ask;
use crate::world::Client;
use crate::world::keys::Key;

/// A build for development does everything ten times slower.
const TOKENS: usize = if cfg!(debug_assertions) { 32_000 } else { 512_000 };
const BOUND_KB: u64 = if cfg!(debug_assertions) { 8 << 10 } else { 64 << 10 };
/// What connections, their buffers and the allocator take beside; of a large bound it is part.
const SLACK_KB: u64 = if cfg!(debug_assertions) { 12 << 10 } else { 0 };
const CLIENTS: usize = 8;
/// Requests that are sent before the first answer is read.
const AT_ONCE: usize = 32;
const SECRET: &[u8] = b"a secret that is long enough for HS256";

#[test]
fn half_a_million_tokens_stay_within_the_bound_of_the_cache() {
    let upstream = Nginx::answering();
    let users = "issuer: \"https://id.test\", audience: orders, algorithms: [HS256], \
                 secret: \"file:secret\"";
    let extra = format!("workers: 2\ncache: {{ tokens: {BOUND_KB}KiB }}");
    let folder = Gateway::folder(&configuration(&upstream.url(), users, &extra));
    fs::write(folder.path().join("secret"), SECRET).unwrap();
    let gateway = Gateway::start_in(folder);
    send(gateway.public, "warm", CLIENTS * AT_ONCE);
    let before = memory_kb(gateway.id(), "VmRSS");
    send(gateway.public, "user", TOKENS);
    let (after, most) = (memory_kb(gateway.id(), "VmRSS"), memory_kb(gateway.id(), "VmHWM"));
    println!(
        "memory: {TOKENS} tokens, {BOUND_KB} kB for them; {before} kB before, {after} kB after, \
         {most} kB at most: {} kB more",
        most - before
    );
    let counted = |what: &str| gateway.metric(&format!("portcullis_token_cache_{what}_total"));
    let all = u32::try_from(TOKENS + CLIENTS * AT_ONCE).unwrap();
    assert!(counted("misses") >= f64::from(all), "each token is another one");
    assert!(counted("evictions") > 0.0, "more of them than fit");
    assert!(most - before <= BOUND_KB + SLACK_KB, "{most} kB at most, {before} kB before");
}

/// Sends so many requests, each with a token of its own, and expects each to pass.
fn send(to: SocketAddr, name: &str, count: usize) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let name = format!("{name}-{client}");
            scope.spawn(move || send_from_one(to, &name, count / CLIENTS));
        }
    });
}

fn send_from_one(to: SocketAddr, name: &str, count: usize) {
    let key = Key::shared("shared", SECRET);
    let mut client = Client::connect(to);
    for first in (0..count).step_by(AT_ONCE) {
        let asks = (first..first + AT_ONCE).map(|number| {
            let claims = lasting(&json!({"sub": format!("{name}-{number}")}));
            Ask::get("/api/x").keyed().bearing(&key.token("HS256", &claims)).bytes()
        });
        client.send(&asks.collect::<Vec<_>>().concat());
        for _ in 0..AT_ONCE {
            let answer = client.answer("GET").unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
        }
    }
}
