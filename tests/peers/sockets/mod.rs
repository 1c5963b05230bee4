//! Clients of the WebSocket protocol that were written by somebody else: they talk, are refused, and are cut.

use std::fs;

use portcullis::clock::Clock;
use serde_json::json;

use crate::gateway::Gateway;
use crate::gateway::TOKEN;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::programs::Api;
#[cfg(feature = "npm")]
use crate::programs::install;
use crate::programs::said;
use crate::world::APP_KEY;
use crate::world::keys::RSA;
use crate::world::keys::claims_with;

/// What both print; 1006 is a connection that ended without a farewell.
const PRINTED: &str = "\
text True
large True
pieces in three pieces
pong
closed 1000
refused 401
still here
cut 1006
";

#[test]
fn python_talks_over_a_socket_until_its_token_ends() {
    // That of the system, which has the package.
    let talk = Talk::new("client.py", include_str!("client.py"));
    assert_eq!(talk.told_by("/usr/bin/python3"), PRINTED);
}

/// Behind the feature `npm`: the package comes from the registry each time.
#[cfg(feature = "npm")]
#[test]
fn node_talks_over_a_socket_until_its_token_ends() {
    let talk = Talk::new("client.mjs", include_str!("client.mjs"));
    install(talk.gateway.folder.path(), "ws");
    assert_eq!(talk.told_by("node"), PRINTED.replace("True", "true"));
}

/// A gateway before an API with a socket, and a client in its folder.
struct Talk {
    api: Api,
    gateway: Gateway,
    client: &'static str,
}

impl Talk {
    fn new(client: &'static str, text: &str) -> Self {
        let api = Api::start();
        let socket = "  - { match: \"GET /socket\", to: api, upgrade: websocket }";
        let gateway = Gateway::start(&configuration(&api.url(), USERS, socket));
        fs::write(gateway.folder.path().join(client), text).unwrap();
        Self { api, gateway, client }
    }

    /// What the client prints that gets an address, a key, a token, and one that ends soon.
    #[track_caller]
    fn told_by(&self, program: &str) -> String {
        let now = Clock::system().now().seconds();
        let short = RSA.token("RS256", &claims_with(&json!({ "exp": now + SOON })));
        let url = format!("ws://{}/socket", self.gateway.public);
        let arguments = [self.client, &url, APP_KEY, &TOKEN, &short];
        let told = said(self.gateway.folder.path(), program, &arguments);
        assert_eq!(self.api.asked(), ["GET /socket"; 2], "{told}");
        told
    }
}

/// Seconds: time enough for everything before it.
const SOON: i64 = 6;
