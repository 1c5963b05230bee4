//! A client's certificate as a credential: whom it names, and where it counts for nothing.

use portcullis::id::Digest;

use super::Secured;
use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Step;
use crate::world::Upstream;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Name;
use crate::world::authority::Period;
use crate::world::authority::Shown;
use crate::world::tls_client::TlsClient;

const DEFAULTS: &str = "{ require: machine, forward: { X-Machine: app.id, X-Person: user.sub, \
    X-Subject: certificate.subject, X-Digest: certificate.sha256, X-Dns: certificate.dns, \
    X-Uris: certificate.uris } }";

struct Machines {
    secured: Secured,
    clients: Authority,
}

impl Machines {
    /// A check `machine` with these keys, beside a check `user`.
    fn new(keys: &str) -> Self {
        Self::of(Setup::new(), keys)
    }

    fn of(setup: Setup, keys: &str) -> Self {
        let clients = Authority::new("clients");
        let checks = format!(
            "\n  machine: {{ client_certificate: {{ {keys} }} }}\n  user: {{ jwt: [ {{ issuer: \"https://id.test\", \
             audience: orders, algorithms: [ES256], jwks: \"file:keys.json\" }} ] }}\n"
        );
        // With a certificate for a user, that would be two of them.
        let both = if keys.contains("user") {
            String::new()
        } else {
            "  - { match: \"* /both/**\", to: api, require: \"machine and user\" }\n".into()
        };
        let routes = r#"
  - { match: "* /public/**", to: api, public: true }
  - { match: "* /api/**", to: api }
  - { match: "GET /socket", to: api, upgrade: websocket, cors: { origins: ["https://app.test"] } }
{both}  - { match: "* /maybe/**", to: api, require: "machine?" }
  - { match: "* /either/**", to: api, require: "machine or user" }
  - { match: "* /named/**", to: api, allow: 'certificate.subject == "CN=billing" && "billing.test" in certificate.dns' }
  - { match: "* /absent/**", to: api, require: "machine?", allow: '!certificate.present' }
"#;
        let routes = &routes.replace("{both}", &both);
        let setup = setup.file("clients.crt", &clients.pem()).checks(&checks).routes(routes);
        let tls = ", client_ca: file:clients.crt, client_certificates: optional";
        let secured = Secured::of(setup.defaults(DEFAULTS), tls);
        Self { secured, clients }
    }

