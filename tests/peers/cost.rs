//! What a request costs beside nginx and HAProxy, which check nothing.
//!
//! All three are proxies of the same nginx and get the same bytes. Each serves with one thread on
//! core 0; wrk and the upstream have core 1. Rounds take turns, so that what disturbs one disturbs
//! all. Time decides nothing here: a contender that errs does.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::credentials;
use crate::process_table::Spent;
use crate::process_table::spent;
use crate::programs::Haproxy;
use crate::programs::Load;
use crate::programs::Nginx;
use crate::programs::Wrk;
use crate::programs::pin;

/// Rounds, and seconds of each contender in a round.
const ROUNDS: usize = if cfg!(debug_assertions) { 3 } else { 7 };
const SECONDS: u64 = if cfg!(debug_assertions) { 1 } else { 2 };

/// One of those that are compared.
struct Contender {
    name: &'static str,
    address: SocketAddr,
    process: u32,
    /// Microseconds a request, of each round.
    total: Vec<f64>,
    user: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, address: SocketAddr, process: u32) -> Self {
        pin(process, 0);
        Self { name, address, process, total: vec![], user: vec![] }
    }

    #[track_caller]
    fn run(&self, seconds: u64) -> (Load, Spent) {
        let before = spent(self.process);
        let load = Wrk::start(1, seconds, self.address, "/api/x", &credentials()).end();
        assert!(load.is_clean(), "{}: {}", self.name, load.report);
        (load, spent(self.process).since(before))
    }

    #[track_caller]
    fn measure(&mut self) {
        let (load, spent) = self.run(SECONDS);
        self.total.push(load.share(spent.total()));
        self.user.push(load.share(spent.user));
    }
}

#[test]
fn a_request_costs_beside_nginx_and_haproxy() {
    let upstream = Nginx::answering();
    pin(upstream.worker(), 1);
    let gateway = Gateway::start(&configuration(&upstream.url(), USERS, "workers: 1"));
    let nginx = Nginx::proxy(upstream.address, "");
    let haproxy = Haproxy::proxy(upstream.address, "", "");
    let mut contenders = [
        Contender::new("portcullis", gateway.public, gateway.id()),
        Contender::new("nginx", nginx.address, nginx.worker()),
        Contender::new("HAProxy", haproxy.address, haproxy.id()),
    ];
    for contender in &contenders {
        contender.run(1);
    }
    for round in 0..ROUNDS {
        // Nobody always comes first.
        contenders.rotate_left(round % 2 + 1);
        contenders.iter_mut().for_each(Contender::measure);
    }
    contenders.sort_by_key(|contender| contender.name.len());
    contenders.reverse();
    println!("{}", table(&contenders));
}

fn table(contenders: &[Contender]) -> String {
    let ours = &contenders[0];
    assert_eq!(ours.name, "portcullis");
    let mut text = format!(
        "cost: processor time of a request in µs, {ROUNDS} rounds of {SECONDS} s in turns{}\n\
         | proxy      | median |  min –  max | of it user |  min –  max | portcullis is |\n\
         | ---------- | -----: | ----------: | ---------: | ----------: | ------------: |\n",
        if cfg!(debug_assertions) { " (a build for development: no measure)" } else { "" }
    );
    for contender in contenders {
        let ratios = ours.total.iter().zip(&contender.total).map(|(ours, theirs)| ours / theirs);
        let (total, user) = (&contender.total, &contender.user);
        writeln!(
            text,
            "| {:10} | {:6.1} | {} | {:10.1} | {} | {:12.2}× |",
            contender.name,
            median(total),
            range(total),
            median(user),
            range(user),
            median(&ratios.collect::<Vec<_>>()),
        )
        .unwrap();
    }
    text
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn range(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{least:4.1} – {most:4.1}")
}
