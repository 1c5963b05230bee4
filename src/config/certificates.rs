//! The check of a client's certificate, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::At;

/// The certificate that a client showed in the handshake.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateCheck {
    /// For whom it stands: `app` (the default) or `user`.
    #[serde(default)]
    pub principal: Option<At<Holder>>,
    /// By which name: `subject` (the default), `common_name`, `dns`, `uri` or `email`, of which there must
    /// be exactly one.
    #[serde(default)]
    pub identity: Option<At<HolderName>>,
}

/// Whom a certificate identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// The calling program.
    App,
    /// The person on whose behalf it calls.
    User,
}

/// Which of the names in a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderName {
    /// The whole subject.
    Subject,
    /// The common name in the subject.
    CommonName,
    /// The DNS name.
    Dns,
    /// The URI, such as a SPIFFE id.
    Uri,
    /// The e-mail address.
    Email,
}

/// What is made of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// For whom it stands.
    pub holder: Holder,
    /// By which name.
    pub name: HolderName,
}

impl CertificateCheck {
    /// For whom it stands.
    pub fn holder(&self) -> Holder {
        self.principal.as_ref().map_or(Holder::App, |holder| holder.value)
    }

    pub(super) fn settings(&self) -> CertificateSettings {
        let name = self.identity.as_ref().map_or(HolderName::Subject, |name| name.value);
        CertificateSettings { holder: self.holder(), name }
    }
}
