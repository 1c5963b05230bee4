//! Plays a story to a gateway, section by section.

use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::signature::ED25519;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::people;
use super::script::Exchange;
use super::script::Part;
use super::script::Section;
use super::words::Words;
use crate::world::APP;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::DEADLINE;
use crate::world::Mark;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::people::People;

/// One gateway with every dialect, its users, and what was said so far.
pub struct Player {
    world: World,
    people: People,
    words: Words,
    always: Vec<(String, String)>,
    /// Whether the clock was moved and nothing answered since.
    is_moved: bool,
}

impl Player {
    /// Starts a gateway whose store has the users of a story, all of them before it looks.
    pub fn start(story: &[Section]) -> Self {
        let people = People::new();
        let mut words = Words::default();
        for command in story.iter().flat_map(|section| &section.commands) {
            if let Some(name) = command.strip_prefix("user ") {
                people::add(&people, name, &mut words);
            }
        }
        let world = Setup::new()
            .checks(include_str!("checks.yaml"))
            .routes(include_str!("routes.yaml"))
            .defaults("{}")
            .extra(&people.lines())
            .extra(include_str!("logins.yaml"))
            .file("acme.yaml", include_str!("acme.yaml"))
            .file("cache.yaml", include_str!("cache.yaml"))
            .start();
        words.keep("app.id", APP);
        words.keep("app.secret", APP_KEY);
        Self { world, people, words, always: vec![], is_moved: false }
    }

    /// Plays one section; says what is not as it was told.
    pub fn play(&mut self, section: &Section) -> Result<(), String> {
        for command in &section.commands {
            self.act(command)?;
        }
        let Some(exchange) = &section.exchange else { return Ok(()) };
        let until = Instant::now() + DEADLINE;
        loop {
            self.words.now = self.world.clock.now().seconds();
            let ask = self.ask(exchange);
            let mark = self.world.upstream.mark();
            let answer = self.world.answer(&ask);
            // Until the store was heard after the clock was moved, nobody is believed. Any other 503
            // may come after something was altered, which is not to be altered twice.
            let alters_nothing = self.is_moved || exchange.line.starts_with("GET ");
            let is_early = answer.status() == 503 && exchange.status != Some(503) && alters_nothing;
            self.is_moved &= answer.status() == 503;
            let judged = self.judge(exchange, &answer, &mark);
            if judged.is_ok() || !(is_early || section.is_soon) || Instant::now() > until {
                return judged.map_err(|fault| format!("{fault}\n{ask:?}\n{answer:?}"));
            }
            std::thread::yield_now();
        }
    }

    fn act(&mut self, command: &str) -> Result<(), String> {
        self.words.now = self.world.clock.now().seconds();
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let whom = || self.words.fill(&format!("{{{{{name}.login}}}}"));
        let clock = &self.world.clock;
        match verb {
            "always" => {
                let (name, value) = rest.split_once(": ").expect("a header");
                self.always.push((name.to_owned(), value.to_owned()));
            }
            "user" => {}
            "advance" => {
                clock.advance(Duration::from_secs(name.parse().unwrap()));
                self.is_moved = true;
            }
            "state" => people::turn(&self.people, (&whom(), clock), value),
            "permissions" => people::permit(&self.people, (&whom(), clock), &json(value)),
            "attributes" => people::describe(&self.people, (&whom(), clock), &json(value)),
            "keep" => {
                let value = self.words.fill(value);
                self.words.keep(name, value);
            }
            "header" => self.part_of(name, 0, value)?,
            "claims" => self.part_of(name, 1, value)?,
            "verify" => self.verify(name, value)?,
            _ => panic!("no such command: {command}"),
        }
        Ok(())
    }

    fn ask(&self, exchange: &Exchange) -> Ask {
        let (method, target) = exchange.line.split_once(' ').expect("a method and a path");
        let mut ask = Ask::new(method, &self.words.fill(target)).without("Host");
        let Part { headers, body } = &exchange.request;
        let is_own = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        for (name, value) in self.always.iter().filter(|(name, _)| !is_own(name)) {
            ask = ask.field(name, self.words.fill(value));
        }
        for (name, value) in headers {
            if let Some(value) = value {
                ask = ask.field(name, self.words.fill(value));
            }
        }
        if body.is_empty() {
            return ask;
        }
        let body = self.words.fill(body);
        ask.field("Content-Length", body.len()).body(body)
    }

    fn judge(&mut self, exchange: &Exchange, answer: &Message, mark: &Mark) -> Result<(), String> {
        let seen = self.world.upstream.since(mark).map_err(|fault| fault.to_string())?;
        let Some(status) = exchange.status else {
            return match &seen[..] {
                [request] if answer.status() == 200 => self.compare(&exchange.expected, request),
                _ => Err(format!("the upstream must see one request: {seen:?}")),
            };
        };
        if status != answer.status() {
            return Err(format!("expected the status {status}"));
        }
        if !seen.is_empty() {
            return Err(format!("it reached the upstream: {seen:?}"));
        }
        self.compare(&exchange.expected, answer)
    }

    fn compare(&mut self, expected: &Part, found: &Message) -> Result<(), String> {
        for (name, value) in &expected.headers {
            let there = found.fields.all(name);
            match (value, &there[..]) {
                (None, []) => {}
                (Some(value), [one]) => self.words.judge_text(value, one, name)?,
                _ => return Err(format!("{name}: expected {value:?}, found {there:?}")),
            }
        }
        let text = String::from_utf8(found.body.clone()).map_err(|error| error.to_string())?;
        let body = expected.body.as_str();
        if body == "..." {
            Ok(())
        } else if body.starts_with(['{', '[']) {
            let found = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            self.words.judge(&json(body), &found, "")
        } else {
            self.words.judge_text(body, text.trim_end(), "the body")
        }
    }

    /// Compares a part of a token.
    fn part_of(&mut self, name: &str, part: usize, expected: &str) -> Result<(), String> {
        let token = self.words.fill(&format!("{{{{{name}}}}}"));
        let part = token.split('.').nth(part).ok_or("not a token")?;
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string())?;
        let found = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        self.words.judge(&json(expected), &found, name)
    }

    /// Verifies a token with the key of a set that it names, as any other server would.
    fn verify(&self, name: &str, set: &str) -> Result<(), String> {
        let token = self.words.fill(&format!("{{{{{name}}}}}"));
        let (input, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let header = token.split('.').next().unwrap_or_default();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        let keys = self.words.known[set].as_array().expect("a list of keys");
        let key = keys.iter().find(|key| key["kid"] == header["kid"]).ok_or("no such key")?;
        let shown: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        if shown.contains(&"d") || key["kty"] != "OKP" || key["crv"] != "Ed25519" {
            return Err(format!("not a public key: {key}"));
        }
        let point = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, point)
            .verify(input.as_bytes(), &signature)
            .map_err(|_| "another key signed it".to_owned())
    }
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
