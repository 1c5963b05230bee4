//! One place in the path tree of a host: what ends here, what continues, and the search through it.
//!
//! The tree is walked most specific first (end of path or literal, one segment, rest), so the
//! first route that takes the method is the answer. Each edge consumes one segment, hence a lookup
//! visits a node at most once and its cost is bounded by the routes that could match.

use super::literals::Found as Literal;
use super::literals::Literals;
use super::methods::KNOWN;
use super::methods::Methods;
use super::pattern::Pattern;
use super::pattern::Segment;

/// A node: the segments so far lead here.
#[derive(Debug)]
pub(super) struct Node<T> {
    literals: Literals<Self>,
    one: Option<Box<Self>>,
    end: Leaf<T>,
    rest: Leaf<T>,
}

/// The routes of one path shape; they differ in their methods.
#[derive(Debug)]
pub(super) struct Leaf<T> {
    entries: Vec<Entry<T>>,
}

/// A route at its place.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) route: T,
    methods: Methods,
    /// Which segments of the path are captured, ascending.
    pub(super) places: Box<[usize]>,
    /// The route's number among those that the table was built from.
    number: usize,
}

/// How a search ends.
pub(super) enum Found<'t, T> {
    /// At the most specific route that takes the request.
    Route(&'t Entry<T>),
    /// At a literal that differs only in case: nothing less specific may take the request.
    Blocked,
    /// Nowhere.
    Nothing,
}

/// What is known about a path that no route took.
pub(super) struct Survey<'t, T> {
    /// How many segments lead to `enclosing`; absent when there is none.
    depth: Option<usize>,
    pub(super) enclosing: Vec<&'t T>,
    pub(super) allow: Vec<&'t str>,
}

impl<T> Node<T> {
    /// Finds the most specific route for what is `left` of the path; `None` means the path ended.
    pub(super) fn search(&self, left: Option<&str>, method: &str) -> Found<'_, T> {
        let Some(left) = left else {
            return self.end.accept(method).or_else(|| self.rest.accept(method));
        };
        if self.literals.has_twins() {
            return search_alike(&[Reached { node: self, is_exact: true }], Some(left), method);
        }
        let (segment, tail) = split(left);
        match self.literals.find(segment) {
            Literal::Exact(child) => match child.search(tail, method) {
                Found::Nothing => {}
                found => return found,
            },
            // An upstream that ignores case would serve the literal's resource.
            Literal::Twin => return Found::Blocked,
            Literal::Nothing => {}
        }
        match self.one(segment) {
            Some(one) => one.search(tail, method).or_else(|| self.rest.accept(method)),
            None => self.rest.accept(method),
        }
    }

    /// Gathers what encloses a path that was not found, and the methods that it does have.
    /// Case is ignored on the way: the enclosing route of a twin is the literal's.
    pub(super) fn survey<'t>(
        &'t self,
        left: Option<&str>,
        depth: usize,
        survey: &mut Survey<'t, T>,
    ) {
        if !(self.end.entries.is_empty() && self.rest.entries.is_empty())
            && survey.depth.is_none_or(|deepest| depth > deepest)
        {
            let entries = self.end.entries.iter().chain(&self.rest.entries);
            survey.depth = Some(depth);
            survey.enclosing = entries.map(|entry| &entry.route).collect();
        }
        self.rest.list(&mut survey.allow);
        let Some(left) = left else {
            self.end.list(&mut survey.allow);
            return;
        };
        let (segment, tail) = split(left);
        for name in self.literals.alike(segment) {
            if let Some(child) = self.literals.get(name) {
                child.survey(tail, depth + 1, survey);
            }
        }
        if let Some(one) = self.one(segment) {
            one.survey(tail, depth + 1, survey);
        }
    }

    /// Adds a route, or tells the number of one that takes the same requests.
    pub(super) fn insert(
        &mut self,
        pattern: &Pattern,
        number: usize,
        route: T,
    ) -> Result<(), usize> {
        let mut node = self;
        let mut places = Vec::new();
        for (place, segment) in pattern.segments.iter().enumerate() {
            if matches!(segment, Segment::One(Some(_))) {
                places.push(place);
            }
            node = node.child(segment);
        }
        let leaf = if pattern.rest { &mut node.rest } else { &mut node.end };
        if let Some(other) = leaf.entries.iter().find(|entry| entry.methods.tie(&pattern.methods)) {
            return Err(other.number);
        }
        let methods = pattern.methods.clone();
        leaf.entries.push(Entry { route, methods, places: places.into(), number });
        Ok(())
    }

    /// Whether more specific routes take every request that `pattern`, found below this root, could.
    pub(super) fn covers(&self, pattern: &Pattern) -> bool {
        let mut node = self;
        for segment in &pattern.segments {
            let child = match segment {
                Segment::One(_) => node.one.as_deref(),
                Segment::Literal(literal) => node.literals.get(literal),
            };
            let Some(child) = child else { return false };
            node = child;
        }
        // Only the endless `**` can be taken up whole: by `*` and all that ends before it.
        let at_root = pattern.segments.is_empty();
        pattern.rest
            && match &pattern.methods {
                Methods::Any => node.covered(None, at_root),
                Methods::Listed(methods) => {
                    methods.iter().all(|method| node.covered(Some(method), at_root))
                }
            }
    }

    fn covered(&self, method: Option<&str>, at_root: bool) -> bool {
        let slash = self.literals.get("");
        // No path ends at the root: `/` is one empty segment.
        (at_root || self.end.takes(method))
            && slash.is_some_and(|slash| slash.end.takes(method))
            && self
                .one
                .as_deref()
                .is_some_and(|one| one.rest.takes(method) || one.covered(method, false))
    }

    /// Where `{name}` and `*` lead; they never take an empty segment.
    fn one(&self, segment: &str) -> Option<&Self> {
        self.one.as_deref().filter(|_| !segment.is_empty())
    }

    fn child(&mut self, segment: &Segment) -> &mut Self {
        match segment {
            Segment::One(_) => self.one.get_or_insert_default(),
            Segment::Literal(literal) => self.literals.entry(literal),
        }
    }
}

