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
                "file": finding.source.as_ref().map(|source| source.path.display().to_string()),
            })).collect::<Vec<_>>(),
            "not_shown": self.not_shown(),
        })
    }

    fn not_shown(&self) -> usize {
        self.findings.len().saturating_sub(MAX_SHOWN).saturating_add(self.left_out)
    }

    fn excerpt(&self, finding: &Finding) -> Option<Excerpt> {
        let line = self.source_of(finding).line(finding.place.line)?;
        Excerpt::of(line, finding.place, finding.hidden)
    }

    fn source_of<'f>(&'f self, finding: &'f Finding) -> &'f Source {
        finding.source.as_deref().unwrap_or(&self.source)
    }

    fn draw(&self, finding: &Finding) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = self.source_of(finding).path.display().to_string();
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
        let line = without_passwords(line);
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

/// A line in which the user and password of each address are stars, byte for byte.
fn without_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("://") {
        let end = behind.find([' ', '"', '\'']).unwrap_or(behind.len());
        let (address, later) = behind.split_at_checked(end).unwrap_or((behind, ""));
        shown.push_str(before);
        shown.push_str("://");
        match address.rsplit_once('@') {
            Some((user, host)) => {
                shown.extend(std::iter::repeat_n('*', user.len()));
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(address),
        }
        rest = later;
    }
    shown + rest
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
            && !bare.starts_with("env:")
            // How passwords are kept, not a password.
            && (key != "passwords" || !value.starts_with('{'));
        is_plain.then(|| line.len().saturating_sub(value.len()))
    })
}

const SECRETIVE: [&str; 5] = ["secret", "password", "key", "token", "master"];

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Place {
        Place { line, column }
    }

    fn report(text: &str, findings: Findings) -> Report {
        Report::new(Source::new("p.yaml", text), findings)
    }

    #[test]
    fn a_warning_looks_like_an_error_and_comes_behind() {
        let mut findings = Findings::new();
        findings.warn(at(1, 4), "public").help("only if you mean it");
        findings.error(at(2, 1), "bad");
        let report = report("a: \"b c\" # d\nx: y\n", findings);
        let expected = r#"
error: bad
 --> p.yaml:2:1
  |
2 | x: y
  | ^

warning: public
 --> p.yaml:1:4
  |
1 | a: "b c" # d
  |    ^^^^^
  |
  = help: only if you mean it
"#;
        assert_eq!(report.to_string().trim_end(), expected.trim());
        assert!(report.has_errors());
        assert_eq!((report.count(Severity::Error), report.count(Severity::Warning)), (1, 1));
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let mut findings = Findings::new();
        for line in 1..=MAX_SHOWN + 2 {
            findings.error(at(u64::try_from(line).unwrap(), 1), format!("e{line}."));
        }
        let report = report(&"x\n".repeat(100), findings);
        let text = report.to_string();
        assert!(text.contains("error: e50.") && !text.contains("error: e51."));
        assert!(text.ends_with("\n\nand 2 more\n\n"), "{text}");
        let json = report.to_json();
        assert_eq!(json["findings"].as_array().unwrap().len(), MAX_SHOWN);
        assert_eq!((&json["errors"], &json["not_shown"]), (&52.into(), &2.into()));
    }

    #[test]
    fn a_place_beyond_the_text_or_without_a_line_is_still_shown() {
        for (place, expected) in [
            (at(0, 0), "error: e\n--> p.yaml\n\n"),
            (at(9, 1), "error: e\n--> p.yaml:9:1\n\n"),
            (at(1, 5000), "error: e\n--> p.yaml:1:5000\n\n"),
            (at(1, 9), "error: e\n --> p.yaml:1:3\n  |\n1 | ab\n  |   ^\n\n"),
        ] {
            let mut findings = Findings::new();
            findings.error(place, "e");
            assert_eq!(report("ab", findings).to_string(), expected);
        }
    }

    #[test]
    fn a_line_of_a_megabyte_is_cut() {
        let mut findings = Findings::new();
        findings.error(at(1, 3), "e");
        assert!(report(&"x".repeat(1 << 20), findings).to_string().len() < 1000);
    }

    #[test]
    fn the_word_at_a_place_is_marked() {
        for (text, length) in [
            ("plain, next", 5),
            ("plain } x", 5),
            ("key: value", 3),
            ("key:", 3),
            ("http://a:1/ # c", 11),
            ("\"a, b\" }", 6),
            ("'it' x", 4),
            ("\"open", 5),
            ("{ a: b }", 1),
            ("[a]", 1),
            ("é ü", 5),
            ("", 0),
        ] {
            assert_eq!(word(text), length, "{text}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_stars_and_columns_stay() {
        for (line, shown) in [
            ("store: postgres://u:p@h/d", "store: postgres://***@h/d"),
            ("{ a: \"http://u@h\", b: 'x://y:z@@h' }", "{ a: \"http://*@h\", b: 'x://****@h' }"),
            ("http://h a@b", "http://h a@b"),
            ("a@b", "a@b"),
            ("", ""),
        ] {
            assert_eq!(without_passwords(line), shown);
            assert_eq!(line.len(), shown.len());
        }
    }
}
