//! What a route requires: checks combined with `and`, `or`, `?` and parentheses.
//!
//! A [`Require`] is asked step by step which check it needs next, so that whoever performs checks
//! may wait for one without recursion here. Each check is asked at most once per request, from left
//! to right, and none is asked that cannot change the outcome.
//!
//! - `a and b` needs both, and ends at the first that is not valid.
//! - `a or b` moves on to `b` only when `a` is *absent*: an invalid `a` is final, so that a bad
//!   credential never falls through to a weaker one.
//! - `a?` also passes when `a` is absent, then without a principal; an invalid `a` is final.
//!
//! A group such as `(a and b)` that is followed by `or` or `?` is asked to its end even when its
//! first half is absent: the other half may be invalid, and that is final. When one half is valid and
//! the other absent, `or` still moves on, but `?` does not forgive: half a credential is not an
//! anonymous caller.

mod analysis;
mod parse;

use std::ops::Range;

use thiserror::Error;

/// The number of a check among those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckIndex(pub usize);

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its credential was not presented.
    Absent,
    /// Its credential was presented and is good.
    Valid,
    /// Its credential was presented and is bad; nothing makes up for that.
    Invalid,
}

/// What to do next about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Perform this check and come back with its outcome.
    Ask(CheckIndex),
    /// Nothing more is needed. Only [`Outcome::Valid`] lets the request pass; otherwise the check
    /// that failed is named.
    Done(Outcome, Option<CheckIndex>),
}

/// A requirement over checks: names when parsed, indexes once resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Require<C = CheckIndex> {
    root: Node<C>,
}

/// A check's name and the bytes at which the requirement mentions it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its bytes in the text.
    pub range: Range<usize>,
}

/// Why a text is no requirement, and which of its bytes are to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RequireError {
    /// What is wrong, for the operator.
    pub message: String,
    /// The bytes of the text to blame.
    pub range: Range<usize>,
}

