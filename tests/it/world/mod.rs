//! The world around the gateway: a strict client before it, recorders behind it, issuers beside it.

mod ask;
pub mod authority;
mod client;
mod gate;
mod gateway;
pub mod h2_upstream;
mod hpack;
pub mod http2;
mod issuer;
pub mod keys;
mod line;
pub mod oracle;
pub mod people;
pub mod process;
mod secure;
pub mod tls_client;
pub mod tls_door;
mod upstream;
mod wire;

pub use ask::APP;
pub use ask::APP_KEY;
pub use ask::Ask;
pub use ask::TOKEN;
pub use client::Client;
pub use client::End;
pub use gate::Gate;
pub use gateway::Setup;
pub use gateway::World;
pub use http2::Frame;
pub use http2::Gone;
pub use http2::Http2;
pub use issuer::Issuer;
pub use issuer::Manner;
pub use line::Line;
pub use secure::Secure;
pub use upstream::Mark;
pub use upstream::Record;
pub use upstream::Step;
pub use upstream::Upstream;
pub use wire::Fault;
pub use wire::Framing;
pub use wire::Kind;
pub use wire::Message;
pub use wire::find;
pub use wire::latin1;

use std::time::Duration;
use std::time::Instant;

/// The longest that any single wait may take; a healthy machine needs a thousandth of it, and one that
/// compiles something else meanwhile shall not fail.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Asks again and again until it is so.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::yield_now();
    }
}
