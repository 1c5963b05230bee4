//! The answer on its way to the client, and the record that is closed when it ends.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};

use super::Proxy;
use super::Steps;
use super::crossing::Crossing;
use super::headers;
use super::tenure::Tenure;
use crate::clock::Timestamp;
use crate::gateway::Denial;
use crate::gateway::Route;
use crate::gateway::SocketOnly;
use crate::gateway::Trail;
use crate::id::Digest;
use crate::message;
use crate::message::RequestId;
use crate::telemetry::AccessLog;
use crate::telemetry::RouteMetrics;
use crate::telemetry::access::Line;
use crate::upstream::AnswerFault;
use crate::upstream::ResponseBody;

/// The body of an answer, whoever wrote it.
#[derive(Debug)]
pub struct Answer {
    content: Content,
    /// While the caller has to be judged again.
    tenure: Option<Tenure>,
    pieces: u32,
    /// None where a tunnel has it.
    record: Option<Record>,
}

#[derive(Debug)]
enum Content {
    Own(message::Body),
    Upstream(ResponseBody),
}

impl Answer {
    /// An answer of our own.
    pub(super) fn own(mut response: Response<message::Body>, mut record: Record) -> Response<Self> {
        if let Some(crossing) = &record.crossing {
            crossing.write(response.headers_mut());
        }
        record.status = response.status();
        response.map(|body| Self {
            content: Content::Own(body),
            tenure: None,
            pieces: 0,
            record: Some(record),
        })
    }

    /// An answer of our own, whose status stands elsewhere than HTTP has it.
    pub(super) fn of_status(
        status: StatusCode,
        response: Response<message::Body>,
        record: Record,
    ) -> Response<Self> {
        let mut response = Self::own(response, record);
        if let Some(record) = &mut response.body_mut().record {
            record.status = status;
        }
        response
    }

    /// An answer from an upstream.
    pub(super) fn of_upstream(
        mut response: Response<ResponseBody>,
        tenure: Option<Tenure>,
        mut record: Record,
    ) -> Response<Self> {
        if let Some(crossing) = &record.crossing {
            crossing.replace(response.headers_mut());
        }
        record.status = response.status();
        response.map(|body| Self {
            content: Content::Upstream(body),
            tenure,
            pieces: 0,
            record: Some(record),
        })
    }

    /// The head of an answer that switches protocols; what follows is the tunnel's.
    pub(super) fn switching(head: Response<()>, record: &mut Record) -> Response<Self> {
        record.status = head.status();
        head.map(|()| Self {
            content: Content::Own(message::Body::default()),
            tenure: None,
            pieces: 0,
            record: None,
        })
    }

    /// Whether the answer goes on, while its client takes nothing of it.
    pub fn stay(&mut self, cx: &mut Context<'_>) -> Result<(), AnswerFault> {
        self.extend(true, cx)
    }

    /// Whether the answer goes on. Asked while its upstream is silent and, where that never happens,
    /// now and then between two pieces.
    fn extend(&mut self, is_pending: bool, cx: &mut Context<'_>) -> Result<(), AnswerFault> {
        let (Content::Upstream(body), Some(tenure)) = (&mut self.content, &mut self.tenure) else {
            return Ok(());
        };
        self.pieces = self.pieces.wrapping_add(1);
        if !is_pending && !self.pieces.is_multiple_of(PIECES_BETWEEN) {
            return Ok(());
        }
        if !body.poll_look(cx).is_ready() {
            return Ok(());
        }
        let Err(denial) = tenure.extend() else { return Ok(()) };
        if let Some(record) = &mut self.record {
            record.cut(&denial);
        }
        // The connection to the upstream is closed here and now.
        self.content = Content::Own(message::Body::default());
        self.tenure = None;
        Err(AnswerFault::Revoked)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let this = &mut *self;
        let mut piece = match &mut this.content {
            Content::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|piece| piece.map(|frame| frame.map_err(|never| match never {}))),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let Err(fault) = this.extend(piece.is_pending(), cx) {
            return Poll::Ready(Some(Err(fault)));
        }
        let Some(record) = &mut this.record else { return piece };
        match &mut piece {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    record.body_bytes += u64::try_from(data.len()).unwrap_or(0);
                } else if let Some(trailers) = frame.trailers_mut() {
                    headers::forward_trailers(trailers);
                }
            }
            Poll::Ready(None) => record.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        piece
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(body) => body.is_end_stream(),
            Content::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(body) => body.size_hint(),
            Content::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let is_whole = self.is_end_stream();
        if let Some(record) = &mut self.record {
            record.is_whole |= is_whole;
        }
    }
}

/// What a client would take a success for, which decides how it is told that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What HTTP says.
    Answer,
    /// The answer to a call of gRPC, of which only trailers tell anything.
    Call,
    /// A tunnel, whatever else the answer says (RFC 8441 §5).
    Socket,
}