/// A name that no check has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no check is named `{}`", name.text)]
pub struct UnknownCheck {
    /// The name and where it stands.
    pub name: Name,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<C> {
    Check(C),
    Optional(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// What a part of a requirement came to. Two kinds of absence and two of passing are told apart,
/// because `?` forgives an absence only when nothing was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Fails: nothing was presented.
    Absent,
    /// Fails: something valid was presented, something else is missing.
    Partial,
    /// Fails for good.
    Invalid,
    /// Passes, with nothing presented.
    Vacant,
    /// Passes, with something valid presented.
    Valid,
}

/// A value, and the check to blame when it fails.
type Verdict = (Value, Option<CheckIndex>);

impl Require<Name> {
    /// Reads the text of a requirement.
    pub fn parse(text: &str) -> Result<Self, RequireError> {
        parse::parse(text).map(|root| Self { root })
    }

    /// Replaces each name by its index, or tells every name that `index` does not know.
    pub fn resolve(
        &self,
        index: impl Fn(&str) -> Option<CheckIndex>,
    ) -> Result<Require, Vec<UnknownCheck>> {
        let mut unknown = Vec::new();
        let root = self.root.resolve(&index, &mut unknown);
        match root {
            Some(root) if unknown.is_empty() => Ok(Require { root }),
            _ => Err(unknown),
        }
    }
}

impl Require {
    /// The requirement of one check alone.
    pub const fn check(check: CheckIndex) -> Self {
        Self { root: Node::Check(check) }
    }

    /// What to do next, given the outcomes so far at the indexes of their checks.
    pub fn next(&self, known: &[Option<Outcome>]) -> Step {
        match self.root.evaluate(known, false) {
            Err(check) => Step::Ask(check),
            Ok((Value::Valid | Value::Vacant, _)) => Step::Done(Outcome::Valid, None),
            Ok((Value::Absent | Value::Partial, blame)) => Step::Done(Outcome::Absent, blame),
            Ok((Value::Invalid, blame)) => Step::Done(Outcome::Invalid, blame),
        }
    }

    /// The checks it mentions, each once, in the order of mention.
    pub fn checks(&self) -> Vec<CheckIndex> {
        let mut checks = Vec::new();
        self.root.visit(&mut |check| {
            if !checks.contains(check) {
                checks.push(*check);
            }
        });
        checks
    }
}

impl Node<Name> {
    fn resolve(
        &self,
        index: &impl Fn(&str) -> Option<CheckIndex>,
        unknown: &mut Vec<UnknownCheck>,
    ) -> Option<Node<CheckIndex>> {
        Some(match self {
            Self::Check(name) => match index(&name.text) {
                Some(check) => Node::Check(check),
                None => {
                    unknown.push(UnknownCheck { name: name.clone() });
                    return None;
                }
            },
            Self::Optional(inner) => Node::Optional(Box::new(inner.resolve(index, unknown)?)),
            Self::And(left, right) | Self::Or(left, right) => {
                // Both sides first, so that all unknown names are told.
                let (left, right) = (left.resolve(index, unknown), right.resolve(index, unknown));
                let (left, right) = (Box::new(left?), Box::new(right?));
                if matches!(self, Self::And(..)) {
                    Node::And(left, right)
                } else {
                    Node::Or(left, right)
                }
            }
        })
    }
}

impl Node<CheckIndex> {
    /// The verdict, or the check that must be asked first. Without `to_the_end` the first absence
    /// ends the matter, as nothing around this part could make up for it.
    fn evaluate(&self, known: &[Option<Outcome>], to_the_end: bool) -> Result<Verdict, CheckIndex> {
        match self {
            Self::Check(check) => match known.get(check.0).copied().flatten() {
                None => Err(*check),
                Some(Outcome::Absent) => Ok((Value::Absent, Some(*check))),
                Some(Outcome::Valid) => Ok((Value::Valid, None)),
                Some(Outcome::Invalid) => Ok((Value::Invalid, Some(*check))),
            },
            Self::Optional(inner) => Ok(match inner.evaluate(known, true)? {
                (Value::Absent, _) => (Value::Vacant, None),
                verdict => verdict,
            }),
            Self::Or(left, right) => {
                let left = left.evaluate(known, true)?;
                if !left.0.is_missing() {
                    return Ok(left);
                }
                Ok(either(left, right.evaluate(known, to_the_end)?))
            }
            Self::And(left, right) => {
                let left = left.evaluate(known, to_the_end)?;
                if left.0 == Value::Invalid || (left.0.is_missing() && !to_the_end) {
                    return Ok(left);
                }
                Ok(both(left, right.evaluate(known, to_the_end)?))
            }
        }
    }
}

/// Combines the sides of an `and`, of which the left is not invalid.
fn both(left: Verdict, right: Verdict) -> Verdict {
    match (left.0, right.0) {
        (_, Value::Invalid) => right,
        (Value::Partial, _) => left,
        (_, Value::Partial) => right,
        (Value::Absent, Value::Absent | Value::Vacant) => left,
        (Value::Absent, Value::Valid) => (Value::Partial, left.1),
        (Value::Valid, Value::Absent) => (Value::Partial, right.1),
        (Value::Valid, Value::Vacant) => left,
        (_, Value::Absent | Value::Vacant | Value::Valid) => right,
    }
}

/// Combines the sides of an `or`, of which the left is missing.
fn either(left: Verdict, right: Verdict) -> Verdict {
    match (left.0, right.0) {
        // Half of the left was presented, so an empty right is no anonymous caller either.
        (Value::Partial, Value::Absent | Value::Vacant) => left,
        // Nothing was presented at all: what the left asks for is named.
        (_, Value::Absent) => left,
        _ => right,
    }
}

impl Value {
    const fn is_missing(self) -> bool {
        matches!(self, Self::Absent | Self::Partial)
    }
}

impl<C> Node<C> {
    fn visit(&self, found: &mut impl FnMut(&C)) {
        match self {
            Self::Check(check) => found(check),
            Self::Optional(inner) => inner.visit(found),
            Self::And(left, right) | Self::Or(left, right) => {
                left.visit(found);
                right.visit(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn require(text: &str) -> Require {
        let index = |name: &str| NAMES.iter().position(|known| *known == name).map(CheckIndex);
        Require::parse(text).unwrap().resolve(index).unwrap()
    }

    fn outcome(letter: char) -> Outcome {
        match letter {
            'A' => Outcome::Absent,
            'V' => Outcome::Valid,
            'I' => Outcome::Invalid,
            other => panic!("{other}"),
        }
    }

    /// Runs a request whose checks end as `outcomes` says; returns the outcome, the check to blame
    /// and those that were asked, such as `A a ab`.
    fn run(text: &str, outcomes: &str) -> String {
        let outcomes: Vec<_> = outcomes.chars().map(outcome).collect();
        let mut known = vec![None; NAMES.len()];
        let mut asked = String::new();
        loop {
            match require(text).next(&known) {
                Step::Ask(CheckIndex(check)) => {
                    assert!(known[check].is_none(), "asked twice");
                    known[check] = Some(outcomes[check]);
                    asked.push_str(NAMES[check]);
                }
                Step::Done(outcome, blame) => {
                    let outcome = match outcome {
                        Outcome::Absent => 'A',
                        Outcome::Valid => 'V',
                        Outcome::Invalid => 'I',
                    };
                    let blame = blame.map_or("-", |check| NAMES[check.0]);
                    return format!("{outcome} {blame} {asked}");
                }
            }
        }
    }

    #[test]
    fn the_truth_table_holds() {
        // Requirement, outcomes of a, b and c: outcome, check to blame, checks asked.
        for (text, outcomes, expected) in [
            ("a", "VAA", "V - a"),
            ("a", "AAA", "A a a"),
            ("a", "IAA", "I a a"),
            ("a?", "VAA", "V - a"),
            ("a?", "AAA", "V - a"),
            ("a?", "IAA", "I a a"),
            // Both are needed; the first that fails ends it.
            ("a and b", "VVA", "V - ab"),
            ("a and b", "VAA", "A b ab"),
            ("a and b", "VIA", "I b ab"),
            ("a and b", "AVA", "A a a"),
            ("a and b", "AIA", "A a a"),
            ("a and b", "IVA", "I a a"),
            // Only absence moves on.
            ("a or b", "VAA", "V - a"),
            ("a or b", "AVA", "V - ab"),
            ("a or b", "AAA", "A a ab"),
            ("a or b", "AIA", "I b ab"),
            ("a or b", "IVA", "I a a"),
            ("a or b?", "AAA", "V - ab"),
            ("a or b?", "AIA", "I b ab"),
            // The second may be absent, not invalid.
            ("a and b?", "VAA", "V - ab"),
            ("a and b?", "VVA", "V - ab"),
            ("a and b?", "VIA", "I b ab"),
            ("a and b?", "AVA", "A a a"),
            // A group is anonymous only when nothing of it was presented.
            ("(a and b)?", "VVA", "V - ab"),
            ("(a and b)?", "AAA", "V - ab"),
            ("(a and b)?", "VAA", "A b ab"),
            ("(a and b)?", "AVA", "A a ab"),
            ("(a and b)?", "AIA", "I b ab"),
            ("(a and b)?", "VIA", "I b ab"),
            ("(a and b)?", "IVA", "I a a"),
            ("(a or b)?", "AAA", "V - ab"),
            ("(a or b)?", "AIA", "I b ab"),
            ("(a or b)?", "IAA", "I a a"),
            // On the left of `or`, what is missing moves on; what is invalid does not.
            ("a and b or c", "AAV", "V - abc"),
            ("a and b or c", "AAA", "A a abc"),
            ("a and b or c", "AVV", "V - abc"),
            ("a and b or c", "VAV", "V - abc"),
            ("a and b or c", "VAA", "A b abc"),
            ("a and b or c", "AIV", "I b ab"),
            ("a and b or c", "VIV", "I b ab"),
            ("a and b or c", "VAI", "I c abc"),
            ("a and b or c", "VVI", "V - ab"),
            ("a and b or a and c", "VAV", "V - abc"),
            ("a and b or a and c", "VAA", "A c abc"),
            ("a and b or a and c", "AAV", "A a ab"),
            ("a or b and c", "AVA", "A c abc"),
            ("a or b and c", "AAV", "A a ab"),
            ("b and (a and c) or a", "AVI", "I c bac"),
            // Half a credential is not anonymous, whatever else is optional.
            ("a and b or c?", "AAA", "V - abc"),
            ("a and b or c?", "VAA", "A b abc"),
            ("a and b or c?", "VAV", "V - abc"),
            ("(a and b or c)?", "AAA", "V - abc"),
            ("(a and b or c)?", "VAA", "A b abc"),
            // An optional part that is absent counts as nothing presented, one that is valid does not.
            ("a? and b or c", "AAV", "V - abc"),
            ("a? and b or c", "VAA", "A b abc"),
            ("a? and b or c", "VAV", "V - abc"),
            ("(a? and b)?", "AAA", "V - ab"),
            ("(a? and b)?", "VAA", "A b ab"),
            ("(a and b?)?", "AVA", "A a ab"),
            ("(a and b?)?", "VAA", "V - ab"),
            // Parentheses bind.
            ("a and (b or c)", "VAV", "V - abc"),
            ("a and (b or c)", "VAA", "A b abc"),
            ("a and (b or c)", "VIV", "I b ab"),
            ("a and (b or c)", "AVV", "A a a"),
            ("(a or b) and c", "AVV", "V - abc"),
            ("(a or b) and c", "AVA", "A c abc"),
            ("((a and b)? and c) or a", "AAV", "V - abc"),
            ("a and a", "VAA", "V - a"),
        ] {
            assert_eq!(run(text, outcomes), expected, "{text} with {outcomes}");
        }
    }

    #[test]
    fn a_request_without_any_valid_credential_passes_only_what_is_optional() {
        for text in ["a", "a and b", "a or b", "a and b?", "a and b or c", "a and (b or c)?"] {
            assert!(run(text, "AAA").starts_with('A'), "{text}");
        }
        for text in ["a?", "(a and b)?", "a? and b?", "a or b?"] {
            assert!(run(text, "AAA").starts_with('V'), "{text}");
        }
    }

    #[test]
    fn every_unknown_name_is_told_with_its_place() {
        let text = "a and (app or usr)";
        let index = |name: &str| (name == "a").then_some(CheckIndex(0));
        let unknown = Require::parse(text).unwrap().resolve(index).unwrap_err();
        let told: Vec<_> = unknown
            .iter()
            .map(|unknown| (&*unknown.name.text, &text[unknown.name.range.clone()]))
            .collect();
        assert_eq!(told, [("app", "app"), ("usr", "usr")]);
        assert_eq!(unknown[0].to_string(), "no check is named `app`");
    }

    #[test]
    fn checks_are_listed_once_in_order_of_mention() {
        assert_eq!(require("b and (a or b)").checks(), [CheckIndex(1), CheckIndex(0)]);
    }
}
