//! What is told about a call besides its answer: one line for the audit, one count.

use super::desk::Asked;
use crate::dialect::Failure;
use crate::gateway::Door;
use crate::id::Digest;
use crate::telemetry::Metrics;

/// Every outcome, with who and whence, never with a name or a secret.
pub(super) fn tell(asked: &Asked, failure: Option<Failure>, metrics: &Metrics) {
    let service = asked.door.service.name.as_str();
    let dialect = asked.door.service.dialect.name.as_str();
    let call = asked.door.kind.name();
    let outcome = count(&asked.door, failure, metrics);
    let login = asked
        .fields
        .login
        .as_ref()
        .map(|login| Digest::of(login.to_ascii_lowercase().as_bytes()).short());
    tracing::info!(
        target: "portcullis::audit",
        service,
        dialect,
        call,
        outcome,
        login,
        user = asked.own.as_ref().map(|own| own.user.as_str()),
        session = asked.own.as_ref().map(|own| own.session.as_str()),
        app = asked.app.as_ref().map(crate::id::AppId::as_str),
        address = %asked.address,
        request_id = %asked.id,
        "login call"
    );
}

/// The count alone, which is all there is of a call that nobody could read; returns the outcome.
pub(super) fn count(door: &Door, failure: Option<Failure>, metrics: &Metrics) -> &'static str {
    let service = door.service.name.as_str();
    let dialect = door.service.dialect.name.as_str();
    let outcome = failure.map_or("success", Failure::name);
    metrics.logins.with_label_values(&[service, dialect, door.kind.name(), outcome]).inc();
    outcome
}
