//! From a call as data to its rules: where it is found, who may make it, what it reads.
//!
//! The one table of which call reads which fields stands at the end.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::call::BodyRule;
use super::call::CallMatch;
use super::call::Caller;
use super::compile;
use super::fields::Blank;
use super::fields::FieldRule;
use super::fields::Slot;
use super::fields::ValueKind;
use super::parts::CallParts;
use super::scope::Use;
use crate::config::At;
use crate::config::CallEntry;
use crate::config::CallKind;
use crate::config::FieldEntry;
use crate::config::Findings;
use crate::config::Place;
use crate::config::is_attribute;
use crate::json::Pointer;

pub(super) fn compile(
    kind: CallKind,
    entry: &CallEntry,
    place: Place,
    findings: &mut Findings,
) -> Option<CallParts> {
    let matches = matches(kind, &entry.matches, findings);
    let fields = fields(kind, entry, findings);
    let caller = caller(kind, entry, findings);
    if let Some(caller) = caller {
        judge_proof((kind, caller), entry, place, findings);
    }
    let body = body(entry, &fields, findings);
    let success = Answer::compile(&entry.success, Use::Success, findings);
    let answers = compile::failures(&entry.answers, findings);
    Some(CallParts {
        place,
        matches: matches?,
        caller: caller?,
        body: body?,
        fields,
        success: success?,
        answers,
    })
}

fn matches(
    kind: CallKind,
    written: &At<Vec<At<String>>>,
    findings: &mut Findings,
) -> Option<Vec<At<CallMatch>>> {
    if written.is_empty() {
        findings.error(written.place, "a call is found somewhere: `match` is empty");
        return None;
    }
    let read: Vec<_> = written.iter().map(|text| one_match(kind, text, findings)).collect();
    read.into_iter().collect()
}

fn one_match(kind: CallKind, text: &At<String>, findings: &mut Findings) -> Option<At<CallMatch>> {
    let parts = text.split_once(' ').filter(|(methods, path)| {
        let named = |method: &str| {
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        methods.split(',').all(named) && path.starts_with('/') && !path.contains(' ')
    });
    let Some((methods, path)) = parts else {
        findings
            .error(text.place, format!("`{}` is no place for a call", **text))
            .help("write `METHODS /path`, such as `POST /auth/login`; the host is the operator's");
        return None;
    };
    let names_session = path.ends_with("/{session}");
    if (kind == CallKind::EndSession) != names_session
        || path.matches('{').count() != usize::from(names_session)
    {
        findings
            .error(text.place, format!("`{path}` does not fit `{}`", kind.name()))
            .help("`/{session}` ends the path of `end_session`; other calls have no parameters");
        return None;
    }
    let value = CallMatch { methods: methods.to_owned(), path: path.to_owned() };
    Some(At { value, place: text.place })
}

fn caller(kind: CallKind, entry: &CallEntry, findings: &mut Findings) -> Option<Caller> {
    let known = callers(kind);
    let Some(written) = &entry.caller else {
        return known.first().copied();
    };
    let found = known.iter().find(|caller| caller.name() == written.value).copied();
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|caller| caller.name()).collect();
        findings
            .error(written.place, format!("`{}` cannot prove who calls here", **written))
            .help(format!("`{}` knows {}", kind.name(), names.join(", ")));
    }
    found
}

/// What proves who calls must be among what is read.
fn judge_proof(
    (kind, caller): (CallKind, Caller),
    entry: &CallEntry,
    place: Place,
    findings: &mut Findings,
) {
    for slot in proofs(kind, caller) {
        if !entry.fields.get(slot.name()).is_some_and(|field| field.required) {
            let (kind, slot) = (kind.name(), slot.name());
            findings.error(
                place,
                format!("`{kind}` needs the field `{slot}`, and needs it `required`"),
            );
        }
    }
}

fn fields(kind: CallKind, entry: &CallEntry, findings: &mut Findings) -> Vec<FieldRule> {
    let mut rules = Vec::new();
    let known = readable(kind);
    for (name, field) in &entry.fields {
        if let Some(slot) = known.iter().find(|slot| slot.name() == name) {
            rules.extend(rule(slot.clone(), field, findings));
            continue;
        }
        let names: Vec<&str> = known.iter().map(Slot::name).collect();
        findings
            .error(field.place, format!("`{}` reads no field `{name}`", kind.name()))
            .help(format!("known here: {}", names.join(", ")));
    }
    rules.extend(attributes(kind, &entry.attributes, findings));
    rules
}

