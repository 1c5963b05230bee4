//! A whole gateway over real sockets: raw bytes in, a recording upstream out.
//!
//! Every test owns its gateway, its upstream, its ports and its folder, and every wait has a
//! deadline. Nothing here uses the product's own parsers, signer or client.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]
#![expect(clippy::unwrap_in_result, clippy::panic, reason = "a failing test panics")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "a failing test panics")]
#![expect(unreachable_pub, reason = "one binary: nothing is reachable from outside")]

mod world;

mod apps;
mod basic;
mod binary;
mod cli;
mod clients;
mod cors;
mod credentials;
mod cross_site;
mod cut;
mod desync;
mod drain;
mod faults;
mod formulas;
mod forwarding;
mod framing;
mod hosts;
mod http2;
mod identity;
mod issuers;
mod limits;
mod login;
mod logins_under_attack;
mod many_routes;
mod methods;
mod metrics;
mod parked;
mod pass_through;
mod paths;
mod permissions;
mod proxied;
mod recorder;
mod refusals;
mod reload;
mod routes;
mod second_factor;
mod secured;
mod sixth_dialect;
mod streams;
mod tls;
mod tokens;
mod unix_listener;
mod unjudged;
mod upstream_http2;
mod upstream_tls;
mod upstreams;
mod versions;
mod websocket;
