//! Credentials within `Cookie` headers (RFC 6265 §4.2, read leniently as servers do).

use http::header::{COOKIE, HeaderMap, HeaderValue};

use super::text::{CarryError, credential};

/// Finds the value of the one cookie called `name`, in whichever `Cookie` header it stands.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, CarryError> {
    let mut found = None;
    for pair in headers.get_all(COOKIE).iter().flat_map(|header| pairs(header.as_bytes())) {
        if name_of(pair) == name.as_bytes() && found.replace(pair).is_some() {
            return Err(CarryError::Repeated);
        }
    }
    found.map(|pair| credential(value_of(pair))).transpose()
}

/// Removes every cookie that `is_ours` recognises by its name; all other bytes stay as they are.
pub(super) fn strip(headers: &mut HeaderMap, is_ours: impl Fn(&[u8]) -> bool) {
    let holds_ours = |header: &HeaderValue| pairs(header.as_bytes()).any(|p| is_ours(name_of(p)));
    if !headers.get_all(COOKIE).iter().any(holds_ours) {
        return;
    }
    let kept: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| {
            if holds_ours(header) { without(header, &is_ours) } else { Some(header.clone()) }
        })
        .collect();
    headers.remove(COOKIE);
    for header in kept {
        headers.append(COOKIE, header);
    }
}

/// The header without our cookies; nothing when no other is left.
fn without(header: &HeaderValue, is_ours: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let kept: Vec<_> = pairs(header.as_bytes()).filter(|pair| !is_ours(name_of(pair))).collect();
    let rest = kept.join(&b';');
    let rest = rest.trim_ascii();
    // Bytes taken from a valid value are a valid value.
    if rest.is_empty() { None } else { HeaderValue::from_bytes(rest).ok() }
}

fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b';')
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn value_of(pair: &[u8]) -> &[u8] {
    let mut parts = pair.splitn(2, |byte| *byte == b'=').skip(1);
    let value = parts.next().unwrap_or_default().trim_ascii();
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (COOKIE, HeaderValue::from_bytes(v.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn finds_one_cookie_among_others() {
        for (values, expected) in [
            (&["session=T"][..], Ok(Some("T"))),
            (&["a=1; session=T; b=2"], Ok(Some("T"))),
            (&["a=1", "session=T"], Ok(Some("T"))),
            (&["a=1;session = \"T\" "], Ok(Some("T"))),
            (&["\u{e4}=\u{e4}; session=a=b"], Ok(Some("a=b"))),
            (&[], Ok(None)),
            (&[""], Ok(None)),
            (&["Session=T; xsession=T; sessionx=T"], Ok(None)),
            (&["a=session=T"], Ok(None)),
            (&["session"], Err(CarryError::Malformed)),
            (&["session="], Err(CarryError::Malformed)),
            (&["session=\"\""], Err(CarryError::Malformed)),
            (&["session=T T"], Err(CarryError::Malformed)),
            (&["session=\u{e4}"], Err(CarryError::Malformed)),
            (&["session=T; session=T"], Err(CarryError::Repeated)),
            (&["session=T", "session=U"], Err(CarryError::Repeated)),
        ] {
            assert_eq!(find(&headers(values), "session"), expected, "{values:?}");
        }
    }

    #[test]
    fn strips_its_cookie_and_nothing_else() {
        for (values, expected) in [
            (&["session=T"][..], &[][..]),
            (&["session=T; a=1"], &["a=1"]),
            (&["a=1; session=T; b=2"], &["a=1; b=2"]),
            (&["a=1;  b=2;session=T"], &["a=1;  b=2"]),
            (&["a=1", "session=T", "b=\u{e4}"], &["a=1", "b=\u{e4}"]),
            (&["session=T; a=1; session=U"], &["a=1"]),
            (&["xsession=T;; a"], &["xsession=T;; a"]),
        ] {
            let mut stripped = headers(values);
            strip(&mut stripped, |name| name == b"session");
            let left: Vec<_> = stripped.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
            let expected: Vec<_> = expected.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(left, expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_stripped_is_not_found_and_the_rest_stays(
            values in prop::collection::vec("[ab=;s \"]{0,12}", 0..4),
        ) {
            let mut stripped: HeaderMap = values
                .iter()
                .map(|value| (COOKIE, HeaderValue::from_str(value).unwrap()))
                .collect();
            strip(&mut stripped, |name| name == b"s");
            prop_assert_eq!(find(&stripped, "s"), Ok(None));
            let others = |values: &mut dyn Iterator<Item = &[u8]>| {
                values
                    .flat_map(|value| pairs(value).map(|pair| pair.trim_ascii().to_vec()))
                    .filter(|pair| !pair.is_empty() && name_of(pair) != b"s")
                    .collect::<Vec<_>>()
            };
            let before = others(&mut values.iter().map(String::as_bytes));
            let mut left = stripped.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            prop_assert_eq!(before, others(&mut left));
        }
    }
}
