//! Before a real nginx: every way in which it frames an answer or takes a body.

use std::fs;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::programs::Nginx;
use crate::world::Ask;
use crate::world::Client;
use crate::world::Framing;

/// `/public` as it lies in the folder, `/api` with what tells connections apart.
const SERVER: &str = "location /public/ { dav_methods PUT DELETE; create_full_put_path on; \
                      sub_filter_types text/plain; sub_filter_once off; }\n\
                      location /public/filtered/ { sub_filter 'aa' 'bbb'; \
                      sub_filter_types *; sub_filter_once off; }\n\
                      location /api/ { default_type text/plain; \
                      return 200 '$connection $connection_requests'; }\n\
                      location /api/empty { return 204; }\n\
                      location /api/moved { return 302 /elsewhere; }";

fn behind() -> (Gateway, Nginx) {
    let nginx = Nginx::start("", SERVER);
    let gateway = Gateway::start(&configuration(&nginx.url(), USERS, "workers: 1"));
    (gateway, nginx)
}

/// Bytes of every value in no simple order.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn bodies_arrive_and_come_back_byte_for_byte() {
    let (gateway, nginx) = behind();
    // Around the sizes of buffers, and one that no buffer holds.
    for length in [0, 1, 8_191, 8_192, 8_193, 65_535, 65_536, 1_000_003, 20_000_000] {
        let body = bytes(length);
        let chunked: Vec<u8> = body
            .chunks(70_001)
            .flat_map(|part| {
                let size = format!("{:x}\r\n", part.len()).into_bytes();
                [&size[..], part, b"\r\n"].concat()
            })
            .chain(*b"0\r\n\r\n")
            .collect();
        for (name, put) in [
            ("whole", Ask::new("PUT", "").field("Content-Length", length).body(body.clone())),
            ("parts", Ask::new("PUT", "").field("Transfer-Encoding", "chunked").body(chunked)),
        ] {
            let target = format!("/public/{name}-{length}");
            let put = put.with_line(format!("PUT {target} HTTP/1.1"));
            assert_eq!(gateway.answer(&put).status(), 201, "{target}");
            let stored = fs::read(nginx.folder.path().join("www").join(&target[1..])).unwrap();
            assert!(stored == body, "{target}: what was stored differs");
            let got = gateway.answer(&Ask::get(&target));
            assert_eq!((got.status(), got.framing), (200, Framing::Length(length)));
            assert!(got.body == body, "{target}: what came back differs");
        }
    }
}

#[test]
fn an_answer_in_chunks_stays_whole() {
    let (gateway, nginx) = behind();
    let folder = nginx.folder.path().join("www/public/filtered");
    fs::create_dir_all(&folder).unwrap();
    for length in [2, 40_000, 3_000_000] {
        fs::write(folder.join("a"), "a".repeat(length)).unwrap();
        let got = gateway.answer(&Ask::get("/public/filtered/a"));
        assert_eq!((got.status(), got.framing), (200, Framing::Chunked));
        assert!(got.body == "b".repeat(length / 2 * 3).as_bytes(), "{length}");
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_good() {
    let (gateway, nginx) = behind();
    fs::create_dir_all(nginx.folder.path().join("www/public")).unwrap();
    fs::write(nginx.folder.path().join("www/public/a"), "0123456789").unwrap();
    let mut client = Client::connect(gateway.public);
    let mut ask = |ask: Ask| {
        client.send(&ask.bytes());
        client.answer(ask.method()).unwrap()
    };
    let get = ask(Ask::get("/public/a"));
    let tag = get.fields.one("etag").to_owned();
    let head = ask(Ask::new("HEAD", "/public/a"));
    assert_eq!((head.status(), head.fields.one("content-length")), (200, "10"));
    let same = ask(Ask::get("/public/a").field("If-None-Match", &tag));
    assert_eq!((same.status(), same.fields.one("etag")), (304, tag.as_str()));
    assert_eq!(ask(Ask::get("/public/a").field("If-None-Match", "\"other\"")).status(), 200);
    let part = ask(Ask::get("/public/a").field("Range", "bytes=2-4"));
    assert_eq!((part.status(), part.text()), (206, "234".to_owned()));
    assert_eq!(ask(signed(Ask::get("/api/empty"))).status(), 204);
    let moved = ask(signed(Ask::get("/api/moved")));
    assert_eq!(moved.status(), 302);
    assert_eq!(ask(Ask::get("/public/none")).status(), 404);
    assert_eq!(ask(Ask::new("DELETE", "/public/a")).status(), 204);
    // One connection upstream has served all of them.
    let told = ask(signed(Ask::get("/api/x"))).text();
    assert_eq!(told.split(' ').nth(1), Some("10"), "{told}");
}

#[test]
fn a_body_is_asked_for_when_it_is_welcome() {
    let (gateway, nginx) = behind();
    let mut client = Client::connect(gateway.public);
    let head = Ask::new("PUT", "/public/late").field("Content-Length", 5);
    client.send(&head.field("Expect", "100-continue").bytes());
    assert!(client.until(b"\r\n\r\n").unwrap().starts_with(b"HTTP/1.1 100 "));
    client.send(b"later");
    assert_eq!(client.answer("PUT").unwrap().status(), 201);
    assert_eq!(client.interim.len(), 1);
    assert_eq!(fs::read(nginx.folder.path().join("www/public/late")).unwrap(), b"later");
    // Where it is not, no body is asked for.
    let mut client = Client::connect(gateway.public);
    let head = Ask::new("PUT", "/api/x").field("Content-Length", 5);
    client.send(&head.field("Expect", "100-continue").bytes());
    assert_eq!(client.answer("PUT").unwrap().status(), 401);
    assert!(client.interim.is_empty());
}

#[test]
fn a_connection_to_it_is_used_again() {
    let (gateway, _nginx) = behind();
    let told: Vec<String> =
        (0..50).map(|_| gateway.answer(&signed(Ask::get("/api/x"))).text()).collect();
    let (first, _) = told[0].split_once(' ').unwrap();
    for (number, told) in (1..).zip(&told) {
        assert_eq!(*told, format!("{first} {number}"), "fifty clients, one connection upstream");
    }
}
