//! The user's token: reading, verifying, its keys, and the memory of tokens already verified.
//!
//! Where a token is carried is the business of `credentials`; what an invalid one is answered with,
//! that of the gateway. Order of a verification: form, issuer, key, signature, claims, time. Nothing
//! that the token says about itself is believed before its signature, except which issuer's keys
//! to ask (RFC 8725).

mod algorithm;
#[cfg(test)]
mod attacks;
mod cache;
mod claims;
mod compact;
mod ended;
mod header;
mod key;
mod key_set;
#[cfg(test)]
mod oracle;
mod own;
mod recent;
mod remote;
mod schedule;
mod shelf;
mod signer;
mod source;
#[cfg(test)]
mod testing;
mod verifier;
mod weak;

use thiserror::Error;

pub use crate::json::{Pointer, PointerError};
pub use algorithm::{Algorithm, Family, UnknownAlgorithm};
pub use cache::TokenCache;
pub use claims::{Audience, TypRule};
pub use ended::Ended;
pub use key::KeyError;
pub use key_set::{KeySet, KeySetError, Skipped};
pub use own::{OwnKey, OwnKeyError, OwnKeys};
pub use recent::Recent;
pub use remote::{KeysStatus, RemoteKeys, RemoteSettings};
pub use signer::{SignerError, TokenSigner};
pub use source::{RefreshError, RemoteSource};
pub use verifier::{IssuerSettings, KeySource, TokenVerifier, Verified, VerifierError};
pub(crate) use weak::weakness;

/// Why a token was not accepted. Only `Expired` and `KeysUnavailable` are told apart outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Longer than tokens may be.
    #[error("the token is too long")]
    TooLong,
    /// Not a JWT in compact form, or one that can be read in two ways.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `alg` is unknown, not listed for the issuer, or not the key's.
    #[error("the token's algorithm is not accepted")]
    UnsupportedAlgorithm,
    /// No entry of the check is for this `iss`.
    #[error("the token's issuer is not known")]
    UnknownIssuer,
    /// The issuer has no such key.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is not of this key over this text.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// `typ` says that it is another kind of token.
    #[error("the token's type is not accepted")]
    WrongType,
    /// A claim is missing or of the wrong form.
    #[error("the token's claim is missing or wrong: {0}")]
    Claims(&'static str),
    /// The token is meant for somebody else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` has come; everything else about the token was good.
    #[error("the token has expired")]
    Expired,
    /// Its session ended, or it was revoked itself.
    #[error("the token was revoked")]
    Revoked,
    /// It is bound to a certificate (RFC 8705), and the connection did not show that one.
    #[error("the token is bound to another certificate than the connection's")]
    OtherCertificate,
    /// The issuer's keys cannot be had: our fault, not the caller's.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
}

impl TokenError {
    /// A stable word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedAlgorithm => "algorithm",
            Self::UnknownIssuer => "issuer",
            Self::UnknownKey => "key",
            Self::BadSignature => "signature",
            Self::WrongType => "type",
            Self::Claims(_) => "claims",
            Self::WrongAudience => "audience",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::OtherCertificate => "certificate",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}
