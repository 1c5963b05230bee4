//! HTTP/2 within TLS: agreed on in the handshake, and judged no other way than HTTP/1.1.

use portcullis::id::Digest;
use serde_json::json;

use super::Secured;
use crate::world::Ask;
use crate::world::Client;
use crate::world::Gone;
use crate::world::Http2;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Name;
use crate::world::http2::END_STREAM;
use crate::world::http2::PROTOCOL_ERROR;
use crate::world::keys::P256;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::tls_client::TlsClient;

impl Secured {
    /// A new connection that speaks HTTP/2.
    #[track_caller]
    fn http2(&self, client: &TlsClient) -> Http2 {
        Http2::over(client.speak(self.to(), "h2").unwrap(), &[])
    }

    #[track_caller]
    fn status_over_http2(&self, client: &TlsClient, ask: &Ask) -> u16 {
        let mut client = self.http2(client);
        let stream = client.ask(ask);
        client.answer(stream).unwrap_or_else(|gone| panic!("{ask:?}: {gone:?}")).status()
    }
}

fn offering(client: &TlsClient, protocols: &[&str]) -> TlsClient {
    let names = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    client.with(|config| config.alpn_protocols = names)
}

#[test]
fn one_session_carries_many_requests_each_judged_by_itself() {
    let secured = Secured::new("");
    let mut client = secured.http2(&secured.client);
    let mark = secured.world.upstream.mark();
    let good = client.ask(&Ask::get("/api/x").signed());
    let unknown = client.ask(&Ask::get("/api/x").keyed());
    let forbidden = client.ask(&Ask::get("/api/admin/x").signed());
    let forged = client.ask(&Ask::get("/api/y").signed().field("X-Forwarded-Proto", "gopher"));
    let mut status = |stream| client.answer(stream).map(|answer| answer.status());
    assert_eq!(status(unknown), Ok(401));
    assert_eq!(status(forbidden), Ok(403));
    assert_eq!((status(good), status(forged)), (Ok(200), Ok(200)));
    let requests = secured.world.upstream.since(&mark).unwrap();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.fields.one("x-forwarded-proto"), "https", "whatever the scheme says");
        assert_eq!(request.fields.one("x-auth-user"), "ada");
    }
    assert!((secured.world.metric("portcullis_http2_connections") - 1.0).abs() < 0.1);
    assert!((secured.world.metric("portcullis_http2_requests_total") - 4.0).abs() < 0.1);
    secured.counts("full", 1.0);
}

#[test]
fn it_is_not_offered_where_it_is_switched_off() {
    let secured =
        Secured::of(Setup::new().extra("http2: { alpn: false, prior_knowledge: true }"), "");
    let why = secured.turns_away(&offering(&secured.client, &["h2"]));
    assert!(why.contains("NoApplicationProtocol"), "{why}");
    let both = offering(&secured.client, &["h2", "http/1.1"]);
    let session = both.connect(secured.to()).unwrap();
    assert_eq!(session.protocol().as_deref(), Some("http/1.1"));
    secured.serves(&both);
    let report = secured.world.reload_with("alpn: false", "alpn: true").unwrap_err();
    assert!(report.contains("needs a restart"), "{report}");
}

#[test]
fn what_was_not_agreed_on_is_not_spoken() {
    let secured = Secured::of(Setup::new().extra("http2: { prior_knowledge: true }"), "");
    let mark = secured.world.upstream.mark();
    let ask = Ask::get("/public/x").signed();
    // HTTP/2 where HTTP/1.1 was agreed on, or nothing: prior knowledge is for connections in clear.
    for protocols in [&["http/1.1"][..], &[]] {
        let client = offering(&secured.client, protocols);
        let mut client = Http2::over(client.line(secured.to()).unwrap(), &[]);
        let stream = client.ask(&ask);
        assert!(matches!(client.answer(stream), Err(Gone::Closed(None) | Gone::Fault(_))));
    }
    let mut client = Client::over(secured.client.speak(secured.to(), "h2").unwrap());
    client.send(&ask.bytes());
    let (_, rest) = client.end().unwrap();
    assert!(!rest.windows(4).any(|word| word == b"HTTP"), "{}", rest.escape_ascii());
    assert!(secured.world.upstream.since(&mark).unwrap().is_empty());
    assert_eq!(secured.status_over_http2(&secured.client, &ask), 200);
}