/// A node that a search has reached, and whether by the exact spelling of every literal.
#[derive(Debug)]
struct Reached<'t, T> {
    node: &'t Node<T>,
    is_exact: bool,
}

/// The search where siblings differ only in case: it follows every spelling at once. Beside
/// `/api/admin` and `/API/**`, a request for `/API/admin` must not be taken by the latter; whatever
/// another spelling leads to blocks what is less specific.
fn search_alike<'t, T>(
    reached: &[Reached<'t, T>],
    left: Option<&str>,
    method: &str,
) -> Found<'t, T> {
    let Some(left) = left else {
        return accept_alike(reached, |node| &node.end, method)
            .or_else(|| accept_alike(reached, |node| &node.rest, method));
    };
    let (segment, tail) = split(left);
    let mut children = Vec::new();
    let mut is_spelled = false;
    for Reached { node, is_exact } in reached {
        for name in node.literals.alike(segment) {
            is_spelled |= **name == *segment;
            let is_exact = *is_exact && **name == *segment;
            children.extend(node.literals.get(name).map(|node| Reached { node, is_exact }));
        }
    }
    if !children.is_empty() {
        if !is_spelled {
            return Found::Blocked;
        }
        match search_alike(&children, tail, method) {
            Found::Nothing => {}
            found => return found,
        }
    }
    let ones: Vec<_> = reached
        .iter()
        .filter_map(|Reached { node, is_exact }| {
            Some(Reached { node: node.one(segment)?, is_exact: *is_exact })
        })
        .collect();
    if !ones.is_empty() {
        match search_alike(&ones, tail, method) {
            Found::Nothing => {}
            found => return found,
        }
    }
    accept_alike(reached, |node| &node.rest, method)
}

fn accept_alike<'t, T>(
    reached: &[Reached<'t, T>],
    leaf: impl Fn(&'t Node<T>) -> &'t Leaf<T>,
    method: &str,
) -> Found<'t, T> {
    let mut found = Found::Nothing;
    for Reached { node, is_exact } in reached {
        match leaf(node).accept(method) {
            Found::Nothing => {}
            accepted if *is_exact => return accepted,
            Found::Route(_) | Found::Blocked => found = Found::Blocked,
        }
    }
    found
}

impl<T> Found<'_, T> {
    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Nothing => other(),
            found => found,
        }
    }
}

impl<T> Leaf<T> {
    /// The route that names `method` most closely.
    fn accept(&self, method: &str) -> Found<'_, T> {
        let closeness = |entry: &Entry<T>| entry.methods.closeness(method);
        let taking = self.entries.iter().filter(|entry| closeness(entry).is_some());
        taking.max_by_key(|entry| closeness(entry)).map_or(Found::Nothing, Found::Route)
    }

    /// Whether a route here takes `method` by name, or every method when that is `None`.
    fn takes(&self, method: Option<&str>) -> bool {
        self.entries.iter().any(|entry| match (&entry.methods, method) {
            (Methods::Any, _) => true,
            (Methods::Listed(listed), Some(method)) => listed.iter().any(|name| **name == *method),
            (Methods::Listed(_), None) => false,
        })
    }

    fn list<'t>(&'t self, allow: &mut Vec<&'t str>) {
        for entry in &self.entries {
            let Methods::Listed(listed) = &entry.methods else {
                allow.extend(KNOWN);
                continue;
            };
            allow.extend(listed.iter().map(|name| &**name));
            if listed.iter().any(|name| &**name == "GET") {
                allow.push("HEAD");
            }
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: Literals::default(),
            one: None,
            end: Leaf::default(),
            rest: Leaf::default(),
        }
    }
}

impl<T> Default for Leaf<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Survey<'_, T> {
    /// Whether a node was met at which a route ends or begins to cover the rest.
    pub(super) const fn is_enclosed(&self) -> bool {
        self.depth.is_some()
    }
}

impl<T> Default for Survey<'_, T> {
    fn default() -> Self {
        Self { depth: None, enclosing: Vec::new(), allow: Vec::new() }
    }
}

/// The first segment, and what is left after its slash.
fn split(left: &str) -> (&str, Option<&str>) {
    left.split_once('/').map_or((left, None), |(segment, tail)| (segment, Some(tail)))
}
