//! The form of refresh tokens: `pcr_` and, in base64url, session, generation and a mark over both.
//!
//! Nothing of a token is kept: whether its mark is ours is seen here, whether its generation is the one
//! in force is known to the store. The successor of a reply that was lost is simply made again.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::MasterKey;
use crate::id::SessionId;
use crate::secret::Secret;

/// A token of ours; whether it is still good is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session that it refreshes.
    pub session: SessionId,
    /// How many refreshes came before it.
    pub generation: i64,
}

impl RefreshToken {
    /// What the client presents.
    pub fn text(&self, key: &MasterKey) -> Secret<String> {
        let body = self.body();
        let mark = hmac::sign(&key.refresh, &body);
        let bytes = [body.as_slice(), mark.as_ref()].concat();
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a token, if it has our mark.
    pub fn parse(text: Secret<&str>, key: &MasterKey) -> Option<Self> {
        let text = text.expose().strip_prefix(PREFIX).filter(|text| text.len() <= LONGEST)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mark) = bytes.split_at_checked(bytes.len().checked_sub(MARK)?)?;
        hmac::verify(&key.refresh, body, mark).ok()?;
        let (session, generation) = body.split_last_chunk::<8>()?;
        let session = SessionId::parse(std::str::from_utf8(session).ok()?)?;
        Some(Self { session, generation: i64::from_be_bytes(*generation) })
    }

    /// The generation has one length, so that no two tokens have one body.
    fn body(&self) -> Vec<u8> {
        [self.session.as_str().as_bytes(), &self.generation.to_be_bytes()].concat()
    }
}

/// The key has no other use than this mark, so nothing else that we sign can be taken for one.
const PREFIX: &str = "pcr_";
/// Bytes of a mark.
const MARK: usize = 32;
/// More than a token of ours has after the prefix.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: &str) -> MasterKey {
        let text = "000102030405060708090a0b0c0d0e0f00112233445566778899aabbccddee";
        MasterKey::parse(format!("{text}{last}").as_bytes()).unwrap()
    }

    fn token(generation: i64) -> RefreshToken {
        RefreshToken { session: SessionId::generate([7; 16]), generation }
    }

    fn read(text: &str) -> Option<RefreshToken> {
        RefreshToken::parse(Secret::new(text), &key("ff"))
    }

    #[test]
    fn reads_what_it_writes_and_writes_it_again_alike() {
        for generation in [0, 1, i64::MAX] {
            let text = token(generation).text(&key("ff"));
            assert_eq!(text.expose(), token(generation).text(&key("ff")).expose());
            assert_eq!(read(text.expose()), Some(token(generation)));
        }
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let texts = [token(0), token(1)].map(|token| token.text(&key("ff")));
        let [left, right] = texts.each_ref().map(|text| text.expose().as_bytes());
        let same = left.iter().zip(right).rev().take(40).filter(|(a, b)| a == b).count();
        assert!(same < 10, "{same}");
    }

    #[test]
    fn what_is_not_marked_with_our_key_is_refused() {
        let text = token(3).text(&key("fe"));
        assert_eq!(read(text.expose()), None);
        let text = token(3).text(&key("ff")).expose().clone();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(std::str::from_utf8(&changed).unwrap()), None, "{place}");
            assert_eq!(read(text.split_at(place).0), None, "{place}");
        }
        for other in [format!("{text}="), format!("{text}A"), format!(" {text}"), "pcr_".to_owned()]
        {
            assert_eq!(read(&other), None, "{other}");
        }
        assert_eq!(read(&format!("pcr_{}", "A".repeat(100_000))), None);
    }

    #[test]
    fn a_mark_over_something_else_than_a_session_is_refused() {
        let body = [b"u_".as_slice(), &[0; 8]].concat();
        let mark = hmac::sign(&key("ff").refresh, &body);
        let text = URL_SAFE_NO_PAD.encode([body.as_slice(), mark.as_ref()].concat());
        assert_eq!(read(&format!("pcr_{text}")), None);
    }
}
