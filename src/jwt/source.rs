//! Where an issuer publishes its keys, and how they are fetched from there.
//!
//! When that happens, and what becomes of the keys, is the business of `remote`.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use super::key_set::KeySetError;
use crate::fetch::{Address, AddressError, FetchError, Fetched, Fetcher, Plain};

/// Where the set is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// At this address.
    Jwks(Address),
    /// Where the issuer's OpenID Connect configuration says.
    Discover(Discovery),
}

/// An issuer that is asked where its keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    issuer: String,
    configuration: Address,
    plain: Plain,
}

/// Why a set was not refreshed.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// It could not be fetched.
    #[error("the key set cannot be fetched")]
    Fetch(#[from] FetchError),
    /// What was fetched is refused.
    #[error("the key set is refused")]
    KeySet(#[from] KeySetError),
    /// The issuer's configuration is not one, or of somebody else.
    #[error("the issuer's configuration is refused: {0}")]
    Discovery(&'static str),
    /// The issuer's configuration points to an address that must not be used.
    #[error("the address of the key set is refused")]
    Address(#[from] AddressError),
}

impl RemoteSource {
    /// Asks `issuer` by OpenID Connect discovery.
    pub fn discover(issuer: &str, plain: Plain) -> Result<Self, AddressError> {
        if issuer.contains('?') {
            return Err(AddressError::Form);
        }
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let address = format!("{base}/.well-known/openid-configuration");
        let configuration = Address::parse(&address, plain)?;
        Ok(Self::Discover(Discovery { issuer: issuer.to_owned(), configuration, plain }))
    }

    /// Fetches the set, from wherever it is now.
    pub(super) async fn fetch(&self, through: &Fetcher) -> Result<Fetched, RefreshError> {
        Ok(match self {
            Self::Jwks(address) => through.get(address).await?,
            Self::Discover(discovery) => through.get(&discovery.ask(through).await?).await?,
        })
    }
}

/// The address that is asked first.
impl fmt::Display for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwks(address) => address.fmt(f),
            Self::Discover(discovery) => discovery.configuration.fmt(f),
        }
    }
}

/// What is read of an issuer's configuration (OpenID Connect Discovery 1.0 §3).
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Discovery {
    async fn ask(&self, through: &Fetcher) -> Result<Address, RefreshError> {
        let fetched = through.get(&self.configuration).await?;
        let configuration: Configuration = serde_json::from_slice(&fetched.body)
            .map_err(|_| RefreshError::Discovery("no `issuer` and `jwks_uri`"))?;
        // Exactly, or one issuer's configuration could serve for another (§4.3).
        if configuration.issuer != self.issuer {
            return Err(RefreshError::Discovery("it names another issuer"));
        }
        Ok(Address::parse(&configuration.jwks_uri, self.plain)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_is_asked_has_a_usable_address() {
        let discover = |issuer| RemoteSource::discover(issuer, Plain::Loopback);
        let Ok(RemoteSource::Discover(found)) = discover("https://id.example.com/tenant/") else {
            panic!("a discovery")
        };
        let address = "https://id.example.com/tenant/.well-known/openid-configuration";
        assert_eq!(found.configuration.to_string(), address);
        assert_eq!(discover("http://id.example.com"), Err(AddressError::Plain));
        for wrong in ["", "self", "id.example.com", "https://id.example.com/?x=1", "https://a/#b"] {
            assert_eq!(discover(wrong), Err(AddressError::Form), "{wrong}");
        }
    }
}
