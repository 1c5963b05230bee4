//! The presets that come with the gateway say what the documents say.

use serde_json::{Map, Value, json};

use super::*;
use crate::config::At;
use crate::config::Findings;
use crate::config::PRESETS;
use crate::config::Place;
use crate::config::Report;
use crate::config::Secrets;
use crate::config::Source;

/// A preset by its name, of the generation that is spoken by default or of another.
#[track_caller]
pub(super) fn dialect(name: &str, generation: Option<&str>) -> Dialect {
    let at = |text: &str| At { value: text.to_owned(), place: Place::default() };
    let mut findings = Findings::new();
    let generation = generation.map(at);
    let loaded =
        Dialect::load(&at(name), generation.as_ref(), &mut Secrets::new("/"), &mut findings);
    let report = Report::new(Source::new("none", ""), findings);
    loaded.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn every_preset_loads_in_every_generation() {
    for (name, _) in PRESETS {
        assert_eq!(dialect(name, None).name, name);
    }
    for generation in ["rails", "node", "spec-2026"] {
        dialect("analogue", Some(generation));
    }
}
