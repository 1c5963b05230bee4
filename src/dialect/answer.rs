//! Answers of a dialect: a status, headers and a body made from a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use serde_json::Value;

use super::scope::Scope;
use super::template::Template;
use crate::config::Failure;
use crate::config::Refusal;
use crate::message::Body;

/// One answer, without the values that it speaks of.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Content,
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Empty,
    Text(HeaderValue, Template),
    Json(HeaderValue, Template),
}

/// What is answered for each failure.
#[derive(Clone, Debug)]
pub struct Answers {
    pub(super) by_failure: BTreeMap<Failure, Arc<Answer>>,
    /// Stands in for whatever the map does not hold; it holds everything.
    pub(super) last: Arc<Answer>,
}

/// What a protected route answers when it refuses, where the dialect has words of its own.
#[derive(Clone, Debug, Default)]
pub struct Voice {
    pub(super) by_refusal: BTreeMap<Refusal, Arc<Answer>>,
}

impl Answer {
    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer with the values of `scope`. A header whose value is absent is left out.
    pub fn respond(&self, scope: &Scope<'_>) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        // What a login answers is for its caller alone.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let (media_type, body) = match &self.body {
            Content::Empty => (None, Bytes::new()),
            Content::Text(media_type, text) => (Some(media_type), Bytes::from(text.text(scope))),
            Content::Json(media_type, json) => {
                (Some(media_type), Bytes::from(json.render(scope).to_string()))
            }
        };
        if let Some(media_type) = media_type {
            headers.insert(header::CONTENT_TYPE, media_type.clone());
        }
        for (name, value) in &self.headers {
            let text = match value.render(scope) {
                Value::Null => continue,
                _ => value.text(scope),
            };
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
        *response.body_mut() = Full::new(body);
        response
    }
}

impl Answers {
    /// What is answered for `failure`.
    pub fn answer(&self, failure: Failure) -> &Answer {
        self.by_failure.get(&failure).unwrap_or(&self.last)
    }
}

impl Voice {
    /// What is answered for `refusal`; none leaves it to the gateway.
    pub fn answer(&self, refusal: Refusal) -> Option<&Answer> {
        self.by_refusal.get(&refusal).map(|answer| &**answer)
    }
}
