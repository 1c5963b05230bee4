//! Calls of gRPC by the library that most of its users have: through the gateway, and refused by it.

use std::path::Path;

use portcullis::id::Digest;

use crate::certificates;
use crate::gateway::Gateway;
use crate::gateway::TOKEN;
use crate::gateway::USERS;
use crate::programs::Program;
use crate::programs::command;
use crate::programs::eventually;
use crate::programs::run;
use crate::world::APP;
use crate::world::APP_KEY;

/// What `client.py` says.
const SAID: &str = "\
unary b'hello' {'first': 'early', 'echo-bin': b'\\x00\\xff'} {'last': 'and told', 'end-bin': b'\\xff\\x00'}
empty b''
large True
open b'anybody'
client stream b'1000 messages, 499500 bytes'
no client stream b'0 messages, 0 bytes'
server stream 1000 True
no server stream []
bidirectional [b'you said a', b'you said b', b'you said c']
failure NOT_FOUND not here: 100 % naïve {'why': 'gone'}
unknown UNIMPLEMENTED Method not found!
deadline DEADLINE_EXCEEDED
dripped b'first'
cancelled CANCELLED Locally cancelled by application!
swallowing b'ready'
cancelled upload CANCELLED Locally cancelled by application!
";

/// What it says of what the gateway refuses, each with the reason and what follows it left out.
const REFUSED: &str = "\
without credentials UNAUTHENTICATED missing_credentials
without a token UNAUTHENTICATED missing_credentials
with a wrong key UNAUTHENTICATED invalid_application_key
with a wrong token UNAUTHENTICATED invalid_token
without a permission PERMISSION_DENIED insufficient_permission
where nothing is UNIMPLEMENTED not_found
where nobody listens UNAVAILABLE bad_gateway
a stream without credentials UNAUTHENTICATED missing_credentials
an open end UNAUTHENTICATED missing_credentials
where there is no room UNAVAILABLE unavailable
again b'still here'
done
";

/// What `server.py` sees: whom the gateway let through, and what became of them.
const SEEN: &[&str] = &[
    "Unary by ada",
    "Unary by ada",
    "Unary by ada",
    "Unary by nobody",
    "Collect by ada",
    "Collect by ada",
    "Repeat by ada",
    "Repeat by ada",
    "Chat by ada",
    "Fail by ada",
    "Hang by ada",
    "Hang has a deadline",
    "Hang is over",
    "Drip by ada",
    "Drip is over",
    "Swallow by ada",
    "Swallow is over",
    "Drip by ada",
    "Drip is over",
    "Unary by ada",
];

/// In clear, behind the gateway.
struct Server {
    program: Program,
    port: String,
}

impl Server {
    #[track_caller]
    fn start() -> Self {
        let program = Program::start(script("server.py"));
        let port = eventually("the server listens", || {
            let said = program.said();
            let (_, rest) = said.split_once("listening ")?;
            rest.split_once('\n').map(|(port, _)| port.to_owned())
        });
        Self { program, port }
    }

    /// Everything it has seen, once that is as much as it should be.
    #[track_caller]
    fn seen(&self) -> Vec<String> {
        eventually("the server has seen all", || {
            let said = self.program.said();
            let seen: Vec<String> = said.lines().skip(1).map(str::to_owned).collect();
            (seen.len() >= SEEN.len()).then_some(seen)
        })
    }
}

fn script(name: &str) -> std::process::Command {
    let mut python = command("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/grpc").join(name));
    python
}

/// `public` is the value of `listen.public`.
fn configuration(server: &Server, public: &str) -> String {
    let digest = Digest::of(APP_KEY.as_bytes());
    let port = &server.port;
    format!(
        "listen: {{ public: {public}, admin: \"127.0.0.1:0\" }}\n\
         access_log: {{ enabled: false }}\n\
         http2: {{ prior_knowledge: true }}\n\
         apps: [ {{ id: {APP}, sha256: \"{digest}\" }} ]\n\
         upstreams:\n\
         \u{20} calls: {{ url: \"http://127.0.0.1:{port}\", http2: always }}\n\
         \u{20} narrow: {{ url: \"http://127.0.0.1:{port}\", http2: always, in_flight: 1 }}\n\
         \u{20} down: {{ url: \"http://127.0.0.1:1\", http2: always }}\n\
         checks:\n\
         \u{20} app: {{ app_key: {{ header: X-App-Key }} }}\n\
         \u{20} user: {{ jwt: [ {{ {USERS}, permissions: /roles }} ] }}\n\
         defaults: {{ require: app and user, forward: {{ X-User: user.sub }} }}\n\
         routes:\n\
         \u{20} - {{ match: \"POST /peers.Open/**\", to: calls, public: true }}\n\
         \u{20} - {{ match: \"POST /peers.Calls/**\", to: calls }}\n\
         \u{20} - {{ match: \"POST /peers.Admin/**\", to: calls, permissions: [admin] }}\n\
         \u{20} - {{ match: \"POST /peers.Narrow/**\", to: narrow }}\n\
         \u{20} - {{ match: \"POST /peers.Down/**\", to: down }}\n"
    )
}

/// Every call ends as it should for the client, and for the server, which sees no refused one.
#[track_caller]
fn calls(server: &Server, gateway: &Gateway, authority: &str) {
    let mut client = script("client.py");
    client.args([&gateway.public.to_string(), authority, APP_KEY, &TOKEN]);
    let (is_content, said) = run(client);
    assert!(is_content, "{said}");
    let refused = said.strip_prefix(SAID).unwrap_or_else(|| panic!("{said}\nis not\n{SAID}"));
    let reasons = refused.lines().map(|line| line.split_once(": ").map_or(line, |(why, _)| why));
    let reasons: Vec<&str> = reasons.collect();
    assert_eq!(reasons, REFUSED.lines().collect::<Vec<_>>(), "{said}");
    let mut expected: Vec<_> = SEEN.to_vec();
    let mut seen = server.seen();
    // What is over is seen while others begin.
    expected.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, expected);
    assert!(gateway.metric("portcullis_panics_total") == 0.0);
}

#[test]
fn every_kind_of_call_goes_over_tls_to_a_server_in_clear() {
    let server = Server::start();
    let folder = Gateway::folder(&configuration(&server, certificates::LISTEN));
    certificates::issue(folder.path());
    let gateway = Gateway::start_in(folder);
    let authority = gateway.folder.path().join("ca.crt");
    calls(&server, &gateway, authority.to_str().unwrap());
}

#[test]
fn every_kind_of_call_goes_in_clear_to_a_server_in_clear() {
    let server = Server::start();
    let gateway = Gateway::start(&configuration(&server, "\"127.0.0.1:0\""));
    calls(&server, &gateway, "clear");
}
