//! Which route a request takes and which checks it must pass: patterns, their table, `require`.
//!
//! Nothing here decides: the table answers with what the operator attached to a pattern, and a
//! [`Require`] says which check to ask next and how it ends. Neither knows of HTTP statuses.

mod literals;
mod matcher;
mod node;
mod params;
mod pattern;
mod require;

pub use matcher::Conflict;
pub use matcher::Lookup;
pub use matcher::RouteTable;
pub use params::Params;
pub use pattern::Pattern;
pub use pattern::PatternError;
pub use require::CheckIndex;
pub use require::Name;
pub use require::Outcome;
pub use require::Require;
pub use require::RequireError;
pub use require::Step;
pub use require::UnknownCheck;
