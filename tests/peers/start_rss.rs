//! What a gateway needs before anybody has asked for anything.

use std::fs;

use crate::gateway::Gateway;
use crate::gateway::configuration;
use crate::gateway::portcullis;
use crate::process_table::memory_kb;
use crate::world::Issuer;
use crate::world::keys::RSA;

/// A release build; one for development carries more code and touches more of it.
const MOST_KB: u64 = if cfg!(debug_assertions) { 64 << 10 } else { 18 << 10 };

#[test]
fn a_gateway_starts_within_18_mebibytes() {
    let issuer = Issuer::publishing(&[&RSA]);
    let users = format!(
        "issuer: \"https://id.test\", audience: orders, algorithms: [RS256], jwks: \"{}\"",
        issuer.jwks_url()
    );
    let extra = "store: sqlite:apps.db\nworkers: 2";
    let text = configuration("http://127.0.0.1:9", &users, extra);
    let text = text.replace("access_log: { enabled: false }", "access_log: { enabled: true }");
    let folder = Gateway::folder(&text);
    portcullis(&folder, &["app", "create", "first", "-c", "portcullis.yaml"]);
    assert!(fs::exists(folder.path().join("apps.db")).unwrap());
    let gateway = Gateway::start_in(folder);
    assert_eq!(issuer.asked(), 1, "the keys are there");
    let (now, most) = (memory_kb(gateway.id(), "VmRSS"), memory_kb(gateway.id(), "VmHWM"));
    println!("start: VmRSS {now} kB, at most {most} kB; bound {MOST_KB} kB");
    assert!(now <= MOST_KB, "{now} kB resident after the start");
}