fn attributes(
    kind: CallKind,
    written: &BTreeMap<String, At<FieldEntry>>,
    findings: &mut Findings,
) -> Vec<FieldRule> {
    let mut rules = Vec::new();
    let may = matches!(kind, CallKind::Register | CallKind::Update);
    for (name, field) in written {
        if !may {
            findings
                .error(field.place, format!("`{}` changes no attributes", kind.name()))
                .help("`register` and `update` do");
        } else if is_attribute(name) {
            rules.extend(rule(Slot::Attribute(name.clone()), field, findings));
        } else {
            findings.error(field.place, format!("`{name}` cannot be the name of an attribute"));
        }
    }
    rules
}

fn rule(slot: Slot, field: &At<FieldEntry>, findings: &mut Findings) -> Option<FieldRule> {
    let pointer = pointer(&field.at, findings);
    let kind = value_kind(&slot, &field.kind, findings);
    let blank = blank(&slot, field, findings);
    let (least, most) = slot.bounds();
    let min = field.min.as_ref().map_or(least, |min| min.value);
    let max = field.max.as_ref().map_or(most, |max| max.value);
    if min < least || max > most || min > max {
        findings
            .error(field.place, format!("the bounds of `{}` are out of bounds", slot.name()))
            .help(format!("`min` and `max` may be {least} to {most}"));
    }
    let pointer = pointer?;
    let name = pointer.names().last().unwrap_or_default().to_owned();
    let is_required = field.required;
    let is_unique = unique(&slot, field, findings);
    let (kind, blank) = (kind?, blank?);
    Some(FieldRule { slot, pointer, name, kind, is_required, is_unique, min, max, blank })
}

fn value_kind(slot: &Slot, written: &At<String>, findings: &mut Findings) -> Option<ValueKind> {
    let known: &[(&str, ValueKind)] = match slot {
        Slot::Ttl => &[("integer", ValueKind::Integer)],
        Slot::Everywhere => &[("boolean", ValueKind::Boolean)],
        Slot::Attribute(_) => &[
            ("string", ValueKind::Text),
            ("integer", ValueKind::Integer),
            ("boolean", ValueKind::Boolean),
            ("any", ValueKind::Any),
        ],
        _ => &[("string", ValueKind::Text)],
    };
    let found = known.iter().find(|(name, _)| *name == written.value).map(|(_, kind)| *kind);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        findings
            .error(written.place, format!("`{}` cannot be the type of this", **written))
            .help(format!("known here: {}", names.join(", ")));
    }
    found
}

fn blank(slot: &Slot, field: &FieldEntry, findings: &mut Findings) -> Option<Blank> {
    let Some(written) = &field.blank else { return Some(Blank::Refuse) };
    match (written.value.as_str(), slot) {
        ("refuse", _) => Some(Blank::Refuse),
        ("accept", _) => Some(Blank::Accept),
        ("remove", Slot::Attribute(_)) => Some(Blank::Remove),
        _ => {
            findings
                .error(written.place, format!("`{}` is nothing that `blank` can mean", **written))
                .help("known are `refuse`, `accept` and, for attributes, `remove`");
            None
        }
    }
}

fn unique(slot: &Slot, field: &At<FieldEntry>, findings: &mut Findings) -> bool {
    let is_text = matches!(slot, Slot::Attribute(_)) && field.kind.value == "string";
    if field.unique && !is_text {
        findings
            .error(field.place, format!("`{}` cannot be `unique`", slot.name()))
            .help("attributes of the type `string` can; no two users have the same login anyway");
    }
    field.unique
}

pub(super) fn pointer(text: &At<String>, findings: &mut Findings) -> Option<Pointer> {
    Pointer::parse(text)
        .map_err(|error| findings.error(text.place, format!("`{}`: {error}", **text)))
        .ok()
}

fn body(entry: &CallEntry, fields: &[FieldRule], findings: &mut Findings) -> Option<BodyRule> {
    let must = fields.iter().any(|field| field.is_required);
    let Some(body) = &entry.body else {
        return Some(BodyRule { is_required: must, types: vec![JSON.to_owned()] });
    };
    if fields.is_empty() {
        findings.error(body.place, "a call that reads no field has no body to speak of");
        return None;
    }
    let is_required = body.required.unwrap_or(must);
    if must && !is_required {
        findings.error(body.place, "a body with a required field is required");
    }
    let types = body.types.as_ref();
    let types = types.map_or_else(|| vec![JSON.to_owned()], |types| types.0.clone());
    let types: Vec<String> = types.iter().map(|text| text.to_ascii_lowercase()).collect();
    if types.is_empty() || types.iter().any(|text| !text.contains('/') || text.contains(';')) {
        findings.error(body.place, "`types` are media types without parameters");
        return None;
    }
    Some(BodyRule { is_required, types })
}

