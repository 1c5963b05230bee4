//! From a preset as data to its parts: every value judged, every finding at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;

use super::ClientHeaders;
use super::Lockout;
use super::RefreshTerms;
use super::answer::Answer;
use super::answer::Content;
use super::parts::Parts;
use super::parts::TokenParts;
use super::parts::Typ;
use super::rules;
use super::scope::Use;
use super::second_factor::SecondFactor;
use super::template::Template;
use crate::config::ALGORITHMS;
use crate::config::AnswerEntry;
use crate::config::At;
use crate::config::CallChoice;
use crate::config::CallKind;
use crate::config::Failure;
use crate::config::Findings;
use crate::config::GenerationEntry;
use crate::config::Length;
use crate::config::Preset;
use crate::config::Refusal;
use crate::config::TokenEntry;
use crate::json::Pointer;

impl Parts {
    /// What a preset itself says, without what it extends and without its generations.
    pub(super) fn of_preset(preset: &Preset, findings: &mut Findings) -> Self {
        let mut parts = Self::of_lists(
            &preset.token,
            &preset.calls,
            (&preset.answers, &preset.refusals),
            findings,
        );
        parts.client = preset.client.as_ref().and_then(|client| {
            let address = header(&client.address, findings);
            let agent = header(&client.agent, findings);
            Some(ClientHeaders { address: address?, agent: agent?, is_required: client.required })
        });
        parts.second_factor = preset.second_factor.as_ref().and_then(|entry| {
            let (challenge, code) = (entry.challenge.value.clone(), entry.code.value.clone());
            if challenge.is_empty() || code.is_empty() || challenge == code {
                findings.error(entry.place, "`challenge` and `code` are two members with names");
                return None;
            }
            Some(SecondFactor { challenge, code })
        });
        parts.lockout = preset.lockout.as_ref().map(|lockout| Lockout {
            failures: lockout.failures.value,
            window: length(&lockout.window, "window", findings),
            lock: length(&lockout.lock, "lock", findings),
        });
        parts.refresh = preset.refresh.as_ref().map(|refresh| {
            let grace = refresh.grace.as_ref();
            let terms = RefreshTerms {
                idle: length(&refresh.idle, "idle", findings),
                absolute: length(&refresh.absolute, "absolute", findings),
                grace: grace.map_or(DEFAULT_GRACE, |grace| grace.value.0),
                is_for_any: refresh.any,
            };
            if let Some(grace) = grace.filter(|grace| grace.value.0 > MAX_GRACE) {
                findings
                    .error(grace.place, "`grace` is longer than a lost answer needs")
                    .help(format!("it may be up to {}s", MAX_GRACE.as_secs()));
            }
            if terms.idle > terms.absolute {
                findings.error(refresh.idle.place, "`idle` is longer than `absolute`");
            }
            terms
        });
        parts
    }

    /// What a generation says.
    pub(super) fn of_generation(entry: &GenerationEntry, findings: &mut Findings) -> Self {
        Self::of_lists(&entry.token, &entry.calls, (&entry.answers, &entry.refusals), findings)
    }

    fn of_lists(
        token: &TokenEntry,
        calls: &BTreeMap<CallKind, At<CallChoice>>,
        (answers, refusals): (&Written<Failure>, &Written<Refusal>),
        findings: &mut Findings,
    ) -> Self {
        let token = TokenParts::compile(token, findings);
        let mut parts = Self { token, ..Self::default() };
        for (kind, call) in calls {
            match &call.value {
                CallChoice::LeftOut => {
                    parts.left_out.insert(*kind);
                }
                CallChoice::Call(entry) => {
                    let compiled = rules::compile(*kind, entry, call.place, findings);
                    parts.calls.extend(compiled.map(|compiled| (*kind, compiled)));
                }
            }
        }
        let answers = failures(answers, findings);
        let refusals = refusals
            .iter()
            .filter_map(|(refusal, answer)| {
                let answer = Answer::compile(answer, Use::Answer, findings)?;
                Some((*refusal, Arc::new(answer)))
            })
            .collect();
        Self { answers, refusals, ..parts }
    }
}

/// Answers as they were written, by what they answer.
type Written<Reason> = BTreeMap<Reason, At<AnswerEntry>>;

/// What a list of failures is answered with.
pub(super) fn failures(
    written: &Written<Failure>,
    findings: &mut Findings,
) -> BTreeMap<Failure, Arc<Answer>> {
    let compiled = written.iter().filter_map(|(failure, answer)| {
        let answer = Answer::compile(answer, Use::Answer, findings)?;
        Some((*failure, Arc::new(answer)))
    });
    compiled.collect()
}

impl Answer {
    pub(super) fn compile(
        entry: &At<AnswerEntry>,
        usage: Use,
        findings: &mut Findings,
    ) -> Option<Self> {
        let status = status(&entry.status, usage, findings);
        let headers: Vec<_> = entry
            .headers
            .iter()
            .map(|(name, value)| {
                let text = Template::compile_text(value, usage, findings);
                answer_header(name, value, findings).zip(text)
            })
            .collect();
        let body = Content::compile(entry, usage, findings);
        let headers = headers.into_iter().collect::<Option<_>>();
        Some(Self { status: status?, headers: headers?, body: body? })
    }
}

