//! Every refusal: its public reason, its status, its challenge, its document.
//!
//! The one file that gives a refusal its status. There is no wildcard arm, so a new refusal cannot
//! be born without one.
#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::certificate::CertificateError;
use crate::clock::whole_seconds;
use crate::credentials::{AppKeyError, CarryError, VouchError};
use crate::inquiry::InquiryError;
use crate::jwt::TokenError;
use crate::limits::Exceeded;
use crate::message::{self, Body, RequestId};
use crate::policy::Forbidden;

/// Why a request was not forwarded, or no answer could be fetched for it.
#[derive(Debug)]
pub enum Denial {
    /// It has no canonical form.
    Malformed(InquiryError),
    /// A credential that the route demands was not sent.
    Missing(Kind),
    /// A credential was sent in a form, or more often, than it can be judged.
    Carried(Kind, CarryError),
    /// An application key was sent and is not good.
    AppKey(AppKeyError),
    /// A certificate was shown and identifies nobody.
    Certificate(Kind, CertificateError),
    /// A header that must equal something of the user's does not.
    HeaderDiffers,
    /// The client address told by an application is not an address.
    ClientAddress,
    /// A token was sent and is not good.
    Token(TokenError),
    /// Nobody vouches for a password or second factor.
    Vouch(VouchError),
    /// `Authorization` uses a scheme that no check of the route knows.
    UnknownScheme,
    /// The caller is known and may not.
    Forbidden(Forbidden),
    /// A page of an origin that is not let in.
    ForeignOrigin,
    /// A page asks whether it may use a method or a header that is not given to it.
    BeyondCors,
    /// A claim that the upstream is to be told cannot be written into a header.
    UnwritableClaim,
    /// No route matches; told only to a caller who passed the enclosing route's checks.
    NoRoute,
    /// The path is known, the method is not; the value is for `Allow`.
    NoMethod(HeaderValue),
    /// It comes too soon after others.
    RateLimited(Exceeded),
    /// Too many connections are open.
    Crowded(Crowd),
    /// It asks for a WebSocket and for nothing else, and none is opened here.
    NoSocket,
    /// The request body is larger than the route allows.
    BodyTooLarge,
    /// The next piece of the request body did not come in time.
    BodyTimeout,
    /// The request body has to be read and cannot be.
    BodyUnreadable,
    /// The request body broke off or its framing is wrong.
    BodyBroken,
    /// The upstream cannot be reached or its answer is no HTTP.
    BadGateway,
    /// The upstream did not answer in time.
    GatewayTimeout,
    /// A deadline that the client itself had set passed first.
    Deadline,
    /// The upstream cannot be asked now, for this reason.
    UpstreamBusy(&'static str),
}

/// Whose connections are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Those of all clients together.
    Everybody,
    /// Those from the client's own address.
    Address,
}

/// Which of the two credentials a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The application key.
    App,
    /// The user's token.
    User,
    /// The user's name and password.
    Basic,
    /// A header that must equal something of the user's.
    Header,
}

/// The public reasons: a short closed list, the same in bodies, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is described by `meaning`, from which the README's table is made"
)]
pub enum Reason {
    MalformedRequest,
    AmbiguousCredentials,
    MissingCredentials,
    InvalidApplicationKey,
    InvalidToken,
    ExpiredToken,
    InvalidCredentials,
    SecondFactorNeeded,
    InvalidSecondFactor,
    InsufficientPermission,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    TargetTooLong,
    TooManyAttempts,
    RateLimited,
    TooManyConnections,
    HeaderTooLarge,
    BadGateway,
    Unavailable,
    Overloaded,
    GatewayTimeout,
}