const JSON: &str = "application/json";

impl Slot {
    /// The name among the fields of a preset.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Login => "login",
            Self::Password => "password",
            Self::NewPassword => "new_password",
            Self::Ttl => "ttl",
            Self::RefreshToken => "refresh_token",
            Self::Challenge => "challenge",
            Self::Code => "code",
            Self::Everywhere => "everywhere",
            Self::Attribute(name) => name,
        }
    }

    /// The bounds within which a preset may set its own: seconds, or bytes of a text.
    const fn bounds(&self) -> (u64, u64) {
        match self {
            Self::Ttl => (1, 400 * 86_400),
            Self::Login => (0, 1024),
            // A long password is hashed at the price of a short one, but read and kept meanwhile.
            Self::Password | Self::NewPassword => (0, 1024),
            Self::RefreshToken | Self::Challenge => (0, 512),
            Self::Code => (0, 64),
            Self::Everywhere => (0, 0),
            Self::Attribute(_) => (0, 4096),
        }
    }
}

impl Caller {
    const fn name(self) -> &'static str {
        match self {
            Self::Fields => "fields",
            Self::Basic => "basic",
            Self::Token => "token",
            Self::Anyone => "anyone",
        }
    }
}

/// What can prove who makes a call; the first holds unless another is written.
const fn callers(kind: CallKind) -> &'static [Caller] {
    match kind {
        CallKind::Login => &[Caller::Fields, Caller::Basic],
        CallKind::Refresh => &[Caller::Fields, Caller::Token],
        CallKind::Logout => &[Caller::Token, Caller::Fields],
        CallKind::Register | CallKind::KeySet => &[Caller::Anyone],
        CallKind::Current | CallKind::Update | CallKind::Sessions => &[Caller::Token],
        CallKind::EndSession | CallKind::EndSessions => &[Caller::Token],
        CallKind::TotpEnrol | CallKind::TotpConfirm | CallKind::TotpRemove => &[Caller::Token],
        CallKind::Password => &[Caller::Token, Caller::Fields, Caller::Basic],
        CallKind::PasswordReplace | CallKind::PasswordAdd | CallKind::PasswordRemove => {
            &[Caller::Fields, Caller::Basic]
        }
    }
}

/// The fields that a call may read.
const fn readable(kind: CallKind) -> &'static [Slot] {
    match kind {
        CallKind::Login => &[Slot::Login, Slot::Password, Slot::Ttl, Slot::Challenge, Slot::Code],
        CallKind::Refresh => &[Slot::RefreshToken, Slot::Ttl],
        CallKind::Logout => &[Slot::RefreshToken, Slot::Everywhere],
        CallKind::Register => &[Slot::Login, Slot::Password, Slot::Ttl],
        CallKind::Update => &[Slot::Login, Slot::NewPassword],
        CallKind::Password | CallKind::PasswordReplace | CallKind::PasswordAdd => {
            &[Slot::Login, Slot::Password, Slot::NewPassword, Slot::Challenge, Slot::Code]
        }
        CallKind::PasswordRemove => &[Slot::Login, Slot::Password, Slot::Challenge, Slot::Code],
        CallKind::TotpEnrol => &[Slot::Password],
        CallKind::TotpConfirm => &[Slot::Code],
        CallKind::TotpRemove => &[Slot::Password, Slot::Code],
        CallKind::Current | CallKind::Sessions | CallKind::KeySet => &[],
        CallKind::EndSession | CallKind::EndSessions => &[],
    }
}

/// The fields without which a call cannot tell who makes it, or what to do.
const fn proofs(kind: CallKind, caller: Caller) -> &'static [Slot] {
    match (kind, caller) {
        (CallKind::Login, Caller::Fields) | (CallKind::Register, _) => {
            &[Slot::Login, Slot::Password]
        }
        (CallKind::Refresh | CallKind::Logout, Caller::Fields) => &[Slot::RefreshToken],
        (CallKind::Password, Caller::Token) => &[Slot::Password, Slot::NewPassword],
        (
            CallKind::Password | CallKind::PasswordReplace | CallKind::PasswordAdd,
            Caller::Fields,
        ) => &[Slot::Login, Slot::Password, Slot::NewPassword],
        (
            CallKind::Password | CallKind::PasswordReplace | CallKind::PasswordAdd,
            Caller::Basic | Caller::Token | Caller::Anyone,
        ) => &[Slot::NewPassword],
        (CallKind::PasswordRemove, Caller::Fields) => &[Slot::Login, Slot::Password],
        (CallKind::TotpConfirm, _) => &[Slot::Code],
        _ => &[],
    }
}
