//! TLS towards clients.

mod bound;
mod certificates;
mod clients;
mod handshakes;
mod http2;
mod names;
mod reload;
mod settings;

use std::net::SocketAddr;

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::authority::LONG;
use crate::world::tls_client::TlsClient;

/// A gateway that speaks TLS as `gw.test`, and a client that believes it.
struct Secured {
    world: World,
    authority: Authority,
    client: TlsClient,
}

/// The keys under `tls` for the pair of files `gw`.
const PAIR: &str = "certificate: file:gw.crt, key: file:gw.key";

impl Secured {
    #[track_caller]
    fn new(more: &str) -> Self {
        Self::of(Setup::new(), more)
    }

    #[track_caller]
    fn of(setup: Setup, more: &str) -> Self {
        let authority = Authority::new("ours");
        let shown = authority.certify("gw.test", LONG);
        let world = setup.pair("gw", &shown).tls(&format!("{PAIR}{more}")).start();
        let client = TlsClient::of(&authority);
        Self { world, authority, client }
    }

    fn to(&self) -> SocketAddr {
        self.world.public()
    }

    fn handshakes(&self, outcome: &str) -> f64 {
        self.world.metric(&format!("portcullis_tls_handshakes_total{{outcome=\"{outcome}\"}}"))
    }

    /// Waits until handshakes with this outcome were counted.
    #[track_caller]
    fn counts(&self, outcome: &str, count: f64) {
        let deadline = std::time::Instant::now() + crate::world::DEADLINE;
        while self.handshakes(outcome) < count {
            assert!(std::time::Instant::now() < deadline, "{outcome} {}", self.handshakes(outcome));
            std::thread::yield_now();
        }
        assert!(self.handshakes(outcome) <= count, "{outcome}");
    }

    /// A good request is answered with 200 on a new connection.
    #[track_caller]
    fn serves(&self, client: &TlsClient) {
        assert_eq!(client.status(self.to(), &Ask::get("/api/x").signed()), Ok(200));
    }

    /// There is no answer at all, and nothing reaches the upstream.
    #[track_caller]
    fn turns_away(&self, client: &TlsClient) -> String {
        let mark = self.world.upstream.mark();
        let answer = client.ask(self.to(), &Ask::get("/public/x").signed());
        assert!(answer.is_err(), "{answer:?}");
        assert!(self.world.upstream.since(&mark).unwrap().is_empty());
        answer.unwrap_err()
    }
}
