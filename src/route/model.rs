//! The documented rule of the table, by trying every pattern, and the proof that the table keeps it.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::Conflict;
use super::Lookup;
use super::Pattern;
use super::RouteTable;
use super::pattern::Host;
use super::pattern::Segment;
use super::tests::table;

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

/// A pattern that has a say in a lookup; the least one decides.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    specificity: Specificity,
    /// Of one shape: the closest method first, and any other spelling last.
    rank: u8,
    /// The number of the pattern, or nothing when it only blocks what is less specific.
    found: Option<usize>,
}

/// The documented rule, by trying every pattern: the number of the one found.
fn model(patterns: &[Pattern], method: &str, host: &str, path: &str) -> Option<usize> {
    let path: Vec<_> = path.split('/').skip(1).collect();
    let of_host = || patterns.iter().enumerate().filter(|(_, pattern)| takes_host(pattern, host));
    let taking = of_host().filter_map(|(number, pattern)| take(pattern, number, method, &path));
    let blocking = of_host().flat_map(|(_, pattern)| block(patterns, pattern, &path));
    taking.chain(blocking).min()?.found
}

/// A pattern that takes the whole request, in this spelling or another.
fn take(pattern: &Pattern, number: usize, method: &str, path: &[&str]) -> Option<Candidate> {
    let count = pattern.segments.len();
    if !pattern.rest && count != path.len() {
        return None;
    }
    let closeness = pattern.methods.closeness(method)?;
    let is_exact = fits(pattern, path, count)?;
    let mut specificity = specificity(pattern, count);
    specificity.1.push(if pattern.rest { 2 } else { 0 });
    let rank = if is_exact { 2 - closeness } else { 3 };
    Some(Candidate { specificity, rank, found: is_exact.then_some(number) })
}

/// The literals of a pattern that are met in another case, where none beside has the path's spelling.
fn block(patterns: &[Pattern], pattern: &Pattern, path: &[&str]) -> Vec<Candidate> {
    let is_blocking = |at: usize| {
        let is_beside = |other: &&Pattern| {
            other.host == pattern.host
                && fits(other, path, at + 1).is_some()
                && specificity(other, at + 1) == specificity(pattern, at + 1)
        };
        let is_spelled = |other: &Pattern| matches!(&other.segments[at], Segment::Literal(name) if **name == *path[at]);
        matches!(pattern.segments[at], Segment::Literal(_))
            && fits(pattern, path, at + 1).is_some()
            && !patterns.iter().filter(is_beside).any(is_spelled)
    };
    (0..pattern.segments.len().min(path.len()))
        .filter(|at| is_blocking(*at))
        .map(|at| Candidate { specificity: specificity(pattern, at + 1), rank: 3, found: None })
        .collect()
}

fn pattern_text() -> impl Strategy<Value = String> {
    let methods = prop::sample::select(vec!["*", "*", "GET", "POST", "GET,POST", "HEAD", "PUT"]);
    let host = prop::sample::select(vec!["", "", "", "a.x", "b.a.x", "*.x", "*.a.x", "*.b.a.x"]);
    let segment = prop::sample::select(vec!["a", "b", "A", "{p}", "*", "ab"]);
    let path = prop::collection::vec(segment, 0..4);
    let end = prop::sample::select(vec!["", "", "/", "/**"]);
    (methods, host, path, end).prop_filter_map("one name twice", |(methods, host, path, end)| {
        let slash = if path.is_empty() { "" } else { "/" };
        let text = format!("{methods} {host}{slash}{}{end}", path.join("/"));
        Pattern::parse(&text).ok().map(|_| text)
    })
}

fn request() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "DELETE"]);
    let host = prop::sample::select(vec!["x", "a.x", "b.a.x", "c.b.a.x", "y"]);
    let segment = prop::sample::select(vec!["a", "b", "A", "B", "ab", "Ab", "c"]);
    let path = prop::collection::vec(segment, 0..5);
    (method, host, path, any::<bool>()).prop_map(|(method, host, path, slash)| {
        let end = if slash && !path.is_empty() { "/" } else { "" };
        (method, host, format!("/{}{end}", path.join("/")))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

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