impl Denial {
    /// The public reason; why exactly goes to the log and no further.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(error) => match error {
                InquiryError::TargetTooLong => Reason::TargetTooLong,
                InquiryError::HeadersTooLarge => Reason::HeaderTooLarge,
                InquiryError::Version
                | InquiryError::TargetForm
                | InquiryError::UserInfo
                | InquiryError::HostCount
                | InquiryError::HostForm
                | InquiryError::RawByte
                | InquiryError::BrokenEscape
                | InquiryError::AmbiguousEscape
                | InquiryError::DoubleEscape
                | InquiryError::NotUtf8
                | InquiryError::DotSegment
                | InquiryError::EmptySegment
                | InquiryError::PathParameter
                | InquiryError::TooDeep
                | InquiryError::ContentLength
                | InquiryError::TransferEncoding => Reason::MalformedRequest,
            },
            Self::ClientAddress | Self::NoSocket => Reason::MalformedRequest,
            Self::BodyBroken | Self::BodyUnreadable => Reason::MalformedRequest,
            Self::Missing(_) => Reason::MissingCredentials,
            Self::Carried(kind, error) => match (error, kind) {
                (CarryError::Repeated, _) => Reason::AmbiguousCredentials,
                (CarryError::Malformed, Kind::App | Kind::Header) => Reason::InvalidApplicationKey,
                (CarryError::Malformed, Kind::User) => Reason::InvalidToken,
                (CarryError::Malformed, Kind::Basic) => Reason::InvalidCredentials,
            },
            Self::AppKey(error) => match error {
                AppKeyError::Malformed
                | AppKeyError::Unknown
                | AppKeyError::Expired
                | AppKeyError::Revoked => Reason::InvalidApplicationKey,
                AppKeyError::Unavailable => Reason::Unavailable,
            },
            Self::Token(error) => of_token(*error),
            Self::Vouch(error) => match error {
                VouchError::Wrong => Reason::InvalidCredentials,
                VouchError::TooMany { .. } => Reason::TooManyAttempts,
                VouchError::SecondFactorNeeded { .. } => Reason::SecondFactorNeeded,
                VouchError::SecondFactorWrong => Reason::InvalidSecondFactor,
                VouchError::Unavailable => Reason::Unavailable,
            },
            Self::Certificate(Kind::User, _) => Reason::InvalidToken,
            Self::HeaderDiffers | Self::Certificate(_, _) => Reason::InvalidApplicationKey,
            Self::UnknownScheme | Self::UnwritableClaim => Reason::InvalidToken,
            Self::Forbidden(_) | Self::ForeignOrigin | Self::BeyondCors => {
                Reason::InsufficientPermission
            }
            Self::NoRoute => Reason::NotFound,
            Self::NoMethod(_) => Reason::MethodNotAllowed,
            Self::RateLimited(_) => Reason::RateLimited,
            Self::Crowded(Crowd::Address) => Reason::TooManyConnections,
            Self::Crowded(Crowd::Everybody) => Reason::Overloaded,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::BodyTimeout => Reason::RequestTimeout,
            Self::BadGateway => Reason::BadGateway,
            Self::GatewayTimeout | Self::Deadline => Reason::GatewayTimeout,
            Self::UpstreamBusy(_) => Reason::Unavailable,
        }
    }

    /// The status that the client sees.
    pub const fn status(&self) -> StatusCode {
        self.reason().status()
    }

    /// RFC 6750 §3: bare when nothing was sent, with an error when what was sent is bad.
    pub fn challenge(&self) -> Option<HeaderValue> {
        let text = match (self.reason(), self.kind()) {
            (Reason::MissingCredentials, Kind::User) => r#"Bearer realm="portcullis""#,
            (Reason::MissingCredentials, Kind::Basic) | (Reason::InvalidCredentials, _) => {
                r#"Basic realm="portcullis", charset="UTF-8""#
            }
            (Reason::SecondFactorNeeded | Reason::InvalidSecondFactor, _) => {
                r#"Bearer realm="portcullis", error="insufficient_user_authentication""#
            }
            (Reason::MissingCredentials | Reason::InvalidApplicationKey, _) => {
                r#"AppKey realm="portcullis""#
            }
            (Reason::InvalidToken, _) => {
                r#"Bearer realm="portcullis", error="invalid_token", error_description="the token is not valid""#
            }
            (Reason::ExpiredToken, _) => {
                r#"Bearer realm="portcullis", error="invalid_token", error_description="the token expired""#
            }
            (Reason::InsufficientPermission, _) => {
                r#"Bearer realm="portcullis", error="insufficient_scope""#
            }
            (
                Reason::MalformedRequest
                | Reason::AmbiguousCredentials
                | Reason::NotFound
                | Reason::MethodNotAllowed
                | Reason::RequestTimeout
                | Reason::BodyTooLarge
                | Reason::TargetTooLong
                | Reason::TooManyAttempts
                | Reason::RateLimited
                | Reason::TooManyConnections
                | Reason::HeaderTooLarge
                | Reason::BadGateway
                | Reason::Unavailable
                | Reason::Overloaded
                | Reason::GatewayTimeout,
                _,
            ) => return None,
        };
        Some(HeaderValue::from_static(text))
    }

    /// The answer: an RFC 9457 document that never holds a token, a key or a claim.
    pub fn respond(&self, id: &RequestId) -> Response<Body> {
        let reason = self.reason();
        let mut response = message::problem(reason.status(), reason.code(), reason.title(), id);
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        self.finish(headers);
        response
    }

    /// What every answer to this refusal needs, whoever words it.
    pub(super) fn finish(&self, headers: &mut HeaderMap) {
        if let Self::NoMethod(allowed) = self {
            headers.insert(header::ALLOW, allowed.clone());
        }
        if let Self::Vouch(VouchError::TooMany { retry_after }) = self {
            headers.insert(header::RETRY_AFTER, whole_seconds(*retry_after).into());
        }
        if matches!(self, Self::UpstreamBusy(_) | Self::Crowded(_)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::RateLimited(exceeded) = self {
            headers.insert(header::RETRY_AFTER, whole_seconds(exceeded.wait).into());
            exceeded.told().write(headers);
        }
        self.close_if_unsafe(headers);
    }

    /// After a request that could be read in two ways nothing on the connection can be believed.
    fn close_if_unsafe(&self, headers: &mut HeaderMap) {
        if matches!(self.reason().status(), StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Missing(kind) | Self::Carried(kind, _) | Self::Certificate(kind, _) => *kind,
            Self::AppKey(_) | Self::HeaderDiffers | Self::ClientAddress => Kind::App,
            Self::Vouch(_) => Kind::Basic,
            Self::Malformed(_)
            | Self::Token(_)
            | Self::UnknownScheme
            | Self::Forbidden(_)
            | Self::ForeignOrigin
            | Self::BeyondCors
            | Self::UnwritableClaim
            | Self::NoRoute
            | Self::NoMethod(_)
            | Self::RateLimited(_)
            | Self::Crowded(_)
            | Self::NoSocket
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::BodyUnreadable
            | Self::BadGateway
            | Self::GatewayTimeout
            | Self::Deadline
            | Self::UpstreamBusy(_) => Kind::User,
        }
    }
}

