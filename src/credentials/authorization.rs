//! Tokens within the `Authorization` header (RFC 9110 §11.6.2, RFC 6750 §2.1).
//!
//! A value is `scheme 1*SP token68`. Scheme `Token` may also write `token="…"`, as Rails does. Any
//! number of spaces may part scheme and token; a tab may not, and nothing may follow the token.

use super::text::{self, CarryError, TCHAR, TOKEN68, printable};

/// A scheme of `Authorization` under which a token is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Named(Box<str>),
    Bare,
}

impl Scheme {
    /// Reads a scheme as the operator writes it; `none` stands for a bare token.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self(Kind::Bare));
        }
        is_tchars(text).then(|| Self(Kind::Named(text.to_ascii_lowercase().into())))
    }

    /// Whether `value` is this scheme, one space and something.
    fn is_before_token(&self, value: &[u8]) -> bool {
        let Kind::Named(name) = &self.0 else { return false };
        value.len() > name.len() + 1
            && value.get(name.len()) == Some(&b' ')
            && value.get(..name.len()).is_some_and(|v| v.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The name of the scheme in lower case, or `none`.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Named(name) => name,
            Kind::Bare => "none",
        }
    }
}

/// What a value of the header turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried<'s, 'v> {
    /// Well-formed, but under a scheme that is not ours.
    OtherScheme,
    /// A token under one of our schemes.
    Token(&'v str, &'s Scheme),
}

/// Reads one value of the header.
pub(super) fn read<'s, 'v>(
    value: &'v [u8],
    schemes: &'s [Scheme],
) -> Result<Carried<'s, 'v>, CarryError> {
    // The usual value, scheme and token, is settled by one look at each byte.
    if let Some(scheme) = schemes.iter().find(|scheme| scheme.is_before_token(value)) {
        let token = value.get(scheme.as_str().len() + 1..).unwrap_or_default();
        if text::is_plain(token)
            && let Ok(token) = std::str::from_utf8(token)
        {
            return Ok(Carried::Token(token, scheme));
        }
    }
    let text = printable(value).ok_or(CarryError::Malformed)?;
    if joins_credentials(text) {
        return Err(CarryError::Repeated);
    }
    let (name, rest) = match text.split_once(' ') {
        Some((name, rest)) => (name, Some(rest.trim_start_matches(' '))),
        None => (text, None),
    };
    let named = schemes.iter().find(|scheme| match &scheme.0 {
        Kind::Named(ours) => ours.eq_ignore_ascii_case(name),
        Kind::Bare => false,
    });
    if let Some(scheme) = named {
        // `Bearer` alone is a credential gone wrong, not the absence of one.
        let token = rest.and_then(|rest| token_of(scheme, rest)).ok_or(CarryError::Malformed)?;
        return Ok(Carried::Token(token, scheme));
    }
    if rest.is_none()
        && let Some(bare) = schemes.iter().find(|s| s.0 == Kind::Bare)
    {
        return is_token68(text).then_some(Carried::Token(text, bare)).ok_or(CarryError::Malformed);
    }
    if is_tchars(name) { Ok(Carried::OtherScheme) } else { Err(CarryError::Malformed) }
}

fn token_of<'v>(scheme: &Scheme, rest: &'v str) -> Option<&'v str> {
    let token = match rest.split_at_checked(TOKEN_PARAMETER.len()) {
        Some((name, value))
            if scheme.as_str() == "token" && name.eq_ignore_ascii_case(TOKEN_PARAMETER) =>
        {
            match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => value,
            }
        }
        _ => rest,
    };
    is_token68(token).then_some(token)
}

/// Whether a comma is followed by what looks like a second scheme and its credential. An intermediary
/// joins repeated headers so; which of the two a server then reads is anybody's guess.
fn joins_credentials(text: &str) -> bool {
    text.split(',').skip(1).any(|part| {
        part.trim_matches(' ')
            .split_once(' ')
            .is_some_and(|(name, rest)| is_tchars(name) && !rest.trim_start().starts_with('='))
    })
}

/// `token` of RFC 9110 §5.6.2.
fn is_tchars(text: &str) -> bool {
    !text.is_empty() && text::all(text.as_bytes(), TCHAR)
}

/// `token68` of RFC 9110 §11.2.
fn is_token68(text: &str) -> bool {
    let mut body = text.as_bytes();
    while let Some(shorter) = body.strip_suffix(b"=") {
        body = shorter;
    }
    !body.is_empty() && text::all(body, TOKEN68)
}

