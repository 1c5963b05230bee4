//! A refusal in the words of gRPC: trailers only, and the status of gRPC beside that of HTTP.
#![deny(clippy::wildcard_enum_match_arm)]

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;

use super::denial::{Denial, Reason};
use crate::message;
use crate::message::Body;
use crate::message::RequestId;

impl Denial {
    /// The answer to a call of gRPC, whose status stands where its clients look for it.
    pub fn respond_to_grpc(&self, id: &RequestId) -> Response<Body> {
        let reason = self.reason();
        let mut response = message::with_type(StatusCode::OK, "application/grpc", Bytes::new());
        let headers = response.headers_mut();
        // Whoever set a deadline is told of no other failure, which it might ask again after.
        let is_deadline = matches!(self, Self::Deadline);
        let status = if is_deadline { DEADLINE_EXCEEDED } else { reason.grpc_status() };
        headers.insert(GRPC_STATUS, status.into());
        // Codes and titles hold no byte that would have to be escaped; a test sees to it.
        let text = HeaderValue::try_from(format!("{}: {}", reason.code(), reason.title()));
        headers.extend(text.ok().map(|text| (GRPC_MESSAGE, text)));
        headers.extend(id.header().map(|id| (message::REQUEST_ID, id)));
        self.finish(headers);
        response
    }
}

impl Reason {
    /// The status of gRPC, by the number that stands on the wire: that which its clients make of ours,
    /// but for what only we know.
    pub const fn grpc_status(self) -> u16 {
        match self {
            Self::MalformedRequest | Self::AmbiguousCredentials | Self::TargetTooLong => 13,
            Self::MissingCredentials
            | Self::InvalidApplicationKey
            | Self::InvalidToken
            | Self::ExpiredToken
            | Self::InvalidCredentials
            | Self::SecondFactorNeeded
            | Self::InvalidSecondFactor => 16,
            Self::InsufficientPermission => 7,
            Self::NotFound | Self::MethodNotAllowed => 12,
            Self::RequestTimeout => 4,
            Self::TooManyAttempts
            | Self::RateLimited
            | Self::TooManyConnections
            | Self::BodyTooLarge
            | Self::HeaderTooLarge => 8,
            Self::BadGateway | Self::Unavailable | Self::Overloaded | Self::GatewayTimeout => 14,
        }
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const DEADLINE_EXCEEDED: u16 = 4;
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::denial::Kind;
    use crate::message::RequestIds;

    #[test]
    fn a_call_of_grpc_is_told_in_its_header_alone() {
        for reason in Reason::ALL {
            let text = format!("{}: {}", reason.code(), reason.title());
            // What the protocol lets stand there unescaped.
            assert!(
                text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'%'),
                "{text}"
            );
            let blames_us = reason.grpc_status() == 14;
            assert_eq!(blames_us, reason.status().is_server_error(), "{reason:?}");
        }
        let response = Denial::Missing(Kind::User).respond_to_grpc(&RequestIds::new(7).next());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert!(response.headers().get("www-authenticate").is_none());
    }
}
