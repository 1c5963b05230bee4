//! Answers for people and programs: aligned columns, one JSON value, instants.

use std::io::Write;

use clap::ValueEnum;
use serde_json::Value;

use crate::clock::Timestamp;

/// How to print what the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Columns for people.
    Table,
    /// One JSON value for programs.
    Json,
}

/// RFC 3339 in UTC to the second; `-` for what did not happen.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::from_second(at.seconds()).ok())
        .map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// The day of an instant.
pub(super) fn day(at: Option<Timestamp>) -> String {
    moment(at).split('T').next().unwrap_or_default().to_owned()
}

/// Words after one another; `-` for none.
pub(super) fn words(scopes: &[String]) -> String {
    if scopes.is_empty() { "-".to_owned() } else { scopes.join(" ") }
}

/// Writes one JSON value over several lines.
pub(super) fn write_json(out: &mut dyn Write, value: &Value) -> anyhow::Result<()> {
    writeln!(out, "{}", harmless(&format!("{value:#}")))?;
    Ok(())
}

/// JSON on one line.
pub(super) fn json_line(value: &Value) -> String {
    harmless(&value.to_string())
}

/// JSON that does nothing to a terminal: some of it was written by users about themselves. What JSON
/// leaves as it is, but a terminal obeys, stands in strings only, where an escape means the same.
fn harmless(json: &str) -> String {
    let is_obeyed =
        |c: char| c.is_control() && c != '\n' || OBEYED.iter().any(|range| range.contains(&c));
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Writes aligned columns under their names.
pub(super) fn write_table(
    out: &mut dyn Write,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> anyhow::Result<()> {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width_of = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..).map_while(width_of).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// What reorders or breaks the line that it stands in.
const OBEYED: [std::ops::RangeInclusive<char>; 4] = [
    '\u{61c}'..='\u{61c}',
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_for_a_terminal_means_the_same_and_does_nothing_to_it() {
        let value = json!({"a\u{9b}": "\u{1b}[2J\n\u{7f}\u{85}\u{202e}x\u{2066}\u{2028}é😀", "b": [1, null]});
        let mut shown = Vec::new();
        write_json(&mut shown, &value).unwrap();
        for text in [json_line(&value), String::from_utf8(shown).unwrap()] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            assert!(text.contains("é😀"));
            let obeyed =
                |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}\u{2028}".contains(c);
            assert!(!text.contains(obeyed), "{text:?}");
        }
    }
}
