//! A failing endpoint hurts only itself: what is safe is asked of another one, nothing else is.

use super::*;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_endpoint_that_refuses_connections_costs_nobody_an_answer() {
    let good = Upstream::answering(GOOD);
    let world = before(&[nobody(), good.url()], "");
    for n in 0..40 {
        for ask in [
            get(),
            Ask::post("/pool/x", "hi"),
            Ask::new("PUT", "/pool/x").field("Content-Length", 0),
        ] {
            assert_eq!(status(&world, &ask), 200, "{n}");
        }
    }
    assert_eq!(heads(&good), 120, "each once");
    assert_eq!(states(&world), ["ejected", "healthy"]);
    let ejections = "portcullis_upstream_ejections_total{upstream=\"many\"}";
    assert!((world.metric(ejections) - 1.0).abs() < 0.1);
    assert!(
        world.metric("portcullis_upstream_retries_total{outcome=\"sent\",upstream=\"many\"}")
            >= 5.0
    );
}

#[test]
fn a_request_that_broke_is_repeated_only_when_that_is_safe() {
    for steps in [
        vec![Step::Body, Step::Close],
        vec![Step::Body, Step::Reset],
        vec![Step::Body, Step::text("HTTP/1.1 200 OK\r\nContent-"), Step::Close],
        vec![Step::Body, Step::text("220 mail ESMTP\r\n\r\n"), Step::Close],
    ] {
        let (bad, good) = (always(&steps), Upstream::answering(GOOD));
        let keys = ", balance: round_robin, eject: { at_most: 0 }, retry: { budget: 100 }";
        let world = before(&urls(&[&bad, &good]), keys);
        for _ in 0..6 {
            assert_eq!(status(&world, &get()), 200, "{steps:?}");
        }
        assert!(heads(&bad) >= 2, "{steps:?}");
        let (before_bad, before_good) = (heads(&bad), heads(&good));
        let mut statuses = [0; 2];
        for _ in 0..6 {
            for ask in [
                Ask::post("/pool/x", "hi"),
                Ask::new("PUT", "/pool/x").field("Content-Length", 2).body("hi"),
            ] {
                let status = status(&world, &ask);
                assert!([200, 502].contains(&status), "{status}");
                statuses[usize::from(status == 502)] += 1;
            }
        }
        assert!(statuses[1] > 0, "{steps:?}");
        let [bad, good] = [heads(&bad) - before_bad, heads(&good) - before_good];
        assert_eq!([good, bad], statuses, "{steps:?}: each was sent once, to one of them");
    }
}

#[test]
fn nothing_is_repeated_beyond_the_attempts_or_the_budget() {
    let dead = [always(&[Step::Body, Step::Close]), always(&[Step::Body, Step::Close])];
    let [a, b] = &dead;
    for (retry, seen, withheld) in [
        ("{ attempts: 0, budget: 100 }", 20, 0.0),
        ("{ attempts: 1, budget: 100 }", 40, 0.0),
        ("{ attempts: 5, budget: 100 }", 40, 0.0),
        ("{ attempts: 1, budget: 0 }", 20, 20.0),
        // Ten are saved at the start, and one comes with every tenth request.
        ("{ attempts: 1, budget: 10 }", 31, 9.0),
    ] {
        let already = heads(a) + heads(b);
        let keys = format!(", eject: {{ at_most: 0 }}, retry: {retry}");
        let world = before(&urls(&[a, b]), &keys);
        for _ in 0..20 {
            assert_eq!(status(&world, &get()), 502);
        }
        assert_eq!(heads(a) + heads(b) - already, seen, "{retry}");
        let not = "portcullis_upstream_retries_total{outcome=\"withheld\",upstream=\"many\"}";
        assert!((world.metric(not) - withheld).abs() < 0.1, "{retry}: {}", world.metric(not));
    }
}

#[test]
fn a_late_answer_is_not_asked_for_twice() {
    let (a, b) = (always(&[Step::Silence]), always(&[Step::Silence]));
    let world = before(&urls(&[&a, &b]), ", timeout: 100ms");
    assert_eq!(status(&world, &get()), 504);
    assert_eq!(heads(&a) + heads(&b), 1);
}

#[test]
fn answers_that_tell_of_a_failure_eject_and_are_passed_on() {
    let bad = always(&[Step::Body, Step::text("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")]);
    let broken = always(&[Step::Body, Step::text("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")]);
    let good = Upstream::answering(GOOD);
    let world =
        before(&urls(&[&bad, &broken, &good]), ", balance: round_robin, eject: { failures: 3 }");
    let statuses: Vec<_> = (0..60).map(|_| status(&world, &get())).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3, "{statuses:?}");
    assert!(
        statuses.iter().filter(|status| **status == 500).count() > 15,
        "not a failure of the server"
    );
    assert_eq!(states(&world), ["ejected", "healthy", "healthy"]);
}

#[test]
fn half_an_answer_is_a_failure_too() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let (bad, good) =
        (always(&[Step::Body, Step::text(half), Step::Close]), Upstream::answering(GOOD));
    let world = before(&urls(&[&bad, &good]), ", balance: round_robin, eject: { failures: 3 }");
    for _ in 0..20 {
        let mut client = world.connect();
        client.send(&get().bytes());
        let _ = client.answer("GET");
    }
    assert_eq!(states(&world), ["ejected", "healthy"]);
    assert_eq!(heads(&bad), 3);
}

#[test]
fn with_everybody_failing_somebody_is_still_asked() {
    let (a, b) = (always(&[Step::Body, Step::Close]), always(&[Step::Body, Step::Close]));
    let world = before(&urls(&[&a, &b]), ", eject: { failures: 1 }");
    for _ in 0..20 {
        assert_eq!(status(&world, &get()), 502);
    }
    let states = states(&world);
    assert_eq!(states.iter().filter(|state| *state == "ejected").count(), 1, "{states:?}");
}

#[test]
fn one_that_rested_is_asked_again() {
    let gate = crate::world::Gate::default();
    let theirs = gate.clone();
    let bad = Upstream::scripted(move |_, _| {
        if theirs.is_open() {
            vec![Step::Body, Step::text(GOOD)]
        } else {
            vec![Step::Body, Step::Close]
        }
    });
    let good = Upstream::answering(GOOD);
    let world = before(&urls(&[&bad, &good]), ", eject: { failures: 2, for: 50ms }");
    for _ in 0..20 {
        assert_eq!(status(&world, &get()), 200);
    }
    gate.open();
    let served = heads(&bad);
    crate::world::eventually("asked again", || {
        assert_eq!(status(&world, &get()), 200);
        heads(&bad) > served + 5
    });
    assert_eq!(states(&world), ["healthy", "healthy"]);
}
