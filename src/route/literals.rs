//! The literal children of a node, found by exact bytes, or as a twin: a segment that some upstreams
//! take for the literal, because they ignore case, or trailing dots and spaces.
//!
//! A few are compared one by one; many are hashed, so that a lookup among thousands of siblings
//! costs what it costs among ten.

use std::collections::HashMap;

use super::pattern::MAX_LITERAL_BYTES;

/// Up to this many siblings, comparing each is cheaper than hashing.
const FEW: usize = 8;

/// The literal children of one node.
#[derive(Debug)]
pub(super) struct Literals<N> {
    nodes: HashMap<Box<str>, N>,
    /// The names that share a lower-case form, by that form.
    twins: HashMap<Box<[u8]>, Vec<Box<str>>>,
    has_twins: bool,
}

/// What a segment finds among literals.
pub(super) enum Found<'t, N> {
    /// The literal itself.
    Exact(&'t N),
    /// No literal is equal, but one is for a reader who ignores case or a trailing dot or space.
    Twin,
    /// No literal is equal.
    Nothing,
}

impl<N> Literals<N> {
    /// What `segment` finds.
    pub(super) fn find(&self, segment: &str) -> Found<'_, N> {
        match self.get(segment) {
            Some(node) => Found::Exact(node),
            None if self.is_twin(segment) => Found::Twin,
            None => Found::Nothing,
        }
    }

    /// The child of `literal`.
    pub(super) fn get(&self, literal: &str) -> Option<&N> {
        if self.nodes.len() > FEW {
            return self.nodes.get(literal);
        }
        self.nodes.iter().find_map(|(name, node)| (**name == *literal).then_some(node))
    }

    /// The child of `literal`, made if there is none.
    pub(super) fn entry(&mut self, literal: &str) -> &mut N
    where
        N: Default,
    {
        let twins = self.twins.entry(literal.as_bytes().to_ascii_lowercase().into()).or_default();
        if !twins.iter().any(|name| **name == *literal) {
            twins.push(literal.into());
            self.has_twins |= twins.len() > 1;
        }
        self.nodes.entry(literal.into()).or_default()
    }

    /// The names that equal `segment` for a reader who ignores case and what `trimmed` takes off.
    pub(super) fn alike(&self, segment: &str) -> &[Box<str>] {
        match self.spelled(segment) {
            [] => self.spelled(trimmed(segment)),
            names => names,
        }
    }

    fn spelled(&self, segment: &str) -> &[Box<str>] {
        let mut buffer = [0; MAX_LITERAL_BYTES];
        let Some(folded) = buffer.get_mut(..segment.len()) else {
            return &[]; // Longer than any literal.
        };
        folded.copy_from_slice(segment.as_bytes());
        folded.make_ascii_lowercase();
        self.twins.get(&*folded).map_or(&[], Vec::as_slice)
    }

    /// Whether two children differ only in case.
    pub(super) const fn has_twins(&self) -> bool {
        self.has_twins
    }

    fn is_twin(&self, segment: &str) -> bool {
        if self.nodes.len() > FEW {
            return !self.alike(segment).is_empty();
        }
        let short = trimmed(segment);
        self.nodes
            .keys()
            .any(|name| name.eq_ignore_ascii_case(segment) || name.eq_ignore_ascii_case(short))
    }
}

/// A segment without the dots and spaces at its end, which file systems of Windows drop.
fn trimmed(segment: &str) -> &str {
    let mut short = segment;
    while let Some(shorter) = short.strip_suffix('.').or_else(|| short.strip_suffix("%20")) {
        short = shorter;
    }
    short
}

impl<N> Default for Literals<N> {
    fn default() -> Self {
        Self { nodes: HashMap::new(), twins: HashMap::new(), has_twins: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_that_differ_only_in_case_are_noticed() {
        let mut literals: Literals<()> = Literals::default();
        for (name, twins) in [("api", false), ("apis", false), ("api", false), ("API", true)] {
            literals.entry(name);
            assert_eq!(literals.has_twins(), twins, "{name}");
        }
    }

    #[test]
    fn a_trailing_dot_or_space_makes_a_twin() {
        for count in [1, FEW + 1] {
            let mut literals: Literals<usize> = Literals::default();
            for n in 0..count {
                *literals.entry(&format!("admin{n}")) = n;
            }
            for twin in ["admin0.", "admin0%20", "Admin0.%20.", "admin0..."] {
                assert!(matches!(literals.find(twin), Found::Twin), "{twin}");
            }
            for other in [".admin0", "%20admin0", "admin0%2", "admin", "...", "%20"] {
                assert!(matches!(literals.find(other), Found::Nothing), "{other}");
            }
        }
    }

    #[test]
    fn few_and_many_find_alike() {
        for count in [1, FEW - 1, FEW, FEW + 1, 100] {
            let mut literals: Literals<usize> = Literals::default();
            for n in 0..count {
                *literals.entry(&format!("Name{n}")) = n;
            }
            for n in 0..count {
                let exact = literals.find(&format!("Name{n}"));
                assert!(matches!(exact, Found::Exact(&found) if found == n), "{n} of {count}");
                let twin = format!("nAmE{n}");
                assert!(matches!(literals.find(&twin), Found::Twin), "{n} of {count}");
                assert_eq!(literals.alike(&twin), [format!("Name{n}").into()]);
            }
            assert!(matches!(literals.find("name"), Found::Nothing));
            assert!(matches!(literals.find(""), Found::Nothing));
            assert!(matches!(literals.find(&"n".repeat(1000)), Found::Nothing));
        }
    }
}
