//! How often somebody may call: rates, counted in bounded memory that all workers share.
//!
//! Decides nothing about a request but whether it comes too soon, and knows no status. Who failed to
//! sign in how often is counted by `account`.

mod buckets;
mod quota;
mod rate;
mod told;

pub use buckets::Buckets;
pub use quota::{Outcome, Quota};
pub use rate::{Caller, Per, Rate, Tally};
pub use told::{Exceeded, Told};
