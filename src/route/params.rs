//! What the `{name}` segments of a pattern captured: byte ranges of the path, kept inline.

use std::ops::Range;

/// The most named segments of one pattern.
pub(super) const MAX_PARAMS: usize = 8;

/// The captured segments of a matched path, in the order of [`Pattern::params`].
///
/// [`Pattern::params`]: super::Pattern::params
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    ranges: [Range<usize>; MAX_PARAMS],
    count: usize,
}

impl Params {
    /// The ranges of the path's bytes, one for each named segment.
    pub fn ranges(&self) -> &[Range<usize>] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// Cuts the segments numbered in `places` (ascending) out of `path`.
    pub(super) fn capture(places: &[usize], path: &str) -> Self {
        let mut params = Self::default();
        if places.is_empty() {
            return params;
        }
        let mut start = 1;
        let mut wanted = places.iter().copied().peekable();
        for (place, segment) in path.split('/').skip(1).enumerate() {
            let range = start..start + segment.len();
            start = range.end + 1;
            if wanted.next_if_eq(&place).is_none() {
                continue;
            }
            if let Some(slot) = params.ranges.get_mut(params.count) {
                *slot = range;
                params.count += 1;
            }
            if wanted.peek().is_none() {
                break;
            }
        }
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_ranges_of_the_path() {
        let path = "/a/bc/def";
        let captured = |places: &[usize]| {
            Params::capture(places, path)
                .ranges()
                .iter()
                .map(|range| &path[range.clone()])
                .collect::<Vec<_>>()
        };
        assert_eq!(captured(&[0, 2]), ["a", "def"]);
        assert_eq!(captured(&[1]), ["bc"]);
        assert!(captured(&[]).is_empty());
        assert!(captured(&[3]).is_empty());
    }
}
