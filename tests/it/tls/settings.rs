//! What is said about certificates that cannot be used.

use super::PAIR;
use super::Secured;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Period;
use crate::world::authority::pems;

/// What a gateway says that does not start with these files and keys.
#[track_caller]
fn refused(files: [(&str, &str); 2], keys: &str, expected: &[&str]) {
    let mut setup = Setup::new();
    for (name, content) in files {
        setup = setup.file(name, content);
    }
    let Err(report) = setup.tls(keys).try_start() else { panic!("{expected:?} starts") };
    for text in expected {
        assert!(report.contains(text), "{text} is not in {report}");
    }
    assert!(!report.contains("-----BEGIN"), "{report}");
}

#[test]
fn a_pair_that_cannot_be_used_keeps_the_gateway_from_starting() {
    let authority = Authority::new("ours");
    let [certificate, key] = pems(&authority.certify("gw.test", LONG));
    let [_, other_key] = pems(&authority.certify("gw.test", LONG));
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let junk = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let line = certificate.lines().count() + 1;
    let chain = format!("{certificate}{}", half(&certificate));
    let broken = format!("`gw.crt`: the section at line {line} is broken or has no end");
    for (certificate, key, expected) in [
        ("", key.as_str(), "gw.crt` is empty"),
        (&half(&certificate), &key, "`gw.crt`: the section at line 1 is broken or has no end"),
        (&chain, &key, broken.as_str()),
        (&key, &key, "`gw.crt`: there is no certificate in it"),
        (&certificate, &half(&key), "`gw.key`: the section at line 1 is broken or has no end"),
        (&certificate, &certificate, "`gw.key`: there is no unencrypted private key in it"),
        (&certificate, &encrypted, "`gw.key`: there is no unencrypted private key in it"),
        (&certificate, &format!("{key}{key}"), "`gw.key`: there are several private keys in it"),
        (&certificate, junk, "`gw.key`: the private key cannot be used"),
        (&certificate, &other_key, "`gw.key`: the private key does not belong to the certificate"),
    ] {
        let files = [("gw.crt", certificate), ("gw.key", key)];
        refused(files, PAIR, &[expected, "portcullis.yaml:1:"]);
    }
    let files = [("gw.crt", certificate.as_str()), ("gw.key", key.as_str())];
    refused(files, "certificate: file:gone.crt, key: file:gw.key", &["gone.crt` cannot be read"]);
    let environment = "certificate: file:gw.crt, key: env:NOT_SET_ANYWHERE";
    refused(files, environment, &["`NOT_SET_ANYWHERE` is not set"]);
    let clients = |ca: &str| format!("{PAIR}, client_ca: file:{ca}");
    refused(files, &clients("gw.key"), &["`gw.key`: there is no certificate in it"]);
    refused(files, &clients("gone"), &["gone` cannot be read"]);
}

#[test]
fn a_certificate_out_of_its_time_is_remarked_and_used() {
    let authority = Authority::new("ours");
    let remarks = |period: Period| {
        let setup = Setup::new().pair("gw", &authority.certify("gw.test", period)).tls(PAIR);
        setup.start().running.warnings().to_string()
    };
    // The gateway's clock stands in January 2027.
    let over = remarks(("20200101", "20270101"));
    assert!(over.contains("the certificate for gw.test expired at 2027-01-01T00:00:00Z"), "{over}");
    let early = remarks(("20280101", "20990101"));
    assert!(early.contains("is not good before 2028-01-01T00:00:00Z"), "{early}");
    assert!(!remarks(LONG).contains("gw.test"));
    assert!(!remarks(("20270101", "20280101")).contains("gw.test"));
}

#[test]
fn a_certificate_that_nobody_could_be_shown_is_remarked() {
    let authority = Authority::new("ours");
    let nameless = authority.certify_as("server", &[], LONG);
    let setup = Setup::new().pair("gw", &authority.certify("gw.test", LONG));
    let more = "certificates: [ { certificate: file:a.crt, key: file:a.key } ]";
    let world = setup.pair("a", &nameless).tls(&format!("{PAIR}, {more}")).start();
    let warnings = world.running.warnings().to_string();
    assert!(warnings.contains("this certificate names no server"), "{warnings}");
    let alone = Setup::new().pair("gw", &nameless).tls(PAIR).start();
    assert!(!alone.running.warnings().to_string().contains("names no server"));
}

#[test]
fn metrics_tell_until_when_certificates_are_good() {
    let secured = Secured::new("");
    let expiry = "portcullis_tls_certificate_expiry_timestamp_seconds{certificate=\"gw.test\"}";
    assert!((secured.world.metric(expiry) - 4_070_908_800.0).abs() < 1.0, "2099-01-01");
}
