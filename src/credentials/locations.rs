//! Where a credential may be carried, how it is found there, and how it is taken out again.
//!
//! Present but unreadable is an error and never an absence; so is the same credential twice, in one
//! place or in two: which of them another server would read cannot be known.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::authorization::{self, Carried, Scheme};
use super::cookie;
use super::location::{Location, Place};
use super::query;
use super::text::{CarryError, credential};
use crate::secret::Secret;

/// What was found in a request.
#[derive(Debug)]
pub enum Found<'a> {
    /// Nothing at all.
    Absent,
    /// Nothing of ours, but an `Authorization` under a scheme that is not accepted here.
    OtherScheme,
    /// One credential.
    Credential {
        /// Its text: visible ASCII without a comma, never empty.
        value: Secret<Cow<'a, str>>,
        /// What carried it.
        carrier: Carrier<'a>,
    },
}

/// What carried a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier<'a> {
    /// `Authorization` under this scheme.
    Scheme(&'a Scheme),
    /// This header.
    Header(&'a HeaderName),
    /// This query parameter.
    Query(&'a str),
    /// This cookie.
    Cookie(&'a str),
}

/// All places in which a check looks for its credential; `Authorization` counts as one.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    places: Vec<Place>,
}

impl Locations {
    /// Joins places; those named twice count once.
    pub fn new(locations: impl IntoIterator<Item = Location>) -> Self {
        let (mut schemes, mut places) = (Vec::new(), Vec::new());
        for Location(place) in locations {
            match place {
                Place::Authorization(more) => more.into_iter().for_each(|s| add(&mut schemes, s)),
                other => add(&mut places, other),
            }
        }
        if !schemes.is_empty() {
            places.insert(0, Place::Authorization(schemes));
        }
        Self { places }
    }

    /// Looks into every place, so that a second credential does not go unseen.
    pub fn find<'a>(
        &'a self,
        headers: &'a HeaderMap,
        query: Option<&'a str>,
    ) -> Result<Found<'a>, CarryError> {
        let mut found = Found::Absent;
        for place in &self.places {
            match (place.find(headers, query)?, &found) {
                (Found::Absent, _) | (Found::OtherScheme, Found::Credential { .. }) => {}
                (Found::Credential { .. }, Found::Credential { .. }) => {
                    return Err(CarryError::Repeated);
                }
                (news, _) => found = news,
            }
        }
        Ok(found)
    }

    /// Whether a credential that came by `carrier` came by one of these places.
    pub fn accept(&self, carrier: Carrier<'_>) -> bool {
        self.places.iter().any(|place| match (place, carrier) {
            (Place::Authorization(schemes), Carrier::Scheme(scheme)) => schemes.contains(scheme),
            (Place::Header(ours), Carrier::Header(name)) => ours == name,
            (Place::Query(ours), Carrier::Query(name)) => **ours == *name,
            (Place::Cookie(ours), Carrier::Cookie(name)) => **ours == *name,
            _ => false,
        })
    }

    /// Whether one of these places is a cookie.
    pub fn read_cookies(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Cookie(_)))
    }

    /// These places without those that any of `others` looks into as well.
    #[must_use]
    pub fn without<'l>(&self, others: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut left = self.clone();
        for other in others.into_iter().flat_map(|other| &other.places) {
            left.places.retain(|place| place != other);
            if let Place::Authorization(taken) = other {
                left.places.iter_mut().for_each(|place| place.retain_schemes(taken));
            }
        }
        left.places.retain(|place| !matches!(place, Place::Authorization(none) if none.is_empty()));
        left
    }

    /// Whether the request has an `Authorization` that is to be judged here, be it good or bad.
    pub fn claim_authorization(&self, headers: &HeaderMap) -> bool {
        self.places.iter().any(|place| {
            matches!(place, Place::Authorization(_))
                && !matches!(place.find(headers, None), Ok(Found::Absent | Found::OtherScheme))
        })
    }

    /// Takes the credential out of the headers; an `Authorization` of another scheme stays.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.claim_authorization(headers) {
            headers.remove(AUTHORIZATION);
        }
        for place in &self.places {
            if let Place::Header(name) = place {
                headers.remove(name);
            }
        }
        if self.places.iter().any(|place| matches!(place, Place::Cookie(_))) {
            cookie::strip(headers, |name| self.accept_cookie(name));
        }
    }

    /// The query without the credential; `None` when it holds none. What is left may be empty.
    pub fn strip_query(&self, query: &str) -> Option<String> {
        let names = || {
            self.places.iter().filter_map(|place| match place {
                Place::Query(name) => Some(&**name),
                _ => None,
            })
        };
        names().next()?;
        query::strip(query, |part| names().any(|name| query::is_named(part, name)))
    }

    fn accept_cookie(&self, name: &[u8]) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Cookie(ours) if ours.as_bytes() == name))
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl Place {
    fn retain_schemes(&mut self, taken: &[Scheme]) {
        if let Self::Authorization(schemes) = self {
            schemes.retain(|scheme| !taken.contains(scheme));
        }
    }

    fn find<'a>(
        &'a self,
        headers: &'a HeaderMap,
        query: Option<&'a str>,
    ) -> Result<Found<'a>, CarryError> {
        let (value, carrier) = match self {
            Self::Authorization(schemes) => {
                let Some(value) = single(headers, &AUTHORIZATION)? else {
                    return Ok(Found::Absent);
                };
                match authorization::read(value, schemes)? {
                    Carried::OtherScheme => return Ok(Found::OtherScheme),
                    Carried::Token(token, scheme) => {
                        (Some(Cow::Borrowed(token)), Carrier::Scheme(scheme))
                    }
                }
            }
            Self::Header(name) => {
                (in_header(headers, name)?.map(Cow::Borrowed), Carrier::Header(name))
            }
            Self::Query(name) => {
                let value = query.map_or(Ok(None), |query| query::find(query, name))?;
                (value, Carrier::Query(name))
            }
            Self::Cookie(name) => {
                (cookie::find(headers, name)?.map(Cow::Borrowed), Carrier::Cookie(name))
            }
        };
        Ok(value.map_or(Found::Absent, |value| Found::Credential {
            value: Secret::new(value),
            carrier,
        }))
    }
}