    fn certify(&self, subject: &str, names: &[Name<'_>]) -> Shown {
        self.clients.certify_as(subject, names, LONG)
    }

    fn showing(&self, shown: &Shown) -> TlsClient {
        TlsClient::showing(&self.secured.authority, shown)
    }

    /// What the upstream was asked.
    #[track_caller]
    fn passes(&self, client: &TlsClient, ask: &Ask) -> Message {
        let mark = self.secured.world.upstream.mark();
        let answer = client.ask(self.secured.to(), ask).unwrap();
        assert_eq!(answer.status(), 200, "{ask:?}: {answer:?}");
        self.secured.world.upstream.since(&mark).unwrap().remove(0)
    }

    /// The reason of a refusal that reached nobody.
    #[track_caller]
    fn refused(&self, client: &TlsClient, ask: &Ask, status: u16) -> String {
        let mark = self.secured.world.upstream.mark();
        let answer = client.ask(self.secured.to(), ask).unwrap();
        assert_eq!(answer.status(), status, "{ask:?}: {answer:?}");
        assert!(self.secured.world.upstream.since(&mark).unwrap().is_empty());
        answer.text()
    }
}

fn get(path: &str) -> Ask {
    Ask::get(path)
}

/// A browser shows it whoever's page opens the socket.
#[test]
fn a_certificate_opens_no_socket_for_a_foreign_page() {
    for keys in ["", "principal: user"] {
        let machines = Machines::new(keys);
        let client = machines.showing(&machines.certify("anna", &[]));
        let opening = || get("/socket").opening();
        for origin in ["https://evil.test", "https://gw.test", "null"] {
            machines.refused(&client, &opening().field("Origin", origin), 403);
        }
        machines.passes(&client, &opening().field("Origin", "https://app.test"));
        machines.passes(&client, &opening());
        machines.passes(&client, &get("/socket").field("Origin", "https://evil.test"));
    }
}

#[test]
fn a_certificate_stands_for_an_application() {
    let machines = Machines::new("");
    let shown = machines.certify("billing", &[Name::Dns("billing.test"), Name::Uri("urn:billing")]);
    let client = machines.showing(&shown);
    let forged = get("/api/x").field("X-Subject", "CN=root").field("X-Machine", "root");
    let request = machines.passes(&client, &forged);
    assert_eq!(request.fields.one("x-machine"), "CN=billing");
    assert_eq!(request.fields.one("x-subject"), "CN=billing");
    assert_eq!(request.fields.one("x-digest"), Digest::of(&shown.0).to_string());
    assert_eq!(request.fields.one("x-dns"), "billing.test");
    assert_eq!(request.fields.one("x-uris"), "urn:billing");
    assert!(request.fields.lacks("x-person"));
    let none = &machines.secured.client;
    assert!(machines.refused(none, &get("/api/x"), 401).contains("missing_credentials"));
    assert!(machines.refused(none, &forged, 401).contains("missing_credentials"));
    machines.refused(none, &get("/named/x"), 401);
    machines.passes(&client, &get("/named/x"));
    let other = machines.showing(&machines.certify("billing", &[Name::Dns("other.test")]));
    machines.refused(&other, &get("/named/x"), 403);
    let other = machines.showing(&machines.certify("x", &[Name::Dns("billing.test")]));
    machines.refused(&other, &get("/named/x"), 403);
}

#[test]
fn it_is_combined_with_other_checks() {
    let machines = Machines::new("");
    let client = machines.showing(&machines.certify("billing", &[]));
    let none = &machines.secured.client;
    let token = |path: &str| get(path).bearing(&crate::world::TOKEN);
    let request = machines.passes(&client, &token("/both/x"));
    assert_eq!(request.fields.one("x-machine"), "CN=billing");
    assert!(!request.fields.one("x-person").is_empty());
    machines.refused(&client, &get("/both/x"), 401);
    machines.refused(none, &token("/both/x"), 401);
    machines.passes(none, &get("/maybe/x"));
    machines.passes(&client, &get("/maybe/x"));
    machines.passes(none, &token("/either/x"));
    machines.passes(&client, &get("/either/x"));
    machines.refused(none, &get("/either/x"), 401);
    machines.passes(none, &get("/absent/x"));
    machines.refused(&client, &get("/absent/x"), 403);
    let public = machines.passes(&client, &get("/public/x"));
    assert!(public.fields.lacks("x-subject"), "nobody asked for it");
}

#[test]
fn a_certificate_stands_for_a_user_where_that_is_written() {
    let machines = Machines::new("principal: user, identity: email");
    let client = machines.showing(&machines.certify("a", &[Name::Email("ann@example.com")]));
    let request = machines.passes(&client, &get("/api/x"));
    assert_eq!(request.fields.one("x-person"), "ann@example.com");
    assert!(request.fields.lacks("x-machine"));
    machines.refused(&machines.secured.client, &get("/api/x"), 401);
    let none = machines.showing(&machines.certify("a", &[Name::Dns("a.test")]));
    assert!(machines.refused(&none, &get("/api/x"), 401).contains("invalid_token"));
}

#[test]
fn the_name_that_counts_must_be_there_once() {
    for (identity, good, bad) in [
        ("dns", vec![Name::Dns("a.test")], vec![Name::Dns("a.test"), Name::Dns("b.test")]),
        ("uri", vec![Name::Uri("urn:a")], vec![Name::Dns("a.test")]),
        ("email", vec![Name::Email("a@test")], vec![]),
        ("common_name", vec![Name::Dns("x.test")], vec![]),
    ] {
        let machines = Machines::new(&format!("identity: {identity}"));
        let client = machines.showing(&machines.certify("billing", &good));
        let request = machines.passes(&client, &get("/api/x"));
        let expected = match good[0] {
            Name::Dns("x.test") => "billing",
            Name::Dns(name) | Name::Uri(name) | Name::Email(name) => name,
        };
        assert_eq!(request.fields.one("x-machine"), expected);
        // No common name at all is an empty one here.
        let client = machines.showing(&machines.certify("", &bad));
        let text = machines.refused(&client, &get("/api/x"), 401);
        assert!(text.contains("invalid_application_key"), "{identity}: {text}");
        machines.refused(&client, &get("/maybe/x"), 401);
    }
}

#[test]
fn a_session_does_not_keep_a_certificate_good() {
    let machines = Machines::new("");
    // The gateway's clock stands at 2027-01-15 08:00; the certificate ends with that day.
    let until: Period = ("20200101", "20270116");
    let shown = machines.clients.certify_as("billing", &[], until);
    let client = machines.showing(&shown);
    let mut session = client.connect(machines.secured.to()).unwrap();
    assert_eq!(session.ask(&get("/api/x")).unwrap().status(), 200);
    machines.secured.world.advance(16 * 3600);
    assert_eq!(session.ask(&get("/api/x")).unwrap().status(), 200, "to the second");
    machines.secured.world.advance(1);
    let answer = session.ask(&get("/api/x")).unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(session.ask(&get("/maybe/x")).unwrap().status(), 401);
    assert_eq!(session.ask(&get("/public/x")).unwrap().status(), 200);
}

#[test]
fn an_answer_under_way_ends_with_the_certificate() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n";
    for keys in ["", "principal: user"] {
        let upstream = Upstream::scripted(move |_, _| vec![Step::text(answer), Step::Silence]);
        let machines = Machines::of(Setup::before(upstream), keys);
        let shown = machines.clients.certify_as("billing", &[], ("20200101", "20270116"));
        let mut session = machines.showing(&shown).connect(machines.secured.to()).unwrap();
        session.ask_until(&get("/api/x"), b"event1");
        machines.secured.world.advance(16 * 3600 + 1);
        let rest = session.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
        let cut =
            "portcullis_streams_cut_total{reason=\"invalid_application_key\",route=\"* /api/**\"}";
        assert!((machines.secured.world.metric(cut) - 1.0).abs() < f64::EPSILON);
    }
}

