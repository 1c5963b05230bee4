//! Key sets over TLS: believed only from who proves to be the host of the address, now.

use crate::binary::Served;
use crate::cli::folder_with;
use crate::cli::token;
use crate::world::Ask;
use crate::world::Issuer;
use crate::world::Secure;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::keys::P256;
use crate::world::keys::jwks;

/// What a gateway answers to a good request when it trusts this authority and its keys are published
/// at this address. A refusal must have sent its upstream nothing.
#[track_caller]
fn status(authority: &Authority, url: &str) -> u16 {
    let setup = Setup::new().file("roots.pem", &authority.pem()).jwt(&format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [ES256], jwks: \"{url}\" }}"
    ));
    let folder = folder_with(&setup);
    let served = Served::trusting(&folder, &folder.path().join("roots.pem"));
    let status = served.ask(&Ask::get("/api/x").keyed().bearing(&token())).status();
    assert_eq!(served.ask(&Ask::get("/api/x").keyed()).status(), 401);
    assert_eq!(setup.upstream.bytes_seen() == 0, status != 200, "{status}");
    served.process.signal("QUIT");
    served.process.end();
    status
}

#[test]
fn a_key_set_is_taken_from_a_server_that_a_trusted_authority_certified() {
    let authority = Authority::new("ours");
    let issuer = Secure::publishing(&jwks(&[&P256]), authority.certify("localhost", LONG));
    assert_eq!(status(&authority, &issuer.url("localhost")), 200);
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn a_server_that_does_not_prove_who_it_is_is_not_even_asked() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    // Of the same name, with another key.
    let double = Authority::new("ours");
    for (what, shown) in [
        ("an authority that nobody trusts", theirs.certify("localhost", LONG)),
        ("one that calls itself like ours", double.certify("localhost", LONG)),
        ("another name", ours.certify("id.example.com", LONG)),
        ("a name that ends alike", ours.certify("xlocalhost", LONG)),
        ("a name below", ours.certify("a.localhost", LONG)),
        ("over", ours.certify("localhost", ("20200101", "20210101"))),
        ("not yet", ours.certify("localhost", ("20980101", "20990101"))),
    ] {
        let issuer = Secure::publishing(&jwks(&[&P256]), shown);
        assert_eq!(status(&ours, &issuer.url("localhost")), 503, "{what}");
        assert_eq!(issuer.asked(), 0, "{what}");
    }
    // Its certificate names the host, not the address.
    let issuer = Secure::publishing(&jwks(&[&P256]), ours.certify("localhost", LONG));
    assert_eq!(status(&ours, &issuer.url("127.0.0.1")), 503);
    let bare = Issuer::publishing(&[&P256]);
    let url = bare.jwks_url().replace("http://127.0.0.1", "https://localhost");
    assert_eq!(status(&ours, &url), 503, "no TLS at all");
}
