//! What the operator wrote: data only, read strictly, each value with its place.

mod document;
mod scalar;

pub use document::{
    AccessLog, AppEntry, AppKeyCheck, Cache, Check, Defaults, Document, JwtEntry, Limits, Listen,
    RouteEntry, Shutdown, Timeouts, Upstream,
};
pub use scalar::{At, Length, Place, SecretRef, Size, TextOrList};