#[test]
fn behind_a_proxy_nobody_has_shown_a_certificate() {
    let machines = Machines::of(Setup::new().extra("trusted_proxies: [127.0.0.1]"), "");
    let proxy = machines.showing(&machines.certify("proxy", &[]));
    let ask = get("/api/x").field("X-Forwarded-For", "192.0.2.1");
    machines.refused(&proxy, &ask, 401);
    machines.refused(&proxy, &get("/api/x"), 401);
    machines.passes(&proxy, &get("/absent/x"));
}

#[test]
fn a_check_that_nobody_could_pass_is_an_error() {
    let checks = "\n  machine: { client_certificate: {} }\n";
    let setup = || {
        Setup::new()
            .checks(checks)
            .defaults("{ require: machine }")
            .routes("\n  - { match: \"* /api/**\", to: api }\n")
    };
    let Err(report) = setup().try_start() else { panic!("starts") };
    assert!(report.contains("no client is ever asked for a certificate"), "{report}");
    let two = "\n  a: { client_certificate: {} }\n  b: { app_key: { header: X-App-Key } }\n";
    let clients = Authority::new("clients");
    let gw = Authority::new("ours").certify("gw.test", LONG);
    let setup = setup().checks(two).defaults("{ require: a and b }").file("c.crt", &clients.pem());
    let tls = format!("{}, client_ca: file:c.crt", super::PAIR);
    let Err(report) = setup.pair("gw", &gw).tls(&tls).try_start() else { panic!("starts") };
    assert!(report.contains("two users or two applications"), "{report}");
}
