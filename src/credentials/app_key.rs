//! The form of the keys that we hand out: `pc_<id>_<secret><checksum>`.
//!
//! The prefix lets scanners of leaked secrets recognise a key, the id says whose it is, the checksum
//! tells a mistyped or cut key from a wrong one without a look-up. Whether a key is good is not
//! decided here.

use zeroize::Zeroizing;

use crate::id::{AppId, Digest};
use crate::secret::Secret;

/// A key just made, the only time its text exists outside the program that will present it.
#[derive(Debug)]
pub struct AppKey {
    id: AppId,
    text: Secret<Zeroizing<String>>,
}

impl AppKey {
    /// Makes the id of a new application from random bytes.
    pub fn new_id(random: [u8; 8]) -> AppId {
        let mut id = String::with_capacity(ID + 1);
        base32(&random, &mut id);
        id.truncate(ID);
        AppId::new(id)
    }

    /// Makes a key of the application `id` from random bytes.
    pub fn new(id: &AppId, random: &[u8; 32]) -> Self {
        // With its full capacity from the start, so that growing leaves no copies behind.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + id.as_str().len() + 60));
        text.push_str(PREFIX);
        text.push_str(id.as_str());
        text.push('_');
        base32(random, &mut text);
        let checksum = crc32(text.as_bytes());
        base32(&checksum.to_be_bytes(), &mut text);
        Self { id: id.clone(), text: Secret::new(text) }
    }

    /// Whose key it is.
    pub const fn id(&self) -> &AppId {
        &self.id
    }

    /// What the application presents.
    pub fn text(&self) -> Secret<&str> {
        Secret::new(self.text.expose().as_str())
    }

    /// What the store keeps: the digest of the whole text, as `sha256sum` gives it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.expose().as_bytes())
    }
}

/// What a presented text looks like, without asking whether anybody knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// Not a key of ours; it may still be one that the operator configured by its digest.
    Foreign,
    /// It begins as our keys do and is not one: mistyped, cut, or guessed.
    Malformed,
    /// A whole key of this application.
    Ours {
        /// The public id within the key.
        id: &'a str,
    },
}

/// Tells the shape of any text.
pub fn shape(text: &str) -> Shape<'_> {
    match text.strip_prefix(PREFIX) {
        None => Shape::Foreign,
        Some(rest) => id_of(text, rest).map_or(Shape::Malformed, |id| Shape::Ours { id }),
    }
}

fn id_of<'a>(text: &'a str, rest: &'a str) -> Option<&'a str> {
    let (id, tail) = rest.split_once('_')?;
    let is_sized = id.len() == ID && tail.len() == SECRET + CHECKSUM;
    if !is_sized || !id.bytes().chain(tail.bytes()).all(is_letter) {
        return None;
    }
    let (body, checksum) = text.split_at_checked(text.len().checked_sub(CHECKSUM)?)?;
    let mut expected = String::with_capacity(CHECKSUM);
    base32(&crc32(body.as_bytes()).to_be_bytes(), &mut expected);
    (checksum == expected).then_some(id)
}

/// Appends `bytes` in the alphabet of RFC 4648 §6, in lower case and without padding.
pub(crate) fn base32(bytes: &[u8], out: &mut String) {
    let (mut buffer, mut bits) = (0_u16, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(letter(buffer >> bits));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(letter(buffer << (5 - bits)));
    }
}

fn letter(five_bits: u16) -> char {
    let [_, low] = (five_bits & 31).to_be_bytes();
    char::from(if low < 26 { b'a' + low } else { b'2' + (low - 26) })
}

const fn is_letter(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

/// CRC-32 as zip and PNG have it. It guards against accidents, not against attackers.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

const PREFIX: &str = "pc_";
/// Letters of an id: 60 random bits.
const ID: usize = 12;
/// Letters of a secret: 256 random bits.
const SECRET: usize = 52;
/// Letters of a checksum: 32 bits.
const CHECKSUM: usize = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_one_documented_form() {
        let key = AppKey::new(&AppKey::new_id([0; 8]), &[0xff; 32]);
        let text = *key.text().expose();
        assert_eq!(text.len(), 75);
        assert!(
            text.starts_with("pc_aaaaaaaaaaaa_77777777777777777777777777777777777777777777777777")
        );
        assert_eq!(shape(text), Shape::Ours { id: "aaaaaaaaaaaa" });
        assert_eq!(key.digest(), Digest::of(text.as_bytes()));
    }

    #[test]
    fn base32_and_crc32_are_those_of_the_standards() {
        for (bytes, text) in [("", ""), ("f", "my"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            let mut out = String::new();
            base32(bytes.as_bytes(), &mut out);
            assert_eq!(out, text, "{bytes}");
        }
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_single_wrong_letter_and_every_cut_is_noticed() {
        let key = AppKey::new(&AppKey::new_id([7; 8]), &[9; 32]);
        let text = *key.text().expose();
        for place in 3..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'b' { b'c' } else { b'b' };
            assert_eq!(shape(std::str::from_utf8(&wrong).unwrap()), Shape::Malformed, "{place}");
            assert_eq!(shape(text.split_at(place).0), Shape::Malformed, "cut at {place}");
        }
        assert_eq!(shape(&format!("{text}a")), Shape::Malformed);
        assert_eq!(shape(&text.to_uppercase()), Shape::Foreign);
        let shouted = text.to_uppercase().replace("PC_", "pc_");
        assert_eq!(shape(&shouted), Shape::Malformed);
    }

    #[test]
    fn what_does_not_begin_as_ours_is_foreign() {
        for text in ["", "pc", "PC_x", "sk_live_1", " pc_x"] {
            assert_eq!(shape(text), Shape::Foreign, "{text:?}");
        }
        for text in ["pc_", "pc__", "pc_a_b", "pc_ä_ö", "pc_\0", "pc_aaaaaaaaaaaa_"] {
            assert_eq!(shape(text), Shape::Malformed, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_not_shown_by_debug() {
        let key = AppKey::new(&AppKey::new_id([1; 8]), &[2; 32]);
        let (_, secret) =
            key.text().expose().rsplit_once('_').map(|(a, b)| (a, b.to_owned())).unwrap();
        assert!(!format!("{key:?} {:?}", key.text()).contains(&secret));
    }

    proptest! {
        #[test]
        fn any_text_has_a_shape(text in "(pc_)?\\PC{0,80}") {
            let _ = shape(&text);
        }

        #[test]
        fn every_key_is_ours(id: [u8; 8], random: [u8; 32]) {
            let id = AppKey::new_id(id);
            let key = AppKey::new(&id, &random);
            prop_assert_eq!(shape(key.text().expose()), Shape::Ours { id: id.as_str() });
        }
    }
}
