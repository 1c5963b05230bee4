//! Active checks: they speak what requests are sent in, and believe nobody else.

use super::*;
use crate::world::eventually;

/// What operators are told of the upstream, once its endpoint was checked.
#[track_caller]
fn checked(world: &World) -> serde_json::Value {
    let shown = || {
        let document: serde_json::Value =
            serde_json::from_slice(&world.admin("/upstreams").body).unwrap();
        let all = document["upstreams"].as_array().unwrap();
        all.iter().find(|one| one["name"] == "shared").unwrap().clone()
    };
    eventually("checked", || !shown()["endpoints"][0]["last_check"].is_null());
    shown()
}

const H2: &[&str] = &["h2"];
const HTTP1: &[&str] = &["http/1.1"];
const CHECKS: &str = "health: { path: \"/healthz?a=1\", interval: 20ms, unhealthy_after: 1 }";

#[test]
fn an_active_check_speaks_what_requests_are_sent_in() {
    let authority = Authority::new("ours");
    for (http2, protocols, agreed) in [
        ("never", None, "http/1.1"),
        ("always", None, "h2"),
        ("never", Some(&["h2", "http/1.1"][..]), "http/1.1"),
        ("auto", Some(&["h2", "http/1.1"]), "h2"),
        ("auto", Some(&["http/1.1"]), "http/1.1"),
        ("always", Some(&["h2"]), "h2"),
    ] {
        let (two, one) = (H2Upstream::echo(), Upstream::echo());
        let target = if agreed == "h2" { two.address() } else { one.address() };
        let manner = Manner { protocols: protocols.unwrap_or_default(), ..Manner::default() };
        let door = TlsDoor::behaving(target, authority.certify("localhost", LONG), &manner);
        let keys = match protocols {
            Some(_) => {
                format!("url: \"{}\", tls: {{ ca: \"file:ca.pem\" }}", door.url("localhost"))
            }
            None => format!("url: \"http://{target}\""),
        };
        let keys = format!("{keys}, http2: {http2}, {CHECKS}");
        let world = setup(&keys).file("ca.pem", &authority.pem()).start();
        let shown = checked(&world);
        let why = format!("{http2} {protocols:?}: {shown}");
        assert_eq!(shown["tls"], protocols.is_some(), "{why}");
        let endpoint = &shown["endpoints"][0];
        assert_eq!(
            (&endpoint["state"], &endpoint["protocol"]),
            (&"healthy".into(), &agreed.into())
        );
        assert_eq!(endpoint["last_check"]["passed"], true, "{why}");
        if agreed == "h2" {
            let stream = two.record().streams.remove(0);
            let host = if protocols.is_some() { door.url("localhost") } else { two.url() };
            assert_eq!(stream.head.uri().to_string(), format!("{host}/healthz?a=1"), "{why}");
            assert_eq!(stream.one("user-agent"), "portcullis");
        } else {
            assert_eq!(one.requests()[0].target(), "/healthz?a=1", "{why}");
        }
        assert_eq!(world.answer(&get("/open/a")).status(), 200, "{why}");
    }
}

#[test]
fn an_active_check_believes_no_other_than_requests_do() {
    let authority = Authority::new("ours");
    for (why, shown, protocols, http2, keys) in [
        ("another authority", Authority::new("theirs").certify("localhost", LONG), H2, "auto", ""),
        ("another name", authority.certify("other.test", LONG), H2, "auto", ""),
        ("no agreement", authority.certify("localhost", LONG), HTTP1, "always", ""),
        ("a bad status", authority.certify("localhost", LONG), H2, "auto", ", expect: [204]"),
    ] {
        let upstream = H2Upstream::echo();
        let manner = Manner { protocols, ..Manner::default() };
        let door = TlsDoor::behaving(upstream.address(), shown, &manner);
        let checks = CHECKS.replace(" }", &format!("{keys} }}"));
        let url = door.url("localhost");
        let keys =
            format!("url: \"{url}\", http2: {http2}, tls: {{ ca: \"file:ca.pem\" }}, {checks}");
        let world = setup(&keys).file("ca.pem", &authority.pem()).start();
        eventually("found sick", || checked(&world)["endpoints"][0]["state"] == "sick");
        assert_eq!(world.answer(&get("/open/a")).status(), 503, "{why}");
        assert!(upstream.record().streams.iter().all(|one| one.head.uri().path() == "/healthz"));
    }
}

#[test]
fn a_reload_that_replaces_the_authority_is_noticed_by_the_checks() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let upstream = H2Upstream::echo();
    let manner = Manner { protocols: H2, ..Manner::default() };
    let door = TlsDoor::behaving(upstream.address(), new.certify("localhost", LONG), &manner);
    let url = door.url("localhost");
    let checks = CHECKS.replace(" }", ", healthy_after: 1 }");
    let keys = format!("url: \"{url}\", http2: auto, tls: {{ ca: \"file:ca.pem\" }}, {checks}");
    let world = setup(&keys).file("ca.pem", &old.pem()).start();
    let state = || checked(&world)["endpoints"][0]["state"].clone();
    eventually("found sick", || state() == "sick");
    world.write("ca.pem", &new.pem());
    world.reload().unwrap();
    eventually("found well", || state() == "healthy");
}
