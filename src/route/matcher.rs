//! The route table: of all patterns that match a request, the most specific one.
//!
//! Patterns compare by host first (exact, then the longer wildcard, then any), then by path from
//! left to right (literal, then one segment, then `**`), then by method (named, then `HEAD` by a
//! named `GET`, then `*`). A pattern that does not take the method is no match: `POST /a/b` goes to
//! `* /a/**` when beside it stands only `GET /a/b`. Two patterns that would tie, and one that no
//! request could reach, are conflicts.
//!
//! Literals are case-sensitive, but many upstreams are not. A segment that equals a literal only
//! when ASCII case is ignored is therefore never taken by `{name}`, `*` or `**` in its place: the
//! lookup ends unmatched, lest a protected path be had through a laxer route. Where siblings differ
//! only in case, all of them are followed: a route that another spelling of the path leads to blocks
//! every less specific one.

use std::collections::HashMap;

use thiserror::Error;

use super::node::Found;
use super::node::Node;
use super::node::Survey;
use super::params::Params;
use super::pattern::Host;
use super::pattern::Pattern;

/// An immutable table from patterns to what the operator attached to each.
#[derive(Debug)]
pub struct RouteTable<T> {
    exact: HashMap<Box<str>, Node<T>>,
    /// By the suffix after `*.`.
    below: HashMap<Box<str>, Node<T>>,
    any: Node<T>,
}

/// Why a set of patterns makes no table; numbers count the patterns given, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// Two patterns match a common request and neither is more specific.
    #[error("two routes take the same requests")]
    Tie {
        /// The earlier one.
        first: usize,
        /// The later one.
        second: usize,
    },
    /// More specific patterns take every request that this one could.
    #[error("no request can reach this route: more specific ones take them all")]
    Unreachable {
        /// Which one.
        pattern: usize,
    },
}

/// What the table knows about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'t, T> {
    /// The most specific route that takes it.
    Found {
        /// What is attached to its pattern.
        route: &'t T,
        /// What its named segments captured.
        params: Params,
    },
    /// No route takes it.
    Unmatched {
        /// The routes that end, or begin to cover the rest, at the deepest node along the path;
        /// of the most specific host that has any. Empty when nothing encloses the path.
        enclosing: Vec<&'t T>,
        /// The methods that routes take at exactly this path, sorted; empty when it has none.
        allow: Vec<&'t str>,
    },
}

impl<T> RouteTable<T> {
    /// Builds the table, or tells every conflict.
    pub fn build(routes: Vec<(Pattern, T)>) -> Result<Self, Vec<Conflict>> {
        let mut table = Self { exact: HashMap::new(), below: HashMap::new(), any: Node::default() };
        let mut conflicts = Vec::new();
        let mut patterns = Vec::with_capacity(routes.len());
        for (second, (pattern, route)) in routes.into_iter().enumerate() {
            if let Err(first) = table.root(&pattern).insert(&pattern, second, route) {
                conflicts.push(Conflict::Tie { first, second });
            }
            patterns.push(pattern);
        }
        for (number, pattern) in patterns.iter().enumerate() {
            if table.root(pattern).covers(pattern) {
                conflicts.push(Conflict::Unreachable { pattern: number });
            }
        }
        if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
    }

    /// Looks a request up. `host` is canonical and without a port, `path` canonical and absolute;
    /// for any other path (such as the `*` of `OPTIONS *`) nothing is found.
    pub fn find(&self, method: &str, host: &str, path: &str) -> Lookup<'_, T> {
        let Some(left) = path.strip_prefix('/') else {
            return Lookup::Unmatched { enclosing: Vec::new(), allow: Vec::new() };
        };
        for root in self.roots(host) {
            match root.search(Some(left), method) {
                Found::Route(entry) => {
                    let params = Params::capture(&entry.places, path);
                    return Lookup::Found { route: &entry.route, params };
                }
                Found::Blocked => return self.unmatched(host, left, true),
                Found::Nothing => {}
            }
        }
        self.unmatched(host, left, false)
    }

    #[cold]
    fn unmatched(&self, host: &str, left: &str, is_blocked: bool) -> Lookup<'_, T> {
        let mut enclosing = Vec::new();
        let mut allow = Vec::new();
        for root in self.roots(host) {
            let mut survey = Survey::default();
            root.survey(Some(left), 0, &mut survey);
            allow.append(&mut survey.allow);
            if enclosing.is_empty() && survey.is_enclosed() {
                enclosing = survey.enclosing;
            }
        }
        if is_blocked {
            allow.clear();
        }
        allow.sort_unstable();
        allow.dedup();
        Lookup::Unmatched { enclosing, allow }
    }

    /// The trees that hosts such as `host` lead to, most specific first.
    fn roots<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t Node<T>> {
        let suffixes = if self.below.is_empty() { None } else { Some(suffixes(host)) };
        let below = suffixes.into_iter().flatten().filter_map(|suffix| self.below.get(suffix));
        self.exact.get(host).into_iter().chain(below).chain([&self.any])
    }

    fn root(&mut self, pattern: &Pattern) -> &mut Node<T> {
        match &pattern.host {
            Host::Any => &mut self.any,
            Host::Exact(name) => self.exact.entry(name.clone()).or_default(),
            Host::Below(suffix) => self.below.entry(suffix.clone()).or_default(),
        }
    }
}

/// What is left of a host after one label, two labels, and so on: the longest first.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.'))
        .map(|(_, rest)| rest)
}
