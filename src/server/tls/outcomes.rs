//! How handshakes end, counted.

use std::io;

use prometheus::IntCounter;
use rustls::HandshakeKind;

use crate::telemetry::Metrics;

/// A counter for each way in which a handshake ends.
#[derive(Debug)]
pub(super) struct Outcomes {
    full: IntCounter,
    resumed: IntCounter,
    late: IntCounter,
    no_certificate: IntCounter,
    bad_certificate: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It took too long, or its turn did not come in time.
    #[error("the handshake took too long")]
    Late,
    /// The client's certificate holds names that are no text.
    #[error("the names in the client's certificate cannot be read")]
    UnreadableCertificate,
    /// Something else, among it that the client goes away.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Outcomes {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |outcome| metrics.tls_handshakes.with_label_values(&[outcome]);
        Self {
            full: counter("full"),
            resumed: counter("resumed"),
            late: counter("late"),
            no_certificate: counter("no_certificate"),
            bad_certificate: counter("bad_certificate"),
            refused: counter("refused_by_client"),
            failed: counter("failed"),
        }
    }

    pub(super) fn succeeded(&self, kind: Option<HandshakeKind>) {
        match kind {
            Some(HandshakeKind::Resumed) => self.resumed.inc(),
            _ => self.full.inc(),
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        tracing::debug!(%failure, "a TLS handshake failed");
        match failure {
            Failure::Late => self.late.inc(),
            Failure::UnreadableCertificate => self.bad_certificate.inc(),
            Failure::Io(error) => self.counter(error).inc(),
        }
    }

    fn counter(&self, error: &io::Error) -> &IntCounter {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::NoCertificatesPresented) => &self.no_certificate,
            Some(rustls::Error::InvalidCertificate(_)) => &self.bad_certificate,
            Some(rustls::Error::AlertReceived(_)) => &self.refused,
            _ => &self.failed,
        }
    }
}
