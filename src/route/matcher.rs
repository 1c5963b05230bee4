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

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::super::pattern::Segment;
    use super::*;

    fn table(texts: &[&str]) -> Result<RouteTable<String>, Vec<Conflict>> {
        RouteTable::build(
            texts.iter().map(|text| (Pattern::parse(text).unwrap(), (*text).to_owned())).collect(),
        )
    }

    /// The pattern found, or `- enclosing… [allow]`.
    fn find(table: &RouteTable<String>, method: &str, host: &str, path: &str) -> String {
        match table.find(method, host, path) {
            Lookup::Found { route, .. } => route.clone(),
            Lookup::Unmatched { enclosing, allow } => {
                let enclosing: Vec<_> = enclosing.into_iter().map(String::as_str).collect();
                format!("- {} {allow:?}", enclosing.join(" + ")).replace('"', "")
            }
        }
    }

    #[test]
    fn the_most_specific_route_that_takes_the_method_wins() {
        let table = table(&[
            "* /**",
            "* /a/**",
            "GET /a/b",
            "GET /a/{id}",
            "DELETE /a/*",
            "PUT,PATCH /a/{id}/x",
            "* /a/b/x",
            "GET /a/",
            "HEAD /h",
            "GET /h",
            "* /h",
        ])
        .unwrap();
        for (method, path, expected) in [
            ("GET", "/a/b", "GET /a/b"),
            ("HEAD", "/a/b", "GET /a/b"),
            ("POST", "/a/b", "* /a/**"),
            ("DELETE", "/a/b", "DELETE /a/*"),
            ("GET", "/a/c", "GET /a/{id}"),
            ("PUT", "/a/c/x", "PUT,PATCH /a/{id}/x"),
            ("PUT", "/a/b/x", "* /a/b/x"),
            ("POST", "/a/c/x", "* /a/**"),
            ("GET", "/a", "* /a/**"),
            ("GET", "/a/", "GET /a/"),
            ("POST", "/a/", "* /a/**"),
            ("GET", "/a/b/c/d", "* /a/**"),
            ("GET", "/", "* /**"),
            ("GET", "/ab", "* /**"),
            ("HEAD", "/h", "HEAD /h"),
            ("GET", "/h", "GET /h"),
            ("get", "/h", "* /h"),
        ] {
            assert_eq!(find(&table, method, "x", path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_host_is_compared_before_the_path() {
        let table = table(&[
            "* /a/b/c",
            "* *.example.com/a/b",
            "* *.eu.example.com/a/**",
            "* api.eu.example.com/**",
            "GET only.example.com/a",
        ])
        .unwrap();
        for (host, path, expected) in [
            ("api.eu.example.com", "/a/b", "* api.eu.example.com/**"),
            ("b.eu.example.com", "/a/b", "* *.eu.example.com/a/**"),
            ("a.b.eu.example.com", "/a/b", "* *.eu.example.com/a/**"),
            ("eu.example.com", "/a/b", "* *.example.com/a/b"),
            ("example.com", "/a/b", "-  []"),
            ("example.com", "/a/b/c", "* /a/b/c"),
            ("b.eu.example.com", "/a/b/c", "* *.eu.example.com/a/**"),
            ("us.example.com", "/a/b/c", "* /a/b/c"),
            ("xexample.com", "/a/b", "-  []"),
            ("", "/a/b/c", "* /a/b/c"),
        ] {
            assert_eq!(find(&table, "GET", host, path), expected, "{host} {path}");
        }
        assert_eq!(find(&table, "POST", "only.example.com", "/a/b"), "* *.example.com/a/b");
    }

    #[test]
    fn one_segment_is_never_empty_and_rest_may_be() {
        let table = table(&["* /a/*", "* /b/**", "* /c/*/**"]).unwrap();
        for (path, expected) in [
            ("/a/x", "* /a/*"),
            ("/a/", "-  []"),
            ("/a", "-  []"),
            ("/a/x/", "- * /a/* []"),
            ("/b", "* /b/**"),
            ("/b/", "* /b/**"),
            ("/c", "-  []"),
            ("/c/", "-  []"),
            ("/c/x", "* /c/*/**"),
            ("/c/x/", "* /c/*/**"),
            ("", "-  []"),
            ("*", "-  []"),
        ] {
            assert_eq!(find(&table, "OPTIONS", "x", path), expected, "{path}");
        }
    }

    #[test]
    fn an_unmatched_request_is_told_what_encloses_it_and_which_methods_there_are() {
        let table = table(&[
            "GET /a/**",
            "PUT /a/**",
            "POST /a/b",
            "DELETE /a/{id}",
            "GET /a/b/c",
            "PATCH h.example/a/x",
        ])
        .unwrap();
        for (method, host, path, expected) in [
            ("PATCH", "x", "/a/b", "- POST /a/b [DELETE, GET, HEAD, POST, PUT]"),
            ("PATCH", "x", "/a/b/c", "- GET /a/b/c [GET, HEAD, PUT]"),
            ("PATCH", "x", "/a/b/c/d", "- GET /a/b/c [GET, HEAD, PUT]"),
            ("PATCH", "x", "/a", "- GET /a/** + PUT /a/** [GET, HEAD, PUT]"),
            ("PATCH", "x", "/z", "-  []"),
            ("POST", "h.example", "/a/x", "- PATCH h.example/a/x [DELETE, GET, HEAD, PATCH, PUT]"),
            ("POST", "h.example", "/z", "-  []"),
        ] {
            assert_eq!(find(&table, method, host, path), expected, "{method} {host}{path}");
        }
    }

    #[test]
    fn a_literal_spelled_in_another_case_is_taken_by_nothing() {
        let table = table(&["* /**", "* /users/{id}", "GET /users/me", "GET /users/me/keys/**"]);
        let table = table.unwrap();
        for (path, expected) in [
            ("/users/me", "GET /users/me"),
            ("/users/you", "* /users/{id}"),
            ("/users/Me", "- GET /users/me []"),
            ("/USERS/me", "- GET /users/me []"),
            ("/users/ME/other", "- GET /users/me []"),
            ("/users/me/KEYS/1", "- GET /users/me/keys/** []"),
            ("/users/me/other", "* /**"),
            ("/userS", "- * /** []"),
        ] {
            assert_eq!(find(&table, "GET", "x", path), expected, "{path}");
        }
        assert_eq!(find(&table, "POST", "x", "/users/me"), "* /users/{id}");
        assert_eq!(find(&table, "POST", "x", "/users/ME"), "- GET /users/me []");
    }

    #[test]
    fn another_spelling_of_a_literal_opens_no_laxer_route() {
        let table =
            table(&["* /api/**", "* /API/**", "GET /api/admin", "GET /API/open", "* /api/{id}/x"]);
        let table = table.unwrap();
        for (path, expected) in [
            ("/api/z", "* /api/**"),
            ("/API/z", "* /API/**"),
            ("/api/admin", "GET /api/admin"),
            ("/API/open", "GET /API/open"),
            ("/api/open", "- GET /API/open []"),
            ("/Api/z", "- * /api/** []"),
            ("/api/1/x", "* /api/{id}/x"),
        ] {
            assert_eq!(find(&table, "GET", "x", path), expected, "{path}");
        }
        assert!(find(&table, "GET", "x", "/API/admin").starts_with('-'));
        assert!(find(&table, "GET", "x", "/API/1/x").starts_with('-'));
        assert_eq!(find(&table, "POST", "x", "/API/admin"), "* /API/**");
    }

    #[test]
    fn named_segments_are_captured() {
        let table = table(&["GET /a/{x}/*/{y}/**", "POST /a/{z}"]).unwrap();
        let captured = |method: &str, path: &str| {
            let Lookup::Found { params, .. } = table.find(method, "h", path) else { panic!() };
            params.ranges().iter().map(|range| path[range.clone()].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(captured("GET", "/a/1/2/3"), ["1", "3"]);
        assert_eq!(captured("GET", "/a/1/2/3/4/"), ["1", "3"]);
        assert_eq!(captured("POST", "/a/zz"), ["zz"]);
    }

    #[test]
    fn ties_and_unreachable_routes_are_conflicts() {
        let tie = |first, second| vec![Conflict::Tie { first, second }];
        let unreachable = |pattern| vec![Conflict::Unreachable { pattern }];
        for (texts, expected) in [
            (vec!["GET /a", "GET /a"], tie(0, 1)),
            (vec!["GET,POST /a", "PUT,POST /a"], tie(0, 1)),
            (vec!["* /b", "* /a/{x}", "* /a/{y}"], tie(1, 2)),
            (vec!["* /a/{x}", "* /a/*"], tie(0, 1)),
            (vec!["* /a/**", "* /a/**"], tie(0, 1)),
            (vec!["* H.example/a", "* h.example/a"], tie(0, 1)),
            (vec!["* /%61", "* /a"], tie(0, 1)),
            (vec!["GET /a/**", "* /a", "* /a/", "* /a/*/**"], unreachable(0)),
            (
                vec![
                    "GET,PUT /a/**",
                    "* /a",
                    "GET,PUT /a/",
                    "* /a/{x}",
                    "* /a/*/",
                    "PUT,GET /a/*/*/**",
                ],
                unreachable(0),
            ),
            (vec!["* /**", "* /", "* /*/**"], unreachable(0)),
        ] {
            assert_eq!(table(&texts).err(), Some(expected), "{texts:?}");
        }
        for texts in [
            vec!["GET /a", "POST /a", "* /a", "HEAD /a"],
            vec!["GET /a", "GET /a/", "GET /a/*", "GET /a/**"],
            vec!["GET /a", "GET /A"],
            vec!["* h.example/a", "* *.example/a", "* /a"],
            vec!["* /a/**", "GET /a", "* /a/", "* /a/*/**"],
            vec!["* /a/**", "* /a", "* /a/*/**"],
            vec!["* /**", "* /*/**"],
            vec!["GET,PUT /a/**", "* /a", "* /a/", "GET /a/*/**"],
        ] {
            assert!(table(&texts).is_ok(), "{texts:?}");
        }
    }

    /// How specific a pattern is, most specific first: its host, then one number per segment
    /// (literal 0, one 1) and one for its end (end 0, rest 2).
    type Specificity = ((u8, Reverse<usize>), Vec<u8>);

    fn takes_host(pattern: &Pattern, host: &str) -> bool {
        match &pattern.host {
            Host::Any => true,
            Host::Exact(name) => **name == *host,
            Host::Below(suffix) => host.ends_with(&format!(".{suffix}")),
        }
    }

    fn specificity(pattern: &Pattern, segments: usize) -> Specificity {
        let host = match &pattern.host {
            Host::Exact(_) => (0, Reverse(0)),
            Host::Below(suffix) => (1, Reverse(suffix.len())),
            Host::Any => (2, Reverse(0)),
        };
        let kinds = pattern.segments.iter().take(segments);
        (host, kinds.map(|segment| u8::from(matches!(segment, Segment::One(_)))).collect())
    }

    /// Whether the first `count` segments fit, and if so whether every literal is spelled exactly.
    fn fits(pattern: &Pattern, path: &[&str], count: usize) -> Option<bool> {
        let mut is_exact = true;
        for (segment, piece) in pattern.segments.get(..count)?.iter().zip(path.get(..count)?) {
            match segment {
                Segment::One(_) if piece.is_empty() => return None,
                Segment::One(_) => {}
                Segment::Literal(name) if name.eq_ignore_ascii_case(piece) => {
                    is_exact &= **name == **piece;
                }
                Segment::Literal(_) => return None,
            }
        }
        Some(is_exact)
    }

    /// The documented rule, by trying every pattern: the number of the one found.
    fn model(patterns: &[Pattern], method: &str, host: &str, path: &str) -> Option<usize> {
        let path: Vec<_> = path.split('/').skip(1).collect();
        let mut candidates = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            if !takes_host(pattern, host) {
                continue;
            }
            let count = pattern.segments.len();
            let ends = pattern.rest || count == path.len();
            if let (true, Some(closeness), Some(is_exact)) =
                (ends, pattern.methods.closeness(method), fits(pattern, &path, count))
            {
                let (host, mut kinds) = specificity(pattern, count);
                kinds.push(if pattern.rest { 2 } else { 0 });
                // Of one shape, the exact spelling is before any other.
                let rank = if is_exact { 2 - closeness } else { 3 };
                candidates.push(((host, kinds), rank, is_exact.then_some(number)));
            }
            // A literal met in another case, where no sibling has the path's own spelling.
            for at in 0..count.min(path.len()) {
                let Segment::Literal(_) = &pattern.segments[at] else { continue };
                let is_sibling = |other: &Pattern| {
                    other.host == pattern.host
                        && fits(other, &path, at + 1).is_some()
                        && specificity(other, at + 1) == specificity(pattern, at + 1)
                };
                let is_spelled = |other: &Pattern| matches!(&other.segments[at], Segment::Literal(name) if **name == *path[at]);
                if fits(pattern, &path, at + 1).is_some()
                    && !patterns.iter().any(|other| is_sibling(other) && is_spelled(other))
                {
                    candidates.push((specificity(pattern, at + 1), 3, None));
                }
            }
        }
        candidates.into_iter().min_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)))?.2
    }

    fn pattern_text() -> impl Strategy<Value = String> {
        let methods =
            prop::sample::select(vec!["*", "*", "GET", "POST", "GET,POST", "HEAD", "PUT"]);
        let host =
            prop::sample::select(vec!["", "", "", "a.x", "b.a.x", "*.x", "*.a.x", "*.b.a.x"]);
        let segment = prop::sample::select(vec!["a", "b", "A", "{p}", "*", "ab"]);
        let path = prop::collection::vec(segment, 0..4);
        let end = prop::sample::select(vec!["", "", "/", "/**"]);
        (methods, host, path, end).prop_filter_map(
            "one name twice",
            |(methods, host, path, end)| {
                let path: String = path.iter().map(|segment| format!("/{segment}")).collect();
                let text = format!("{methods} {host}{path}{end}");
                Pattern::parse(&text).ok().map(|_| text)
            },
        )
    }

    fn request() -> impl Strategy<Value = (&'static str, &'static str, String)> {
        let method = prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "DELETE"]);
        let host = prop::sample::select(vec!["x", "a.x", "b.a.x", "c.b.a.x", "y"]);
        let segment = prop::sample::select(vec!["a", "b", "A", "B", "ab", "Ab", "c"]);
        let path = prop::collection::vec(segment, 0..5);
        (method, host, path, any::<bool>()).prop_map(|(method, host, path, slash)| {
            let mut path: String = path.iter().map(|segment| format!("/{segment}")).collect();
            if slash || path.is_empty() {
                path.push('/');
            }
            (method, host, path)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn finds_what_trying_every_pattern_finds(
            texts in prop::collection::vec(pattern_text(), 0..24),
            requests in prop::collection::vec(request(), 48),
        ) {
            // Patterns in conflict are left out, so that a table can be built of the rest.
            let mut kept: Vec<String> = Vec::new();
            for text in texts {
                kept.push(text);
                if table(&kept.iter().map(String::as_str).collect::<Vec<_>>()).is_err() {
                    kept.pop();
                }
            }
            let patterns: Vec<_> = kept.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let table =
                RouteTable::build(patterns.iter().cloned().enumerate().map(|(n, p)| (p, n)).collect())
                    .unwrap();
            for (method, host, path) in requests {
                let found = match table.find(method, host, &path) {
                    Lookup::Found { route, .. } => Some(*route),
                    Lookup::Unmatched { .. } => None,
                };
                let expected = model(&patterns, method, host, &path);
                prop_assert_eq!(found, expected, "{} {}{} in {:?}", method, host, path, kept);
            }
        }

        #[test]
        fn no_request_reaches_an_unreachable_route(
            texts in prop::collection::vec(pattern_text(), 2..16),
            requests in prop::collection::vec(request(), 64),
        ) {
            let patterns: Vec<_> = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let built = RouteTable::build(patterns.iter().cloned().map(|p| (p, ())).collect());
            for conflict in built.err().unwrap_or_default() {
                let Conflict::Unreachable { pattern } = conflict else { continue };
                for (method, host, path) in &requests {
                    prop_assert_ne!(model(&patterns, method, host, path), Some(pattern));
                }
            }
        }

        #[test]
        fn no_text_makes_the_parser_or_the_search_panic(text in ".{0,40}", path in "/.{0,20}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let table = RouteTable::build(vec![(pattern, ())]).unwrap();
                table.find("GET", "h", &path);
            }
        }
    }
}
