//! Credentials within the query of a request target.
//!
//! Parameters are parted by `&` alone, their names compared after percent-decoding, so that
//! `access%5Ftoken` is found, counted and stripped as well.

use std::borrow::Cow;

use super::text::{CarryError, credential};

/// Finds the value of the one parameter called `name`.
pub(super) fn find<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, CarryError> {
    let mut found = None;
    for part in query.split('&').filter(|part| is_named(part, name)) {
        if found.replace(part).is_some() {
            return Err(CarryError::Repeated);
        }
    }
    let Some(part) = found else { return Ok(None) };
    let value = part.split_once('=').map_or("", |(_, value)| value);
    // Half the world's servers read `+` as a space and half as itself.
    if value.contains('+') {
        return Err(CarryError::Malformed);
    }
    if !value.contains('%') {
        return credential(value.as_bytes()).map(|text| Some(Cow::Borrowed(text)));
    }
    let decoded = decode(value).collect::<Option<Vec<u8>>>().ok_or(CarryError::Malformed)?;
    credential(&decoded).map(|text| Some(Cow::Owned(text.to_owned())))
}

/// The query without the parameters that `is_ours` recognises; `None` when there are none of them.
/// All other bytes stay as they are; what is left may be empty.
pub(super) fn strip(query: &str, is_ours: impl Fn(&str) -> bool) -> Option<String> {
    query.split('&').any(&is_ours).then(|| {
        let kept: Vec<_> = query.split('&').filter(|part| !is_ours(part)).collect();
        kept.join("&")
    })
}

/// Whether `part` of a query is the parameter called `name`.
pub(super) fn is_named(part: &str, name: &str) -> bool {
    let written = part.split_once('=').map_or(part, |(written, _)| written);
    written == name || decode(written).eq(name.bytes().map(Some))
}

/// The decoded bytes; `None` in place of an escape that is none.
fn decode(text: &str) -> impl Iterator<Item = Option<u8>> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'%' => {
            let mut digit = || {
                let digit = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(digit).ok()
            };
            let (high, low) = (digit(), digit());
            Some(high.zip(low).map(|(high, low)| (high << 4) | low))
        }
        byte => Some(Some(byte)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_one_parameter_among_others() {
        for (query, expected) in [
            ("access_token=T", Ok(Some("T"))),
            ("a=1&access_token=T&b", Ok(Some("T"))),
            ("access%5Ftoken=T", Ok(Some("T"))),
            ("access_token=a%2Bb%3d", Ok(Some("a+b="))),
            ("access_token=a=b", Ok(Some("a=b"))),
            ("", Ok(None)),
            ("Access_token=T&xaccess_token=T", Ok(None)),
            ("a=access_token=T", Ok(None)),
            ("access_token%=T", Ok(None)),
            ("access_token", Err(CarryError::Malformed)),
            ("access_token=", Err(CarryError::Malformed)),
            ("access_token=%", Err(CarryError::Malformed)),
            ("access_token=%4", Err(CarryError::Malformed)),
            ("access_token=%zz", Err(CarryError::Malformed)),
            ("access_token=%+4", Err(CarryError::Malformed)),
            ("access_token=a+b", Err(CarryError::Malformed)),
            ("access_token=a%20b", Err(CarryError::Malformed)),
            ("access_token=a%00", Err(CarryError::Malformed)),
            ("access_token=%c3%a4", Err(CarryError::Malformed)),
            ("access_token=T&access_token=T", Err(CarryError::Repeated)),
            ("access_token=T&access%5ftoken=U", Err(CarryError::Repeated)),
            ("access_token=T&access_token", Err(CarryError::Repeated)),
        ] {
            let found = find(query, "access_token");
            assert_eq!(
                found.as_ref().map(|found| found.as_deref()),
                expected.as_ref().copied(),
                "{query}"
            );
        }
    }

    #[test]
    fn strips_its_parameter_and_nothing_else() {
        for (query, expected) in [
            ("key=K", Some("")),
            ("key=K&a=1", Some("a=1")),
            ("a=%7e&key=K&b=+", Some("a=%7e&b=+")),
            ("a&k%65y=K", Some("a")),
            ("key=K&&key", Some("")),
            ("&key=K&", Some("&")),
            ("", None),
            ("a=key&b=key=K&k%6y=K", None),
        ] {
            assert_eq!(strip(query, |p| is_named(p, "key")).as_deref(), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_was_stripped_is_not_found_and_the_rest_stays(query in "([&=a+]|s|%73|%|\u{e4}){0,12}") {
            let left = strip(&query, |part| is_named(part, "s"));
            let left = left.as_deref().unwrap_or(&query);
            prop_assert_eq!(find(left, "s"), Ok(None));
            let kept = |query: &str| -> Vec<String> {
                let parts = query.split('&').filter(|part| !part.is_empty());
                parts.filter(|part| !is_named(part, "s")).map(str::to_owned).collect()
            };
            prop_assert_eq!(kept(&query), kept(left));
        }
    }
}
