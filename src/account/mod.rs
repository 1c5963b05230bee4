//! Who may sign in: passwords, second factors, limits on guessing, sessions.
//!
//! Reads no request and writes no answer.

mod accounts;
mod budget;
mod challenge;
mod cost;
mod giving_way;
mod hasher;
mod keeper;
mod keys;
mod master_key;
mod password;
mod passwords;
mod phc;
mod random;
mod refresh_token;
mod second_factor;
mod sessions;
mod signing_key;
mod throttle;
mod totp;
mod users;
mod vouch;

pub use accounts::{
    AccountSettings, Accounts, Answer, Attempt, Challenge, Guards, SecondFactorRule, SignInError,
};
pub use challenge::{ChallengeKey, Challenges, Occasion};
pub use cost::{CostError, PasswordCost};
pub use hasher::{HashError, HashSettings, Hasher, hash_password};
pub use keeper::{Keeper, Known};
pub use keys::{Keyring, KeyringError};
pub use master_key::{KeyName, MasterKey, MasterKeyError, OpenError, Purpose, SealError};
pub use password::{PasswordPolicy, WeakPassword};
pub use passwords::{PasswordError, RegisterError};
pub use refresh_token::RefreshToken;
pub use second_factor::{Demand, EnrolError, Enrolment};
pub use sessions::{Granted, Opening, Refreshing, SessionError};
pub use signing_key::{SigningKeyError, new_signing_key, open_key, open_signing_key};
pub use throttle::{Limited, Throttle, ThrottleSettings, Ticket};
pub use totp::{RECOVERY_CODES, RecoveryCode, SEED, Totp};
pub use users::Update;

#[cfg(test)]
mod second_factor_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;
