//! Certificates of clients: who must show one, and which are believed.

use super::PAIR;
use super::Secured;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Name;
use crate::world::authority::Period;
use crate::world::authority::Shown;
use crate::world::tls_client::TlsClient;

/// A gateway that asks for certificates of the authority `clients`, and that authority.
fn asking(mode: &str) -> (Secured, Authority) {
    let clients = Authority::new("clients");
    let setup = Setup::new().file("clients.crt", &clients.pem());
    let keys = format!(", client_ca: file:clients.crt, client_certificates: {mode}");
    (Secured::of(setup, &keys), clients)
}

impl Secured {
    fn showing(&self, shown: &Shown) -> TlsClient {
        TlsClient::showing(&self.authority, shown)
    }
}

/// The gateway's clock stands in January 2027, the machine's may be elsewhere.
const OVER: Period = ("20200101", "20200201");
const NOT_YET: Period = ("20980101", "20990101");

#[test]
fn a_client_without_a_good_certificate_is_turned_away() {
    let (secured, clients) = asking("required");
    let good = clients.certify_as("billing", &[Name::Dns("billing.test")], LONG);
    secured.serves(&secured.showing(&good));
    let others = [Name::Uri("spiffe://test/billing"), Name::Email("billing@test")];
    secured.serves(&secured.showing(&clients.certify_as("", &others, LONG)));
    secured.turns_away(&secured.client);
    secured.counts("no_certificate", 1.0);
    let name = [Name::Dns("billing.test")];
    for shown in [
        Authority::new("theirs").certify_as("billing", &name, LONG),
        Authority::new("clients").certify_as("billing", &name, LONG),
        secured.authority.certify_as("billing", &name, LONG),
        clients.certify_as("billing", &name, OVER),
        clients.certify_as("billing", &name, NOT_YET),
        clients.certify_as("billing", &[Name::Dns("a\0b")], LONG),
    ] {
        secured.turns_away(&secured.showing(&shown));
    }
    secured.counts("bad_certificate", 6.0);
    secured.serves(&secured.showing(&good));
}

#[test]
fn a_client_that_may_show_a_certificate_must_not_show_a_bad_one() {
    let (secured, clients) = asking("optional");
    secured.serves(&secured.client);
    secured.serves(&secured.showing(&clients.certify_as("a", &[Name::Dns("a.test")], LONG)));
    let theirs = Authority::new("theirs").certify_as("a", &[Name::Dns("a.test")], LONG);
    secured.turns_away(&secured.showing(&theirs));
    secured.turns_away(&secured.showing(&clients.certify_as("a", &[Name::Dns("a.test")], OVER)));
    // Nobody is believed for a certificate alone.
    let good = secured.showing(&clients.certify_as("a", &[Name::Dns("a.test")], LONG));
    assert_eq!(good.status(secured.to(), &Ask::get("/api/x")), Ok(401));
}

#[test]
fn a_ticket_does_not_outlive_the_authority_it_was_given_under() {
    let (secured, clients) = asking("required");
    let client = secured.showing(&clients.certify_as("a", &[Name::Dns("a.test")], LONG));
    secured.serves(&client);
    assert!(client.connect(secured.to()).unwrap().is_resumed());
    secured.world.write("clients.crt", &Authority::new("others").pem());
    secured.world.reload().unwrap();
    secured.turns_away(&client);
    secured.world.write("clients.crt", &clients.pem());
    secured.world.reload().unwrap();
    assert!(!client.connect(secured.to()).unwrap().is_resumed());
    secured.serves(&client);
}

#[test]
fn without_authorities_nobody_is_asked() {
    let secured = Secured::new("");
    let shown = Authority::new("clients").certify_as("a", &[Name::Dns("a.test")], LONG);
    secured.serves(&secured.showing(&shown));
    let none = format!("{PAIR}, client_certificates: optional");
    let setup = Setup::new().pair("gw", &secured.authority.certify("gw.test", LONG)).tls(&none);
    let Err(report) = setup.try_start() else { panic!("starts") };
    assert!(report.contains("nobody is named who certifies clients"), "{report}");
}
