//! In whose words a refusal is told: the gateway's own, or those of the dialect that a route speaks.
//!
//! Which refusal it is was decided before; a dialect has at most another status and another document
//! for it.
#![deny(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use super::denial::{Denial, Kind, Reason};
use super::door::Door;
use crate::clock::whole_seconds;
use crate::credentials::AppKeyError;
use crate::credentials::CarryError;
use crate::credentials::VouchError;
use crate::dialect::Dialect;
use crate::dialect::Failure;
use crate::dialect::Name;
use crate::dialect::Refusal;
use crate::dialect::Scope;
use crate::jwt::TokenError;
use crate::message::Body;
use crate::message::RequestId;

/// In whose words a route refuses.
#[derive(Clone, Debug, Default)]
pub enum Voice {
    /// The gateway's own: problem documents.
    #[default]
    Plain,
    /// Those that a dialect has for its protected routes.
    Dialect(Arc<Dialect>),
    /// Those that a dialect has for one of its calls.
    Door(Arc<Door>),
}

impl Voice {
    /// The answer to a request that was refused.
    pub fn respond(&self, denial: &Denial, id: &RequestId) -> Response<Body> {
        let scope = scope(denial, id);
        let (dialect, answer) = match self {
            Self::Plain => return denial.respond(id),
            Self::Dialect(dialect) => {
                (dialect, refusal(denial).and_then(|refusal| dialect.voice.answer(refusal)))
            }
            Self::Door(door) => {
                let call = door.call();
                let answers = call.map_or(&door.service.dialect.answers, |call| &call.answers);
                (&door.service.dialect, failure(denial).map(|failure| answers.answer(failure)))
            }
        };
        let Some(answer) = answer else { return denial.respond(id) };
        let mut response = answer.respond(&scope);
        let status = response.status();
        let headers = response.headers_mut();
        let is_challenge = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // RFC 9110 §15.5.2: a 401 without a challenge is not finished.
        if is_challenge && !headers.contains_key(header::WWW_AUTHENTICATE) {
            let challenge = denial.challenge().map(|text| in_scheme(&text, dialect));
            headers.extend(challenge.map(|text| (header::WWW_AUTHENTICATE, text)));
        }
        denial.finish(headers);
        response
    }
}

/// What an answer may tell.
fn scope(denial: &Denial, id: &RequestId) -> Scope<'static> {
    let scope = Scope::new().with(Name::RequestId, id.uuid());
    if let Denial::NoMethod(allow) = denial {
        return scope.with(Name::Allow, allow.to_str().unwrap_or_default());
    }
    if let Denial::RateLimited(exceeded) = denial {
        return scope.with(Name::RetryAfter, whole_seconds(exceeded.wait));
    }
    let Denial::Vouch(error) = denial else { return scope };
    match error {
        VouchError::TooMany { retry_after } => {
            scope.with(Name::RetryAfter, whole_seconds(*retry_after))
        }
        VouchError::SecondFactorNeeded { key, service, target } => scope
            .with(Name::ChallengeKey, key.as_str())
            .with(Name::ChallengeService, *service)
            .with(Name::ChallengeTarget, target.as_str()),
        VouchError::Wrong | VouchError::SecondFactorWrong | VouchError::Unavailable => scope,
    }
}

/// The challenge under the name of the scheme that the dialect's clients use.
fn in_scheme(challenge: &HeaderValue, dialect: &Dialect) -> HeaderValue {
    let scheme = dialect.token.schemes.first().filter(|scheme| *scheme != "none");
    let text = challenge.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let named = scheme
        .zip(text)
        .and_then(|(scheme, rest)| HeaderValue::try_from(format!("{scheme} {rest}")).ok());
    named.unwrap_or_else(|| challenge.clone())
}

