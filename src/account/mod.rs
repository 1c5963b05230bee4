//! Who may sign in: passwords, second factors, limits on guessing, sessions.
//!
//! Reads no request and writes no answer.

mod budget;
mod cost;
mod hasher;
mod master_key;
mod password;
mod phc;
mod throttle;

pub use cost::{CostError, PasswordCost};
pub use hasher::{HashError, HashSettings, Hasher, hash_password};
pub use master_key::{KeyName, MasterKey, MasterKeyError, OpenError, Purpose, SealError};
pub use password::{PasswordPolicy, WeakPassword};
pub use throttle::{Limited, Lockout, Throttle, ThrottleSettings, Ticket};
