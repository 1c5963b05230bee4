//! Methods, versions and the request line.

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;

#[test]
fn a_method_that_would_echo_or_tunnel_is_refused() {
    let world = World::usual();
    for target in ["/api/x", "/public/x", "/nowhere"] {
        let answer = world.deny(&Ask::new("TRACE", target).signed(), &[405]);
        assert!(!answer.text().contains("mobile-key"), "{answer:?}");
        world.deny(&Ask::new("TRACE", target), &[405, 401]);
        world.deny(&Ask::new("TRACK", target).signed(), &[405, 404, 403, 501]);
    }
    for target in
        ["internal.test:22", "gw.test:443", "127.0.0.1:1", "/api/x", "http://gw.test/api/x"]
    {
        world.deny(&Ask::new("CONNECT", target).signed(), &[405, 400]);
        world.deny(&Ask::new("CONNECT", target), &[405, 400, 401]);
    }
}

#[test]
fn a_method_is_what_it_is_letter_by_letter() {
    let routes = "
  - { match: \"GET /api/**\", to: api }
  - { match: \"POST,PURGE /api/forms\", to: api }
";
    let world = Setup::new().routes(routes).start();
    for method in
        ["get", "Get", "GETS", "GE", "PURGE", "POST", "DELETE", "BREW", "PROPFIND", "M-SEARCH", "X"]
    {
        let answer = world.deny(&Ask::new(method, "/api/x").signed(), &[405, 501]);
        if answer.status() == 405 {
            assert!(answer.fields.one("allow").contains("GET"), "{answer:?}");
        }
        world.deny(&Ask::new(method, "/api/x"), &[401, 405, 501]);
    }
    for method in ["G@T", "G(T", "", "G\"T", "G{T", "GET\x0b", "G\x00T", "G\u{e9}T", "GET,", "GET/"]
    {
        world.deny(
            &Ask::get("/").signed().with_line(format!("{method} /api/x HTTP/1.1")),
            &[400, 405, 501],
        );
    }
    for (method, target) in
        [("GET", "/api/x"), ("GET", "/api/forms"), ("POST", "/api/forms"), ("PURGE", "/api/forms")]
    {
        assert_eq!(world.pass(&Ask::new(method, target).signed()).method(), method);
    }
}

#[test]
fn only_who_may_pass_learns_which_methods_there_are() {
    let world = Setup::new().routes("\n  - { match: \"GET,PUT /api/x\", to: api }\n").start();
    let answer = world.answer(&Ask::new("DELETE", "/api/x").signed());
    assert_eq!(answer.status(), 405);
    let allow = answer.fields.one("allow");
    assert!(allow.contains("GET") && allow.contains("PUT") && !allow.contains("DELETE"), "{allow}");
    let answer = world.answer(&Ask::new("DELETE", "/api/x"));
    assert_eq!(answer.status(), 401);
    assert!(answer.fields.lacks("allow"));
    assert_eq!(world.upstream.bytes_seen(), 0);
}

#[test]
fn no_request_overrides_its_method() {
    let world = Setup::new().routes("\n  - { match: \"GET /api/**\", to: api }\n").start();
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        world.deny(
            &Ask::new("POST", "/api/x").signed().field("Content-Length", 0).field(name, "GET"),
            &[405],
        );
        assert_eq!(world.pass(&Ask::get("/api/x").signed().field(name, "DELETE")).method(), "GET");
    }
}

#[test]
fn a_request_line_with_two_readings_is_refused() {
    let world = World::usual();
    for line in [
        "GET /api/x HTTP/1.2",
        "GET /api/x HTTP/2.0",
        "GET /api/x HTTP/0.9",
        "GET /api/x HTTP/11",
        "GET /api/x HTTP/1.1x",
        "GET /api/x HTTP/1.",
        "GET /api/x http/1.1",
        "GET /api/x HTTPS/1.1",
        "GET /api/x XTTP/1.1",
        "GET /api/x ICE/1.0",
        "GET /api/x",
        "GET",
        "GET ",
        "GET  HTTP/1.1",
        " GET /api/x HTTP/1.1",
        "GET /api/x HTTP/1.1 ",
        "GET  /api/x HTTP/1.1",
        "GET /api/x  HTTP/1.1",
        "GET\t/api/x HTTP/1.1",
        "GET /api/x\tHTTP/1.1",
        "GET /api/x y HTTP/1.1",
        "GET /api/x HTTP/1.1 HTTP/1.1",
        "GET /api/x\rHTTP/1.1",
        "HTTP/1.1 200 OK",
        "\x16\x03\x01\x02",
        "PRI * HTTP/2.0",
    ] {
        world.deny(&Ask::get("/").signed().with_line(line), &[400, 505]);
    }
}

#[test]
fn lenient_line_ends_change_nothing_about_who_is_calling() {
    let world = World::usual();
    let good = Ask::get("/api/x").signed().field("X-Auth-User", "root").bytes();
    let text = String::from_utf8(good).unwrap();
    for bytes in [
        format!("\r\n{text}"),
        format!("\r\n\r\n{text}"),
        text.replace("\r\n", "\n"),
        format!("\n{text}"),
    ] {
        let mark = world.upstream.mark();
        let mut client = world.connect();
        client.send(bytes.as_bytes());
        let answer = client.answer("GET").unwrap();
        let requests = world.upstream.since(&mark).unwrap();
        match answer.status() {
            400 => assert_eq!(requests, []),
            200 => {
                assert_eq!(requests.len(), 1);
                crate::world::oracle::identity(&requests[0], &[("X-Auth-User", Some("ada"))]);
            }
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn http_1_0_is_served_and_closed() {
    let world = World::usual();
    let mut client = world.connect();
    client.send(&Ask::get("/").signed().with_line("GET /api/x HTTP/1.0").bytes());
    let (_, bytes) = client.end().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.") && text[8..].starts_with(" 200"), "{text}");
    world.upstream.requests();
}