/// Why exactly, in words for the operator; never for the client.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Missing(Kind::App) => f.write_str("no application key was sent"),
            Self::Missing(Kind::User) => f.write_str("no token was sent"),
            Self::Missing(Kind::Basic) => f.write_str("no user name and password were sent"),
            Self::Missing(Kind::Header) => f.write_str("a header of the user's own was not sent"),
            Self::Carried(Kind::App, error) => write!(f, "application key: {error}"),
            Self::Carried(Kind::User, error) => write!(f, "token: {error}"),
            Self::Carried(Kind::Basic, error) => write!(f, "user name and password: {error}"),
            Self::Carried(Kind::Header, error) => write!(f, "a header of the user's own: {error}"),
            Self::HeaderDiffers => f.write_str("a header is not what the user's own must be"),
            Self::AppKey(error) => error.fmt(f),
            Self::Certificate(_, error) => error.fmt(f),
            Self::ClientAddress => f.write_str("the client address that was told is none"),
            Self::Token(error) => error.fmt(f),
            Self::Vouch(error) => error.fmt(f),
            Self::UnknownScheme => f.write_str("no check takes a token from where it stands"),
            Self::Forbidden(error) => error.fmt(f),
            Self::ForeignOrigin => f.write_str("the origin is not among `cors.origins`"),
            Self::BeyondCors => f.write_str("the method or a header is not among those of `cors`"),
            Self::UnwritableClaim => f.write_str("a claim cannot be written into a header"),
            Self::NoRoute => f.write_str("no route takes this path"),
            Self::NoMethod(_) => f.write_str("no route takes this method here"),
            Self::RateLimited(exceeded) => write!(f, "over the rate `{}`", exceeded.rate.name()),
            Self::Crowded(_) => f.write_str("too many connections are open"),
            Self::NoSocket => f.write_str("no WebSocket is opened here, or not so"),
            Self::BodyTooLarge => f.write_str("the body is too large"),
            Self::BodyTimeout => f.write_str("the body did not come in time"),
            Self::BodyBroken => f.write_str("the body broke off"),
            Self::BodyUnreadable => f.write_str("the body is not an object with one reading"),
            Self::BadGateway => f.write_str("the upstream cannot be reached"),
            Self::GatewayTimeout => f.write_str("the upstream did not answer in time"),
            Self::Deadline => f.write_str("the deadline that the client had set passed"),
            Self::UpstreamBusy(why) => f.write_str(why),
        }
    }
}

