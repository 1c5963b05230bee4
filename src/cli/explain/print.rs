//! How an explanation looks: lines for people, JSON for programs; credentials as `[secret]`.

use std::io;
use std::io::Write;

use http::HeaderMap;
use http::HeaderName;
use http::header;
use http::request::Parts;
use serde_json::Value;
use serde_json::json;

use crate::config::Carrier;
use crate::config::CheckSettings;
use crate::config::Settings;
use crate::config::TokenSettings;
use crate::gateway::Decision;
use crate::gateway::Denial;
use crate::gateway::Pass;
use crate::gateway::Sealed;
use crate::inquiry::Peer;
use crate::server::Asked;
use crate::server::Judged;

/// Everything there is to tell about one request.
#[derive(Debug)]
pub(super) struct Telling {
    /// What was asked, in one line; absent when it could not be read.
    request: Option<String>,
    route: Option<String>,
    /// The name of a step and what came of it.
    steps: Vec<(&'static str, String)>,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Unread { status: u16 },
    Denied(Box<Denied>),
    Entered(String),
    Preflight,
    Pending(String),
    Allowed(Box<Allowed>),
}

#[derive(Debug)]
struct Denied {
    status: u16,
    reason: &'static str,
    title: &'static str,
    detail: String,
    challenge: Option<String>,
}

#[derive(Debug)]
struct Allowed {
    upstream: String,
    address: String,
    request: String,
    headers: Vec<(String, String)>,
}

impl Telling {
    pub(super) fn of(asked: Asked, settings: &Settings) -> Self {
        match asked {
            Asked::Unread(status) => Self {
                request: None,
                route: None,
                steps: Vec::new(),
                verdict: Verdict::Unread { status: status.as_u16() },
            },
            Asked::Judged(judged) => Self::of_judged(*judged, &Masks::of(settings)),
        }
    }

    fn of_judged(judged: Judged, masks: &Masks) -> Self {
        let Judged { parts, peer, trail, decision } = judged;
        let request = masks.request_line(&parts);
        let host = parts.headers.get(header::HOST).map(|host| lossy(host.as_bytes()));
        let host = host.map(|host| format!(", host {host}")).unwrap_or_default();
        let notes = trail.notes().iter();
        Self {
            request: Some(format!("{request}{host}, from {}", peer.client)),
            route: trail.route.as_ref().map(|route| route.id.to_string()),
            steps: notes.map(|(step, text)| (step.name(), text.clone())).collect(),
            verdict: match decision {
                Decision::Allow(pass) => {
                    Verdict::Allowed(Box::new(Allowed::of(pass, parts, &peer, masks)))
                }
                Decision::Confirm(pending) => {
                    Verdict::Pending(pending.route().target.name().to_owned())
                }
                Decision::Enter(entry) => Verdict::Entered(entry.door().service.name.clone()),
                Decision::Preflight(_) => Verdict::Preflight,
                Decision::Deny(denial) => Verdict::Denied(Box::new(Denied::of(&denial))),
            },
        }
    }

