//! A preset by its name or file, read as strictly as the configuration itself.

use std::path::Path;
use std::sync::Arc;

use super::Preset;
use super::table::PRESETS;
use crate::config::finding::Findings;
use crate::config::load;
use crate::config::scalar::At;
use crate::config::secrets::Secrets;
use crate::config::source::Source;

/// Reads the preset that is named: one that comes with the gateway, or `file:PATH`.
///
/// What is wrong in a file is said about that file.
pub fn read_preset(
    reference: &At<String>,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<(Preset, Source)> {
    let source = source(reference, secrets, findings)?;
    match load::read(&source) {
        Ok(preset) => Some((preset, source)),
        Err(finding) => {
            let mut found = Findings::new();
            found.push(finding);
            findings.adopt(found, &Arc::new(source));
            None
        }
    }
}

fn source(
    reference: &At<String>,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<Source> {
    if let Some(path) = reference.strip_prefix(FILE) {
        let bytes = secrets.read_file(Path::new(path));
        let bytes =
            bytes.map_err(|error| findings.error(reference.place, error.to_string())).ok()?;
        let text = String::from_utf8(bytes);
        let text = text
            .map_err(|_| findings.error(reference.place, format!("`{path}` is not UTF-8 text")))
            .ok()?;
        return Some(Source::new(secrets.locate(Path::new(path)), text));
    }
    let Some((name, text)) = PRESETS.iter().find(|(name, _)| *name == reference.value) else {
        findings
            .error(reference.place, format!("no dialect is named `{}`", **reference))
            .suggest(reference, PRESETS.iter().map(|(name, _)| *name));
        return None;
    };
    Some(Source::new(format!("{name}.yaml"), *text))
}

/// What stands before the path of a preset of one's own.
const FILE: &str = "file:";
