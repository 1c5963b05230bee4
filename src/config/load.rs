//! From text to a document: strict, bounded, every refusal with its place.
//!
//! One syntax error is reported with its place, since nothing after it can be trusted; what the
//! values mean is judged by `settings`, all at once.

use std::path::Path;
use std::path::PathBuf;

use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::Error as YamlError;
use serde_saphyr::Options;

use super::document::Document;
use super::finding::Finding;
use super::finding::Findings;
use super::finding::Severity;
use super::finding::did_you_mean;
use super::report::Report;
use super::report::plain_secret;
use super::scalar::Place;
use super::scalar::SecretRef;
use super::source::Source;
use super::source::SourceError;

/// A configuration file that could be read, with its text for later findings.
#[derive(Debug)]
pub struct Loaded {
    /// What the operator wrote.
    pub document: Document,
    /// The text it was read from.
    pub source: Source,
    /// Files that the document names, as they were read; a change to one of them is a change.
    pub named_files: Vec<PathBuf>,
}

/// Reads the configuration file at `path`.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    match Source::read(path) {
        Ok(source) => parse(source),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads a configuration that is already in memory.
pub fn parse(source: Source) -> Result<Loaded, Report> {
    match serde_saphyr::from_str_with_options(&source.text, options()) {
        Ok(document) => Ok(Loaded { document, source, named_files: Vec::new() }),
        Err(error) => {
            let mut findings = Findings::new();
            findings.push(explain(error.without_snippet(), &source));
            Err(Report::new(source, findings))
        }
    }
}

fn unreadable(path: &Path, error: &SourceError) -> Report {
    let mut findings = Findings::new();
    findings.error(Place::default(), format!("`{}` {error}", path.display()));
    Report::new(Source::new(path, ""), findings)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 500_000,
            max_nodes: 250_000,
            max_depth: 64,
            max_documents: 1,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Says in the operator's words what the parser says in its own.
fn explain(error: &YamlError, source: &Source) -> Finding {
    let place = error
        .location()
        .map_or_else(Place::default, |at| Place { line: at.line(), column: at.column() });
    let (message, help) = words(error);
    let mut finding = Finding::new(Severity::Error, place, message);
    finding.help = help;
    if finding.message == SecretRef::EXPECTED {
        "a secret is never written in the configuration itself".clone_into(&mut finding.message);
        finding.help = Some("write where it is kept: `file:PATH` or `env:NAME`".to_owned());
        finding.hidden = true;
    }
    // A second mistake in the same line must not show a secret that stands there too.
    finding.hidden |= source.line(place.line).is_some_and(|line| plain_secret(line).is_some());
    finding
}

fn words(error: &YamlError) -> (String, Option<String>) {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`"), Some(choice(field, expected)))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown kind of check `{variant}`"), Some(choice(variant, expected)))
        }
        YamlError::SerdeMissingField { field, .. } => (format!("missing key `{field}`"), None),
        YamlError::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("…");
            (format!("`{key}` is written twice"), Some("keep one of them".to_owned()))
        }
        YamlError::Unexpected { expected: "mapping start", .. }
        | YamlError::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            ("expected a map of keys and values".to_owned(), None)
        }
        YamlError::Unexpected { expected: "sequence start", .. } => {
            ("expected a list".to_owned(), Some("write `[]` for an empty one".to_owned()))
        }
        YamlError::Unexpected { expected: "string scalar", .. }
        | YamlError::NullIntoString { .. } => ("expected a text".to_owned(), None),
        YamlError::InvalidScalar { ty, .. } => match *ty {
            "u16" => (format!("expected a whole number from 0 to {}", u16::MAX), None),
            "u32" => (format!("expected a whole number from 0 to {}", u32::MAX), None),
            other => (format!("expected a value of type {other}"), None),
        },
        YamlError::InvalidBooleanStrict { .. } => ("expected `true` or `false`".to_owned(), None),
        YamlError::ExpectedStringKeyForExternallyTaggedEnum { .. }
        | YamlError::ExpectedMappingEndAfterEnumVariantValue { .. } => (
            "a check is of exactly one kind".to_owned(),
            Some("write either `app_key` or `jwt`; another kind is another check".to_owned()),
        ),
        YamlError::Eof { .. } => (
            "the file holds no configuration, or ends within it".to_owned(),
            Some("`portcullis init` writes one to start from".to_owned()),
        ),
        YamlError::MultipleDocuments { .. } => {
            ("expected a single document, without a second `---`".to_owned(), None)
        }
        YamlError::Message { msg, .. } => (msg.clone(), None),
        other => (without_place(&other.to_string()), None),
    }
}

fn choice(written: &str, expected: &[&'static str]) -> String {
    did_you_mean(written, expected.iter().copied()).map_or_else(
        || format!("known here: {}", expected.join(", ")),
        |close| format!("did you mean `{close}`?"),
    )
}

/// Drops the place that the parser repeats at the end of its sentence.
fn without_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn show() {
        let base = "listen: { public: 0.0.0.0:80 }\nupstreams: {}\nroutes: []\n";
        for extra in [
            "limitz: {}",
            "limits: { targt: 8KiB, body: 3MiB }",
            "limits:\n  tarrrrget: 8K\n",
            "workers: \"é ü\"",
            "timeouts:\n\t header: 1s",
            "checks: { ä: { jwt: [ { issuer: a, audience: none, algorithms: [A], secret: hunter2 } ] } }",
            "a: {<<: {a: 3}}",
            "store: !foo x",
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]",
        ] {
            let text = format!("{base}{extra}");
            match parse(Source::new("x.yaml", text)) {
                Ok(_) => println!("OK {extra}"),
                Err(e) => println!("{e}"),
            }
        }
    }
}
