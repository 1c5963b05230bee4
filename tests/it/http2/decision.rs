//! The decision over HTTP/2: what its fields say twice must agree, what belongs to HTTP/1.1 is refused.

use super::others_are_served;
use super::worlds;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Gone;
use crate::world::Setup;
use crate::world::TOKEN;
use crate::world::World;
use crate::world::http2::{END_STREAM, PROTOCOL_ERROR};

const USUAL: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/api/x"), (":authority", "gw.test")];

/// Sends these fields and good credentials.
#[track_caller]
fn status_of(world: &World, fields: &[(&str, &str)]) -> Result<u16, Gone> {
    let bearer = format!("Bearer {}", TOKEN.as_str());
    let signed = [("x-app-key", APP_KEY), ("authorization", bearer.as_str())];
    let mut client = world.connect_http2();
    let stream = client.headers(END_STREAM, &[fields, &signed].concat());
    client.answer(stream).map(|answer| answer.status())
}

#[track_caller]
fn refused(world: &World, fields: &[(&str, &str)], expected: &Result<u16, Gone>) {
    let before = world.upstream.bytes_seen();
    assert_eq!(&status_of(world, fields), expected, "{fields:?}");
    assert_eq!(world.upstream.bytes_seen(), before, "{fields:?}");
}

fn with<'f>(fields: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    [&USUAL[..], fields].concat()
}

/// The usual fields, with another value of one.
fn but<'f>(name: &str, value: &'f str) -> Vec<(&'f str, &'f str)> {
    USUAL.into_iter().map(|(known, old)| (known, if known == name { value } else { old })).collect()
}

#[test]
fn an_authority_and_a_host_must_agree() {
    for world in worlds() {
        let [method, scheme, path, _] = USUAL;
        let nowhere = [method, scheme, path];
        assert_eq!(status_of(&world, &USUAL), Ok(200));
        assert_eq!(status_of(&world, &with(&[("host", "gw.test")])), Ok(200));
        assert_eq!(status_of(&world, &with(&[("host", "GW.test:80")])), Ok(200));
        assert_eq!(status_of(&world, &[&nowhere[..], &[("host", "gw.test")]].concat()), Ok(200));
        for request in world.upstream.requests() {
            assert_eq!(request.fields.one("host"), "gw.test");
        }
        let bad = Ok(400);
        refused(&world, &nowhere, &bad);
        refused(&world, &with(&[("host", "evil.test")]), &bad);
        refused(&world, &with(&[("host", "gw.test:8080")]), &bad);
        refused(&world, &with(&[("host", "")]), &bad);
        refused(&world, &with(&[("host", "gw.test"), ("host", "gw.test")]), &bad);
        refused(&world, &with(&[("host", "gw.test"), ("host", "evil.test")]), &bad);
        refused(&world, &but(":authority", "user@gw.test"), &bad);
        others_are_served(&world);
    }
}

