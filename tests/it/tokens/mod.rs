//! Forged, bent and borrowed tokens, through the whole gateway.

mod claims;
mod forms;
mod keys;
mod signatures;

use serde_json::Value;
use serde_json::json;

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::Key;
use crate::world::keys::P256;
use crate::world::keys::claims;
use crate::world::keys::claims_with;

pub(super) fn ask(token: &str) -> Ask {
    Ask::get("/api/x").keyed().bearing(token)
}

/// 401, `invalid_token`, nothing upstream.
#[track_caller]
pub(super) fn refused(world: &World, token: &str) -> Message {
    let answer = world.deny(&ask(token), &[401]);
    let challenge = answer.fields.one("www-authenticate");
    assert!(
        challenge.starts_with("Bearer") && challenge.contains("error=\"invalid_token\""),
        "{challenge}"
    );
    answer
}

#[track_caller]
pub(super) fn reason(answer: &Message) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

pub(super) fn entry(algorithms: &str, keys: &str) -> String {
    format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [{algorithms}], {keys} }}"
    )
}

pub(super) const SECRET: &[u8] =
    b"k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4sRq8tVw3zXy7KmN0bPl5GhJd";

/// Gateways whose good request is not the usual one: started with their own control.
pub(super) trait OwnControl {
    fn start_with(self, key: &Key, alg: &str) -> (World, String);
    fn start_with_claims(self, changes: &Value) -> (World, String);
}

impl OwnControl for Setup {
    fn start_with(self, key: &Key, alg: &str) -> (World, String) {
        let token = key.mint(&json!({"alg": alg}), &claims());
        (self.start().with_control(&token), token)
    }

    fn start_with_claims(self, changes: &Value) -> (World, String) {
        let token = P256.token("ES256", &claims_with(changes));
        (self.start().with_control(&token), token)
    }
}