impl Wanted {
    fn by(parts: &Parts) -> Self {
        if parts.version != Version::HTTP_2 {
            return Self::Answer;
        }
        match parts.method {
            Method::POST if headers::is_grpc(&parts.headers) => Self::Call,
            Method::GET if SocketOnly::is_beside(parts) => Self::Socket,
            _ => Self::Answer,
        }
    }
}

/// What is known about a request; counted and logged exactly once, when it is dropped: at the end of
/// the answer, or when the client goes away before it.
#[derive(Debug)]
pub(super) struct Record {
    id: RequestId,
    method: Method,
    pub(super) wants: Wanted,
    route: (Option<Arc<Route>>, Option<Arc<RouteMetrics>>),
    crossing: Option<Box<Crossing>>,
    arrived: Instant,
    status: StatusCode,
    body_bytes: u64,
    is_whole: bool,
    is_revoked: bool,
    told: Option<Box<Told>>,
}

/// What only the access line tells.
#[derive(Debug)]
struct Told {
    access: AccessLog,
    time: Timestamp,
    host: String,
    path: String,
    query: Option<String>,
    protocol: &'static str,
    app: Option<String>,
    subject: Option<String>,
    client: IpAddr,
    reason: Option<&'static str>,
    detail: Option<String>,
    steps: Steps,
}

impl Record {
    pub(super) fn new(
        id: RequestId,
        parts: &Parts,
        route: (Option<Arc<Route>>, Option<Arc<RouteMetrics>>),
        (arrived, crossing): (Instant, Option<Box<Crossing>>),
    ) -> Self {
        Self {
            id,
            method: parts.method.clone(),
            wants: Wanted::by(parts),
            route,
            crossing,
            arrived,
            // What the client of an answer that never began would have been told.
            status: CLIENT_GONE,
            body_bytes: 0,
            is_whole: false,
            is_revoked: false,
            told: None,
        }
    }

    pub(super) const fn id(&self) -> &RequestId {
        &self.id
    }

    /// Copies what the access line will tell; called only when there is one.
    pub(super) fn describe(&mut self, proxy: &Proxy, parts: &Parts, trail: &Trail, client: IpAddr) {
        let shows_query = proxy.live.current().access_log().query;
        let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
        let mut steps = Steps::with_capacity(8);
        steps.extend(trail.durations().iter().map(|(step, took)| (step.name(), *took)));
        self.told = Some(Box::new(Told {
            access: proxy.access.clone(),
            time: proxy.clock.now().minus(self.arrived.elapsed()),
            host: String::from_utf8_lossy(host.unwrap_or_default()).into_owned(),
            path: parts.uri.path().to_owned(),
            protocol: version_of(parts.version),
            query: parts.uri.query().filter(|_| shows_query).map(str::to_owned),
            app: trail.app.as_ref().map(|app| app.id.to_string()),
            subject: trail.user.as_ref().map(|user| Digest::of(user.identity.as_bytes()).short()),
            client,
            reason: None,
            detail: None,
            steps,
        }));
    }

    pub(super) fn deny(&mut self, denial: &Denial) {
        if let Some(told) = &mut self.told {
            told.reason = Some(denial.reason().code());
            told.detail = Some(denial.to_string());
        }
    }

    /// The answer ends before its end, because its caller may not stay.
    pub(super) fn cut(&mut self, denial: &Denial) {
        self.is_revoked = true;
        if let (Some(route), _) = &self.route {
            route.metrics.cut(denial.reason().code());
        }
        self.deny(denial);
    }

    /// How a tunnel ended.
    pub(super) const fn end(&mut self, body_bytes: u64, is_whole: bool) {
        self.body_bytes = body_bytes;
        self.is_whole = is_whole;
    }

    pub(super) fn upstream_answered(&mut self, took: Duration) {
        if let Some(told) = &mut self.told {
            told.steps.push(("upstream", took));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.arrived.elapsed();
        let (route, unmatched) = &self.route;
        let metrics = route.as_ref().map(|route| &route.metrics).or(unmatched.as_deref());
        if let Some(metrics) = metrics {
            metrics.answered(&self.method, self.status, took);
        }
        let Some(told) = self.told.take() else { return };
        told.access.write(&Line {
            time: told.time,
            request_id: self.id.to_string(),
            route: route.as_ref().map_or("", |route| route.id.as_str()),
            method: self.method.as_str(),
            host: &told.host,
            path: &told.path,
            query: told.query.as_deref(),
            protocol: told.protocol,
            status: self.status.as_u16(),
            body_bytes: self.body_bytes,
            is_cut: self.is_revoked || !self.is_whole,
            reason: told.reason,
            detail: told.detail,
            app: told.app.as_deref(),
            subject: told.subject,
            client: told.client.to_string(),
            duration: took,
            steps: &told.steps,
        });
    }
}

/// As OpenTelemetry writes it.
const fn version_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Pieces after which a fast answer asks whether it may go on.
const PIECES_BETWEEN: u32 = 8;
/// nginx's code for a client that went away before its answer; only for logs and metrics.
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(code) => code,
    Err(_) => StatusCode::BAD_REQUEST,
};