#[test]
fn fields_of_one_connection_reset_the_stream() {
    for world in worlds() {
        let reset = Err(Gone::Reset(PROTOCOL_ERROR));
        for (name, value) in [
            ("connection", "close"),
            ("connection", "x-app-key"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "identity"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
        ] {
            refused(&world, &with(&[(name, value)]), &reset);
        }
        assert_eq!(status_of(&world, &with(&[("te", "trailers")])), Ok(200));
        others_are_served(&world);
    }
}

#[test]
fn names_that_cannot_stand_there_are_refused() {
    for world in worlds() {
        let wrong = |fields: &[(&str, &str)]| {
            let before = world.upstream.bytes_seen();
            let outcome = status_of(&world, fields);
            let is_refused = matches!(
                outcome,
                Err(Gone::Reset(PROTOCOL_ERROR) | Gone::Closed(Some(PROTOCOL_ERROR))) | Ok(400)
            );
            assert!(is_refused, "{fields:?}: {outcome:?}");
            assert_eq!(world.upstream.bytes_seen(), before, "{fields:?}");
        };
        for name in ["X-Upper", "x app", "", "x:app", ":unknown", ":status", "x\0", "x\r\ny"] {
            wrong(&with(&[(name, "1")]));
        }
        for value in ["a\r\nx-auth-user: root", "a\0", "a\nb", "a\rb"] {
            wrong(&with(&[("x-a", value)]));
        }
        // A pseudo field after a regular one, twice, or not at all.
        let [method, scheme, path, authority] = USUAL;
        wrong(&[method, scheme, path, ("x-a", "1"), authority]);
        wrong(&[method, method, scheme, path, authority]);
        wrong(&[method, scheme, path, path, authority]);
        wrong(&[method, scheme, path, authority, (":authority", "evil.test")]);
        wrong(&[scheme, path, authority]);
        wrong(&[method, path, authority]);
        wrong(&[method, scheme, authority]);
        for scheme in ["ftp", "", "javascript", "http:"] {
            wrong(&but(":scheme", scheme));
        }
        others_are_served(&world);
    }
}

#[test]
fn a_path_is_a_path() {
    for world in worlds() {
        for path in
            ["", "*", "api/x", "//api/x", "http://gw.test/api/x", "?", "/api/ x", "/api/\u{e9}"]
        {
            let before = world.upstream.bytes_seen();
            let outcome = status_of(&world, &but(":path", path));
            let is_refused = matches!(
                outcome,
                Err(Gone::Reset(PROTOCOL_ERROR) | Gone::Closed(Some(PROTOCOL_ERROR))) | Ok(400)
            );
            assert!(is_refused, "{path}: {outcome:?}");
            assert_eq!(world.upstream.bytes_seen(), before, "{path}");
        }
        assert_eq!(status_of(&world, &but(":path", "/api/x?")), Ok(200));
    }
}

#[test]
fn nothing_is_a_tunnel() {
    for world in worlds() {
        refused(&world, &[(":method", "CONNECT"), (":authority", "gw.test:22")], &Ok(400));
        // RFC 8441, which was not offered.
        let mut extended = but(":method", "CONNECT");
        extended.insert(1, (":protocol", "websocket"));
        refused(&world, &extended, &Err(Gone::Reset(PROTOCOL_ERROR)));
        let mut not_connect = USUAL.to_vec();
        not_connect.insert(1, (":protocol", "websocket"));
        refused(&world, &not_connect, &Err(Gone::Reset(PROTOCOL_ERROR)));
        others_are_served(&world);
    }
}

#[test]
fn crumbs_of_a_cookie_are_read_and_forwarded_as_one() {
    let checks = "\n  user:\n    jwt: [ { issuer: \"https://id.test\", audience: orders, algorithms: [ES256], \
                  jwks: \"file:keys.json\", cookie: session } ]\n";
    let setup = Setup::new().http2().checks(checks).defaults("{ require: user }");
    let world = setup.routes("\n  - { match: \"* /api/**\", to: api }\n").start();
    let session = format!("session={}", TOKEN.as_str());
    let ask = |crumbs: &[&str]| {
        let fields: Vec<_> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
        let mut client = world.connect_http2();
        let stream = client.headers(END_STREAM, &with(&fields));
        client.answer(stream).map(|answer| answer.status())
    };
    assert_eq!(ask(&["a=1", &session, "b=2"]), Ok(200), "in a crumb of its own");
    let seen = world.upstream.requests();
    let cookie = seen[0].fields.one("cookie");
    assert!(cookie.starts_with("a=1; ") && cookie.ends_with("b=2"), "{cookie}");
    let before = world.upstream.bytes_seen();
    assert_eq!(ask(&[&session, &session]), Ok(400), "twice");
    assert_eq!(ask(&["a=1", "b=2"]), Ok(401), "not there");
    assert_eq!(world.upstream.bytes_seen(), before);
}

#[test]
fn http2_is_spoken_only_where_it_was_configured() {
    let world = World::usual();
    let before = world.upstream.bytes_seen();
    let mut client = world.connect_http2();
    let stream = client.ask(&Ask::get("/api/x").signed());
    assert!(client.answer(stream).is_err());
    assert_eq!(world.upstream.bytes_seen(), before);
}
