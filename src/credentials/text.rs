//! Which bytes can be a credential at all, before anybody asks whether it is good.

/// Why something that is there cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// Empty, cut, or with bytes that no credential has.
    #[error("malformed credential")]
    Malformed,
    /// More than one, in one place or in several.
    #[error("repeated credential")]
    Repeated,
}

/// The text of a credential without a scheme: visible ASCII, not empty, and no list of several.
pub(super) fn credential(bytes: &[u8]) -> Result<&str, CarryError> {
    let text = printable(bytes).filter(|text| !text.contains(' ') && !text.is_empty());
    match text {
        Some(text) if !text.contains(',') => Ok(text),
        None if !bytes.contains(&b',') => Err(CarryError::Malformed),
        // An intermediary may join repeated headers with a comma (RFC 9110 §5.3).
        _ => Err(CarryError::Repeated),
    }
}

/// The text of bytes that are all visible ASCII or spaces.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    let is_printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    std::str::from_utf8(bytes).ok().filter(|_| is_printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_one_word_of_visible_ascii() {
        for good in ["T", "!", "~", "a.b=c;d:e\"f"] {
            assert_eq!(credential(good.as_bytes()), Ok(good));
        }
        for bad in ["", " ", "a b", "a ", "a\t", "a\u{7f}", "\u{e4}", "a\0"] {
            assert_eq!(credential(bad.as_bytes()), Err(CarryError::Malformed), "{bad:?}");
        }
        for several in [",", "a,b", "a, b", "a,", "\u{e4},"] {
            assert_eq!(credential(several.as_bytes()), Err(CarryError::Repeated), "{several:?}");
        }
        assert_eq!(printable(b" ~"), Some(" ~"));
        assert_eq!(printable(b"\x1f"), None);
        assert_eq!(printable(b"\x7f"), None);
    }
}
