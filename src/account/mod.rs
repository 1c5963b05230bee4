//! Who may sign in: passwords, second factors, limits on guessing, sessions.
//!
//! Reads no request and writes no answer.

mod budget;
mod challenge;
mod cost;
mod hasher;
mod master_key;
mod password;
mod phc;
mod refresh_token;
mod signing_key;
mod throttle;
mod totp;

pub use challenge::{ChallengeKey, Challenges, Occasion};
pub use cost::{CostError, PasswordCost};
pub use hasher::{HashError, HashSettings, Hasher, hash_password};
pub use master_key::{KeyName, MasterKey, MasterKeyError, OpenError, Purpose, SealError};
pub use password::{PasswordPolicy, WeakPassword};
pub use refresh_token::RefreshToken;
pub use signing_key::{SigningKeyError, new_signing_key, open_key, open_signing_key};
pub use throttle::{Limited, Lockout, Throttle, ThrottleSettings, Ticket};
pub use totp::{RECOVERY_CODES, RecoveryCode, SEED, Totp};
