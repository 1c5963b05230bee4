//! Trailers carry what comes after a body, and nothing that belongs in a head.

use crate::desync::answering;
use crate::desync::asked;
use crate::desync::bad;
use crate::desync::nothing_is_left;
use crate::world::Ask;
use crate::world::World;

#[test]
fn trailers_of_an_answer_are_no_second_head() {
    let names = [
        "Set-Cookie",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Host",
        "Trailer",
        "Content-Type",
        "Keep-Alive",
        "Authorization",
    ];
    let lines = names.map(|name| format!("{name}: forged\r\n")).concat();
    let world = answering(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {}, X-Sum\r\n\r\n2\r\nhi\r\n0\r\n\
         {lines}X-Sum: 7\r\n\r\n",
        names.join(", ")
    ));
    let (client, answer) = asked(&world, &bad("GET").field("TE", "trailers"));
    let answer = answer.unwrap();
    assert_eq!((answer.text().as_str(), answer.trailers.one("x-sum")), ("hi", "7"));
    for name in names {
        assert!(answer.trailers.lacks(name), "{name}: {answer:?}");
    }
    nothing_is_left(&world, client, "trailers");
}

#[test]
fn trailers_of_a_request_are_no_second_head() {
    let world = World::usual();
    let names = [
        "Authorization",
        "Cookie",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-App-Key",
        "X-Auth-User",
        "X-App-Id",
    ];
    for name in names {
        for path in ["/api/x", "/public/x"] {
            let ask = Ask::new("POST", path)
                .signed()
                .field("Transfer-Encoding", "chunked")
                .field("Trailer", format!("{name}, X-Sum"))
                .body(format!("2\r\nhi\r\n0\r\n{name}: forged\r\nX-Sum: 7\r\n\r\n"));
            let sent = world.pass(&ask);
            assert_eq!((sent.text().as_str(), sent.trailers.one("x-sum")), ("hi", "7"), "{name}");
            assert!(sent.trailers.lacks(name), "{name}: {sent:?}");
        }
    }
}