    pub(super) const fn is_allowed(&self) -> bool {
        match self.verdict {
            Verdict::Allowed(_) | Verdict::Entered(_) | Verdict::Preflight => true,
            Verdict::Pending(_) | Verdict::Denied(_) | Verdict::Unread { .. } => false,
        }
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut say = |name: &str, text: &str| writeln!(out, "{name:<10} {text}");
        if let Some(request) = &self.request {
            say("request", request)?;
        }
        for (step, text) in &self.steps {
            say(step, text)?;
        }
        match &self.verdict {
            Verdict::Unread { status } => {
                say("decision", &format!("refused: {status}, this cannot be read as HTTP"))?;
                say("", "the listener answers without a document, and nothing is judged")
            }
            Verdict::Denied(denied) => {
                let Denied { status, reason, title, detail, challenge } = &**denied;
                say("decision", &format!("refused: {status} {reason}"))?;
                say("why", detail)?;
                say("answer", title)?;
                challenge
                    .iter()
                    .try_for_each(|challenge| say("", &format!("www-authenticate: {challenge}")))
            }
            Verdict::Pending(upstream) => say(
                "decision",
                &format!("allowed, to upstream `{upstream}`, once the user showed a second factor"),
            ),
            Verdict::Preflight => {
                say("decision", "allowed: the gateway answers the preflight itself")
            }
            Verdict::Entered(service) => {
                say("decision", &format!("allowed, to the login service `{service}`"))
            }
            Verdict::Allowed(allowed) => {
                let Allowed { upstream, address, request, headers } = &**allowed;
                say("decision", &format!("allowed, to upstream `{upstream}` at {address}"))?;
                say("sends", request)?;
                headers.iter().try_for_each(|(name, value)| say("", &format!("{name}: {value}")))
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let steps = self.steps.iter();
        let mut told = json!({
            "allowed": self.is_allowed(),
            "request": self.request,
            "route": self.route,
            "steps": steps
                .map(|(step, text)| json!({"step": step, "text": text}))
                .collect::<Vec<_>>(),
        });
        let (name, verdict) = match &self.verdict {
            Verdict::Unread { status } => (
                "denial",
                json!({"status": status, "reason": null, "title": null,
                    "detail": "this cannot be read as HTTP", "challenge": null}),
            ),
            Verdict::Denied(denied) => {
                let Denied { status, reason, title, detail, challenge } = &**denied;
                (
                    "denial",
                    json!({"status": status, "reason": reason, "title": title,
                    "detail": detail, "challenge": challenge}),
                )
            }
            Verdict::Pending(upstream) => ("second_factor", json!({"upstream": upstream})),
            Verdict::Preflight => ("preflight", json!({})),
            Verdict::Entered(service) => ("login", json!({"name": service})),
            Verdict::Allowed(allowed) => {
                let Allowed { upstream, address, request, headers } = &**allowed;
                (
                    "upstream",
                    json!({"name": upstream, "address": address, "request": request,
                    "headers": headers}),
                )
            }
        };
        if let Some(members) = told.as_object_mut() {
            members.insert(name.to_owned(), verdict);
        }
        told
    }
}

impl Denied {
    fn of(denial: &Denial) -> Self {
        let reason = denial.reason();
        Self {
            status: reason.status().as_u16(),
            reason: reason.code(),
            title: reason.title(),
            detail: denial.to_string(),
            challenge: denial.challenge().map(|challenge| lossy(challenge.as_bytes())),
        }
    }
}

impl Allowed {
    fn of(mut pass: Pass, mut parts: Parts, peer: &Peer, masks: &Masks) -> Self {
        crate::proxy::prepare(&mut parts, peer, &mut pass);
        let Sealed { mut parts, ours, destination, client: _, opens_websocket: _ } =
            pass.seal(parts);
        parts.headers.extend(ours.into_iter().map(|(name, value)| (Some(name), value)));
        Self {
            upstream: destination.name.to_string(),
            address: destination.pool.to_string(),
            request: masks.request_line(&parts),
            headers: masks.headers(&parts.headers),
        }
    }
}

/// Where credentials stand, so that none is shown.
struct Masks {
    headers: Vec<HeaderName>,
    parameters: Vec<String>,
}

impl Masks {
    fn of(settings: &Settings) -> Self {
        let usual = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
        let mut masks = Self { headers: usual.to_vec(), parameters: Vec::new() };
        for check in settings.checks.values() {
            match check {
                CheckSettings::AppKey(app) => match &app.carrier {
                    Carrier::Header(name) | Carrier::Pair { secret: name, .. } => {
                        masks.headers.push(name.clone());
                    }
                    Carrier::Query(name) => masks.parameters.push(name.clone()),
                    Carrier::Cookie(_) => {}
                },
                CheckSettings::Jwt(entries) => {
                    masks
                        .headers
                        .extend(entries.iter().filter_map(|entry| entry.header().cloned()));
                    let parameters = entries.iter().filter_map(TokenSettings::query);
                    masks.parameters.extend(parameters.map(str::to_owned));
                }
                CheckSettings::Header(header) => masks.headers.push(header.name.clone()),
                CheckSettings::Basic | CheckSettings::Certificate(_) => {}
            }
        }
        masks
    }

    fn request_line(&self, parts: &Parts) -> String {
        let target = parts.uri.to_string();
        let Some((path, query)) = target.split_once('?') else {
            return format!("{} {target}", parts.method);
        };
        let pieces: Vec<String> = query.split('&').map(|piece| self.parameter(piece)).collect();
        format!("{} {path}?{}", parts.method, pieces.join("&"))
    }

    fn parameter(&self, piece: &str) -> String {
        match piece.split_once('=') {
            // An escaped name is not compared but hidden: `%6bey` may be read as `key`.
            Some((name, _)) if self.is_masked(name) || name.contains('%') => {
                format!("{name}={MASK}")
            }
            _ => piece.to_owned(),
        }
    }

    fn is_masked(&self, name: &str) -> bool {
        self.parameters.iter().any(|masked| masked.eq_ignore_ascii_case(name))
    }

    fn headers(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|(name, value)| {
                let is_masked = self.headers.contains(name);
                let value = if is_masked { MASK.to_owned() } else { lossy(value.as_bytes()) };
                (name.to_string(), value)
            })
            .collect()
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const MASK: &str = "[secret]";