/// What a dialect may have words for; the rest is told as the gateway tells it.
fn refusal(denial: &Denial) -> Option<Refusal> {
    Some(match denial {
        Denial::Missing(Kind::App) => Refusal::MissingApplicationKey,
        Denial::Missing(Kind::User) => Refusal::MissingToken,
        Denial::Missing(Kind::Basic) => Refusal::MissingCredentials,
        Denial::Missing(Kind::Header) => Refusal::MissingHeader,
        Denial::Vouch(error) => match error {
            VouchError::Wrong => Refusal::WrongCredentials,
            VouchError::TooMany { .. } => Refusal::Throttled,
            VouchError::SecondFactorNeeded { .. } => Refusal::SecondFactorNeeded,
            VouchError::SecondFactorWrong => Refusal::SecondFactorWrong,
            VouchError::Unavailable => Refusal::Unavailable,
        },
        Denial::RateLimited(_) => Refusal::Throttled,
        Denial::HeaderDiffers => Refusal::WrongHeader,
        Denial::Certificate(Kind::User, _) => Refusal::InvalidToken,
        Denial::Certificate(_, _) => Refusal::InvalidApplicationKey,
        Denial::UnknownScheme => Refusal::OtherScheme,
        Denial::Carried(Kind::App, CarryError::Malformed) => Refusal::InvalidApplicationKey,
        Denial::Carried(Kind::User, CarryError::Malformed) => Refusal::MalformedToken,
        Denial::Carried(Kind::Basic, CarryError::Malformed) => Refusal::WrongCredentials,
        Denial::ClientAddress => Refusal::BadClient,
        Denial::Token(error) => of_token(*error),
        Denial::UnwritableClaim => Refusal::InvalidToken,
        Denial::Forbidden(_) | Denial::ForeignOrigin | Denial::BeyondCors => {
            Refusal::InsufficientPermission
        }
        Denial::AppKey(AppKeyError::Unavailable) => Refusal::Unavailable,
        Denial::AppKey(_) => Refusal::InvalidApplicationKey,
        Denial::UpstreamBusy(_) => Refusal::Unavailable,
        Denial::NoRoute => Refusal::NotFound,
        Denial::NoMethod(_) => Refusal::MethodNotAllowed,
        Denial::BodyTooLarge => Refusal::TooLarge,
        Denial::BodyUnreadable => Refusal::Malformed,
        Denial::Malformed(_) if denial.reason() == Reason::MalformedRequest => Refusal::Malformed,
        Denial::Malformed(_)
        | Denial::Carried(_, CarryError::Repeated)
        | Denial::Carried(Kind::Header, CarryError::Malformed)
        | Denial::Crowded(_)
        | Denial::NoSocket
        | Denial::BodyTimeout
        | Denial::BodyBroken
        | Denial::BadGateway
        | Denial::GatewayTimeout
        | Denial::Deadline => return None,
    })
}

const fn of_token(error: TokenError) -> Refusal {
    match error {
        TokenError::Malformed(_) | TokenError::TooLong => Refusal::MalformedToken,
        TokenError::BadSignature => Refusal::BadSignature,
        TokenError::UnsupportedAlgorithm => Refusal::RefusedAlgorithm,
        TokenError::NotYetValid => Refusal::TokenNotYetValid,
        TokenError::Expired => Refusal::ExpiredToken,
        TokenError::Revoked => Refusal::RevokedToken,
        TokenError::WrongType => Refusal::WrongTokenType,
        TokenError::UnknownIssuer
        | TokenError::UnknownKey
        | TokenError::WrongAudience
        | TokenError::OtherCertificate
        | TokenError::Claims(_) => Refusal::InvalidToken,
        TokenError::KeysUnavailable => Refusal::Unavailable,
    }
}