impl Content {
    fn compile(entry: &At<AnswerEntry>, usage: Use, findings: &mut Findings) -> Option<Self> {
        let written = entry.media_type.as_ref();
        let media_type = |usual: &'static str, findings: &mut Findings| match written {
            None => Some(HeaderValue::from_static(usual)),
            Some(text) => HeaderValue::try_from(text.value.as_str())
                .ok()
                .filter(|_| text.value.contains('/'))
                .or_else(|| {
                    findings.error(text.place, format!("`{}` is no media type", **text));
                    None
                }),
        };
        match (&entry.body, &entry.text) {
            (None, None) => {
                if let Some(text) = written {
                    findings.error(text.place, "an answer without a body has no type");
                }
                Some(Self::Empty)
            }
            (Some(body), None) => {
                let media_type = media_type("application/json", findings);
                let body = Template::compile(body, usage, findings);
                Some(Self::Json(media_type?, body?))
            }
            (None, Some(text)) => {
                let media_type = media_type("text/plain; charset=utf-8", findings);
                let text = Template::compile_text(text, usage, findings);
                Some(Self::Text(media_type?, text?))
            }
            (Some(_), Some(text)) => {
                findings.error(text.place, "an answer has either `body` or `text`");
                None
            }
        }
    }
}

/// A refusal that looks like a success would be taken for one, whatever its body says.
fn status(written: &At<u16>, usage: Use, findings: &mut Findings) -> Option<StatusCode> {
    let (range, words) = match usage {
        Use::Success => (200..=299, "200 to 299"),
        Use::Claims | Use::Answer => (400..=599, "400 to 599"),
    };
    let status = StatusCode::from_u16(written.value).ok();
    let status = status.filter(|status| range.contains(&status.as_u16()));
    if status.is_none() {
        findings
            .error(written.place, format!("`status` is {}, which is out of bounds", **written))
            .help(format!("here it may be {words}"));
    }
    status
}

fn answer_header(name: &str, value: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    let parsed = HeaderName::try_from(name).ok();
    let parsed = parsed.filter(|header| !RESERVED.contains(&header.as_str()));
    if parsed.is_none() {
        findings
            .error(value.place, format!("`{name}` is no header that an answer can set"))
            .help("framing is the gateway's, and the media type is written as `type`");
    }
    parsed
}

/// Headers that are written elsewhere.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header(name: &At<String>, findings: &mut Findings) -> Option<HeaderName> {
    let parsed = HeaderName::try_from(name.value.as_str()).ok();
    if parsed.is_none() {
        findings.error(name.place, format!("`{}` is not the name of a header", **name));
    }
    parsed
}

fn length(written: &At<Length>, name: &str, findings: &mut Findings) -> Duration {
    let length = written.value.0;
    if !(SHORTEST..=LONGEST).contains(&length) {
        findings
            .error(written.place, format!("`{name}` is out of bounds"))
            .help("it may be 1s to 3650d");
    }
    length
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(24 * 3650);
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
const MAX_GRACE: Duration = Duration::from_mins(5);

impl TokenParts {
    fn compile(entry: &TokenEntry, findings: &mut Findings) -> Self {
        let algorithm = entry.algorithm.as_ref().and_then(|name| {
            if ALGORITHMS.contains(&name.value.as_str()) {
                return Some(name.value.clone());
            }
            findings
                .error(name.place, format!("`{}` is not a known algorithm", **name))
                .help(format!("known are {}", ALGORITHMS.join(", ")));
            None
        });
        let typ = entry.typ.as_ref().map(|typ| match typ.value.as_str() {
            "none" => Typ::Absent,
            text => Typ::Present(text.to_owned()),
        });
        let claims = entry.claims.as_ref().and_then(|tree| {
            let claims = Template::compile(tree, Use::Claims, findings)?;
            if !claims.is_map() {
                findings.error(tree.place, "claims are a map of names and values");
                return None;
            }
            Some(At { value: claims, place: tree.place })
        });
        let identity = entry.identity.as_ref().and_then(|text| {
            let value = rules::pointer(text, findings)?;
            Some(At::<Pointer> { value, place: text.place })
        });
        let schemes = entry.schemes.as_ref().and_then(|schemes| {
            if schemes.is_empty() {
                findings.error(schemes.place, "a token is carried under at least one scheme");
            }
            schemes.iter().map(|scheme| self::scheme(scheme, findings)).collect()
        });
        let lifetime =
            entry.lifetime.as_ref().map(|length| self::length(length, "lifetime", findings));
        Self { algorithm, typ, lifetime, claims, identity, schemes }
    }
}

fn scheme(written: &At<String>, findings: &mut Findings) -> Option<String> {
    // The grammar of a scheme is that of a header's name (RFC 9110 §11.1).
    if HeaderName::try_from(written.value.as_str()).is_err() {
        findings.error(written.place, format!("`{}` is no scheme", **written));
        return None;
    }
    Some(written.value.clone())
}
