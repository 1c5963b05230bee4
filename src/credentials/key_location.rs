//! Where an application key is carried: whole in one place, or as a pair of headers.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName};

use super::location::{Location, LocationError, header_name};
use super::locations::{Found, Locations, in_header};
use super::text::CarryError;
use crate::secret::Secret;

/// What a request presents as an application key.
#[derive(Debug)]
pub enum Presented<'a> {
    /// The whole key in one place.
    Whole(Secret<Cow<'a, str>>),
    /// A public id and, in another header, the secret.
    Pair {
        /// The public id.
        id: Secret<&'a str>,
        /// The secret; of a key of ours, the whole key.
        secret: Secret<&'a str>,
    },
}

/// The place of an application key.
#[derive(Clone, Debug)]
pub struct KeyLocation(Place);

#[derive(Clone, Debug)]
enum Place {
    Whole(Locations),
    Pair { id: HeaderName, secret: HeaderName },
}

impl KeyLocation {
    /// The whole key in any one of `locations`.
    pub fn whole(locations: impl IntoIterator<Item = Location>) -> Self {
        Self(Place::Whole(Locations::new(locations)))
    }

    /// The public id in one header and the secret in another one.
    pub fn pair(id: &str, secret: &str) -> Result<Self, LocationError> {
        let (id, secret) = (header_name(id)?, header_name(secret)?);
        if id == secret {
            return Err(LocationError::Reserved);
        }
        Ok(Self(Place::Pair { id, secret }))
    }

    /// Finds what is presented; half a pair is malformed, not absent.
    pub fn find<'a>(
        &'a self,
        headers: &'a HeaderMap,
        query: Option<&'a str>,
    ) -> Result<Option<Presented<'a>>, CarryError> {
        match &self.0 {
            Place::Whole(locations) => match locations.find(headers, query)? {
                Found::Absent | Found::OtherScheme => Ok(None),
                Found::Credential { value, .. } => Ok(Some(Presented::Whole(value))),
            },
            Place::Pair { id, secret } => {
                let id = in_header(headers, id)?;
                let secret = in_header(headers, secret)?;
                match (id, secret) {
                    (None, None) => Ok(None),
                    (Some(id), Some(secret)) => Ok(Some(Presented::Pair {
                        id: Secret::new(id),
                        secret: Secret::new(secret),
                    })),
                    _ => Err(CarryError::Malformed),
                }
            }
        }
    }

    /// Whether the request has an `Authorization` that is to be judged here, be it good or bad.
    pub fn claim_authorization(&self, headers: &HeaderMap) -> bool {
        match &self.0 {
            Place::Whole(locations) => locations.claim_authorization(headers),
            Place::Pair { .. } => false,
        }
    }

    /// Whether a cookie may hold the key.
    pub fn reads_cookies(&self) -> bool {
        match &self.0 {
            Place::Whole(locations) => locations.read_cookies(),
            Place::Pair { .. } => false,
        }
    }

    /// Takes the key out of the headers.
    pub fn strip(&self, headers: &mut HeaderMap) {
        match &self.0 {
            Place::Whole(locations) => locations.strip(headers),
            Place::Pair { id, secret } => {
                headers.remove(id);
                headers.remove(secret);
            }
        }
    }

    /// The query without the key; `None` when it holds none. What is left may be empty.
    pub fn strip_query(&self, query: &str) -> Option<String> {
        match &self.0 {
            Place::Whole(locations) => locations.strip_query(query),
            Place::Pair { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn a_pair_is_whole_or_malformed() {
        let place = KeyLocation::pair("X-Public", "X-Private").unwrap();
        let (public, private) = (("x-public", "I"), ("x-private", "S"));
        let found = |fields: &[_]| match place.find(&headers(fields), Some("x-private=Q")) {
            Ok(Some(Presented::Pair { id, secret })) => {
                Ok(Some(format!("{} {}", id.expose(), secret.expose())))
            }
            Ok(Some(Presented::Whole(_))) => panic!("a pair is not a whole"),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        assert_eq!(found(&[public, private]), Ok(Some("I S".to_owned())));
        assert_eq!(found(&[("x-other", "S")]), Ok(None));
        assert_eq!(found(&[public]), Err(CarryError::Malformed));
        assert_eq!(found(&[private]), Err(CarryError::Malformed));
        assert_eq!(found(&[("x-public", ""), private]), Err(CarryError::Malformed));
        assert_eq!(found(&[public, public, private]), Err(CarryError::Repeated));
        assert_eq!(found(&[public, private, private]), Err(CarryError::Repeated));
        assert_eq!(found(&[public, ("x-private", "S, S")]), Err(CarryError::Repeated));
    }

    #[test]
    fn both_halves_of_a_pair_are_stripped() {
        let place = KeyLocation::pair("X-Public", "X-Private").unwrap();
        let mut all = headers(&[("x-public", "I"), ("x-private", "S"), ("x-other", "O")]);
        place.strip(&mut all);
        assert_eq!(all, headers(&[("x-other", "O")]));
        assert_eq!(place.strip_query("x-private=S"), None);
        assert!(!place.claim_authorization(&headers(&[("authorization", "Bearer T")])));
    }

    #[test]
    fn the_halves_of_a_pair_are_two_headers() {
        assert!(KeyLocation::pair("X-Key", "x-key").is_err());
        assert!(KeyLocation::pair("X-Key", "Authorization").is_err());
        assert!(KeyLocation::pair("X Key", "X-Secret").is_err());
    }

    #[test]
    fn a_whole_key_is_found_and_stripped_where_it_may_be() {
        let places = ["key"].map(|name| Location::query(name).unwrap());
        let place =
            KeyLocation::whole(places.into_iter().chain([Location::header("X-App-Key").unwrap()]));
        let none = HeaderMap::new();
        assert!(matches!(place.find(&none, Some("key=K")), Ok(Some(Presented::Whole(_)))));
        assert!(matches!(place.find(&none, Some("keys=K")), Ok(None)));
        let twice = headers(&[("x-app-key", "K")]);
        assert!(matches!(place.find(&twice, Some("key=K")), Err(CarryError::Repeated)));
        assert_eq!(place.strip_query("a=1&key=K").as_deref(), Some("a=1"));
        let mut stripped = twice;
        place.strip(&mut stripped);
        assert!(stripped.is_empty());
    }
}
