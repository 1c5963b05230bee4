//! Credentials that an upstream must not see, taken out of every request, on every route.

use http::HeaderMap;
use http::HeaderName;

use crate::credentials::KeyLocation;
use crate::credentials::Locations;

/// Every place from which a credential is removed before forwarding.
#[derive(Debug, Default)]
pub struct Stripping {
    /// Application keys, unless `keep` is written.
    pub keys: Vec<KeyLocation>,
    /// Tokens where `keep: false` is written, and those in a query.
    pub tokens: Vec<Locations>,
    /// Headers with credentials that the upstream gets once they are judged.
    pub kept: Vec<HeaderName>,
}

impl Stripping {
    /// Removes them from the header.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for location in &self.keys {
            location.strip(headers);
        }
        for locations in &self.tokens {
            locations.strip(headers);
        }
    }

    /// Removes every credential from a trailer, where none is ever judged.
    pub fn apply_to_trailers(&self, trailers: &mut HeaderMap) {
        self.apply(trailers);
        for name in &self.kept {
            trailers.remove(name);
        }
    }

    /// The query without them; `None` when it has none.
    pub fn apply_to_query(&self, query: &str) -> Option<String> {
        let mut stripped: Option<String> = None;
        let keys = self.keys.iter().map(Place::Key);
        for place in keys.chain(self.tokens.iter().map(Place::Token)) {
            let text = stripped.as_deref().unwrap_or(query);
            let shorter = match place {
                Place::Key(location) => location.strip_query(text),
                Place::Token(locations) => locations.strip_query(text),
            };
            stripped = shorter.or(stripped);
        }
        stripped
    }
}

enum Place<'p> {
    Key(&'p KeyLocation),
    Token(&'p Locations),
}
