//! Tokens that are bound to a certificate (RFC 8705): good with that one alone.

use portcullis::id::Digest;
use serde_json::Value;
use serde_json::json;

use super::Secured;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Name;
use crate::world::authority::Shown;
use crate::world::keys::P256;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::tls_client::TlsClient;

fn token(confirmation: Value) -> String {
    let mut claims = claims();
    claims["cnf"] = confirmation;
    P256.token("ES256", &claims)
}

fn bound_to((certificate, _): &Shown) -> String {
    token(json!({"x5t#S256": b64(Digest::of(certificate).as_bytes())}))
}

fn ask(token: &str) -> Ask {
    Ask::get("/api/x").keyed().bearing(token)
}

/// The status for a request that, refused, reached nobody.
#[track_caller]
fn status(secured: &Secured, client: &TlsClient, token: &str) -> u16 {
    let mark = secured.world.upstream.mark();
    let status = client.status(secured.to(), &ask(token)).unwrap();
    assert_eq!(secured.world.upstream.since(&mark).unwrap().len(), usize::from(status == 200));
    status
}

fn secured(setup: Setup) -> (Secured, [Shown; 2]) {
    let clients = Authority::new("clients");
    let name = [Name::Dns("billing.test")];
    let shown = [0, 1].map(|_| clients.certify_as("billing", &name, LONG));
    let keys = ", client_ca: file:clients.crt, client_certificates: optional";
    (Secured::of(setup.file("clients.crt", &clients.pem()), keys), shown)
}

#[test]
fn a_bound_token_is_good_only_with_its_certificate() {
    let (secured, [its, other]) = secured(Setup::new());
    let token = bound_to(&its);
    let showing = |shown| TlsClient::showing(&secured.authority, shown);
    // Twice: what is remembered of a token is held to the same.
    for _ in 0..2 {
        assert_eq!(status(&secured, &showing(&its), &token), 200);
        assert_eq!(status(&secured, &showing(&other), &token), 401);
        assert_eq!(status(&secured, &secured.client, &token), 401, "without a certificate");
    }
    let resumed = showing(&its);
    assert_eq!(status(&secured, &resumed, &token), 200);
    assert!(resumed.connect(secured.to()).unwrap().is_resumed());
    assert_eq!(status(&secured, &resumed, &token), 200);
    let answer = secured.client.ask(secured.to(), &ask(&token)).unwrap();
    assert!(answer.text().contains("\"invalid_token\""), "{answer:?}");
    // A token that is bound to nothing is good with any, and without.
    for client in [showing(&its), showing(&other), secured.client.clone()] {
        assert_eq!(client.status(secured.to(), &Ask::get("/api/x").signed()), Ok(200));
    }
}

#[test]
fn a_bound_token_is_refused_where_no_certificate_is_seen() {
    let its = Authority::new("clients").certify("billing.test", LONG);
    World::usual().deny(&ask(&bound_to(&its)), &[401]);
    let without = Secured::new("");
    assert_eq!(status(&without, &without.client, &bound_to(&its)), 401);
}

#[test]
fn the_certificate_of_a_proxy_is_not_its_clients() {
    let (secured, [its, _]) = secured(Setup::new().extra("trusted_proxies: [127.0.0.1]"));
    let proxy = TlsClient::showing(&secured.authority, &its);
    assert_eq!(status(&secured, &proxy, &bound_to(&its)), 401);
    assert_eq!(proxy.status(secured.to(), &Ask::get("/api/x").signed()), Ok(200));
}

#[test]
fn a_binding_that_cannot_be_read_binds_to_nothing_that_exists() {
    let (secured, [its, _]) = secured(Setup::new());
    let client = TlsClient::showing(&secured.authority, &its);
    let whole = b64(Digest::of(&its.0).as_bytes());
    for wrong in [
        json!("x"),
        json!(null),
        json!([]),
        json!({"x5t#S256": null}),
        json!({"x5t#S256": ""}),
        json!({"x5t#S256": [whole]}),
        json!({"x5t#S256": format!("{whole}=")}),
        json!({"x5t#S256": whole[..42]}),
        json!({"x5t#S256": b64(&[Digest::of(&its.0).as_bytes(), &[0][..]].concat())}),
    ] {
        assert_eq!(status(&secured, &client, &token(wrong.clone())), 401, "{wrong}");
    }
    assert_eq!(status(&secured, &client, &token(json!({"x5t#S256": whole}))), 200);
    assert_eq!(status(&secured, &client, &token(json!({"kid": "x"}))), 200, "not ours to judge");
}
