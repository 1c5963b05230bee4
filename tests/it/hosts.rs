//! One host, well-formed, or a bad request.

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;

#[test]
fn a_request_names_exactly_one_host() {
    let world = World::usual();
    let base = || Ask::get("/api/x").signed();
    let cases = [
        base().without("Host"),
        base().field("Host", "gw.test"),
        base().field("Host", "evil.test"),
        base().field("host", "gw.test"),
        base().field("HOST", ""),
        Ask::get("/public/x").without("Host"),
        Ask::get("/public/x").field("Host", "gw.test"),
    ];
    for ask in cases {
        world.deny(&ask, &[400]);
    }
}

#[test]
fn a_host_with_two_readings_is_a_bad_request() {
    let world = World::usual_over_both();
    for host in [
        "gw.test, evil.test",
        "gw.test,evil.test",
        "gw.test evil.test",
        "gw.test:80:81",
        "gw.test:",
        "gw.test:port",
        "gw.test:99999",
        "gw.test:-1",
        "gw.test:+80",
        "",
        ":80",
        ".",
        "..",
        ".gw.test",
        "gw..test",
        "gw.test/",
        "gw.test/api",
        "gw.test?x",
        "gw.test#x",
        "gw.test\\x",
        "user@gw.test",
        "user:pw@gw.test",
        "http://gw.test",
        "gw%2etest",
        "gw.test%00",
        "gw\ttest",
        "[::1",
        "::1",
        "[::1]x",
        "[gw.test]",
        "[::g]",
        "gw_test!",
        "gw.test;x",
        "gw.test'",
        "gw.test\"",
        "<gw.test>",
        "g\u{e9}.test",
    ] {
        world.deny(&Ask::get("/api/x").signed().instead("Host", host), &[400]);
        world.deny(&Ask::get("/public/x").instead("Host", host), &[400]);
    }
    for bytes in
        [&b"Host: gw.test\x00"[..], b"Host: gw.test\x01", b"Host: \xff.test", b"Host: gw.test\x7f"]
    {
        world.deny(&Ask::get("/public/x").without("Host").raw_line(bytes), &[400]);
    }
    world.deny(&Ask::get("/public/x").instead("Host", "a".repeat(300)), &[400]);
}

#[test]
fn a_host_is_one_whatever_its_case_its_port_and_its_final_dot() {
    let routes = "\n  - { match: \"* gw.test/api/**\", to: api }\n";
    let world = Setup::new().routes(routes).start();
    for host in
        ["gw.test", "GW.TEST", "Gw.Test", "gw.test.", "gw.test:80", "gw.test:8443", "gw.test.:80"]
    {
        let forwarded = world.pass(&Ask::get("/api/x").signed().instead("Host", host));
        let sent = if host.contains(":8443") { "gw.test:8443" } else { "gw.test" };
        assert_eq!(forwarded.fields.all("host"), [sent], "{host}");
        assert_eq!(forwarded.fields.all("x-forwarded-host"), [sent], "{host}");
    }
    for host in ["evil.test", "gw.test.evil.test", "x.gw.test", "gw.tes", "gw.testt", "127.0.0.1"] {
        world.deny(&Ask::get("/api/x").signed().instead("Host", host), &[404]);
        world.deny(&Ask::get("/api/x").instead("Host", host), &[401]);
    }
}

#[test]
fn an_address_is_a_host_too() {
    let world = World::usual_over_both();
    for host in ["127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "localhost"] {
        world.pass(&Ask::get("/api/x").signed().instead("Host", host));
    }
}
