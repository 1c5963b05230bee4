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

    /// The checks that were not needed for these outcomes, each once; none are held for the usual
    /// requirement, whose checks are all asked.
    pub fn unasked(&self, known: &[Option<Outcome>]) -> Vec<CheckIndex> {
        let mut unasked = Vec::new();
        self.root.visit(&mut |check| {
            if known.get(check.0).copied().flatten().is_none() && !unasked.contains(check) {
                unasked.push(*check);
            }
        });
        unasked
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
            Self::Check(name) => {
                let check = index(&name.text);
                if check.is_none() {
                    unknown.push(UnknownCheck { name: name.clone() });
                }
                Node::Check(check?)
            }
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
mod tests;