/// The credential that the header `name` consists of.
pub(super) fn in_header<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, CarryError> {
    single(headers, name)?.map(credential).transpose()
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, CarryError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(CarryError::Repeated),
        (value, _) => Ok(value.map(http::HeaderValue::as_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), value(v))).collect()
    }

    fn everywhere() -> Locations {
        Locations::new([
            Location::authorization(["Bearer", "Token"].map(|s| Scheme::parse(s).unwrap())),
            Location::header("X-Token").unwrap(),
            Location::query("access_token").unwrap(),
            Location::cookie("session").unwrap(),
        ])
    }

    /// `Ok(None)` is absent, `Ok(Some("!"))` another scheme.
    #[track_caller]
    fn check(
        fields: &[(&'static str, &str)],
        query: Option<&str>,
        expected: Result<Option<&str>, CarryError>,
    ) {
        let (locations, headers) = (everywhere(), headers(fields));
        let found = locations.find(&headers, query).map(|found| match found {
            Found::Absent => None,
            Found::OtherScheme => Some("!".to_owned()),
            Found::Credential { value, carrier } => {
                assert!(locations.accept(carrier));
                Some(value.expose().clone().into_owned())
            }
        });
        let found = found.as_ref().map(Option::as_deref).map_err(|error| *error);
        assert_eq!(found, expected, "{fields:?} {query:?}");
    }

    #[test]
    fn a_credential_is_found_in_each_place() {
        check(&[("authorization", "Bearer T")], None, Ok(Some("T")));
        check(&[("authorization", "token token=\"T\"")], None, Ok(Some("T")));
        check(&[("x-token", "T")], Some("a=1"), Ok(Some("T")));
        check(&[], Some("access_token=T"), Ok(Some("T")));
        check(&[("cookie", "a=1; session=T")], None, Ok(Some("T")));
        check(&[], None, Ok(None));
        check(&[("x-tokens", "T"), ("cookie", "a=1")], Some("token=T"), Ok(None));
        check(&[("authorization", "Basic eDp5")], None, Ok(Some("!")));
        check(&[("authorization", "Basic eDp5"), ("x-token", "T")], None, Ok(Some("T")));
    }

    #[test]
    fn what_is_there_but_unreadable_is_never_absent() {
        const MALFORMED: Result<Option<&str>, CarryError> = Err(CarryError::Malformed);
        for bad in ["", " ", "T T", "T\tT", "T\u{e4}", "\u{80}"] {
            check(&[("x-token", bad)], None, MALFORMED);
        }
        check(&[("authorization", "Bearer")], None, MALFORMED);
        check(&[("authorization", "")], None, MALFORMED);
        check(&[], Some("access_token="), MALFORMED);
        check(&[("cookie", "session=")], None, MALFORMED);
        check(&[("authorization", "Bearer T"), ("x-token", "")], None, MALFORMED);
    }

    #[test]
    fn a_credential_that_comes_twice_is_refused() {
        const REPEATED: Result<Option<&str>, CarryError> = Err(CarryError::Repeated);
        let bearer = ("authorization", "Bearer T");
        check(&[bearer, bearer], None, REPEATED);
        check(&[("authorization", "Basic eDp5"), bearer], None, REPEATED);
        check(&[("authorization", "Basic eDp5, Bearer T")], None, REPEATED);
        check(&[("x-token", "T"), ("x-token", "T")], None, REPEATED);
        check(&[("x-token", "T, T")], None, REPEATED);
        check(&[("x-token", "T,")], None, REPEATED);
        check(&[bearer, ("x-token", "T")], None, REPEATED);
        check(&[bearer], Some("access_token=T"), REPEATED);
        check(&[bearer, ("cookie", "session=T")], None, REPEATED);
        check(&[("x-token", "T")], Some("access_token=T"), REPEATED);
        check(&[], Some("access_token=T&access_token=T"), REPEATED);
        check(&[("cookie", "session=T"), ("cookie", "session=T")], None, REPEATED);
    }

    #[test]
    fn a_place_that_is_not_configured_is_not_looked_into() {
        let only = Locations::new([Location::header("X-Token").unwrap()]);
        let all = headers(&[
            ("authorization", "Bearer T"),
            ("cookie", "session=T; access_token=T"),
            ("x_token", "T"),
        ]);
        assert!(matches!(only.find(&all, Some("access_token=T")), Ok(Found::Absent)));
        assert_eq!(only.strip_query("access_token=T"), None);
        assert!(matches!(Locations::default().find(&all, None), Ok(Found::Absent)));
    }

    #[test]
    fn a_carrier_is_accepted_only_where_it_was_named() {
        let [bearer, token] = ["Bearer", "token"].map(|s| Scheme::parse(s).unwrap());
        let only = Locations::new([Location::authorization([bearer.clone()])]);
        assert!(only.accept(Carrier::Scheme(&bearer)));
        assert!(!only.accept(Carrier::Scheme(&token)));
        assert!(!only.accept(Carrier::Header(&AUTHORIZATION)));
        assert!(!only.accept(Carrier::Cookie("bearer")) && !only.accept(Carrier::Query("bearer")));
        assert!(!everywhere().accept(Carrier::Cookie("Session")));
    }

    #[test]
    fn places_named_twice_count_once() {
        let twice = Locations::new([
            Location::header("X-Token").unwrap(),
            Location::authorization([Scheme::parse("Bearer").unwrap()]),
            Location::header("x-token").unwrap(),
            Location::authorization(["bearer", "JWT"].map(|s| Scheme::parse(s).unwrap())),
        ]);
        for fields in [&[("x-token", "T")][..], &[("authorization", "JWT T")]] {
            let headers = headers(fields);
            assert!(matches!(twice.find(&headers, None), Ok(Found::Credential { .. })));
        }
    }

    #[test]
    fn an_authorization_is_claimed_unless_it_is_absent_or_under_another_scheme() {
        for (value, is_ours) in [
            ("Bearer T", true),
            ("Bearer", true),
            ("Basic eDp5, Bearer T", true),
            ("Basic eDp5", false),
            ("BearerT", false),
        ] {
            let headers = headers(&[("authorization", value)]);
            assert_eq!(everywhere().claim_authorization(&headers), is_ours, "{value}");
        }
        assert!(!everywhere().claim_authorization(&HeaderMap::new()));
    }

    #[test]
    fn places_that_others_look_into_as_well_can_be_left_out() {
        let of = |schemes: &[&str], more: &[Location]| {
            let schemes = schemes.iter().map(|scheme| Scheme::parse(scheme).unwrap());
            Locations::new([Location::authorization(schemes)].into_iter().chain(more.to_vec()))
        };
        let header = |name| Location::header(name).unwrap();
        let (a, b) = (header("X-A"), header("X-B"));
        let all = of(&["Bearer", "Token"], &[a.clone(), b.clone(), Location::cookie("x").unwrap()]);
        let left = |others: &[Locations]| all.without(others).places;
        assert_eq!(left(&[]), all.places);
        assert_eq!(left(&[of(&["Basic"], &[header("X-C")])]), all.places);
        assert_eq!(left(&[of(&["Token"], &[Location::query("x").unwrap()])]).len(), 4);
        let both = [of(&["Bearer"], &[a]), of(&["Token"], &[Location::cookie("x").unwrap()])];
        assert_eq!(left(&both), Locations::new([b]).places);
        assert_eq!(left(std::slice::from_ref(&all)), []);
    }

    #[test]
    fn stripping_leaves_everything_else() {
        let mut all = headers(&[
            ("authorization", "Bearer T"),
            ("x-token", "T"),
            ("x-token-2", "T"),
            ("cookie", "session=T; a=1"),
        ]);
        everywhere().strip(&mut all);
        assert_eq!(all, headers(&[("x-token-2", "T"), ("cookie", "a=1")]));
        let mut other = headers(&[("authorization", "Basic eDp5")]);
        everywhere().strip(&mut other);
        assert_eq!(other, headers(&[("authorization", "Basic eDp5")]));
        let query = everywhere().strip_query("a=%41&access_token=T");
        assert_eq!(query.as_deref(), Some("a=%41"));
        assert_eq!(everywhere().strip_query("a=%41"), None);
    }

    #[test]
    fn a_found_credential_is_not_shown_by_debug() {
        let headers = headers(&[("authorization", "Bearer canary")]);
        let shown = format!("{:?}", everywhere().find(&headers, None));
        assert!(shown.contains("Credential") && !shown.contains("canary"), "{shown}");
    }
}
