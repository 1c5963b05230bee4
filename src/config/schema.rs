//! The JSON Schema of a configuration file, for editors: made from the types and the table of bounds.
//!
//! The gateway itself never reads it; what is accepted is what `load` and `settings` accept.

use serde_json::Value;
use serde_json::json;

use super::bounds::BOUNDS;
use super::bounds::Bound;
use super::bounds::Unit;
use super::document::Document;
use super::issuers::ALGORITHMS;
use super::preset::Preset;

/// The JSON Schema (2020-12) of a configuration file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    for bound in BOUNDS {
        describe(&mut schema, bound);
    }
    let names = locate(&schema, "checks.*.jwt[].algorithms[]");
    if let Some(item) = names.and_then(|at| schema.pointer_mut(&at)) {
        *item = json!({"enum": ALGORITHMS});
    }
    schema
}

/// The JSON Schema (2020-12) of a preset.
pub fn preset_schema() -> Value {
    schemars::schema_for!(Preset).to_value()
}

/// Adds what the table knows to what the type knows.
fn describe(schema: &mut Value, bound: &Bound) {
    let at = locate(schema, bound.key);
    let Some(property) = at.and_then(|at| schema.pointer_mut(&at)).and_then(Value::as_object_mut)
    else {
        return;
    };
    let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default();
    let default = bound
        .default
        .map_or_else(String::new, |default| format!(", {} by default", bound.unit.write(default)));
    let told = format!(" {}{default}.", bound.range());
    // A definition that stands in two places is found twice.
    let description = format!("{}{told}", meaning.trim_end_matches(&told));
    property.insert("description".to_owned(), description.into());
    if bound.unit == Unit::Count {
        property.insert("minimum".to_owned(), bound.min.into());
        property.insert("maximum".to_owned(), bound.max.into());
    }
    if let Some(default) = bound.default {
        let default = match bound.unit {
            Unit::Count => default.into(),
            Unit::Time | Unit::Bytes => bound.unit.write(default).into(),
        };
        property.insert("default".to_owned(), default);
    }
}

/// The JSON pointer to the schema of a key such as `checks.*.jwt[].leeway`.
fn locate(schema: &Value, key: &str) -> Option<String> {
    let mut at = String::new();
    for step in key.split('.') {
        let name = step.strip_suffix("[]");
        at = child(schema, &follow(schema, at), name.unwrap_or(step))?;
        if name.is_some() {
            at = follow(schema, at) + "/items";
        }
    }
    schema.pointer(&at).map(|_| at)
}

fn child(schema: &Value, at: &str, name: &str) -> Option<String> {
    if name == "*" {
        return Some(format!("{at}/additionalProperties"));
    }
    let direct = format!("{at}/properties/{name}");
    if schema.pointer(&direct).is_some() {
        return Some(direct);
    }
    let variants = schema.pointer(at)?.get("oneOf")?.as_array()?.len();
    (0..variants)
        .map(|index| format!("{at}/oneOf/{index}/properties/{name}"))
        .find(|at| schema.pointer(at).is_some())
}

