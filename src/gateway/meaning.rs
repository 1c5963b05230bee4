//! What each public reason means to whoever reads about it, and its title; its status and code are in `denial`.
#![deny(clippy::wildcard_enum_match_arm)]

use super::denial::Reason;

impl Reason {
    /// The title of its problem document.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request is malformed",
            Self::AmbiguousCredentials => "A credential was sent more than once",
            Self::MissingCredentials => "A credential is missing",
            Self::InvalidApplicationKey => "The application key is not valid",
            Self::InvalidToken => "The token is not valid",
            Self::ExpiredToken => "The token expired",
            Self::InvalidCredentials => "The user name or password is wrong",
            Self::SecondFactorNeeded => "A second factor is needed",
            Self::InvalidSecondFactor => "The second factor is wrong or stale",
            Self::TooManyAttempts => "There were too many attempts",
            Self::RateLimited => "Requests come too fast",
            Self::TooManyConnections => "Too many connections are open",
            Self::InsufficientPermission => "The caller may not do this",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::RequestTimeout => "The request did not arrive in time",
            Self::BodyTooLarge => "The request body is too large",
            Self::TargetTooLong => "The request target is too long",
            Self::HeaderTooLarge => "The request header is too large",
            Self::BadGateway => "The upstream gave no usable answer",
            Self::Overloaded => "The gateway has too much to do",
            Self::Unavailable => "The request cannot be judged now",
            Self::GatewayTimeout => "The upstream did not answer in time",
        }
    }

    /// What a client or operator should know about it, for the README's table.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::MalformedRequest => {
                "The request could be read in two ways or breaks HTTP; nothing of it was forwarded and the connection closes."
            }
            Self::AmbiguousCredentials => {
                "A key or token was sent twice, in two places, or joined with a comma."
            }
            Self::MissingCredentials => "The route demands a key or token and none was sent.",
            Self::InvalidApplicationKey => "The key is unknown, wrong, expired or revoked.",
            Self::InvalidToken => {
                "The token is malformed, forged, not yet valid, or meant for somebody else."
            }
            Self::ExpiredToken => "The token was good and its time is over: log in again.",
            Self::InvalidCredentials => {
                "HTTP Basic: the name or the password is wrong, or the user may not come in."
            }
            Self::SecondFactorNeeded => {
                "The route asks for a one-time code; only a dialect can say how it is sent."
            }
            Self::InvalidSecondFactor => {
                "The one-time code is wrong, used, or answers another call."
            }
            Self::TooManyAttempts => {
                "Too many wrong passwords or codes; `Retry-After` tells when it is worth trying again."
            }
            Self::InsufficientPermission => {
                "Key and token are good; the route asks for a permission the caller lacks."
            }
            Self::NotFound => "No route matches; only callers who pass the checks learn it.",
            Self::MethodNotAllowed => {
                "The path is known, the method is not; `Allow` lists those that are."
            }
            Self::RequestTimeout => "The request body stalled, or came too slowly.",
            Self::BodyTooLarge => "The body is larger than `limits.body` or the route's `body`.",
            Self::TargetTooLong => "The target is longer than `limits.target`.",
            Self::RateLimited => {
                "More requests than one of `rates` lets through; `Retry-After` tells when to come again."
            }
            Self::TooManyConnections => {
                "The client's address has as many connections as `limits.connections_per_address` lets it have."
            }
            Self::HeaderTooLarge => {
                "The header is larger than `limits.headers` or has more fields than `limits.header_count`."
            }
            Self::BadGateway => {
                "The upstream refused the connection, broke it, or answered something that is no HTTP."
            }
            Self::Unavailable => {
                "Keys or the store are out of reach, so that the answer is not known: try again later."
            }
            Self::Overloaded => {
                "As many connections are open as `limits.connections` allows: try again later."
            }
            Self::GatewayTimeout => "The upstream did not connect or answer within its timeouts.",
        }
    }
}