const TOKEN_PARAMETER: &str = "token=";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OTHER: Result<Option<&str>, CarryError> = Ok(None);
    const MALFORMED: Result<Option<&str>, CarryError> = Err(CarryError::Malformed);
    const REPEATED: Result<Option<&str>, CarryError> = Err(CarryError::Repeated);

    #[track_caller]
    fn check(schemes: &[&str], rows: &[(&str, Result<Option<&str>, CarryError>)]) {
        let schemes: Vec<_> = schemes.iter().map(|s| Scheme::parse(s).unwrap()).collect();
        for (value, expected) in rows {
            let outcome = read(value.as_bytes(), &schemes).map(|carried| match carried {
                Carried::OtherScheme => None,
                Carried::Token(token, _) => Some(token),
            });
            assert_eq!(outcome, *expected, "{value:?} under {schemes:?}");
        }
    }

    #[test]
    fn finds_the_token_behind_its_scheme() {
        check(
            &["Bearer"],
            &[
                ("Bearer a.b-c_d", Ok(Some("a.b-c_d"))),
                ("bearer T", Ok(Some("T"))),
                ("BEARER T==", Ok(Some("T=="))),
                ("Bearer  T", Ok(Some("T"))),
                ("Bearer", MALFORMED),
                ("Bearer ", MALFORMED),
                ("Bearer\tT", MALFORMED),
                ("Bearer \tT", MALFORMED),
                ("Bearer T ", MALFORMED),
                ("Bearer T junk", MALFORMED),
                ("Bearer T,", MALFORMED),
                ("Bearer T, U", MALFORMED),
                ("Bearer T;x", MALFORMED),
                ("Bearer \"T\"", MALFORMED),
                ("Bearer =", MALFORMED),
                ("Bearer T=T", MALFORMED),
                ("Bearer T\u{e4}", MALFORMED),
                ("Bearer token=\"T\"", MALFORMED),
                ("", MALFORMED),
                (" Bearer T", MALFORMED),
                (",Bearer T", REPEATED),
            ],
        );
    }

    #[test]
    fn leaves_other_schemes_to_others() {
        check(
            &["Bearer"],
            &[
                ("Basic eDp5", OTHER),
                ("BearerT", OTHER),
                ("fooBearer T", OTHER),
                ("Token T", OTHER),
                ("T", OTHER),
                ("Digest username=\"x\", realm=\"y\"", OTHER),
                ("Digest username=\"x\", realm = \"y\"", OTHER),
                ("a.b(c", MALFORMED),
                ("Be\"rer T", MALFORMED),
                ("Basic\u{0}eDp5", MALFORMED),
            ],
        );
    }

    #[test]
    fn two_credentials_in_one_value_are_refused_whichever_comes_first() {
        check(
            &["Bearer"],
            &[
                ("Basic eDp5, Bearer T", REPEATED),
                ("Bearer T, Basic eDp5", REPEATED),
                ("Bearer T,Bearer U", REPEATED),
                ("Bearer T ,  Bearer  U", REPEATED),
                ("Basic eDp5,, Bearer T", REPEATED),
            ],
        );
    }

    #[test]
    fn the_token_scheme_may_name_its_parameter() {
        check(
            &["Token", "JWT"],
            &[
                ("Token T", Ok(Some("T"))),
                ("Token token=\"T\"", Ok(Some("T"))),
                ("token TOKEN=T", Ok(Some("T"))),
                ("JWT T", Ok(Some("T"))),
                ("Token token=", MALFORMED),
                ("Token token=\"\"", MALFORMED),
                ("Token token=\"T", MALFORMED),
                ("Token token=T\"", MALFORMED),
                ("Token token=\"T\", nonce=\"n\"", MALFORMED),
                ("Token token=\"T\" junk", MALFORMED),
                ("Token token = \"T\"", MALFORMED),
                ("Token access=T", MALFORMED),
                ("JWT token=\"T\"", MALFORMED),
                ("Bearer T", OTHER),
            ],
        );
    }

    #[test]
    fn a_bare_token_is_taken_only_where_that_is_written_out() {
        check(
            &["Bearer", "none"],
            &[
                ("a.b.c", Ok(Some("a.b.c"))),
                ("Bearer a.b.c", Ok(Some("a.b.c"))),
                ("Bearer", MALFORMED),
                ("bearer", MALFORMED),
                ("a,b", MALFORMED),
                ("Basic eDp5", OTHER),
                ("a.b.c d", OTHER),
            ],
        );
        check(&["none"], &[("T", Ok(Some("T"))), ("Bearer T", OTHER)]);
    }

    #[test]
    fn a_scheme_is_a_token_of_http() {
        assert_eq!(Scheme::parse("Bearer").unwrap().as_str(), "bearer");
        assert_eq!(Scheme::parse("none").unwrap().as_str(), "none");
        for bad in ["", "a b", "a,b", "ä", "Bearer:"] {
            assert_eq!(Scheme::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn only_token68_ever_comes_out(value in prop::collection::vec(any::<u8>(), 0..24), ours: bool) {
            let schemes = ["Bearer", "Token", "none"].map(|s| Scheme::parse(s).unwrap());
            let value = if ours { [b"Bearer ", &value[..]].concat() } else { value };
            if let Ok(Carried::Token(token, _)) = read(&value, &schemes) {
                prop_assert!(is_token68(token));
                prop_assert!(!value.contains(&b','));
            }
        }
    }
}
