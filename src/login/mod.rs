//! The face for logins: reads a call in the words of its dialect, and answers in them.
//!
//! Half of it is a [`Desk`] on each worker, which reads requests and hands them over; the other half is
//! one [`Clerk`] on the control runtime, so that nobody who signs in delays a request. Who may sign in
//! is decided by `account`, whether a call may be made at all by `gateway`.

mod clerk;
mod desk;
mod mint;
mod outcome;
mod passwords;
mod sessions;
mod told;

pub use clerk::Clerk;
pub use desk::{Asked, Desk};