/// Where the schema at a pointer really stands.
fn follow(schema: &Value, at: String) -> String {
    let here = schema.pointer(&at);
    // A map that may be left out is a choice between itself and null.
    let it = here.map(|value| value.pointer("/anyOf/0").unwrap_or(value));
    match it.and_then(|value| value.get("$ref")).and_then(Value::as_str) {
        // A definition never is a bare reference itself, so one step is enough.
        Some(reference) => reference.trim_start_matches('#').to_owned(),
        None => at,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::CheckSettings;
    use crate::config::Findings;
    use crate::config::KeyLocation;
    use crate::config::Length;
    use crate::config::PRESETS;
    use crate::config::Report;
    use crate::config::Secrets;
    use crate::config::Settings;
    use crate::config::Size;
    use crate::config::Source;
    use crate::config::TokenSettings;
    use crate::config::load::Loaded;
    use crate::config::load::parse;

    const SCHEMA: &str = "config/portcullis.schema.json";
    const PRESET_SCHEMA: &str = "config/dialect.schema.json";
    const REFERENCE: &str = "config/reference.yaml";

    fn file(name: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    }

    /// The reference as it is, and with its alternatives (lines behind `#| `) put in.
    fn references() -> [String; 2] {
        let text = file(REFERENCE);
        let whole = text.lines().map(|line| line.replacen("#| ", "", 1));
        let whole = whole.collect::<Vec<_>>().join("\n");
        assert_ne!(whole, text);
        [text, whole]
    }

    #[track_caller]
    fn resolve(name: &str, text: &str) -> (Loaded, Settings) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let loaded = parse(Source::new(path, text)).unwrap_or_else(|report| panic!("{report}"));
        let mut findings = Findings::new();
        let settings = Settings::resolve(&loaded, &mut findings);
        let has_errors = findings.has_errors();
        assert!(!has_errors, "{}", Report::new(loaded.source, findings));
        let settings = settings.unwrap();
        assert_readable(&loaded, &settings);
        (loaded, settings)
    }

    /// The files that a shipped configuration names are shipped too.
    #[track_caller]
    fn assert_readable(loaded: &Loaded, settings: &Settings) {
        let mut secrets = Secrets::new(loaded.source.folder());
        let issuers = settings.checks.values().filter_map(|check| match check {
            CheckSettings::Jwt(issuers) => Some(issuers),
            CheckSettings::AppKey(_)
            | CheckSettings::Basic
            | CheckSettings::Header(_)
            | CheckSettings::Certificate(_) => None,
        });
        for issuer in issuers.flatten() {
            let TokenSettings::Other(issuer) = issuer else { continue };
            match &issuer.keys {
                KeyLocation::Key(reference) => drop(secrets.read(reference).unwrap()),
                KeyLocation::JwksFile(path) => drop(secrets.read_file(path).unwrap()),
                KeyLocation::JwksUrl(_) | KeyLocation::Discover | KeyLocation::Secret(_) => {}
            }
        }
    }

    fn as_json(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    /// Every key that the schema knows, as in the table of bounds.
    fn keys(schema: &Value, at: &str, key: &str, found: &mut Vec<String>) {
        let at = follow(schema, at.to_owned());
        let node = schema.pointer(&at).unwrap();
        for (name, _) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let key = format!("{key}.{name}").trim_start_matches('.').to_owned();
            found.push(key.clone());
            keys(schema, &format!("{at}/properties/{name}"), &key, found);
        }
        for (part, step) in [("additionalProperties", ".*"), ("items", "[]")] {
            if node.get(part).is_some_and(Value::is_object) {
                keys(schema, &format!("{at}/{part}"), &format!("{key}{step}"), found);
            }
        }
        for part in ["oneOf", "anyOf"] {
            let variants = node.get(part).and_then(Value::as_array).map_or(0, Vec::len);
            for index in 0..variants {
                keys(schema, &format!("{at}/{part}/{index}"), key, found);
            }
        }
    }

    /// Every value that a document has at a key.
    fn values<'v>(document: &'v Value, key: &str) -> Vec<&'v Value> {
        let mut here = vec![document];
        for step in key.split('.') {
            let name = step.strip_suffix("[]");
            here = here
                .into_iter()
                .flat_map(|value| match step {
                    "*" => value.as_object().into_iter().flat_map(|map| map.values()).collect(),
                    _ => Vec::from_iter(value.get(name.unwrap_or(step))),
                })
                .flat_map(|value| match name {
                    Some(_) => value.as_array().into_iter().flatten().collect(),
                    None => vec![value],
                })
                .collect();
        }
        here
    }

    #[test]
    fn the_committed_schema_is_the_one_of_the_types() {
        for (name, schema) in [(SCHEMA, schema()), (PRESET_SCHEMA, preset_schema())] {
            let made = format!("{schema:#}\n");
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
                std::fs::write(path, &made).unwrap();
            }
            assert_eq!(file(name), made, "run the tests once with UPDATE_SCHEMA=1");
        }
    }

    #[test]
    fn every_preset_is_accepted_by_its_schema() {
        let validator = jsonschema::validator_for(&preset_schema()).unwrap();
        for (name, text) in PRESETS {
            let errors: Vec<_> =
                validator.iter_errors(&as_json(text)).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
            let misspelt = text.replacen("calls:", "cals:", 1);
            assert!(!validator.is_valid(&as_json(&misspelt)), "{name}");
        }
    }

    #[test]
    fn every_bound_and_the_algorithms_stand_in_the_schema() {
        let schema = schema();
        for bound in BOUNDS {
            let at = locate(&schema, bound.key).unwrap_or_else(|| panic!("{}", bound.key));
            let description = schema.pointer(&at).unwrap()["description"].as_str().unwrap();
            assert!(description.contains(&bound.range()), "{}: {description}", bound.key);
        }
        assert!(schema.to_string().contains("\"EdDSA\""));
        assert_eq!(locate(&schema, "limits.nothing"), None);
    }

    #[test]
    fn the_reference_holds_every_key_of_the_schema() {
        let [_, whole] = references();
        let document = as_json(&whole);
        let mut known = Vec::new();
        keys(&schema(), "", "", &mut known);
        assert!(known.len() > 70, "{known:?}");
        for key in known {
            assert!(!values(&document, &key).is_empty(), "{key} is not in {REFERENCE}");
        }
    }

    #[test]
    fn the_reference_is_accepted_by_the_schema_and_by_the_types() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for text in references() {
            let errors: Vec<_> =
                validator.iter_errors(&as_json(&text)).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
            resolve(REFERENCE, &text);
        }
    }

    #[test]
    fn the_schema_refuses_what_the_types_refuse() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let [text, _] = references();
        for (from, to) in [
            ("\nlimits:", "\nlimitz:"),
            ("  target: 8KiB", "  target: 8K"),
            ("  header_count: 96", "  header_count: 97"),
            ("  header_count: 96", "  header_count: many"),
            ("jwt:", "jwd:"),
            ("[RS256,", "[RS257,"),
            ("audience:", "audiences:"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert!(!validator.is_valid(&as_json(&bad)), "{to}");
            let mut findings = Findings::new();
            let is_refused = parse(Source::new(REFERENCE, bad)).map_or(true, |loaded| {
                Settings::resolve(&loaded, &mut findings);
                findings.has_errors()
            });
            assert!(is_refused, "{to}");
        }
    }

    #[test]
    fn the_reference_writes_the_defaults() {
        let [text, whole] = references();
        let document = as_json(&whole);
        for bound in BOUNDS {
            let written = values(&document, bound.key);
            assert!(!written.is_empty(), "{}", bound.key);
            for value in written {
                let number = match bound.unit {
                    Unit::Count => value.as_u64(),
                    Unit::Bytes => value.as_str().and_then(Size::parse).map(|size| size.0),
                    Unit::Time => value
                        .as_str()
                        .and_then(Length::parse)
                        .and_then(|length| u64::try_from(length.0.as_millis()).ok()),
                };
                assert!(number.is_some(), "{}: {value}", bound.key);
                assert!(
                    bound.default.is_none_or(|default| number == Some(default)),
                    "{}",
                    bound.key
                );
            }
        }
        let (_, reference) = resolve(REFERENCE, &text);
        let minimal = "listen: { public: \"[::1]:80\" }\nupstreams: {}\nroutes: []\n";
        let (_, minimal) = resolve("minimal.yaml", minimal);
        assert_eq!(reference.limits, minimal.limits);
        assert_eq!(reference.timeouts, minimal.timeouts);
        assert_eq!(reference.http2, minimal.http2);
        assert_eq!(reference.cache, minimal.cache);
        assert_eq!(reference.shutdown, minimal.shutdown);
        assert_eq!(reference.access_log, minimal.access_log);
        assert_eq!(reference.workers, minimal.workers);
    }

    #[test]
    fn every_example_is_accepted_by_the_schema_and_by_the_types() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let first = text.lines().next().unwrap();
            assert_eq!(
                first, "# yaml-language-server: $schema=../portcullis.schema.json",
                "{name}"
            );
            assert!(validator.is_valid(&as_json(&text)), "{name}");
            let (_, settings) = resolve(&format!("config/examples/{name}"), &text);
            assert!(!settings.upstreams.is_empty(), "{name}");
            names.push(name);
        }
        names.sort();
        let expected = [
            "five-apis.yaml",
            "login-native.yaml",
            "pass-through-analogue.yaml",
            "pass-through-monogoto.yaml",
            "pass-through-ping-proxies.yaml",
            "pass-through-redis.yaml",
            "remote-issuer.yaml",
            "several-upstreams.yaml",
            "sidecar.yaml",
            "standalone.yaml",
        ];
        assert_eq!(names, expected);
    }
}
