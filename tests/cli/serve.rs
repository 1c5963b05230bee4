//! Serving: what keeps a gateway from starting, what ends it, what it writes.

use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::Value;

use crate::shell::CONFIGURATION;
use crate::shell::Folder;
use crate::shell::PATIENCE;
use crate::shell::Run;
use crate::shell::exchange;
use crate::shell::follow;
use crate::shell::whole;

#[test]
fn what_cannot_be_had_at_the_start_is_told_by_the_exit_code() {
    let folder = Folder::gateway();
    let with_store = format!("{CONFIGURATION}store: sqlite:nowhere/apps.db\n");
    folder.write("store.yaml", &with_store);
    folder.write("bad.yaml", &CONFIGURATION.replace("to: api", "to: apy"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let on_taken = CONFIGURATION.replacen("127.0.0.1:0", &address, 1);
    folder.write("taken.yaml", &on_taken);
    for (line, code) in [
        ("serve -c taken.yaml", 69),
        ("serve -c store.yaml", 69),
        ("explain -c store.yaml /open", 69),
        ("app list -c store.yaml", 69),
        ("serve -c bad.yaml", 78),
        ("explain -c bad.yaml /open", 78),
        ("token verify -c bad.yaml x", 78),
        ("check bad.yaml", 78),
        ("serve -c missing.yaml", 78),
        ("healthcheck -c missing.yaml", 78),
        ("app list -c missing.yaml", 78),
        ("check portcullis.yaml", 0),
        ("app list -c portcullis.yaml", 1),
    ] {
        let said = folder.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, code, "{line}: {said:?}");
    }
    folder.write("empty.yaml", &format!("{CONFIGURATION}store: sqlite:apps.db\n"));
    assert_eq!(folder.run(&["explain", "-c", "empty.yaml", "/open"]).code, 69);
    assert!(!folder.path("apps.db").exists(), "explaining makes no store");
}

#[test]
fn a_second_gateway_does_not_join_the_port_of_the_first() {
    let folder = Folder::gateway();
    let run = folder.start(&["serve"]);
    let (public, _) = run.addresses();
    let on_taken = CONFIGURATION.replacen("127.0.0.1:0", &public.to_string(), 1);
    folder.write("second.yaml", &on_taken);
    let said = folder.run(&["serve", "-c", "second.yaml"]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains(&format!("cannot listen on {public}")), "{said:?}");
    run.signal("TERM");
    assert_eq!(run.end().0, 0);
}

#[test]
fn a_gateway_tells_its_readiness_and_obeys_its_signals() {
    let folder = Folder::gateway();
    let slow = CONFIGURATION.replace("delay: 0s", "delay: 50s");
    folder.write("portcullis.yaml", &slow);
    let run = folder.start(&["serve"]);
    let warning = run.line_with("WARN");
    assert!(warning.contains("GET /open"), "an open route is told: {warning}");
    let (_, admin) = run.addresses();
    let url = format!("http://{admin}");
    let ask = || folder.run(&["healthcheck", "--admin-url", &url]);
    let said = ask();
    assert!(said.code == 0 && said.out.starts_with("ready\n"), "{said:?}");
    run.signal("HUP");
    run.line_with("configuration reloaded");
    folder.write("portcullis.yaml", &slow.replace("to: api", "to: apy"));
    run.signal("HUP");
    run.line_with("refused");
    assert_eq!(ask().code, 0);
    run.signal("TERM");
    run.line_with("draining");
    let said = ask();
    assert!(said.code == 1 && said.out.contains("NO  serving: draining"), "{said:?}");
    run.signal("INT");
    assert_eq!(run.end().0, 0, "the second signal ends it within the delay");
    let said = ask();
    assert!(said.code == 1 && said.err.contains("no answer from"), "{said:?}");

    folder.write("portcullis.yaml", &slow);
    let run = folder.start(&["serve"]);
    run.addresses();
    run.signal("QUIT");
    assert_eq!(run.end().0, 0);
}

#[test]
fn access_lines_go_to_standard_output_up_to_the_last() {
    let folder = Folder::gateway();
    let mut child = folder.command(&["serve"]).spawn().unwrap();
    let (sender, err) = mpsc::channel();
    follow(child.stderr.take().unwrap(), sender);
    let out = whole(child.stdout.take().unwrap());
    let run = Run { child, lines: err };
    let (public, _) = run.addresses();
    let request = "GET /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(public, request).0, 401);
    run.signal("TERM");
    assert_eq!(run.end().0, 0);
    let out = out.recv_timeout(PATIENCE).unwrap();
    let line: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(line["url.path"], "/orders");
    assert_eq!(line["reason"], "missing_credentials");
    assert_eq!(line["detail"], "no application key was sent");
}

#[test]
fn sockets_go_with_the_gateway_however_it_is_told_to_end() {
    let folder = Folder::gateway();
    let (public, admin) = (folder.path("p.sock"), folder.path("a.sock"));
    let listen =
        format!("public: \"unix:{}\", admin: \"unix:{}\"", public.display(), admin.display());
    let text = CONFIGURATION.replace("public: 127.0.0.1:0, admin: 127.0.0.1:0", &listen);
    folder.write("portcullis.yaml", &text);
    for (signal, code) in [("KILL", None), ("TERM", Some(0)), ("INT", Some(0)), ("QUIT", Some(0))] {
        let mut run = folder.start(&["serve"]);
        run.line_with("listening");
        let said = folder.run(&["healthcheck"]);
        assert!(said.code == 0 && said.out.starts_with("ready\n"), "{signal}: {said:?}");
        let second = folder.run(&["serve"]);
        assert_eq!(second.code, 69, "{second:?}");
        assert!(second.err.contains("cannot listen on unix:"), "{second:?}");
        run.signal(signal);
        assert_eq!(run.child.wait().unwrap().code(), code, "{signal}");
        // What a sudden death leaves is taken over by the next.
        assert_eq!((public.exists(), admin.exists()), (code.is_none(), code.is_none()), "{signal}");
    }
    let said = folder.run(&["healthcheck"]);
    assert!(said.code == 1 && said.err.contains("no answer from unix:"), "{said:?}");
}
