//! From a name to a dialect: the preset, what it extends, the generation that was chosen.

use std::sync::Arc;

use super::Dialect;
use super::parts::Parts;
use crate::config::At;
use crate::config::CallChoice;
use crate::config::Findings;
use crate::config::PRESETS;
use crate::config::Preset;
use crate::config::Secrets;
use crate::config::Source;
use crate::config::read_preset;

/// Presets that may stand on one another.
const MOST_LAYERS: usize = 4;

/// A preset and the text that its findings speak of.
struct Layer {
    preset: Preset,
    source: Arc<Source>,
}

impl Layer {
    /// What the preset says, and over it what the generation says that is spoken.
    fn parts(&self, spoken: Option<&str>, findings: &mut Findings) -> Parts {
        let mut parts = Parts::of_preset(&self.preset, findings);
        for (name, entry) in &self.preset.generations {
            // All of them are judged, so that a mistake does not wait until somebody chooses it.
            let own = Parts::of_generation(entry, findings);
            if spoken == Some(name.as_str()) {
                parts = parts.under(own);
            }
        }
        parts
    }

    /// What leaves out a call that is nowhere says something other than what was meant.
    fn judge_left_out(&self, lower: &Parts, findings: &mut Findings) {
        let Preset { calls: own, generations, .. } = &self.preset;
        // Of all generations, as above.
        let calls = own.iter().chain(generations.values().flat_map(|entry| &entry.calls));
        let left_out = calls.filter(|(_, call)| matches!(call.value, CallChoice::LeftOut));
        for (kind, call) in left_out {
            let own = own.get(kind);
            let is_own = own.is_some_and(|call| matches!(call.value, CallChoice::Call(_)));
            if !is_own && !lower.calls.contains_key(kind) {
                findings
                    .error(call.place, format!("there is no call `{}` to leave out", kind.name()))
                    .help("`none` leaves out a call of the preset that `extends` names");
            }
        }
    }
}

impl Dialect {
    /// Loads the preset that `reference` names: one that comes with the gateway, or `file:PATH`.
    ///
    /// Findings about a file of the operator's own speak of that file.
    pub fn load(
        reference: &At<String>,
        generation: Option<&At<String>>,
        secrets: &mut Secrets,
        findings: &mut Findings,
    ) -> Option<Self> {
        let layers = layers(reference, secrets, findings)?;
        let generation = Generation::choose(generation, &layers, findings).ok()?;
        let mut parts = Parts::default();
        let mut is_good = true;
        for (index, layer) in layers.iter().enumerate() {
            let mut found = Findings::new();
            let spoken = generation.as_ref().filter(|one| one.layer == index);
            let spoken = spoken.map(|one| one.name.as_str());
            let upper = layer.parts(spoken, &mut found);
            layer.judge_left_out(&parts, &mut found);
            parts = parts.under(upper);
            is_good &= !found.has_errors();
            findings.adopt(found, &layer.source);
        }
        // What is missing may only be what could not be read.
        if !is_good {
            return None;
        }
        let leaf = layers.last()?;
        let mut found = Findings::new();
        let dialect = parts.assemble(
            leaf.preset.dialect.value.clone(),
            leaf.preset.family.as_ref().unwrap_or(&leaf.preset.dialect).value.clone(),
            leaf.preset.dialect.place,
            &mut found,
        );
        let has_errors = found.has_errors();
        findings.adopt(found, &leaf.source);
        dialect.filter(|_| !has_errors)
    }
}

/// The presets from the lowest to the one that was named.
fn layers(
    reference: &At<String>,
    secrets: &mut Secrets,
    findings: &mut Findings,
) -> Option<Vec<Layer>> {
    let (preset, source) = read_preset(reference, secrets, findings)?;
    let mut layers = vec![Layer { preset, source: Arc::new(source) }];
    while let Some(lower) = layers.first().and_then(|layer| layer.preset.extends.clone()) {
        let upper = Arc::clone(&layers.first()?.source);
        let mut found = Findings::new();
        let read = if layers.len() < MOST_LAYERS {
            read_preset(&lower, secrets, &mut found)
        } else {
            found.error(lower.place, "presets extend one another in a circle, or too deeply");
            None
        };
        findings.adopt(found, &upper);
        let (preset, source) = read?;
        layers.insert(0, Layer { preset, source: Arc::new(source) });
    }
    let leaf = layers.last()?;
    let name = &leaf.preset.dialect;
    let comes_with_us = PRESETS.iter().any(|(known, _)| *known == name.value);
    if comes_with_us && reference.value != name.value {
        let mut found = Findings::new();
        found.error(name.place, format!("`{}` is the name of another preset", **name)).help(
            "a preset of one's own has a name of its own; `extends` takes over another's words",
        );
        findings.adopt(found, &leaf.source);
        return None;
    }
    Some(layers)
}

/// The generation that is spoken, and the layer that has it.
struct Generation {
    name: String,
    layer: usize,
}

impl Generation {
    fn choose(
        chosen: Option<&At<String>>,
        layers: &[Layer],
        findings: &mut Findings,
    ) -> Result<Option<Self>, Unknown> {
        let default = layers
            .iter()
            .rev()
            .find_map(|layer| layer.preset.generation.as_ref().map(|name| (name, &layer.source)));
        let Some(name) = chosen.or(default.map(|(name, _)| name)) else {
            return Ok(None);
        };
        let layer =
            layers.iter().rposition(|layer| layer.preset.generations.contains_key(&name.value));
        if let Some(layer) = layer {
            return Ok(Some(Self { name: name.value.clone(), layer }));
        }
        let known = layers.iter().flat_map(|layer| layer.preset.generations.keys());
        let known: Vec<&str> = known.map(String::as_str).collect();
        let mut found = Findings::new();
        let help = if known.is_empty() {
            "the preset knows none".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        };
        found.error(name.place, format!("no generation is named `{}`", **name)).help(help);
        match default.filter(|_| chosen.is_none()) {
            Some((_, source)) => findings.adopt(found, source),
            None => findings.append(found),
        }
        Err(Unknown)
    }
}

/// There is no such generation; a finding says so.
struct Unknown;
