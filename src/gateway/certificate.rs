//! The check of a client's certificate: whom it names, as long as it is good.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Asking;
use super::checks::Established;
use super::denial::{Denial, Kind};
use super::lease::UserProof;
use crate::certificate::Certificate;
use crate::config::{CertificateSettings, Holder, HolderName};
use crate::id::AppId;
use crate::principal::{App, Permissions, Subject};

/// What is made of the certificate that a client showed. That its chain is good was seen in the handshake.
#[derive(Debug)]
pub(super) struct CertificateGate(pub(super) CertificateSettings);

/// Why a certificate identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It was good when the session began.
    #[error("the certificate is not good any more")]
    Expired,
    /// There is no such name in it, or there are several.
    #[error("the certificate has not exactly one name of the kind that counts")]
    Name,
}

impl CertificateGate {
    pub(super) const fn kind(&self) -> Kind {
        match self.0.holder {
            Holder::App => Kind::App,
            Holder::User => Kind::User,
        }
    }

    /// A proxy's certificate is none of its client's: behind one, nothing was shown.
    pub(super) fn run(
        &self,
        number: usize,
        asking: &Asking<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let Some(certificate) = &asking.peer.certificate else { return Ok(false) };
        let wrong = |error| Denial::Certificate(self.kind(), error);
        // Sessions and tickets outlive what was proved when they began.
        if !certificate.is_good(asking.now) {
            return Err(wrong(CertificateError::Expired));
        }
        let name = self.name(certificate).ok_or(wrong(CertificateError::Name))?;
        match self.0.holder {
            Holder::App => {
                let app = App { id: AppId::new(name), scopes: Vec::new() };
                established.lease.principal.app = Some(Arc::new(app));
            }
            Holder::User => {
                let subject = Arc::new(subject(name, certificate));
                established.prove_user(number, subject, UserProof::Certificate);
            }
        }
        // A browser shows it whoever's page asks.
        established.is_ambient = true;
        established.lease.principal.certificate = Some(Arc::clone(certificate));
        established.lease.certificate = Some(Arc::clone(certificate));
        Ok(true)
    }

    fn name<'c>(&self, certificate: &'c Certificate) -> Option<&'c str> {
        let only = |names: &'c [String]| match names {
            [one] => Some(one.as_str()),
            _ => None,
        };
        match self.0.name {
            HolderName::Subject => {
                Some(certificate.subject.as_str()).filter(|name| !name.is_empty())
            }
            HolderName::CommonName => certificate.common_name.as_deref(),
            HolderName::Dns => only(&certificate.dns),
            HolderName::Uri => only(&certificate.uris),
            HolderName::Email => only(&certificate.emails),
        }
    }
}

/// A user as a token would tell of one.
fn subject(name: &str, certificate: &Certificate) -> Subject {
    let claims = [("sub", name), ("iss", &certificate.issuer)];
    let claims = claims.map(|(claim, value)| (claim.to_owned(), Value::from(value)));
    Subject {
        identity: name.to_owned(),
        issuer: certificate.issuer.clone(),
        claims: Map::from_iter(claims),
        permissions: Permissions::None,
        expires_at: certificate.good_until,
        bound_to: None,
        own: None,
    }
}
