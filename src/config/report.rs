//! How findings look: an excerpt with a caret for people, JSON for programs.
//!
//! The one place that knows `annotate-snippets`. Shows no text that may be a secret.

use std::fmt;
use std::ops::Range;

use annotate_snippets::AnnotationKind;
use annotate_snippets::Group;
use annotate_snippets::Level;
use annotate_snippets::Origin;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;
use serde_json::Value;
use serde_json::json;

use super::finding::Finding;
use super::finding::Findings;
use super::finding::Severity;
use super::finding::did_you_mean;
use super::scalar::Place;
use super::source::Source;

/// Everything found in one configuration file, errors first, each kind in the order of the file.
#[derive(Debug)]
pub struct Report {
    source: Source,
    findings: Vec<Finding>,
    left_out: usize,
}

/// Findings shown in one report; the rest is only counted.
pub(super) const MAX_SHOWN: usize = 50;

impl Report {
    /// Puts findings beside the text they speak of.
    pub fn new(source: Source, findings: Findings) -> Self {
        let left_out = findings.left_out();
        Self { source, findings: findings.into_sorted(), left_out }
    }

    /// The findings, errors first, each kind in the order of the file.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The file that the findings speak of.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the configuration cannot run.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The report as a program reads it.
    pub fn to_json(&self) -> Value {
        let shown = self.findings.iter().take(MAX_SHOWN);
        json!({
            "file": self.source.path.display().to_string(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": shown.map(|finding| json!({
                "severity": finding.severity,
                "message": finding.message,
                "line": finding.place.line,
                "column": finding.place.column,
                "help": finding.help,
            })).collect::<Vec<_>>(),
            "not_shown": self.not_shown(),
        })
    }

    fn not_shown(&self) -> usize {
        self.findings.len().saturating_sub(MAX_SHOWN).saturating_add(self.left_out)
    }

    fn excerpt(&self, finding: &Finding) -> Option<Excerpt> {
        Excerpt::of(self.source.line(finding.place.line)?, finding.place, finding.hidden)
    }

    fn draw(&self, finding: &Finding) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = self.source.path.display().to_string();
        let group = Group::with_title(level.primary_title(&*finding.message));
        let mut group = match self.excerpt(finding) {
            Some(excerpt) => group.element(
                Snippet::source(excerpt.text)
                    .path(path)
                    .line_start(to_usize(finding.place.line))
                    .annotation(AnnotationKind::Primary.span(excerpt.marked)),
            ),
            None if finding.place.line == 0 => group.element(Origin::path(path)),
            None => group.element(
                Origin::path(path)
                    .line(to_usize(finding.place.line))
                    .char_column(to_usize(finding.place.column)),
            ),
        };
        if let Some(help) = &finding.help {
            group = group.element(Level::HELP.message(&**help));
        }
        Renderer::plain().render(&[group])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings.iter().take(MAX_SHOWN) {
            writeln!(f, "{}\n", self.draw(finding).trim_end())?;
        }
        match self.not_shown() {
            0 => Ok(()),
            more => writeln!(f, "and {more} more\n"),
        }
    }
}

impl std::error::Error for Report {}

/// The start of one line of the source, and what of it is underlined.
struct Excerpt {
    text: String,
    marked: Range<usize>,
}

impl Excerpt {
    fn of(line: &str, place: Place, hidden: bool) -> Option<Self> {
        let column = to_usize(place.column.saturating_sub(1));
        if column > MAX_COLUMN {
            return None;
        }
        let mut start = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        if hidden {
            start = start.min(plain_secret(line).unwrap_or(start));
        }
        let (before, rest) = line.split_at_checked(start)?;
        let behind: String = if hidden {
            // Nothing behind the place is shown: a secret may hold commas, quotes and comments.
            HIDDEN.to_owned()
        } else {
            rest.chars().take(MAX_COLUMNS_BEHIND).collect()
        };
        let marked = start..start.saturating_add(word(&behind).max(1));
        Some(Self { text: format!("{before}{behind}"), marked })
    }
}

const HIDDEN: &str = "***";
const MAX_COLUMN: usize = 1000;
const MAX_COLUMNS_BEHIND: usize = 120;

/// Length in bytes of the YAML word at the start of `text`: quoted, or up to what ends a plain one.
fn word(text: &str) -> usize {
    let mut chars = text.char_indices();
    let end = match chars.next() {
        Some((_, quote @ ('"' | '\''))) => {
            chars.find(|(_, c)| *c == quote).map(|(at, c)| at + c.len_utf8())
        }
        Some((_, '{' | '[')) => Some(1),
        Some(_) => [",", "}", "]", ": ", " #"].iter().filter_map(|end| text.find(end)).min(),
        None => None,
    };
    let text = text.get(..end.unwrap_or(text.len())).unwrap_or(text).trim_end();
    text.strip_suffix(':').unwrap_or(text).len()
}

/// Where in a line a key like `secret` is given a value that is not a reference.
pub(super) fn plain_secret(line: &str) -> Option<usize> {
    line.match_indices(':').find_map(|(colon, _)| {
        let (before, behind) = line.split_at_checked(colon)?;
        let key = before.rsplit(['{', ',', ' ', '\t', '"', '\'']).find(|word| !word.is_empty())?;
        let value = behind.trim_start_matches(':').trim_start();
        let bare = value.trim_start_matches(['"', '\'']);
        let is_plain = did_you_mean(key, SECRETIVE).is_some()
            && !bare.is_empty()
            && !bare.starts_with("file:")
            && !bare.starts_with("env:");
        is_plain.then(|| line.len().saturating_sub(value.len()))
    })
}

const SECRETIVE: [&str; 4] = ["secret", "password", "key", "token"];

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
