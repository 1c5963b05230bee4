//! Several endpoints share the requests; a Unix socket is one like any other.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

#[test]
fn requests_go_to_every_endpoint() {
    for balance in ["round_robin", "least_pending"] {
        let all = [Upstream::echo(), Upstream::echo(), Upstream::echo()];
        let [a, b, c] = &all;
        let world = before(&urls(&[a, b, c]), &format!(", balance: {balance}"));
        for _ in 0..30 {
            assert_eq!(status(&world, &get()), 200);
        }
        let counts: Vec<_> = all.iter().map(heads).collect();
        assert_eq!(counts.iter().sum::<usize>(), 30, "{balance}: each request once");
        assert!(counts.iter().all(|count| *count > 2), "{balance}: {counts:?}");
        let connections: Vec<_> = all.iter().map(|one| one.look(Record::connections)).collect();
        assert_eq!(connections, [1, 1, 1], "{balance}: one connection serves them one by one");
    }
}

#[test]
fn what_is_refused_reaches_none_of_them() {
    let all = [Upstream::echo(), Upstream::echo()];
    let [a, b] = &all;
    let world = before(&urls(&[a, b]), "");
    for ask in [Ask::get("/pool/../x"), Ask::new("DELETE", "/pool/x"), Ask::get("/pool/a%00")] {
        assert!(status(&world, &ask) >= 400);
    }
    assert_eq!(a.bytes_seen() + b.bytes_seen(), 0);
}

#[test]
fn a_unix_socket_is_an_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            seen.push(String::from_utf8(head).unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
        }
        seen
    });
    let world = before(&[format!("unix:{}", path.display())], "");
    for _ in 0..2 {
        let answer = world.answer(&get());
        assert_eq!((answer.status(), answer.text()), (200, "unix".to_owned()));
    }
    let seen = server.join().unwrap();
    assert!(seen.iter().all(|head| head.starts_with("GET /pool/x HTTP/1.1\r\n")), "{seen:?}");
    assert!(seen.iter().all(
        |head| head.contains("\r\nhost: gw.test\r\n") || head.contains("\r\nHost: gw.test\r\n")
    ));
}

#[test]
fn a_unix_socket_that_is_not_there_is_a_bad_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let world = before(&[format!("unix:{}/none.sock", folder.path().display())], "");
    assert_eq!(status(&world, &get()), 502);
    assert_eq!(status(&world, &Ask::post("/pool/x", "hi")), 502);
}

#[test]
fn the_addresses_of_a_name_are_endpoints() {
    let upstream = Upstream::echo();
    let url = format!("http://localhost:{}", upstream.address().port());
    let world = before(&[url], ", resolve: 100ms");
    let is_found = || {
        let endpoints = shown(&world)["endpoints"].as_array().unwrap().clone();
        endpoints.iter().any(|one| one["address"] == upstream.address().to_string())
    };
    crate::world::eventually("the name is looked up", is_found);
    for _ in 0..10 {
        assert_eq!(status(&world, &get()), 200);
    }
}

#[test]
fn operators_see_every_upstream() {
    let a = Upstream::echo();
    let world = before(&[a.url(), nobody()], ", in_flight: 7, connections: 9");
    assert_eq!(status(&world, &get()), 200);
    let shown = shown(&world);
    assert_eq!((&shown["in_flight"], &shown["queued"]), (&0.into(), &0.into()), "{shown}");
    let first = &shown["endpoints"][0];
    assert_eq!(first["address"], a.address().to_string());
    assert_eq!((&first["state"], &first["pending"]), (&"healthy".into(), &0.into()), "{first}");
    assert_eq!((&first["connections"], &first["last_check"]), (&1.into(), &Value::Null));
    let many = "portcullis_upstream_endpoints{state=\"healthy\",upstream=\"many\"}";
    assert!((world.metric(many) - 2.0).abs() < 0.1);
    world.deny(&Ask::get("/upstreams").signed(), &[404]);
}

#[test]
fn an_upstream_that_is_not_named_any_more_is_not_shown() {
    let (a, b) = (Upstream::echo(), Upstream::echo());
    let world = before(&urls(&[&a, &b]), "");
    assert_eq!(status(&world, &get()), 200);
    let many = "portcullis_upstream_endpoints{state=\"healthy\",upstream=\"many\"}";
    assert!((world.metric(many) - 2.0).abs() < 0.1);
    let named = format!(", many: {{ endpoints: [\"{}\", \"{}\"] }}", a.url(), b.url());
    world.reload_with("to: many", "to: api").unwrap();
    assert!((world.metric(many) - 2.0).abs() < 0.1, "named, though no route leads there");
    world.reload_with(&named, "").unwrap();
    let page = world.admin("/metrics").text();
    assert!(!page.contains("portcullis_upstream_endpoints"), "{page}");
    assert!(!world.admin("/upstreams").text().contains("many"));
}

#[test]
fn a_name_with_one_address_needs_no_setting() {
    let upstream = Upstream::echo();
    let world = before(&[format!("http://localhost:{}", upstream.address().port())], "");
    for _ in 0..3 {
        assert_eq!(status(&world, &get()), 200);
    }
    assert_eq!(upstream.look(Record::connections), 1, "looked up once, and the connection kept");
}
