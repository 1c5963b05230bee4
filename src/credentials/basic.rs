//! A name and a password as HTTP Basic carries them (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// What stands behind the scheme, read: the first colon ends the name.
pub fn read_basic(value: &str) -> Option<(String, Secret<String>)> {
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (login, password) = text.split_once(':')?;
    Some((login.to_owned(), Secret::new(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_name() {
        let read = |text: &str| {
            let (login, password) = read_basic(&STANDARD.encode(text))?;
            Some((login, password.expose().clone()))
        };
        for (text, login, password) in
            [("a:b:c", "a", "b:c"), (":", "", ""), (" a: b ", " a", " b ")]
        {
            assert_eq!(read(text), Some((login.to_owned(), password.to_owned())), "{text}");
        }
        assert_eq!(read("anna"), None);
        for value in ["", "!", "YTpi=", "YTpi YTpi", "/zpi"] {
            assert!(read_basic(value).is_none(), "{value}");
        }
    }
}