/// Why exactly a token is not good stays between us and the log.
const fn of_token(error: TokenError) -> Reason {
    match error {
        TokenError::Expired => Reason::ExpiredToken,
        TokenError::KeysUnavailable => Reason::Unavailable,
        TokenError::Malformed(_)
        | TokenError::UnsupportedAlgorithm
        | TokenError::UnknownIssuer
        | TokenError::UnknownKey
        | TokenError::BadSignature
        | TokenError::NotYetValid
        | TokenError::Revoked
        | TokenError::OtherCertificate
        | TokenError::WrongAudience
        | TokenError::WrongType
        | TokenError::Claims(_)
        | TokenError::TooLong => Reason::InvalidToken,
    }
}

impl Reason {
    /// All of them, in the order of their statuses.
    pub const ALL: [Self; 23] = [
        Self::MalformedRequest,
        Self::AmbiguousCredentials,
        Self::MissingCredentials,
        Self::InvalidApplicationKey,
        Self::InvalidToken,
        Self::ExpiredToken,
        Self::InvalidCredentials,
        Self::SecondFactorNeeded,
        Self::InvalidSecondFactor,
        Self::InsufficientPermission,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::TooManyAttempts,
        Self::RateLimited,
        Self::TooManyConnections,
        Self::HeaderTooLarge,
        Self::BadGateway,
        Self::Unavailable,
        Self::Overloaded,
        Self::GatewayTimeout,
    ];

    /// The status of every refusal for this reason.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest | Self::AmbiguousCredentials => StatusCode::BAD_REQUEST,
            Self::MissingCredentials
            | Self::InvalidApplicationKey
            | Self::InvalidToken
            | Self::ExpiredToken
            | Self::InvalidCredentials
            | Self::SecondFactorNeeded
            | Self::InvalidSecondFactor => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts | Self::RateLimited | Self::TooManyConnections => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::InsufficientPermission => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::MissingCredentials => "missing_credentials",
            Self::InvalidApplicationKey => "invalid_application_key",
            Self::InvalidToken => "invalid_token",
            Self::ExpiredToken => "expired_token",
            Self::InvalidCredentials => "invalid_credentials",
            Self::SecondFactorNeeded => "second_factor_needed",
            Self::InvalidSecondFactor => "invalid_second_factor",
            Self::TooManyAttempts => "too_many_attempts",
            Self::RateLimited => "rate_limited",
            Self::TooManyConnections => "too_many_connections",
            Self::InsufficientPermission => "insufficient_permission",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeaderTooLarge => "header_too_large",
            Self::BadGateway => "bad_gateway",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::GatewayTimeout => "gateway_timeout",
        }
    }
}

impl From<InquiryError> for Denial {
    fn from(error: InquiryError) -> Self {
        Self::Malformed(error)
    }
}

impl From<Forbidden> for Denial {
    fn from(error: Forbidden) -> Self {
        Self::Forbidden(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_statuses_never_blame_the_gateway_for_bad_input() {
        let mut codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        let ours =
            [Reason::BadGateway, Reason::Unavailable, Reason::Overloaded, Reason::GatewayTimeout];
        for reason in Reason::ALL {
            assert_eq!(reason.status().is_server_error(), ours.contains(&reason), "{reason:?}");
        }
    }

    #[test]
    fn a_bad_signature_is_never_called_expired() {
        assert_eq!(Denial::Token(TokenError::BadSignature).reason(), Reason::InvalidToken);
        assert_eq!(Denial::Token(TokenError::Expired).reason(), Reason::ExpiredToken);
    }

    #[track_caller]
    fn challenges(denial: &Denial, expected: Option<&str>) {
        let challenge = denial.challenge();
        assert_eq!(challenge.as_ref().map(|value| value.to_str().unwrap()), expected);
    }

    #[test]
    fn the_challenge_is_bare_when_nothing_was_sent() {
        challenges(&Denial::Missing(Kind::User), Some(r#"Bearer realm="portcullis""#));
        challenges(&Denial::Missing(Kind::App), Some(r#"AppKey realm="portcullis""#));
        challenges(&Denial::NoRoute, None);
        challenges(&Denial::Carried(Kind::User, CarryError::Repeated), None);
        let scope = r#"Bearer realm="portcullis", error="insufficient_scope""#;
        challenges(&Denial::Forbidden(Forbidden::NotAllowed), Some(scope));
    }
}
