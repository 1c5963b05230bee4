//! The closed lists of a preset: what can be called, what a call can fail of, what a route can refuse.
//!
//! Names only; what they do is decided above.

use schemars::JsonSchema;
use serde::Deserialize;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident; $($(#[$about:meta])* $variant:ident $text:literal)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
        pub enum $type {
            $($(#[$about])* #[serde(rename = $text)] $variant,)*
        }

        impl $type {
            /// The whole list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a preset.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

words! {
    /// What a call of a dialect does.
    CallKind;
    /// Opens a session: credentials in, token out.
    Login "login"
    /// Mints the next token of a session.
    Refresh "refresh"
    /// Ends the session.
    Logout "logout"
    /// Tells who the user is.
    Current "current"
    /// Makes a user and opens a session.
    Register "register"
    /// Changes the user's attributes.
    Update "update"
    /// Replaces the password, proved by the old one.
    Password "password"
    /// Replaces all passwords by a new one.
    PasswordReplace "password_replace"
    /// Adds one more password.
    PasswordAdd "password_add"
    /// Removes the password that was presented.
    PasswordRemove "password_remove"
    /// Hands out a new secret for the second factor.
    TotpEnrol "totp_enrol"
    /// Puts the second factor in force, proved by a code.
    TotpConfirm "totp_confirm"
    /// Removes the second factor, proved by a code.
    TotpRemove "totp_remove"
    /// Lists the user's sessions.
    Sessions "sessions"
    /// Ends one session of the user.
    EndSession "end_session"
    /// Ends every other session of the user.
    EndSessions "end_sessions"
    /// Publishes the public keys of the family.
    KeySet "key_set"
}

words! {
    /// Why a call did not do what was asked.
    Failure;
    /// The body has no single reading.
    Malformed "malformed"
    /// The body is of a media type that the call does not take.
    UnsupportedType "unsupported_type"
    /// The body is longer than calls may be.
    TooLarge "too_large"
    /// A value is of another type than documented.
    WrongType "wrong_type"
    /// A required value is absent.
    MissingField "missing_field"
    /// A required text is empty.
    BlankField "blank_field"
    /// A value is out of its bounds.
    BadOption "bad_option"
    /// No credentials at all.
    MissingCredentials "missing_credentials"
    /// Unknown user or wrong password.
    WrongCredentials "wrong_credentials"
    /// The right password of a user whom an operator locked.
    Locked "locked"
    /// Too many failures about one account; time unlocks it.
    LockedOut "locked_out"
    /// The right password of a disabled user.
    Disabled "disabled"
    /// The right password, which has expired.
    PasswordExpired "password_expired"
    /// Too many tries.
    Throttled "throttled"
    /// The password was right; a second factor is asked for.
    SecondFactorNeeded "second_factor_needed"
    /// The second factor was wrong or stale.
    SecondFactorWrong "second_factor_wrong"
    /// No application key.
    MissingApplicationKey "missing_application_key"
    /// A wrong application key.
    InvalidApplicationKey "invalid_application_key"
    /// What the application tells about its client is absent or unreadable.
    BadClient "bad_client"
    /// No token.
    MissingToken "missing_token"
    /// A token that is no good.
    InvalidToken "invalid_token"
    /// A token that was good once.
    ExpiredToken "expired_token"
    /// A refresh token that is unknown, used, ended or expired.
    InvalidRefreshToken "invalid_refresh_token"
    /// The caller may not do this.
    Forbidden "forbidden"
    /// The name of the new user, or the new name, is taken.
    NameTaken "name_taken"
    /// The new password is too weak.
    WeakPassword "weak_password"
    /// The new password is in use already.
    SamePassword "same_password"
    /// The only password cannot be removed.
    LastPassword "last_password"
    /// One more password would be too many.
    TooManyPasswords "too_many_passwords"
    /// No such session of this user.
    UnknownSession "unknown_session"
    /// The second factor is not in the state that the call needs.
    SecondFactorState "second_factor_state"
    /// The path is a call's, the method is not.
    MethodNotAllowed "method_not_allowed"
    /// Too much to do.
    Busy "busy"
    /// Something of ours is out of reach.
    Unavailable "unavailable"
}

words! {
    /// Why a request to a protected route was refused, as far as a dialect has words of its own for it.
    Refusal;
    /// No token.
    MissingToken "missing_token"
    /// `Authorization` of another scheme.
    OtherScheme "other_scheme"
    /// Not a token at all.
    MalformedToken "malformed_token"
    /// A signature that is not ours.
    BadSignature "bad_signature"
    /// An algorithm that is not accepted.
    RefusedAlgorithm "refused_algorithm"
    /// A token from the future.
    TokenNotYetValid "token_not_yet_valid"
    /// A token that was good once.
    ExpiredToken "expired_token"
    /// A token whose session or user has ended.
    RevokedToken "revoked_token"
    /// A token for another purpose.
    WrongTokenType "wrong_token_type"
    /// Any other token that is no good.
    InvalidToken "invalid_token"
    /// No user name and password where they are asked for.
    MissingCredentials "missing_credentials"
    /// A wrong user name or password.
    WrongCredentials "wrong_credentials"
    /// No application key.
    MissingApplicationKey "missing_application_key"
    /// A wrong application key.
    InvalidApplicationKey "invalid_application_key"
    /// What the application tells about its client is absent or unreadable.
    BadClient "bad_client"
    /// A header that must equal something of the user's is absent.
    MissingHeader "missing_header"
    /// A header that must equal something of the user's does not.
    WrongHeader "wrong_header"
    /// The user lacks a permission.
    InsufficientPermission "insufficient_permission"
    /// A second factor is asked for.
    SecondFactorNeeded "second_factor_needed"
    /// The second factor was wrong or stale.
    SecondFactorWrong "second_factor_wrong"
    /// The request cannot be read.
    Malformed "malformed"
    /// The body is too long.
    TooLarge "too_large"
    /// Too many tries.
    Throttled "throttled"
    /// No such path.
    NotFound "not_found"
    /// No such method on this path.
    MethodNotAllowed "method_not_allowed"
    /// Something of ours, or the upstream, is out of reach.
    Unavailable "unavailable"
}

impl Failure {
    /// What is answered instead by a dialect without words of its own; none is a root, which every
    /// dialect must have words for.
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::Malformed | Self::WrongCredentials | Self::Throttled | Self::Unavailable => None,
            Self::UnsupportedType | Self::TooLarge | Self::WrongType => Some(Self::Malformed),
            Self::MissingField | Self::BadOption | Self::BadClient => Some(Self::Malformed),
            Self::BlankField => Some(Self::MissingField),
            Self::MissingCredentials | Self::Locked | Self::Disabled => {
                Some(Self::WrongCredentials)
            }
            Self::LockedOut => Some(Self::Locked),
            Self::PasswordExpired | Self::SecondFactorNeeded => Some(Self::WrongCredentials),
            Self::SecondFactorWrong => Some(Self::WrongCredentials),
            Self::MissingApplicationKey => Some(Self::InvalidApplicationKey),
            Self::InvalidApplicationKey | Self::Forbidden => Some(Self::WrongCredentials),
            Self::MissingToken | Self::InvalidRefreshToken => Some(Self::WrongCredentials),
            Self::InvalidToken => Some(Self::MissingToken),
            Self::ExpiredToken => Some(Self::InvalidToken),
            Self::NameTaken | Self::WeakPassword | Self::LastPassword => Some(Self::Malformed),
            Self::SamePassword | Self::TooManyPasswords => Some(Self::WeakPassword),
            Self::UnknownSession | Self::SecondFactorState => Some(Self::Malformed),
            Self::MethodNotAllowed => Some(Self::Malformed),
            Self::Busy => Some(Self::Unavailable),
        }
    }
}

impl Refusal {
    /// What is answered instead by a dialect without words of its own; none leaves it to the gateway.
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::OtherScheme | Self::MissingCredentials => Some(Self::MissingToken),
            Self::MalformedToken | Self::BadSignature | Self::RefusedAlgorithm => {
                Some(Self::InvalidToken)
            }
            Self::TokenNotYetValid | Self::RevokedToken | Self::WrongTokenType => {
                Some(Self::InvalidToken)
            }
            Self::ExpiredToken => Some(Self::InvalidToken),
            Self::MissingApplicationKey => Some(Self::InvalidApplicationKey),
            Self::MissingHeader => Some(Self::WrongHeader),
            Self::InvalidToken
            | Self::MissingToken
            | Self::WrongCredentials
            | Self::InvalidApplicationKey
            | Self::BadClient
            | Self::WrongHeader
            | Self::InsufficientPermission
            | Self::SecondFactorNeeded
            | Self::SecondFactorWrong
            | Self::Malformed
            | Self::TooLarge
            | Self::Throttled
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Unavailable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fallback_ends_at_a_root() {
        for failure in Failure::ALL {
            let steps = std::iter::successors(Some(*failure), |one| one.fallback()).take(10);
            assert!(steps.count() < 10, "{}", failure.name());
        }
        for refusal in Refusal::ALL {
            let steps = std::iter::successors(Some(*refusal), |one| one.fallback()).take(10);
            assert!(steps.count() < 10, "{}", refusal.name());
        }
    }
}
