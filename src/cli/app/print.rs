//! How applications are shown: columns for people, JSON for programs.

use serde_json::{Value, json};

use crate::cli::table::moment;
use crate::clock::Timestamp;
use crate::store::{AppRecord, SecretRecord};

pub(super) fn app_json(app: &AppRecord, now: Timestamp) -> Value {
    let instant = |at: Option<Timestamp>| at.map(|at| moment(Some(at)));
    let secrets = app.secrets.iter().map(|secret| {
        json!({
            "number": secret.number,
            "state": secret_state(app, secret, now),
            "created_at": instant(Some(secret.created_at)),
            "expires_at": instant(secret.expires_at),
            "revoked_at": instant(secret.revoked_at),
            "last_used_at": instant(secret.last_used_at),
        })
    });
    json!({
        "id": app.id.as_str(),
        "name": app.name,
        "state": state(app, now),
        "scopes": app.scopes,
        "created_at": instant(Some(app.created_at)),
        "revoked_at": instant(app.revoked_at),
        "keys": secrets.collect::<Vec<_>>(),
    })
}

pub(super) fn state(app: &AppRecord, now: Timestamp) -> &'static str {
    if app.revoked_at.is_some() {
        "revoked"
    } else if app.secrets.iter().any(|secret| secret.is_live(now)) {
        "live"
    } else {
        "no live key"
    }
}

pub(super) fn secret_state(app: &AppRecord, secret: &SecretRecord, now: Timestamp) -> &'static str {
    if app.revoked_at.is_some() || secret.revoked_at.is_some() {
        "revoked"
    } else if secret.is_live(now) {
        "live"
    } else {
        "expired"
    }
}
