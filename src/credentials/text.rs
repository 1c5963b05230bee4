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
    if !bytes.is_empty() && all(bytes, WORD) {
        return std::str::from_utf8(bytes).map_err(|_| CarryError::Malformed);
    }
    // An intermediary may join repeated headers with a comma (RFC 9110 §5.3).
    Err(if bytes.contains(&b',') { CarryError::Repeated } else { CarryError::Malformed })
}

/// The text of bytes that are all visible ASCII or spaces.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    if all(bytes, PRINTABLE) { std::str::from_utf8(bytes).ok() } else { None }
}

/// Whether every byte is one of the characters of a token that needs no closer look. Tokens are long
/// and looked at on every request: this form lets the compiler judge many bytes at once.
#[expect(clippy::needless_bitwise_bool, reason = "a branch for each byte is what is avoided")]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| {
        let is_letter = (*byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and the digits stand in a row.
        let is_digit_or_mark = byte.wrapping_sub(b'-') < 13;
        plain & (is_letter | is_digit_or_mark | (*byte == b'_') | (*byte == b'~') | (*byte == b'+'))
    })
}

/// Whether every byte is of `class`.
pub(super) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |common, byte| {
        common & CLASSES.get(usize::from(*byte)).copied().unwrap_or_default()
    }) == class
}

/// Visible ASCII or a space.
pub(super) const PRINTABLE: u8 = 1;
/// Visible ASCII but a comma.
pub(super) const WORD: u8 = 2;
/// `tchar` of RFC 9110 §5.6.2.
pub(super) const TCHAR: u8 = 4;
/// The characters of `token68` (RFC 9110 §11.2) but `=`.
pub(super) const TOKEN68: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        let is_visible = byte > b' ';
        let is_tchar = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        let is_token68 =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        let mut class = 0;
        if byte >= b' ' {
            class |= PRINTABLE;
        }
        if is_visible && byte != b',' {
            class |= WORD;
        }
        if is_tchar {
            class |= TCHAR;
        }
        if is_token68 {
            class |= TOKEN68;
        }
        #[expect(
            clippy::indexing_slicing,
            clippy::as_conversions,
            reason = "evaluated by the compiler"
        )]
        {
            classes[byte as usize] = class;
        }
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_exactly_token68_without_padding() {
        for byte in 0..=255 {
            assert_eq!(is_plain(&[b'a', byte]), all(&[byte], TOKEN68), "{byte:#x}");
        }
    }

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
