//! gRPC: what was refused is told in the words of its clients, the rest passes as it is.

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::TOKEN;
use crate::world::Upstream;
use crate::world::World;

fn call(path: &str) -> Ask {
    let ask = Ask::new("POST", path).field("Content-Type", "application/grpc+proto");
    ask.field("TE", "trailers").body(*b"\0\0\0\0\x02hi")
}

#[track_caller]
fn answer(world: &World, ask: &Ask) -> Message {
    let mut client = world.connect_http2();
    let stream = client.ask(ask);
    client.answer(stream).unwrap_or_else(|gone| panic!("{ask:?}: {gone:?}"))
}

/// Refused with trailers only, and nothing went upstream.
#[track_caller]
fn refused(world: &World, ask: &Ask, status: &str, reason: &str) {
    let before = world.upstream.bytes_seen();
    let answer = answer(world, ask);
    assert_eq!(answer.status(), 200, "{ask:?}");
    assert_eq!(answer.fields.one("content-type"), "application/grpc");
    assert_eq!(answer.fields.one("grpc-status"), status, "{ask:?}: {answer:?}");
    let message = answer.fields.one("grpc-message");
    assert!(message.starts_with(&format!("{reason}: ")), "{message}");
    assert!(answer.body.is_empty() && answer.trailers.0.is_empty(), "{answer:?}");
    assert!(!answer.fields.one("x-request-id").is_empty());
    assert_eq!(world.upstream.bytes_seen(), before, "{ask:?}");
}

#[test]
fn a_refused_call_is_answered_with_trailers_only() {
    let world = Setup::new().http2().extra("limits: { body: 4B }").start();
    refused(&world, &call("/api/x"), "16", "missing_credentials");
    refused(&world, &call("/api/x").keyed(), "16", "missing_credentials");
    refused(&world, &call("/api/x").keyed().bearing("x.y.z"), "16", "invalid_token");
    refused(
        &world,
        &call("/api/x").field("X-App-Key", "bad").bearing(&TOKEN),
        "16",
        "invalid_application_key",
    );
    refused(&world, &call("/api/admin/x").signed(), "7", "insufficient_permission");
    refused(&world, &call("/nowhere").signed(), "12", "not_found");
    refused(&world, &call("/api//x").signed(), "13", "malformed_request");
    refused(&world, &call("/api/x").signed().bearing(&TOKEN), "13", "ambiguous_credentials");
    refused(&world, &call("/api/x").signed().field("Content-Length", 7), "8", "body_too_large");
    let metric = "portcullis_auth_decisions_total{reason=\"missing_credentials\",result=\"deny\",route=\"* /api/**\"}";
    assert!((world.metric(metric) - 2.0).abs() < 0.1, "{}", world.admin("/metrics").text());
}

#[test]
fn others_are_refused_as_ever() {
    let world = Setup::new().http2().start();
    for content in ["application/grpc-web+proto", "application/json", "application/grpcx"] {
        let answer = answer(&world, &call("/api/x").instead("Content-Type", content));
        assert_eq!(answer.status(), 401, "{content}");
        assert_eq!(answer.fields.one("content-type"), "application/problem+json");
        assert!(answer.fields.lacks("grpc-status"));
    }
    // gRPC does not exist over HTTP/1.1.
    let ask = Ask::post("/api/x", "hi").field("Content-Type", "application/grpc");
    assert_eq!(world.answer(&ask).status(), 401);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_unavailable() {
    let upstream = Upstream::scripted(|_, _| vec![Step::Reset]);
    let world = Setup::before(upstream).http2().start();
    let answer = answer(&world, &call("/api/x").signed());
    assert_eq!((answer.status(), answer.fields.one("grpc-status")), (200, "14"));
    assert!(answer.body.is_empty());
}

#[test]
fn a_call_and_its_answer_pass_with_their_trailers() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\
         Trailer: grpc-status, grpc-message\r\n\r\n2\r\nhi\r\n0\r\n\
         grpc-status: 5\r\ngrpc-message: not%20here\r\nset-cookie: forged\r\n\r\n",
    );
    let world = Setup::before(upstream).http2().start();
    let answer = answer(&world, &call("/api/x").signed());
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"));
    assert_eq!(answer.trailers.one("grpc-status"), "5");
    assert_eq!(answer.trailers.one("grpc-message"), "not%20here");
    assert!(answer.trailers.lacks("set-cookie"), "{answer:?}");
    let seen = world.upstream.requests();
    assert_eq!(seen[0].fields.one("te"), "trailers");
    assert_eq!(seen[0].fields.one("content-type"), "application/grpc+proto");
    assert_eq!(seen[0].body, b"\0\0\0\0\x02hi");
}
