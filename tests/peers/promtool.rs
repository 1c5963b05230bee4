//! What Prometheus's own judge says of the metrics.

use std::fs;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::programs::Nginx;
use crate::programs::command;
use crate::programs::run;
use crate::world::Ask;

#[test]
fn promtool_has_nothing_to_say_about_the_metrics_of_a_used_gateway() {
    let upstream = Nginx::answering();
    let text = configuration(&upstream.url(), USERS, "store: sqlite:apps.db");
    let gateway = Gateway::start(&text);
    for (ask, status) in [
        (signed(Ask::get("/api/x")), 200),
        (signed(Ask::post("/api/x", "body")), 200),
        (Ask::get("/public/x"), 200),
        (Ask::get("/api/x"), 401),
        (Ask::get("/api/x").keyed().bearing("a.b.c"), 401),
        (signed(Ask::get("/api//x")), 400),
        (signed(Ask::new("PROPFIND", "/api/x")), 405),
    ] {
        assert_eq!(gateway.answer(&ask).status(), status, "{ask:?}");
    }
    gateway.reload();
    let page = gateway.ask_admin("/metrics").text();
    assert!(page.contains("portcullis_auth_decisions_total{"), "{page}");
    assert_eq!(judged(&gateway, &page), (true, String::new()));
    // The judge does judge: a counter without its suffix, a metric without its help.
    let (_, said) = judged(&gateway, "# TYPE portcullis_x counter\nportcullis_x 1\n");
    assert!(said.contains("portcullis_x"), "{said}");
    let (is_content, said) = judged(&gateway, &format!("{page}nonsense\n"));
    assert!(!is_content, "{said}");
}

/// Whether it is content, and what it said.
fn judged(gateway: &Gateway, page: &str) -> (bool, String) {
    let file = gateway.folder.path().join("metrics.txt");
    fs::write(&file, page).unwrap();
    let mut shell = command("sh");
    // The name by way of the search above, the file by way of standard input.
    let promtool = command("promtool").get_program().to_owned();
    shell.arg("-c").arg("exec \"$0\" check metrics < \"$1\"").arg(promtool).arg(file);
    run(shell)
}
