//! Upstreams of several endpoints: who is asked, who rests, what is asked again, and what is refused.

mod announced;
mod bounds;
mod deadlines;
mod health;
mod retries;
mod sharing;

use std::net::Ipv4Addr;
use std::net::TcpListener;

use serde_json::Value;

use crate::world::Ask;
use crate::world::Record;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;

/// A gateway whose `/pool/**` leads, for everybody, to these servers.
fn before(urls: &[String], keys: &str) -> World {
    before_with(1, urls, keys)
}

/// The same with so many workers.
fn before_with(workers: usize, urls: &[String], keys: &str) -> World {
    let mut setup = Setup::new().extra(&format!("workers: {workers}"));
    let urls: Vec<_> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    let urls = urls.join(", ");
    setup.more_upstreams = format!(", many: {{ endpoints: [{urls}]{keys} }}");
    let route = r#"  - { match: "GET,PUT,POST /pool/**", to: many, public: true }"#;
    setup.routes = format!("{}{route}\n", setup.routes);
    setup.start()
}

fn urls(upstreams: &[&Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| upstream.url()).collect()
}

/// An address at which nobody listens.
fn nobody() -> String {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", closed.local_addr().unwrap())
}

/// Does the same to every request.
fn always(steps: &[Step]) -> Upstream {
    let steps = steps.to_vec();
    Upstream::scripted(move |_, _| steps.clone())
}

fn get() -> Ask {
    Ask::get("/pool/x")
}

#[track_caller]
fn status(world: &World, ask: &Ask) -> u16 {
    world.answer(ask).status()
}

fn heads(upstream: &Upstream) -> usize {
    upstream.look(Record::heads)
}

/// What operators are told of the upstream `many`.
fn shown(world: &World) -> Value {
    let answer = world.admin("/upstreams");
    assert_eq!(answer.status(), 200);
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let all = document["upstreams"].as_array().unwrap();
    all.iter().find(|one| one["name"] == "many").unwrap().clone()
}

/// The state of each endpoint of `many`, in the order of the file.
fn states(world: &World) -> Vec<String> {
    let endpoints = shown(world)["endpoints"].as_array().unwrap().clone();
    endpoints.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}
