//! Where a credential may be carried, and whether an application key is good.
//!
//! Nothing here knows of routes or statuses, and nothing here reads tokens: a token is found by
//! [`Locations`] and judged elsewhere.

mod app_key;
mod app_keys;
mod authorization;
mod basic;
mod cookie;
mod key_keeper;
mod key_location;
mod known_users;
mod location;
mod locations;
mod query;
mod stored_keys;
mod text;
mod vouching;

pub use app_key::{AppKey, Shape, shape};
pub use app_keys::{AppKeyError, AppKeys, ConfiguredApp, KeyProof, SharedKey};
pub use authorization::Scheme;
pub use basic::read_basic;
pub use key_keeper::KeyKeeper;
pub use key_location::{KeyLocation, Presented};
pub use known_users::{KnownUsers, StoreSilent, UserAsk};
pub use location::{Location, LocationError};
pub use locations::{Carrier, Found, Locations};
pub use stored_keys::{KeySettings, StoredKeys};
pub use text::CarryError;
pub use vouching::{Proven, SecondFactorAsk, Vouch, VouchError, Vouching};

pub(crate) use app_key::base32;

#[cfg(test)]
mod tests;
