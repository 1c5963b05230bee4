//! Reloads under load: nobody notices.

use std::fs;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::credentials;
use crate::gateway::signed;
use crate::programs::Nginx;
use crate::programs::Wrk;
use crate::programs::eventually;
use crate::world::Ask;

const RELOADS: usize = 30;

#[test]
fn thirty_reloads_under_load_cost_no_request() {
    let upstream = Nginx::answering();
    let text = |number: usize| {
        let route = format!("  - {{ match: \"GET /only{number}\", to: api, public: true }}");
        configuration(&upstream.url(), USERS, &format!("{route}\nworkers: 2"))
    };
    let gateway = Gateway::start(&text(0));
    // Far longer than it takes: it is stopped.
    let load = Wrk::start(1, 600, gateway.public, "/api/x", &credentials());
    for number in 1..=RELOADS {
        let file = gateway.folder.path().join("portcullis.yaml");
        let next = file.with_extension("next");
        fs::write(&next, text(number)).unwrap();
        fs::rename(&next, &file).unwrap();
        gateway.reload();
        let (new, old) = (format!("/only{number}"), format!("/only{}", number - 1));
        eventually("the new configuration is in force", || {
            (gateway.answer(&signed(Ask::get(&new))).status() == 200).then_some(())
        });
        assert_eq!(gateway.answer(&signed(Ask::get(&old))).status(), 404, "the old one is gone");
    }
    let load = load.stop();
    assert!(load.is_clean(), "{}", load.report);
    println!("reloads: {RELOADS} within {} requests, none of them lost", load.requests);
    assert!(load.requests > 1_000, "there was no load: {}", load.report);
    assert!(gateway.metric("portcullis_panics_total") == 0.0);
}
