//! The login services of the demonstration: for each the documented login, a call with its token, and
//! the same call once the token has expired. What differs between them is in `logins.json`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::stage::{CUSTOMER, LOGIN, LOGIN_WITH_FACTOR, PASSWORD, Stage};
use super::tries::Try;
use super::{PATIENCE, get};
use crate::account::{Totp, open_signing_key};
use crate::clock::Timestamp;
use crate::store::{SigningKeyRecord, Store};

/// One service, as its document has it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    host: String,
    login: String,
    /// Name and password are sent as HTTP Basic.
    #[serde(default)]
    basic: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    second: Option<Second>,
    /// Where the answer has the token.
    token: String,
    scheme: String,
    /// A path that asks for the token.
    call: String,
    #[serde(default)]
    call_headers: BTreeMap<String, String>,
}

/// The members of the body that answer a challenge; the first also names it in the challenge.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Second {
    challenge: String,
    code: String,
}

/// The requests, after the demonstration itself has signed in everywhere.
pub(super) async fn all(
    stage: &Stage,
    authority: &str,
    now: Timestamp,
) -> anyhow::Result<Vec<Try>> {
    let services: Vec<Service> = serde_json::from_str(SERVICES)?;
    let mut tries = Vec::new();
    let mut signed_in = Vec::new();
    for service in services {
        let token = service.logins(stage, authority, now, &mut tries)?;
        signed_in.push((service, token, tries.len()));
    }
    let store = Store::open_existing(&stage.store()?).await?;
    let keys = store.signing_keys().await;
    store.close().await;
    let keys = keys?;
    // From the last to the first, so that the places of the others stay.
    for (service, token, at) in signed_in.into_iter().rev() {
        let expired = expired(stage, &keys, &token, now)?;
        tries.splice(at..at, service.calls(stage, (&token, &expired)));
    }
    Ok(tries)
}

impl Service {
    /// Adds the logins to try, and signs in; the token.
    fn logins(
        &self,
        stage: &Stage,
        authority: &str,
        now: Timestamp,
        tries: &mut Vec<Try>,
    ) -> anyhow::Result<String> {
        let title = format!("{}: the login", self.name);
        let first = self.login(stage, title, &[]);
        let Some(second) = &self.second else {
            let token = self.token(&ask(&first, authority)?)?;
            tries.push(Try { shows: last_segment(&self.token), ..first });
            return Ok(token);
        };
        let challenge = || -> anyhow::Result<String> {
            let asked = ask(&first, authority)?;
            Ok(text_at(&asked, &format!("/{}", second.challenge))?.to_owned())
        };
        let answer = |challenge: &str, step: i64| {
            let code = stage.totp.code(step);
            let title = format!("{}: the login, with the one-time code for a challenge", self.name);
            let more = [(&*second.challenge, challenge), (&*second.code, &code)];
            self.login(stage, title, &more)
        };
        // A code is good once: the one of this moment is ours, the next one, good already, is printed.
        let step = Totp::step_at(now);
        let token = self.token(&ask(&answer(&challenge()?, step), authority)?)?;
        let printed = answer(&challenge()?, step.saturating_add(1));
        // Before the login alone, whose challenge takes the place of this one.
        tries.push(Try { shows: last_segment(&self.token), ..printed });
        tries.push(Try {
            title: format!("{}: the login alone, which asks for a one-time code", self.name),
            status: 499,
            shows: second.challenge.clone(),
            ..first
        });
        Ok(token)
    }

    fn login(&self, stage: &Stage, title: String, more: &[(&str, &str)]) -> Try {
        let mut body = self.body.clone();
        for (name, value) in more {
            if let Value::Object(members) = &mut body {
                members.insert((*name).to_owned(), json!(value));
            }
        }
        let mut headers = self.fields(stage, &self.headers);
        if self.basic {
            let pair = STANDARD.encode(format!("{LOGIN}:{PASSWORD}"));
            headers.push(("Authorization".to_owned(), format!("Basic {pair}")));
        }
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        Try {
            title,
            method: "POST".to_owned(),
            path: self.login.clone(),
            headers,
            body: filled(stage, &body.to_string()),
            status: 200,
            shows: String::new(),
        }
    }

    fn calls(&self, stage: &Stage, (good, expired): (&str, &str)) -> [Try; 2] {
        let call = |token: &str, title: &str, status, shows: &str| {
            let mut headers = self.fields(stage, &self.headers);
            headers.extend(self.fields(stage, &self.call_headers).into_iter().skip(1));
            headers.push(("Authorization".to_owned(), format!("{}{token}", self.scheme)));
            Try {
                title: format!("{}: {title}", self.name),
                method: "GET".to_owned(),
                path: self.call.clone(),
                headers,
                body: String::new(),
                status,
                shows: shows.to_owned(),
            }
        };
        [
            call(good, "a call with its token", 200, "\"x-user\""),
            call(expired, "the same call, once the token has expired", 401, ""),
        ]
    }

    /// Its host, and these.
    fn fields(&self, stage: &Stage, more: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let more = more.iter().map(|(name, value)| (name.clone(), filled(stage, value)));
        [("Host".to_owned(), self.host.clone())].into_iter().chain(more).collect()
    }

    fn token(&self, answer: &Value) -> anyhow::Result<String> {
        text_at(answer, &self.token).map(str::to_owned)
    }
}

fn ask(one: &Try, authority: &str) -> anyhow::Result<Value> {
    let answer = get::send(authority, &one.request_line(), &one.headers, &one.body, PATIENCE)?;
    serde_json::from_str(&answer.body)
        .with_context(|| format!("{}: {} {}", one.title, answer.status, answer.body))
}

fn text_at<'a>(answer: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    match answer.pointer(pointer) {
        Some(Value::String(text)) => Ok(text),
        _ => bail!("no {pointer} in {answer}"),
    }
}

fn filled(stage: &Stage, text: &str) -> String {
    text.replace("APP", stage.app.as_str())
        .replace("FACTOR", LOGIN_WITH_FACTOR)
        .replace("LOGIN", LOGIN)
        .replace("PASSWORD", PASSWORD)
        .replace("CUSTOMER", CUSTOMER)
        // The last: it could hold any of these words.
        .replace("KEY", stage.key.expose())
}

fn last_segment(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The same token as it would be if it had expired a second ago.
fn expired(
    stage: &Stage,
    keys: &[SigningKeyRecord],
    token: &str,
    now: Timestamp,
) -> anyhow::Result<String> {
    let mut segments = token.split('.').map(|text| -> anyhow::Result<Map<String, Value>> {
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text)?)?)
    });
    let mut header = segments.next().context("a token has a header")??;
    let mut claims = segments.next().context("a token has claims")??;
    let key = keys.iter().find(|key| header.get("kid") == Some(&json!(key.kid)));
    let signer = open_signing_key(&stage.master, key.context("the key of a token")?)?;
    header.entry("typ").or_insert(Value::Null);
    claims.insert("exp".to_owned(), json!(now.seconds().saturating_sub(1)));
    Ok(signer.sign(&header, &Value::Object(claims))?)
}

const SERVICES: &str = include_str!("logins.json");
