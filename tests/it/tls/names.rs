//! Which certificate a client is shown.

use crate::world::Ask;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Name;
use crate::world::tls_client::TlsClient;

#[test]
fn the_name_that_a_client_asks_for_picks_the_certificate() {
    let authority = Authority::new("ours");
    let names = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| Name::Dns(name)).collect();
        authority.certify_as("server", &names, LONG)
    };
    let shown = [
        names(&["gw.test"]),
        names(&["*.example.com", "example.com"]),
        names(&["api.example.com", "API.Example.org"]),
    ];
    let list = "certificates: [ { certificate: file:1.crt, key: file:1.key }, \
                { certificate: file:2.crt, key: file:2.key } ]";
    let keys = format!("certificate: file:0.crt, key: file:0.key, {list}");
    let setup = Setup::new().pair("0", &shown[0]).pair("1", &shown[1]).pair("2", &shown[2]);
    let world = setup.tls(&keys).start();
    for (host, number) in [
        ("gw.test", 0),
        ("example.com", 1),
        ("a.example.com", 1),
        ("A.EXAMPLE.com", 1),
        ("api.example.com", 2),
        ("api.example.org", 2),
    ] {
        let client = TlsClient::of(&authority).host(host);
        let mut session = client.connect(world.public()).unwrap();
        assert_eq!(session.shown(), shown[number].0, "{host}");
        assert_eq!(session.ask(&Ask::get("/api/x").signed()).unwrap().status(), 200);
    }
    // Believed whatever it says: only what is shown counts here.
    for host in ["b.a.example.com", "other.test", "example.co", "127.0.0.1", "xapi.example.org"] {
        let client = TlsClient::believing_anything().host(host);
        let session = client.connect(world.public()).unwrap();
        assert_eq!(session.shown(), shown[0].0, "{host}");
    }
}
