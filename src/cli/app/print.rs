//! How applications are shown: columns for people, JSON for programs.

use std::io::Write;

use serde_json::{Value, json};

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

/// RFC 3339 in UTC to the second; `-` for what did not happen.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::from_second(at.seconds()).ok())
        .map_or_else(|| "-".to_owned(), |at| at.to_string())
}

pub(super) fn day(at: Option<Timestamp>) -> String {
    moment(at).split('T').next().unwrap_or_default().to_owned()
}

pub(super) fn words(scopes: &[String]) -> String {
    if scopes.is_empty() { "-".to_owned() } else { scopes.join(" ") }
}

pub(super) fn write_json(out: &mut dyn Write, value: &Value) -> anyhow::Result<()> {
    writeln!(out, "{value:#}")?;
    Ok(())
}

pub(super) fn write_table(
    out: &mut dyn Write,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> anyhow::Result<()> {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width_of = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..).map_while(width_of).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
