//! A request that was let through but for one thing: its user may have to show a second factor.
//!
//! The body is part of that question, so that it is asked when the head was judged. There is no pass
//! before the answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::header;
use http::request::Parts;

use super::decision::Pass;
use super::denial::Denial;
use super::route::Route;
use crate::credentials::SecondFactorAsk;
use crate::credentials::VouchError;
use crate::credentials::Vouching;
use crate::dialect::Failure;
use crate::dialect::SecondFactor;
use crate::id::{Digest, UserId};

/// A pass that is still held back.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    pub(super) pass: Pass,
    pub(super) user: UserId,
    pub(super) factor: Arc<SecondFactor>,
    pub(super) vouching: Option<Arc<Vouching>>,
    pub(super) address: IpAddr,
}

impl Pending {
    /// The most bytes of a body that may be read for the question.
    pub const MAX_BODY_BYTES: usize = SecondFactor::MAX_BODY_BYTES;

    /// The route that was matched.
    pub const fn route(&self) -> &Arc<Route> {
        self.pass.route()
    }

    /// What the pass will be.
    pub const fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Hands the pass out if the user has no second factor, or showed it in `body`; with what is left
    /// of the body. The head is altered to fit.
    pub async fn confirm(self, parts: &mut Parts, body: Bytes) -> Result<(Pass, Bytes), Denial> {
        let (answer, rest, compared) = if is_json(&parts.headers) && !body.is_empty() {
            let taken = self.factor.take(&body).map_err(|error| match error.failure {
                Failure::TooLarge => Denial::BodyTooLarge,
                _other => Denial::BodyUnreadable,
            })?;
            (taken.answer, Bytes::from(taken.rest), Bytes::from(taken.compared))
        } else {
            (None, body.clone(), body)
        };
        let app = self.pass.principal().app.as_ref().map(|app| app.id.clone());
        // As it was judged: one path on two hosts is two things that a user may be asked about.
        let host = self.pass.host().or_else(|| parts.headers.get(header::HOST));
        let target = (&parts.method, host, parts.uri.path_and_query());
        let request = (target, Digest::of(&compared).to_string());
        let request = Digest::of(format!("{request:?}").as_bytes());
        let (user, address) = (self.user, self.address);
        let vouching = self.vouching.ok_or(Denial::Vouch(VouchError::Unavailable))?;
        let has_answer = answer.is_some();
        vouching
            .second_factor(|reply| SecondFactorAsk { user, answer, app, address, request, reply })
            .await
            .map_err(Denial::Vouch)?;
        if has_answer {
            refit(&mut parts.headers, rest.len());
        }
        Ok((self.pass, rest))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = text.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

/// The body is shorter than the client wrote it; what speaks of its length or its bytes goes.
fn refit(headers: &mut HeaderMap, length: usize) {
    for name in OF_THE_BODY {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_LENGTH, length.into());
}

const OF_THE_BODY: [HeaderName; 7] = [
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::EXPECT,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];
