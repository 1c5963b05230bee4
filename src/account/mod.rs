//! Who may sign in: passwords, second factors, limits on guessing, sessions.
//!
//! Reads no request and writes no answer.

mod budget;
mod challenge;
mod cost;
mod hasher;
mod keeper;
mod keys;
mod master_key;
mod password;
mod phc;
mod refresh_token;
mod throttle;
mod totp;

pub use challenge::{ChallengeKey, Challenges, Occasion};
pub use cost::{CostError, PasswordCost};
pub use hasher::{HashError, HashSettings, Hasher, hash_password};
pub use keeper::{Keeper, Known};
pub use keys::{Keyring, KeyringError, new_key};
pub use master_key::{KeyName, MasterKey, MasterKeyError, OpenError, Purpose, SealError};
pub use password::{PasswordPolicy, WeakPassword};
pub use refresh_token::RefreshToken;
pub use throttle::{Limited, Lockout, Throttle, ThrottleSettings, Ticket};
pub use totp::{RECOVERY_CODES, RecoveryCode, SEED, Totp};
