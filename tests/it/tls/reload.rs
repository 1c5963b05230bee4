//! Certificates that change on disk: a good pair takes over, anything else changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustls::pki_types::CertificateDer;

use super::PAIR;
use super::Secured;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::authority::Shown;
use crate::world::authority::pems;
use crate::world::tls_client::TlsClient;

impl Secured {
    /// What a client is shown who was not here before: another resumes what it was shown then.
    fn shown(&self) -> CertificateDer<'static> {
        TlsClient::of(&self.authority).connect(self.to()).unwrap().shown()
    }

    fn put(&self, shown: &Shown) {
        let [certificate, key] = pems(shown);
        self.world.write("gw.crt", &certificate);
        self.world.write("gw.key", &key);
    }

    #[track_caller]
    fn comes_to_show(&self, shown: &Shown, within: Duration) {
        let begun = Instant::now();
        while self.shown() != shown.0 {
            assert!(begun.elapsed() < within, "not within {within:?}");
            thread::yield_now();
        }
    }

    fn failures(&self) -> f64 {
        self.world.metric("portcullis_config_reload_total{result=\"failure\"}")
    }
}

/// The longest that a new pair may take to be in force.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_new_pair_takes_over_without_a_failed_handshake_and_sessions_live_on() {
    let secured = Secured::of(Setup::new().watching(), "");
    let mut session = secured.client.connect(secured.to()).unwrap();
    let (old, next) = (session.shown(), secured.authority.certify("gw.test", LONG));
    assert_ne!(old, next.0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Acquire) {
                secured.serves(&TlsClient::of(&secured.authority));
                secured.serves(&secured.client);
                count += 1;
            }
            count
        });
        secured.put(&next);
        let begun = Instant::now();
        while secured.shown() == old && begun.elapsed() < SOON {
            thread::yield_now();
        }
        is_over.store(true, Ordering::Release);
        assert!(busy.join().unwrap() > 0);
    });
    assert_eq!(secured.shown(), next.0);
    assert_eq!(session.ask(&Ask::get("/api/x").signed()).unwrap().status(), 200);
    assert_eq!(session.shown(), old);
}

#[test]
fn a_link_that_is_swapped_as_kubernetes_does_is_followed() {
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, shown: &Shown| {
        let [certificate, key] = pems(shown);
        let place = folder.path().join(name);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("tls.crt"), certificate).unwrap();
        fs::write(place.join("tls.key"), key).unwrap();
    };
    let (first, second) = (authority.certify("gw.test", LONG), authority.certify("gw.test", LONG));
    put("..1", &first);
    symlink("..1", folder.path().join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let at = folder.path().display();
    let keys = format!("certificate: \"file:{at}/tls.crt\", key: \"file:{at}/tls.key\"");
    let world = Setup::new().watching().tls(&keys).start();
    let client = TlsClient::of(&authority);
    let secured = Secured { world, authority, client };
    assert_eq!(secured.shown(), first.0);
    put("..2", &second);
    symlink("..2", folder.path().join("..next")).unwrap();
    fs::rename(folder.path().join("..next"), folder.path().join("..data")).unwrap();
    secured.comes_to_show(&second, SOON);
    assert!(secured.failures() < 1.0);
}

#[test]
fn a_bad_or_half_written_pair_is_told_and_changes_nothing() {
    let secured = Secured::new("");
    let old = secured.shown();
    let next = secured.authority.certify("gw.test", LONG);
    let [certificate, key] = pems(&next);
    let good = ["gw.crt", "gw.key"]
        .map(|name| fs::read_to_string(secured.world.folder().join(name)).unwrap());
    let half = &certificate[..certificate.len() / 2];
    let mut failures = 0.0;
    for (name, content) in [
        ("gw.crt", certificate.as_str()),
        ("gw.key", &key),
        ("gw.crt", half),
        ("gw.crt", ""),
        ("gw.key", "nothing"),
    ] {
        secured.world.write(name, content);
        let report = secured.world.reload().expect_err(name);
        assert!(report.contains(name) || report.contains("gw.key"), "{report}");
        failures += 1.0;
        assert!((secured.failures() - failures).abs() < 0.5, "{name}");
        assert_eq!(secured.shown(), old);
        secured.serves(&secured.client);
        secured.world.write("gw.crt", &good[0]);
        secured.world.write("gw.key", &good[1]);
    }
    secured.put(&next);
    secured.world.reload().unwrap();
    assert_eq!(secured.shown(), next.0);
}

#[test]
fn half_of_a_pair_on_disk_waits_for_the_other_half() {
    let secured = Secured::of(Setup::new().watching(), "");
    let old = secured.shown();
    let next = secured.authority.certify("gw.test", LONG);
    let [certificate, key] = pems(&next);
    secured.world.write("gw.crt", &certificate);
    let begun = Instant::now();
    while secured.failures() < 1.0 {
        assert!(begun.elapsed() < crate::world::DEADLINE);
        assert_eq!(secured.shown(), old);
    }
    assert_eq!(secured.shown(), old);
    secured.world.write("gw.key", &key);
    secured.comes_to_show(&next, SOON);
}

#[test]
fn whether_a_listener_speaks_tls_is_settled_at_the_start() {
    let secured = Secured::new("");
    let tls = format!(", tls: {{ {PAIR} }}");
    let report = secured.world.reload_with(&tls, "").unwrap_err();
    assert!(report.contains("a change of `listen` needs a restart"), "{report}");
    secured.serves(&secured.client);
    let plain = Setup::new().pair("gw", &secured.authority.certify("gw.test", LONG)).start();
    let public = "public: \"127.0.0.1:0\"";
    let tls = format!("public: {{ address: \"127.0.0.1:0\"{tls} }}");
    let report = plain.reload_with(public, &tls).unwrap_err();
    assert!(report.contains("a change of `listen` needs a restart"), "{report}");
    plain.pass(&Ask::get("/api/x").signed());
}

#[test]
fn other_keys_of_tls_change_with_a_reload() {
    let secured = Secured::new("");
    let older = TlsClient::speaking(&secured.authority, &[&rustls::version::TLS12], None);
    secured.serves(&older);
    secured.world.reload_with(PAIR, &format!("{PAIR}, min_version: \"1.3\"")).unwrap();
    secured.turns_away(&older);
    secured.serves(&secured.client);
    let more = "certificates: [ { certificate: file:a.crt, key: file:a.key } ]";
    let other = secured.authority.certify("a.test", LONG);
    let [certificate, key] = pems(&other);
    secured.world.write("a.crt", &certificate);
    secured.world.write("a.key", &key);
    secured.world.reload_with(PAIR, &format!("{PAIR}, {more}")).unwrap();
    let session = secured.client.host("a.test").connect(secured.to()).unwrap();
    assert_eq!(session.shown(), other.0);
}
