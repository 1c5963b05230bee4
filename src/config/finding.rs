//! What is wrong with a configuration, or worth knowing about it: findings, and the heap they are collected on.
//!
//! How a finding looks on paper is `report`'s affair.

use std::sync::Arc;

use serde::Serialize;

use super::scalar::Place;
use super::source::Source;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot run.
    Error,
    /// The configuration runs, and somebody should have meant it.
    Warning,
}

/// One remark about one place of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter: lower case, no full stop, names the thing.
    pub message: String,
    /// Where it was written; unknown for a file that cannot be read.
    pub place: Place,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the text at the place may be a secret and must not be shown.
    pub hidden: bool,
    /// The file that it speaks of, when it is not the configuration itself.
    pub source: Option<Arc<Source>>,
}

/// Findings of one configuration; bounded per severity, so that no file can fill the memory and no
/// number of warnings can hide an error.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    left_out: usize,
}

/// Findings of each severity kept for one configuration; what comes after is only counted.
pub(super) const MAX_FINDINGS: usize = 1000;

impl Findings {
    /// An empty heap.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an error; the answer lets the caller add [`Remark::help`].
    pub fn error(&mut self, place: Place, message: impl Into<String>) -> Remark<'_> {
        self.push(Finding::new(Severity::Error, place, message))
    }

    /// Adds a warning; the answer lets the caller add [`Remark::help`].
    pub fn warn(&mut self, place: Place, message: impl Into<String>) -> Remark<'_> {
        self.push(Finding::new(Severity::Warning, place, message))
    }

    /// Whether any error was found.
    pub const fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Number of warnings kept.
    pub const fn warnings(&self) -> usize {
        self.warnings.len()
    }

    /// Errors first, each kind in the order in which it was found.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.errors.iter().chain(&self.warnings)
    }

    /// Findings that came after the bound.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Takes over findings that speak of another file, such as a preset.
    pub fn adopt(&mut self, others: Self, source: &Arc<Source>) {
        self.left_out = self.left_out.saturating_add(others.left_out);
        for mut finding in others.errors.into_iter().chain(others.warnings) {
            finding.source.get_or_insert_with(|| Arc::clone(source));
            self.push(finding);
        }
    }

    /// Takes over findings that speak of the same file.
    pub fn append(&mut self, others: Self) {
        self.left_out = self.left_out.saturating_add(others.left_out);
        for finding in others.errors.into_iter().chain(others.warnings) {
            self.push(finding);
        }
    }

    /// Errors first, each kind in the order of the file; other files come behind.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.errors.append(&mut self.warnings);
        self.errors.sort_by_key(|finding| {
            (
                finding.severity,
                finding.source.as_ref().map(|source| source.path.clone()),
                finding.place,
            )
        });
        self.errors
    }

    pub(super) fn push(&mut self, finding: Finding) -> Remark<'_> {
        let list = match finding.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() >= MAX_FINDINGS {
            self.left_out = self.left_out.saturating_add(1);
            return Remark(None);
        }
        list.push(finding);
        Remark(list.last_mut())
    }
}

impl Finding {
    /// A finding without advice.
    pub(super) fn new(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), place, help: None, hidden: false, source: None }
    }
}

/// The finding just made.
#[derive(Debug)]
pub struct Remark<'a>(Option<&'a mut Finding>);

impl Remark<'_> {
    /// Keeps what stands at the place out of the report, since it may be a secret.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        if let Some(finding) = &mut self.0 {
            finding.hidden = true;
        }
        self
    }

    /// Adds what to do about it.
    pub fn help(self, help: impl Into<String>) {
        if let Some(finding) = self.0 {
            finding.help = Some(help.into());
        }
    }

    /// Adds "did you mean `x`?" when one of the candidates is close to `name`.
    pub fn suggest<'c>(self, name: &str, candidates: impl IntoIterator<Item = &'c str>) {
        if let Some(close) = did_you_mean(name, candidates) {
            self.help(format!("did you mean `{close}`?"));
        }
    }
}

/// The candidate that was probably meant by `name`, if any is close enough.
pub fn did_you_mean<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // A third of the letters wrong is a typing error; more is another word. The lengths are
    // compared first: the distance costs their product, and names come from the file.
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= allowed * 4)
        .filter(|candidate| name.len() <= MAX_NAME_BYTES && candidate.len() <= MAX_NAME_BYTES)
        .map(|candidate| {
            let (name, lower) = (name.to_ascii_lowercase(), candidate.to_ascii_lowercase());
            (strsim::osa_distance(&name, &lower), candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

const MAX_NAME_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_is_suggested_and_a_far_one_is_not() {
        let known = ["target", "headers", "header_count", "body", "to", "Proxies"];
        for (typed, meant) in [
            ("targt", Some("target")),
            ("tagret", Some("target")),
            ("header", Some("headers")),
            ("bdoy", Some("body")),
            ("headercount", Some("header_count")),
            ("proxies", Some("Proxies")),
            ("tot", Some("to")),
            ("upstream", None),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(typed, known), meant, "{typed}");
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(did_you_mean(&long, [long.as_str()]), None);
    }

    #[test]
    fn findings_beyond_the_bound_are_counted_and_no_warning_pushes_out_an_error() {
        let mut findings = Findings::new();
        for _ in 0..=MAX_FINDINGS {
            findings.warn(Place::default(), "w");
        }
        assert!(!findings.has_errors());
        assert_eq!((findings.warnings(), findings.left_out()), (MAX_FINDINGS, 1));
        findings.error(Place::default(), "e").help("h");
        assert!(findings.has_errors());
        assert_eq!(findings.iter().next().unwrap().help.as_deref(), Some("h"));
    }

    #[test]
    fn errors_come_first_and_each_kind_in_the_order_of_the_file() {
        let mut findings = Findings::new();
        findings.warn(Place { line: 1, column: 1 }, "a");
        findings.error(Place { line: 9, column: 2 }, "d");
        findings.error(Place { line: 9, column: 1 }, "c");
        findings.error(Place { line: 2, column: 7 }, "b");
        let list = findings.into_sorted();
        let order: Vec<_> = list.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(order, ["b", "c", "d", "a"]);
    }
}
