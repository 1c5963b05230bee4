//! The gateway beside other programs: behind and before nginx and HAProxy, under wrk and strace.
//!
//! Behind the feature `peers`. A program that is missing is a failure, never a skip; what only a
//! release build can promise is printed by others. To be read with `--nocapture`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![expect(clippy::unwrap_in_result, clippy::panic, reason = "a failing test panics")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "a failing test panics")]
#![expect(unreachable_pub, reason = "one binary: nothing is reachable from outside")]

mod certificates;
mod gateway;
mod process_table;
mod programs;
#[path = "../it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the rest is for the tests that need no program")]
mod world;

#[cfg(feature = "npm")]
mod axios;
mod bodies;
mod browser;
mod cost;
mod curl;
mod fronts;
mod grpc;
mod h2load;
mod idle;
mod memory;
mod nginx_upstream;
mod promtool;
mod reloads;
mod scanners;
mod sockets;
mod start_rss;
mod strace;
