//! The binary as it is typed: every command, its exit code, its streams, its signals.
//!
//! Each run has a folder of its own, also for temporary files, and nothing of the environment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]
#![expect(clippy::indexing_slicing, reason = "a failing test panics")]
#![expect(unreachable_pub, reason = "one binary: nothing is reachable from outside")]

mod demo;
mod explain;
mod serve;
mod shell;
mod token;
mod users;
mod words;
