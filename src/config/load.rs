//! From text to a document: strict, bounded, every refusal with its place.
//!
//! One syntax error is reported with its place, since nothing after it can be trusted; what the
//! values mean is judged by `settings`, all at once.

use std::path::Path;

use serde::de::DeserializeOwned;
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
use super::watch::NamedFile;

/// A configuration file that could be read, with its text for later findings.
#[derive(Debug)]
pub struct Loaded {
    /// What the operator wrote.
    pub document: Document,
    /// The text it was read from.
    pub source: Source,
    /// This file and those that the document names; a change to one of them is a change.
    pub named_files: Vec<NamedFile>,
}

/// Reads the configuration file at `path`.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let file = NamedFile::now(path.to_owned());
    match Source::read(path) {
        Ok(source) => parse(source).map(|loaded| Loaded { named_files: vec![file], ..loaded }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads a configuration that is already in memory.
pub fn parse(source: Source) -> Result<Loaded, Report> {
    match read(&source) {
        Ok(document) => Ok(Loaded { document, source, named_files: Vec::new() }),
        Err(mut finding) => {
            // A second mistake in the same line must not show a secret that stands there too.
            let line = source.line(finding.place.line);
            finding.hidden |= line.is_some_and(|line| plain_secret(line).is_some());
            let mut findings = Findings::new();
            findings.push(finding);
            Err(Report::new(source, findings))
        }
    }
}

/// Reads the whole text as one value, or says where it is none.
pub(super) fn read<T: DeserializeOwned>(source: &Source) -> Result<T, Finding> {
    serde_saphyr::from_str_with_options(&source.text, options())
        .map_err(|error: YamlError| explain(error.without_snippet()))
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
            max_documents: 2,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: 4 << 20,
            max_recorded_anchor_bytes: 4 << 20,
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
fn explain(error: &YamlError) -> Finding {
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
    finding
}

fn words(error: &YamlError) -> (String, Option<String>) {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`"), Some(choice(field, expected)))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            let what = if expected.contains(&"app_key") { "kind of check" } else { "name" };
            (format!("unknown {what} `{variant}`"), Some(choice(variant, expected)))
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
            Some(
                "write one of `app_key`, `jwt`, `basic`, `header` and `client_certificate`"
                    .to_owned(),
            ),
        ),
        YamlError::Eof { .. } => (
            "the file holds no configuration, or ends within it".to_owned(),
            Some("`portcullis init` writes one to start from".to_owned()),
        ),
        YamlError::MultipleDocuments { .. } => {
            ("expected a single document, without a second `---`".to_owned(), None)
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => (
            "the document grows beyond what a configuration can need".to_owned(),
            Some("it is too long, nested too deeply, or repeats anchors too often".to_owned()),
        ),
        // What is wrong with the repeated text is said where it is repeated.
        YamlError::AliasError { error, .. } => words(error),
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
    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::Settings;

    const BASE: &str = "listen: { public: 127.0.0.1:80 }\nupstreams: {}\nroutes: []\n";

    /// The report on a document that begins with three good lines.
    #[track_caller]
    fn refusal(rest: &str) -> String {
        match parse(Source::new("p.yaml", format!("{BASE}{rest}"))) {
            Ok(_) => panic!("accepted: {rest}"),
            Err(report) => report.to_string(),
        }
    }

    #[track_caller]
    fn assert_refused(rest: &str, expected: &str) {
        assert_eq!(refusal(rest).trim_end(), expected.trim(), "{rest}");
    }

    #[track_caller]
    fn assert_says(rest: &str, place: &str, message: &str) {
        let refusal = refusal(rest);
        let first = refusal.lines().next().unwrap_or_default();
        assert_eq!(first, format!("error: {message}"), "{rest}");
        assert!(refusal.contains(&format!("--> p.yaml:{place}\n")), "{rest}\n{refusal}");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        assert_refused(
            "limits: { targt: 8KiB, body: 3MiB }",
            r"
error: unknown key `targt`
 --> p.yaml:4:11
  |
4 | limits: { targt: 8KiB, body: 3MiB }
  |           ^^^^^
  |
  = help: did you mean `target`?",
        );
        assert_refused(
            "shutdown:\n  patience: 3s",
            r"
error: unknown key `patience`
 --> p.yaml:5:3
  |
5 |   patience: 3s
  |   ^^^^^^^^
  |
  = help: known here: delay, grace",
        );
        assert_refused(
            "checks: { app: { app_ky: { header: X-App-Key } } }",
            r"
error: unknown kind of check `app_ky`
 --> p.yaml:4:18
  |
4 | checks: { app: { app_ky: { header: X-App-Key } } }
  |                  ^^^^^^
  |
  = help: did you mean `app_key`?",
        );
    }

    #[test]
    fn a_key_written_twice_is_refused() {
        assert_refused(
            "limits:\n  body: 1MiB\n  body: 2MiB",
            r"
error: `body` is written twice
 --> p.yaml:6:3
  |
6 |   body: 2MiB
  |   ^^^^
  |
  = help: keep one of them",
        );
        assert_says("routes: []", "4:1", "`routes` is written twice");
        let twice = "checks:\n  a: { jwt: [] }\n  a: { jwt: [] }";
        assert_says(twice, "6:3", "`a` is written twice");
    }

    #[test]
    fn a_value_of_another_form_is_refused_where_it_stands() {
        let size = "expected a size such as 512B, 8KiB, 100MiB or 1GiB";
        let length = "expected a length of time such as 250ms, 10s, 5m, 24h or 30d";
        assert_says("limits: { body: 8K }", "4:17", size);
        assert_says("limits: { body: 8 }", "4:17", size);
        assert_says("limits: { body: -1B }", "4:17", size);
        assert_says("limits: { body: 99999999TiB }", "4:17", size);
        assert_says("timeouts: { idle: 10 }", "4:19", length);
        assert_says("timeouts: { idle: 1.5s }", "4:19", length);
        assert_says("timeouts: { idle: \"\" }", "4:19", length);
        assert_says("workers: two", "4:10", "expected a whole number from 0 to 65535");
        assert_says("workers: 65536", "4:10", "expected a whole number from 0 to 65535");
        assert_says(
            "limits: { connections: -1 }",
            "4:24",
            "expected a whole number from 0 to 4294967295",
        );
        assert_says("access_log: { query: yes }", "4:22", "expected `true` or `false`");
        assert_says("limits: [8KiB]", "4:9", "expected a map of keys and values");
        assert_says("limits:", "4:7", "expected a map of keys and values");
        assert_says("trusted_proxies: 10.0.0.0/8", "4:18", "expected a list");
        assert_says("store: [a]", "4:8", "expected a text");
        assert_says("apps: [{ id: a }]", "4:10", "missing key `sha256`");
        assert_says("checks: { a: {} }", "4:15", "a check is of exactly one kind");
        let both = "checks: { a: { jwt: [], app_key: {} } }";
        assert_says(both, "4:25", "a check is of exactly one kind");
    }

    #[test]
    fn yaml_that_is_none_is_refused_where_it_ends_to_be() {
        assert_refused(
            "timeouts:\n\theader: 1s",
            r"
error: tabs disallowed within this context (block indentation)
 --> p.yaml:5:2
  |
5 |     header: 1s
  |     ^^^^^^",
        );
        assert_says("store: 'é' x", "4:12", "invalid trailing content after single-quoted scalar");
        assert_says("---\na: 1", "5:1", "expected a single document, without a second `---`");
        assert_says("store: !include /etc/passwd", "4:17", "unsupported tag `!include`");
    }

    #[test]
    fn columns_count_characters_and_the_mark_stands_under_the_word() {
        assert_refused(
            "checks: { \"ключ 🔑\": { jwd: [] } }",
            r#"
error: unknown kind of check `jwd`
 --> p.yaml:4:23
  |
4 | checks: { "ключ 🔑": { jwd: [] } }
  |                        ^^^
  |
  = help: did you mean `jwt`?"#,
        );
    }

    #[test]
    fn a_file_without_a_configuration_is_refused() {
        for text in ["", "\n", "# only a comment\n"] {
            let report = parse(Source::new("p.yaml", text)).unwrap_err().to_string();
            assert!(report.starts_with("error: the file holds no configuration"), "{report}");
            assert!(report.contains("help: `portcullis init` writes one"), "{report}");
        }
        for text in ["---\n", "[]", "3", "null"] {
            let report = parse(Source::new("p.yaml", text)).unwrap_err().to_string();
            assert!(report.starts_with("error: expected a map of keys and values"), "{report}");
        }
        let report = parse(Source::new("p.yaml", "listen: { public: a }")).unwrap_err();
        assert!(report.to_string().starts_with("error: missing key `upstreams`"), "{report}");
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_refused() {
        use std::fmt::Write;

        let mut bomb = "trusted_proxies:\n  - &x0 [a, a, a, a, a, a, a, a]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*x{}", level - 1);
            let list = [alias.as_str(); 8].join(", ");
            writeln!(bomb, "  - &x{level} [{list}]").unwrap();
        }
        let grows = "error: the document grows beyond what a configuration can need\n";
        assert!(refusal(&bomb).starts_with("error: expected a text\n"));

        let deep = format!("store: {}", "[".repeat(10_000));
        assert!(refusal(&deep).starts_with("error: "));
        let many = format!("trusted_proxies: [{}]", "a,".repeat(300_000));
        let report = refusal(&many);
        assert!(report.starts_with(grows) && report.len() < 1000, "{report}");
        let folded = format!("trusted_proxies: [&a b, {}]", "*a, ".repeat(2000));
        assert!(refusal(&folded).starts_with(grows));
        let items = vec!["*a"; 999].join(", ");
        let long = format!("trusted_proxies: [&a {}, {items}]", "a".repeat(500_000));
        assert!(refusal(&long).starts_with(grows));
    }

    const PLAIN: &str = "\
error: a secret is never written in the configuration itself
  --> p.yaml:10:15
   |
10 |       secret: ***
   |               ^^^
   |
   = help: write where it is kept: `file:PATH` or `env:NAME`";

    fn user_with(line: &str) -> String {
        format!(
            "checks:\n  user:\n    jwt:\n    - issuer: a\n      audience: a\n      algorithms: [HS256]\n      {line}"
        )
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_never_shown() {
        assert_refused(&user_with("secret: hunter2"), PLAIN);
        for line in [
            "secret: hunter2",
            "secret: \"hunter2, }\" # hunter2",
            "secret: hunter2: x",
            "secret: \"hunter2\nhunter2\"",
            "secret: |\n        hunter2",
            "secret: !!str hunter2",
            "secret: \"hunter2",
            "secret: file: hunter2",
            "secret: file:",
            "secret: File:hunter2",
            "key: hunter2",
            "secrt: hunter2",
            "sercet: hunter2",
            "pasword: hunter2",
            "secret: [hunter2]",
            "typ: &x hunter2\n      secret: *x",
            "{ secret: hunter2, audience: {} }",
        ] {
            let refusal = refusal(&user_with(line));
            assert!(!refusal.contains("hunter2"), "{line}\n{refusal}");
        }
    }

    #[test]
    fn anchors_and_merged_maps_are_read_within_bounds() {
        let text = "\
listen: { public: 127.0.0.1:80 }
upstreams:
  a: &a { url: \"http://a\", timeout: 1s }
  b: { <<: *a, url: \"http://b\" }
routes: []
";
        let loaded = parse(Source::new("p.yaml", text)).unwrap();
        let b = &loaded.document.upstreams["b"];
        assert_eq!(b.url.as_ref().unwrap().value, "http://b");
        assert_eq!(b.url.as_ref().unwrap().place, Place { line: 4, column: 21 });
        assert!(b.timeout.is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn a_damaged_file_is_read_or_reported_and_nothing_else(
            at in 0_usize..12_000,
            cut in 0_usize..40,
            put in "[-a-z0-9:{}\\[\\]&*!|>'\"%@`#,? \n\t\u{e9}\u{1f511}]{0,8}",
        ) {
            let reference = include_str!("../../config/reference.yaml");
            let (start, end) = (reference.floor_char_boundary(at), reference.floor_char_boundary(at + cut));
            let (before, behind) = (reference.get(..start).unwrap(), reference.get(end..).unwrap());
            match parse(Source::new("p.yaml", format!("{before}{put}{behind}"))) {
                Err(report) => prop_assert!(report.to_string().starts_with("error: ")),
                Ok(loaded) => {
                    let mut findings = Findings::new();
                    let settings = Settings::resolve(&loaded, &mut findings);
                    prop_assert!(settings.is_some() || findings.has_errors());
                    let report = Report::new(loaded.source, findings).to_string();
                    prop_assert!(report.is_empty() || report.ends_with("\n\n"));
                }
            }
        }
    }
}
