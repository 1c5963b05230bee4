//! The instruments themselves: what the recording upstream and the raw client show is what happened.

use crate::world::Client;
use crate::world::End;
use crate::world::Gate;
use crate::world::Record;
use crate::world::Step;
use crate::world::Upstream;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn the_upstream_records_every_byte_and_echoes_the_head() {
    let upstream = Upstream::echo();
    let mut client = Client::connect(upstream.address());
    client.send(GET);
    assert_eq!(client.answer("GET").unwrap().body, GET);
    client.send(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer("POST").unwrap().status(), 200);
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[1].method(), requests[1].body.as_slice()), ("POST", &b"hi"[..]));
    assert_eq!(upstream.look(Record::connections), 1);
}

#[test]
fn the_client_tells_a_clean_end_from_a_reset() {
    for (step, end) in [(Step::Close, End::Fin), (Step::Reset, End::Reset)] {
        let upstream = Upstream::scripted(move |_, _| vec![Step::Body, step.clone()]);
        let mut client = Client::connect(upstream.address());
        client.send(GET);
        assert_eq!(client.end(), Ok((end, vec![])));
    }
}

#[test]
fn the_script_keeps_its_order() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let upstream = Upstream::scripted(move |nth, _| {
        assert_eq!(nth, 0);
        let first = Step::text("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        vec![first, Step::Wait(theirs.clone()), Step::text("cd")]
    });
    let mut client = Client::connect(upstream.address());
    client.send(GET);
    client.until(b"ab").unwrap();
    gate.open();
    assert_eq!(client.answer("GET").unwrap().body, b"abcd");
}

#[test]
fn the_upstream_sees_a_client_go_away() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Silence]);
    let mut client = Client::connect(upstream.address());
    client.send(GET);
    upstream.wait("the request", |seen| seen.heads() == 1);
    client.reset();
    upstream.wait("the end", |seen| seen.ended() == 1);
}

#[test]
fn a_request_that_is_not_clean_cannot_pass_for_one() {
    let upstream = Upstream::echo();
    let mut client = Client::connect(upstream.address());
    client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n");
    let _ = client.end();
    assert!(upstream.try_requests().is_err());
}