/// What a call failed of, when it was refused before it was read.
fn failure(denial: &Denial) -> Option<Failure> {
    Some(match denial {
        Denial::Missing(Kind::App | Kind::Header) => Failure::MissingApplicationKey,
        Denial::Missing(Kind::User) | Denial::UnknownScheme => Failure::MissingToken,
        Denial::Missing(Kind::Basic) => Failure::MissingCredentials,
        Denial::Vouch(error) => match error {
            VouchError::Wrong => Failure::WrongCredentials,
            VouchError::TooMany { .. } => Failure::Throttled,
            VouchError::SecondFactorNeeded { .. } => Failure::SecondFactorNeeded,
            VouchError::SecondFactorWrong => Failure::SecondFactorWrong,
            VouchError::Unavailable => Failure::Unavailable,
        },
        Denial::RateLimited(_) => Failure::Throttled,
        Denial::HeaderDiffers
        | Denial::Certificate(_, _)
        | Denial::Carried(Kind::App | Kind::Header, _) => Failure::InvalidApplicationKey,
        Denial::AppKey(AppKeyError::Unavailable) => Failure::Unavailable,
        Denial::AppKey(_) => Failure::InvalidApplicationKey,
        Denial::ClientAddress => Failure::BadClient,
        Denial::Carried(Kind::Basic, _) => Failure::WrongCredentials,
        Denial::Carried(Kind::User, _) | Denial::UnwritableClaim => Failure::InvalidToken,
        Denial::Token(TokenError::Expired) => Failure::ExpiredToken,
        Denial::Token(TokenError::KeysUnavailable) => Failure::Unavailable,
        Denial::UpstreamBusy(_) => Failure::Unavailable,
        Denial::Token(_) => Failure::InvalidToken,
        Denial::Forbidden(_) | Denial::ForeignOrigin | Denial::BeyondCors => Failure::Forbidden,
        Denial::NoMethod(_) => Failure::MethodNotAllowed,
        Denial::BodyTooLarge => Failure::TooLarge,
        Denial::BodyUnreadable => Failure::Malformed,
        Denial::Malformed(_) if denial.reason() == Reason::MalformedRequest => Failure::Malformed,
        Denial::Malformed(_)
        | Denial::NoRoute
        | Denial::Crowded(_)
        | Denial::NoSocket
        | Denial::BodyTimeout
        | Denial::BodyBroken
        | Denial::BadGateway
        | Denial::GatewayTimeout
        | Denial::Deadline => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{At, Findings, Place, Secrets};
    use crate::message::RequestIds;

    /// A dialect that answers each refusal of the list with a status of its own.
    fn voice() -> Voice {
        let line = |refusal: &Refusal| {
            format!("  {}: {{ status: {} }}\n", refusal.name(), status(*refusal))
        };
        let refusals: String = Refusal::ALL.iter().map(line).collect();
        let preset = format!("dialect: mine\nextends: redis-7.4\nrefusals:\n{refusals}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine.yaml"), preset).unwrap();
        let name = At { value: "file:mine.yaml".to_owned(), place: Place::default() };
        let (mut secrets, mut findings) = (Secrets::new(folder.path()), Findings::new());
        let dialect = Dialect::load(&name, None, &mut secrets, &mut findings);
        Voice::Dialect(Arc::new(dialect.unwrap_or_else(|| panic!("{findings:?}"))))
    }

    /// 401 for what has expired, as everywhere.
    fn status(refusal: Refusal) -> u16 {
        let place = Refusal::ALL.iter().position(|one| *one == refusal).unwrap();
        let place = u16::try_from(place).unwrap();
        if refusal == Refusal::ExpiredToken { 401 } else { 450 + place }
    }

    #[test]
    fn each_failure_of_a_token_has_an_answer_of_its_own() {
        let (voice, id) = (voice(), RequestIds::new(1).next());
        for (denial, refusal) in [
            (Denial::Missing(Kind::User), Refusal::MissingToken),
            (Denial::UnknownScheme, Refusal::OtherScheme),
            (Denial::Carried(Kind::User, CarryError::Malformed), Refusal::MalformedToken),
            (Denial::Token(TokenError::Malformed("x")), Refusal::MalformedToken),
            (Denial::Token(TokenError::TooLong), Refusal::MalformedToken),
            (Denial::Token(TokenError::BadSignature), Refusal::BadSignature),
            (Denial::Token(TokenError::UnsupportedAlgorithm), Refusal::RefusedAlgorithm),
            (Denial::Token(TokenError::NotYetValid), Refusal::TokenNotYetValid),
            (Denial::Token(TokenError::Expired), Refusal::ExpiredToken),
            (Denial::Token(TokenError::Revoked), Refusal::RevokedToken),
            (Denial::Token(TokenError::WrongType), Refusal::WrongTokenType),
            (Denial::Token(TokenError::UnknownKey), Refusal::InvalidToken),
            (Denial::Token(TokenError::UnknownIssuer), Refusal::InvalidToken),
            (Denial::Token(TokenError::WrongAudience), Refusal::InvalidToken),
            (Denial::Token(TokenError::Claims("x")), Refusal::InvalidToken),
            (Denial::Token(TokenError::KeysUnavailable), Refusal::Unavailable),
            (Denial::HeaderDiffers, Refusal::WrongHeader),
            (Denial::Missing(Kind::Header), Refusal::MissingHeader),
        ] {
            let answer = voice.respond(&denial, &id);
            assert_eq!(answer.status().as_u16(), status(refusal), "{}", refusal.name());
        }
    }
}
