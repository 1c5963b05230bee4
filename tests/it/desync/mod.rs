//! No byte of one exchange may be taken for another's: upstreams that say too much, too little or too
//! early, clients that break off, and what the next request then meets.

mod answers;
mod breaks;
mod pressure;
mod trailers;

use crate::world::Ask;
use crate::world::Client;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::World;
use crate::world::find;

/// A whole answer: if it is ever taken for the answer to a later request, it tells.
pub const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// A gateway of one worker, so that every request meets the same pool, whose upstream plays these
/// steps for `/api/bad` and echoes everything else.
pub fn behind(steps: Vec<Step>) -> World {
    let upstream = Upstream::scripted(move |_, head| {
        if head.contains(" /api/bad ") { steps.clone() } else { vec![Step::Body, Step::Echo] }
    });
    Setup::before(upstream)
        .upstream_keys("timeout: 2s")
        .extra("workers: 1\ntimeouts: { body: 300ms }\nlimits: { body: 4KiB }")
        .start()
}

pub fn answering(answer: &str) -> World {
    behind(vec![Step::Body, Step::text(answer)])
}

pub fn bad(method: &str) -> Ask {
    Ask::new(method, "/api/bad").signed()
}

/// A request that the upstream echoes, so that its answer tells whose it is.
#[track_caller]
pub fn own_answer(client: &mut Client, n: usize, what: &str) {
    let target = format!("/api/own?n={n}");
    client.send(&Ask::get(&target).signed().bytes());
    let answer = client.answer("GET").unwrap_or_else(|fault| panic!("{what}: {fault}"));
    assert_eq!(answer.status(), 200, "{what}: {answer:?}");
    assert!(answer.text().starts_with(&format!("GET {target} ")), "{what}: another's {answer:?}");
}

/// Nothing of the exchange before is met by the next requests, on its connection or on a new one.
#[track_caller]
pub fn nothing_is_left(world: &World, client: Client, what: &str) {
    let mut client = client;
    let target = "/api/own?n=0";
    client.send(&Ask::get(target).signed().bytes());
    if let Ok(answer) = client.answer("GET") {
        assert_eq!(answer.status(), 200, "{what}: {answer:?}");
        assert!(answer.text().starts_with("GET /api/own?n=0 "), "{what}: another's {answer:?}");
    } else {
        let rest = client.end().unwrap().1;
        assert!(find(&rest, b"poison").is_none(), "{what}: {}", rest.escape_ascii());
    }
    let mut other = world.connect();
    for n in 1..4 {
        own_answer(&mut other, n, what);
    }
}

#[track_caller]
pub fn asked(world: &World, ask: &Ask) -> (Client, Result<Message, String>) {
    let mut client = world.connect();
    client.send(&ask.bytes());
    let answer = client.answer(ask.method()).map_err(|fault| fault.to_string());
    (client, answer)
}
