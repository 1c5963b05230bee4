//! The rates that the configuration names, each compiled once, wherever it is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::At;
use crate::config::Findings;
use crate::config::Loaded;
use crate::config::Settings;
use crate::gateway::kept::Kept;
use crate::gateway::rates::Rates;
use crate::limits::Rate;

/// What a list of names is resolved by.
pub(super) struct Known {
    rates: BTreeMap<String, Arc<Rate>>,
    everywhere: Vec<String>,
}

impl Known {
    pub(super) fn new(loaded: &Loaded, settings: &Settings, kept: &Kept) -> Self {
        let capacity = settings.limits.callers;
        let rates = settings
            .rates
            .iter()
            .map(|(name, rate)| (name.clone(), kept.rate(name, rate, capacity)))
            .collect();
        let everywhere = loaded.document.limits.rates.iter().map(|name| name.value.clone());
        Self { rates, everywhere: everywhere.collect() }
    }

    /// The rates of `limits`, which count every request.
    pub(super) fn everywhere(&self, loaded: &Loaded, findings: &mut Findings) -> Rates {
        Rates::new(self.named(&loaded.document.limits.rates, findings))
    }

    /// The rates of a route; those that count every request do so once.
    pub(super) fn of_route(&self, names: &[At<String>], findings: &mut Findings) -> Rates {
        let rates = self.named(names, findings).into_iter();
        let is_elsewhere =
            |rate: &Arc<Rate>| self.everywhere.iter().any(|name| name == rate.name());
        Rates::new(rates.filter(|rate| !is_elsewhere(rate)).collect())
    }

    fn named(&self, names: &[At<String>], findings: &mut Findings) -> Vec<Arc<Rate>> {
        let mut found: Vec<Arc<Rate>> = Vec::with_capacity(names.len());
        for name in names {
            let Some(rate) = self.rates.get(&name.value) else {
                findings
                    .error(name.place, format!("no rate is named `{}`", **name))
                    .suggest(name, self.rates.keys().map(String::as_str));
                continue;
            };
            if found.iter().any(|other| Arc::ptr_eq(other, rate)) {
                findings.error(name.place, format!("`{}` is named twice", **name));
            }
            found.push(Arc::clone(rate));
        }
        found
    }
}
