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
    writeln!(out, "{value:#}")?;
    Ok(())
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
