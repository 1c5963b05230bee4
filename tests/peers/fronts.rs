//! Behind nginx and behind HAProxy: whom the gateway believes, and what they let through to it.

use std::net::SocketAddr;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::answer;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::programs::Haproxy;
use crate::programs::Nginx;
use crate::world::Ask;
use crate::world::Client;
use crate::world::Message;
use crate::world::Record;
use crate::world::Upstream;

/// Where the fronts come from; clients come from 127.0.0.1.
const FRONT: &str = "127.0.0.2";

/// A gateway, what is behind it, and a front before it.
struct Row {
    front: SocketAddr,
    gateway: Gateway,
    upstream: Upstream,
    _running: Box<dyn Send>,
}

impl Row {
    #[track_caller]
    fn nginx(trusted: &str) -> Self {
        Self::of(trusted, |gateway| {
            let nginx = Nginx::proxy(
                gateway,
                "proxy_bind 127.0.0.2; proxy_request_buffering off;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 proxy_set_header X-Forwarded-Proto https;",
            );
            (nginx.address, Box::new(nginx))
        })
    }

    #[track_caller]
    fn haproxy(trusted: &str) -> Self {
        Self::of(trusted, |gateway| {
            let directives =
                "  option forwardfor\n  http-request set-header X-Forwarded-Proto https";
            let haproxy = Haproxy::proxy(gateway, &format!("source {FRONT}"), directives);
            (haproxy.address, Box::new(haproxy))
        })
    }

    #[track_caller]
    fn of(trusted: &str, front: impl Fn(SocketAddr) -> (SocketAddr, Box<dyn Send>)) -> Self {
        let upstream = Upstream::echo();
        let extra = format!("trusted_proxies: [{trusted}]\nworkers: 1");
        let gateway = Gateway::start(&configuration(&upstream.url(), USERS, &extra));
        let (front, running) = front(gateway.public);
        Self { front, gateway, upstream, _running: running }
    }

    /// The one request that reached the upstream when this was asked of `to`.
    #[track_caller]
    fn passed(&self, to: SocketAddr, ask: &Ask) -> Message {
        let mark = self.upstream.mark();
        let answer = answer(to, ask);
        assert_eq!(answer.status(), 200, "{ask:?} {answer:?}");
        let mut requests = self.upstream.since(&mark).unwrap();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

#[test]
fn nginx_is_believed_when_it_is_named() {
    fronts_are_believed_when_they_are_named(Row::nginx);
}

#[test]
fn haproxy_is_believed_when_it_is_named() {
    fronts_are_believed_when_they_are_named(Row::haproxy);
}

#[track_caller]
fn fronts_are_believed_when_they_are_named(row: fn(&str) -> Row) {
    let lie = signed(Ask::get("/api/x")).field("X-Forwarded-For", "6.6.6.6");
    let way = |message: &Message| {
        let way = message.fields.all("x-forwarded-for").join(" | ");
        (way, message.fields.one("x-forwarded-proto").to_owned())
    };
    let told = |way: &str, proto: &str| (way.to_owned(), proto.to_owned());
    // The front is named: what it appended counts, what it was told by a stranger does not.
    let named = row("127.0.0.2/32");
    for ask in [signed(Ask::get("/api/x")), lie.clone()] {
        let passed = named.passed(named.front, &ask);
        assert_eq!(way(&passed), told("127.0.0.1, 127.0.0.2", "https"));
    }
    // Past the front, at the gateway itself: nobody is believed.
    let direct = lie.clone().field("X-Forwarded-Proto", "https");
    let passed = named.passed(named.gateway.public, &direct);
    assert_eq!(way(&passed), told("127.0.0.1", "http"));
    // Whoever stands before the front is named too: the chain is believed one hop further.
    let both = row("127.0.0.2/32, 127.0.0.1/32");
    let passed = both.passed(both.front, &lie);
    assert_eq!(way(&passed), told("6.6.6.6, 127.0.0.1, 127.0.0.2", "https"));
    // Neighbours of the named network are strangers.
    let other = row("127.0.0.3/32, 127.0.0.0/31");
    let passed = other.passed(other.front, &lie);
    assert_eq!(way(&passed), told("127.0.0.2", "http"));
}

#[test]
fn connections_stay_on_both_sides_of_the_gateway() {
    for row in [Row::nginx("127.0.0.2/32"), Row::haproxy("127.0.0.2/32")] {
        let mut client = Client::connect(row.front);
        let body = "0123456789abcdef".repeat(64 << 10);
        for round in 0..20 {
            let ask = match round {
                10 => Ask::post("/api/x", &body),
                _ => Ask::get("/api/x"),
            };
            client.send(&signed(ask.clone()).bytes());
            assert_eq!(client.answer(ask.method()).unwrap().status(), 200);
        }
        let requests = row.upstream.requests();
        assert_eq!(requests.len(), 20);
        assert!(requests[10].body == body.as_bytes(), "the body arrives as it was sent");
        assert_eq!(row.upstream.look(Record::connections), 1);
    }
}

#[test]
fn what_a_front_lets_through_is_refused_behind_it() {
    for row in [Row::nginx("127.0.0.2/32"), Row::haproxy("127.0.0.2/32")] {
        for (ask, statuses) in [
            (Ask::get("/api/x"), &[401][..]),
            (Ask::get("/api/x").keyed(), &[401]),
            (Ask::get("/api/x").keyed().bearing("a.b.c"), &[401]),
            (Ask::get("/public/../api/x"), &[400]),
            (Ask::get("/public/%2e%2e/api/x"), &[400]),
            (Ask::get("/public/..%2fapi/x"), &[400]),
            (Ask::get("/public/;/../api/x"), &[400]),
            (Ask::get("/public//x"), &[400]),
            (signed(Ask::get("/elsewhere")), &[404]),
            (signed(Ask::get("/api/x")).keyed(), &[400]),
        ] {
            let answer = answer(row.front, &ask);
            assert!(statuses.contains(&answer.status()), "{ask:?} {answer:?}");
        }
        assert_eq!(row.upstream.bytes_seen(), 0, "{:?}", row.upstream);
        let passed = row.passed(row.front, &signed(Ask::get("/api/x")));
        assert_eq!(passed.fields.one("x-user"), "ada");
    }
}
