//! Who may sign in: passwords, second factors, limits on guessing, sessions.
//!
//! Reads no request and writes no answer.

mod cost;
mod hasher;
mod master_key;
mod password;
mod phc;

pub use cost::{CostError, PasswordCost};
pub use hasher::{HashError, HashSettings, Hasher, hash_password};
pub use master_key::{KeyName, MasterKey, MasterKeyError, OpenError, Purpose, SealError};
pub use password::{PasswordPolicy, WeakPassword};
