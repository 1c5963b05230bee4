//! The worker's half: a request is read whole and judged for its form before anything else sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Response;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time;

use super::told;
use crate::credentials::read_basic;
use crate::dialect::Call;
use crate::dialect::Caller;
use crate::dialect::Failure;
use crate::dialect::Fields;
use crate::dialect::Name;
use crate::dialect::ReadError;
use crate::dialect::Scope;
use crate::dialect::single;
use crate::gateway::Denial;
use crate::gateway::Door;
use crate::gateway::Entry;
use crate::gateway::Voice;
use crate::id::AppId;
use crate::message::Body;
use crate::message::RequestId;
use crate::principal::Own;
use crate::secret::Secret;
use crate::telemetry::Metrics;
use crate::upstream::BodyFault;
use crate::upstream::RequestBody;

/// Where a worker hands calls over; cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    calls: mpsc::Sender<Asked>,
    metrics: Metrics,
}

/// A call that was read, on its way to the clerk.
#[derive(Debug)]
pub struct Asked {
    pub(super) door: Arc<Door>,
    pub(super) fields: Fields,
    /// By whom, as far as an application key told.
    pub(super) app: Option<AppId>,
    /// The token that the caller brought.
    pub(super) own: Option<Own>,
    pub(super) address: IpAddr,
    pub(super) agent: String,
    /// The last segment of the path, for calls that name something there.
    pub(super) last_segment: String,
    pub(super) id: RequestId,
    pub(super) reply: oneshot::Sender<Response<Body>>,
}

/// Who an application says is at the other end.
struct Client {
    address: IpAddr,
    agent: String,
}

impl Desk {
    /// A desk, and where its calls come out.
    pub fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Asked>) {
        let (calls, asked) = mpsc::channel(MOST_CALLS);
        (Self { calls, metrics }, asked)
    }

    /// Answers one call. Whatever happens, an answer comes back.
    pub async fn answer(
        self,
        entry: Entry,
        parts: Parts,
        body: RequestBody,
        id: RequestId,
    ) -> Response<Body> {
        let door = Arc::clone(entry.door());
        let metrics = self.metrics.clone();
        match self.ask(entry, parts, body, id).await {
            Ok(response) => response,
            // The clerk, who tells of every call, never saw these.
            Err(Refused::Call(error)) => {
                told::count(&door, Some(error.failure), &metrics);
                refuse(&door, &error, &id)
            }
            Err(Refused::Body(fault)) => {
                if fault == BodyFault::TooLarge {
                    told::count(&door, Some(Failure::TooLarge), &metrics);
                }
                let denial = match fault {
                    BodyFault::TooLarge => Denial::BodyTooLarge,
                    BodyFault::TooSlow => Denial::BodyTimeout,
                    BodyFault::Broken => Denial::BodyBroken,
                };
                Voice::Door(door).respond(&denial, &id)
            }
        }
    }

    async fn ask(
        self,
        entry: Entry,
        parts: Parts,
        body: RequestBody,
        id: RequestId,
    ) -> Result<Response<Body>, Refused> {
        let door = Arc::clone(entry.door());
        let call = door.call().ok_or(Failure::Unavailable)?;
        let app = entry.principal().app.as_ref().map(|app| app.id.clone());
        let client = client(&door, &parts.headers, app.is_some(), entry.peer())?;
        let body = body.collect().await.map_err(Refused::Body)?.to_bytes();
        let fields = read(call, &parts.headers, &body)?;
        let own = entry.principal().user.as_ref().and_then(|user| user.own.clone());
        let last_segment = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            door: Arc::clone(&door),
            fields,
            app,
            own,
            address: client.address,
            agent: client.agent,
            last_segment,
            id,
            reply,
        };
        // At once: a queue that is full answers sooner than one that is waited for.
        self.calls.try_send(asked).map_err(|_| Failure::Busy)?;
        match time::timeout(PATIENCE, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) | Err(_) => Err(Failure::Unavailable.into()),
        }
    }
}

/// Why a call goes no further than the desk.
enum Refused {
    Call(ReadError),
    Body(BodyFault),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Call(failure.into())
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self::Call(error)
    }
}

fn refuse(door: &Door, error: &ReadError, id: &RequestId) -> Response<Body> {
    let answers = door.call().map_or(&door.service.dialect.answers, |call| &call.answers);
    let mut scope = Scope::new().with(Name::RequestId, id.uuid());
    if let Some(field) = &error.field {
        scope = scope.with(Name::Field, field.as_str());
    }
    if error.failure == Failure::Busy {
        scope = scope.with(Name::RetryAfter, BUSY_FOR.as_secs());
    }
    answers.answer(error.failure).respond(&scope)
}

/// The values of the body, and name and password where they come as HTTP Basic: the form of all of it
/// is judged before any of it is believed.
fn read(call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<Fields, ReadError> {
    // Two types are two readings; a body that is coded is of another type than it says.
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
    let content_type = single(headers, &header::CONTENT_TYPE).filter(|_| is_plain);
    let content_type = content_type.map(str::as_bytes);
    let mut fields = call.read(content_type, body)?;
    if call.caller == Caller::Basic {
        let (login, password) = basic(headers).ok_or(Failure::MissingCredentials)?;
        fields.login = Some(login);
        fields.password = Some(password);
    }
    Ok(fields)
}

/// Name and password of the one `Authorization`.
fn basic(headers: &HeaderMap) -> Option<(String, Secret<String>)> {
    let (scheme, rest) = single(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    read_basic(rest.trim_matches(' '))
}

/// The client: told by an application where its dialect has headers for that, else as it connected.
fn client(
    door: &Door,
    headers: &HeaderMap,
    has_app: bool,
    peer: IpAddr,
) -> Result<Client, Failure> {
    let short = |agent: &str| agent.chars().take(MOST_AGENT).collect();
    let itself = || {
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Client { address: peer, agent: agent.map(short).unwrap_or_default() }
    };
    // Somebody without a key could tell any address, and so be limited as somebody else.
    let Some(told) = door.service.dialect.client.as_ref().filter(|_| has_app) else {
        return Ok(itself());
    };
    if !told.is_required && !headers.contains_key(&told.address) {
        return Ok(itself());
    }
    let (address, agent) = told.read(headers).ok_or(Failure::BadClient)?;
    Ok(Client { address, agent: short(agent) })
}

/// Calls on their way to the clerk; beyond them an answer comes at once.
const MOST_CALLS: usize = 256;
/// How long a call may take, waiting for its hash included.
const PATIENCE: Duration = Duration::from_secs(15);
/// When it is worth trying again.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// Characters kept of what a program calls itself.
const MOST_AGENT: usize = 256;
