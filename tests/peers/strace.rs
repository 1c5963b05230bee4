//! How often a request makes a worker read and write.

use std::collections::BTreeMap;
use std::fs;

use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::addresses;
use crate::gateway::configuration;
use crate::gateway::signed;
use crate::process_table::children;
use crate::programs::Nginx;
use crate::programs::Program;
use crate::programs::command;
use crate::programs::eventually;
use crate::programs::signal;
use crate::world::Ask;
use crate::world::Client;

const REQUESTS: usize = 1_000;
const READS: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const WRITES: &[&str] = &["write", "writev", "sendto", "sendmsg"];
/// The clock, the timer or a wake-up may cost a call now and then.
const MOST_PER_REQUEST: f64 = 2.05;

#[test]
fn a_request_costs_two_reads_and_two_writes() {
    let upstream = Nginx::answering();
    let text = configuration(&upstream.url(), USERS, "workers: 1");
    let folder = Gateway::folder(&text);
    // Elsewhere: the gateway watches its own folder, and each line here would be another event there.
    let record = tempfile::tempdir().unwrap();
    let calls = record.path().join("calls.txt");
    let mut strace = command("strace");
    strace.args(["--follow-forks", "--string-limit=16", "--output"]).arg(&calls);
    strace.arg(format!("--trace={},{},epoll_wait", READS.join(","), WRITES.join(",")));
    strace.args([env!("CARGO_BIN_EXE_portcullis"), "serve"]).current_dir(folder.path());
    let mut program = Program::start(strace);
    let line = eventually("the traced gateway listens", || {
        let said = program.said();
        let ended = program.ended();
        assert!(
            ended.is_none(),
            "strace may not trace here (ptrace), or the gateway ended: {said}"
        );
        said.lines().find(|line| line.contains("\"listening\"")).map(str::to_owned)
    });
    let mut client = Client::connect(addresses(&line).0);
    // The first one opens the connection to the upstream; each mark begins what it names.
    for target in ["/api/warm", "/api/BEGIN"].iter().chain(&["/api/x"; REQUESTS]) {
        ask(&mut client, target);
    }
    ask(&mut client, "/api/FINISH");
    for gateway in children(program.id()) {
        signal(gateway, "TERM");
    }
    program.end();
    let calls = fs::read_to_string(calls).unwrap();
    let counted = between_marks(&calls);
    let per_request = |names: &[&str]| {
        let count: u32 = names.iter().filter_map(|name| counted.get(*name)).sum();
        f64::from(count) / f64::from(u32::try_from(REQUESTS + 1).unwrap())
    };
    let (reads, writes) = (per_request(READS), per_request(WRITES));
    println!("strace: {reads:.3} reads and {writes:.3} writes a request, of {counted:?}");
    assert!((1.9..=MOST_PER_REQUEST).contains(&reads), "{reads} reads a request: {counted:?}");
    assert!((1.9..=MOST_PER_REQUEST).contains(&writes), "{writes} writes a request: {counted:?}");
}

#[track_caller]
fn ask(client: &mut Client, target: &str) {
    client.send(&signed(Ask::get(target)).bytes());
    assert_eq!(client.answer("GET").unwrap().status(), 200);
}

/// Calls of the thread that read both marks, from the one up to the other.
fn between_marks(calls: &str) -> BTreeMap<String, u32> {
    let is_mark = |line: &str, mark: &str| line.contains(&format!("\"GET /api/{mark}"));
    let begin = calls.lines().find(|line| is_mark(line, "BEGIN")).expect("the first mark");
    let thread = begin.split_whitespace().next().unwrap();
    let mut counted = BTreeMap::new();
    let theirs = calls.lines().filter(|line| line.split_whitespace().next() == Some(thread));
    // A call that was interrupted by another thread's line goes on in a second one, which is none.
    let inside = theirs
        .skip_while(|line| !is_mark(line, "BEGIN"))
        .take_while(|line| !is_mark(line, "FINISH"))
        .filter(|line| !line.contains(" resumed>"));
    for line in inside {
        let call = line.split_whitespace().nth(1).unwrap();
        *counted.entry(call.split('(').next().unwrap().to_owned()).or_default() += 1;
    }
    counted
}
