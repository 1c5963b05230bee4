//! Deadlines within an answer: between its pieces, and for the whole.

use std::time::Duration;
use std::time::Instant;

use super::*;
use crate::world::Gate;

const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";

#[test]
fn an_answer_that_falls_silent_is_cut() {
    for keys in [
        ", read_timeout: 200ms",
        ", total_timeout: 200ms",
        ", read_timeout: 200ms, total_timeout: 1h",
    ] {
        let never = Gate::default();
        let upstream = always(&[Step::Body, Step::text(PART), Step::Wait(never.clone())]);
        let world = before(&urls(&[&upstream]), keys);
        let begun = Instant::now();
        let mut client = world.connect();
        client.send(&get().bytes());
        assert!(client.answer("GET").is_err(), "{keys}: no good end");
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(190) && took < Duration::from_secs(5),
            "{keys}: {took:?}"
        );
        upstream.wait("given up", |seen| seen.ended() == 1);
        never.open();
    }
}

#[test]
fn without_a_deadline_an_answer_may_pause() {
    let gate = Gate::default();
    let steps = [Step::Body, Step::text(PART), Step::Wait(gate.clone()), Step::text("world")];
    let upstream = always(&steps);
    let world = before(&urls(&[&upstream]), ", timeout: 100ms");
    let mut client = world.connect();
    client.send(&get().bytes());
    client.until(b"hello").unwrap();
    // Longer than the deadline for the first byte.
    assert!(!upstream.wait_for(Duration::from_millis(300), |seen| seen.ended() > 0));
    gate.open();
    assert_eq!(client.answer("GET").unwrap().text(), "helloworld");
}

#[test]
fn pieces_in_time_are_never_late() {
    let steps = (0..10).map(|n| Step::text(&format!("{n}")));
    let head = Step::text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    let steps: Vec<_> = [Step::Body, head].into_iter().chain(steps).collect();
    let upstream = always(&steps);
    let world = before(&urls(&[&upstream]), ", read_timeout: 10s, total_timeout: 20s");
    assert_eq!(world.answer(&get()).text(), "0123456789");
    assert_eq!(world.answer(&get()).text(), "0123456789");
    assert_eq!(upstream.look(Record::connections), 1, "the connection serves on");
}

#[test]
fn the_whole_has_a_deadline_before_the_head_too() {
    let upstream = always(&[Step::Silence]);
    let world = before(&urls(&[&upstream]), ", timeout: 1h, total_timeout: 100ms");
    assert_eq!(status(&world, &get()), 504);
    assert_eq!(status(&world, &Ask::post("/pool/x", "hi")), 504);
    upstream.wait("both given up", |seen| seen.ended() == 2);
}

#[test]
fn an_endpoint_that_lets_the_whole_pass_is_ejected() {
    let (hangs, good) = (always(&[Step::Silence]), Upstream::echo());
    let keys = ", timeout: 1h, total_timeout: 50ms, eject: { failures: 2 }, balance: round_robin";
    let world = before(&urls(&[&hangs, &good]), keys);
    let late = (0..20).filter(|_| status(&world, &get()) == 504).count();
    assert_eq!(late, 2);
    assert_eq!(states(&world), ["ejected", "healthy"]);
}