#[test]
fn certificates_of_clients_count_for_every_request_of_their_session() {
    let clients = Authority::new("clients");
    let name = [Name::Dns("billing.test")];
    let [its, other] = [0, 1].map(|_| clients.certify_as("billing", &name, LONG));
    let keys = ", client_ca: file:clients.crt, client_certificates: optional";
    let secured = Secured::of(Setup::new().file("clients.crt", &clients.pem()), keys);
    let mut claims = claims();
    claims["cnf"] = json!({"x5t#S256": b64(Digest::of(&its.0).as_bytes())});
    let ask = Ask::get("/api/x").keyed().bearing(&P256.token("ES256", &claims));
    let showing = |shown| TlsClient::showing(&secured.authority, shown);
    for _ in 0..2 {
        let mut client = secured.http2(&showing(&its));
        for _ in 0..2 {
            let stream = client.ask(&ask);
            assert_eq!(client.answer(stream).unwrap().status(), 200);
        }
        let mark = secured.world.upstream.mark();
        assert_eq!(secured.status_over_http2(&showing(&other), &ask), 401);
        assert_eq!(secured.status_over_http2(&secured.client, &ask), 401);
        assert!(secured.world.upstream.since(&mark).unwrap().is_empty());
    }
    let theirs = Authority::new("theirs").certify_as("billing", &name, LONG);
    secured.turns_away(&offering(&showing(&theirs), &["h2"]));
}

#[test]
fn a_client_without_a_certificate_gets_no_stream_where_one_is_required() {
    let clients = Authority::new("clients");
    let setup = Setup::new().file("clients.crt", &clients.pem());
    let secured = Secured::of(setup, ", client_ca: file:clients.crt");
    let mark = secured.world.upstream.mark();
    let mut client = secured.http2(&secured.client);
    let stream = client.ask(&Ask::get("/public/x"));
    assert!(matches!(client.answer(stream), Err(Gone::Closed(None))));
    assert!(secured.world.upstream.since(&mark).unwrap().is_empty());
    let good = clients.certify_as("billing", &[Name::Dns("billing.test")], LONG);
    let good = TlsClient::showing(&secured.authority, &good);
    assert_eq!(secured.status_over_http2(&good, &Ask::get("/api/x").signed()), 200);
}

#[test]
fn the_authority_of_each_request_is_judged_and_not_the_name_of_the_session() {
    let routes = "\n  - { match: \"* a.test/**\", to: api, public: true }\n  \
                  - { match: \"* b.test/**\", to: api }\n";
    let authority = Authority::new("ours");
    let shown = authority.certify_as("server", &[Name::Dns("a.test"), Name::Dns("b.test")], LONG);
    let keys = "certificate: file:gw.crt, key: file:gw.key";
    let world = Setup::new().routes(routes).pair("gw", &shown).tls(keys).start();
    let client = TlsClient::of(&authority).host("a.test");
    let to = world.public();
    let mut client = Http2::over(client.speak(to, "h2").unwrap(), &[]);
    let mark = world.upstream.mark();
    let mut status = |fields: &[(&str, &str)]| {
        let usual = [(":method", "GET"), (":scheme", "https"), (":path", "/x")];
        let stream = client.headers(END_STREAM, &[&usual[..], fields].concat());
        client.answer(stream).map(|answer| answer.status())
    };
    assert_eq!(status(&[(":authority", "b.test")]), Ok(401));
    assert_eq!(status(&[(":authority", "c.test")]), Ok(401));
    assert_eq!(status(&[(":authority", "a.test"), ("host", "b.test")]), Ok(400));
    assert_eq!(status(&[(":authority", "b.test"), ("host", "a.test")]), Ok(400));
    assert_eq!(
        status(&[(":authority", "a.test:443"), ("connection", "x")]),
        Err(Gone::Reset(PROTOCOL_ERROR))
    );
    assert!(world.upstream.since(&mark).unwrap().is_empty());
    assert_eq!(status(&[(":authority", "a.test")]), Ok(200));
    assert_eq!(world.upstream.since(&mark).unwrap()[0].fields.one("host"), "a.test");
}
