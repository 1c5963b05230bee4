//! A token in compact form (RFC 7515 §7.1), taken apart strictly: three segments, one reading.
//!
//! Nothing here is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenError;
use super::header::Header;
use crate::json;

/// The parts of a token, unverified.
pub(super) struct Compact<'t> {
    /// What the signature is over.
    pub(super) signed: &'t str,
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    pub(super) signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    pub(super) fn read(token: &'t str) -> Result<Self, TokenError> {
        let segments = TokenError::Malformed("not three segments");
        let (signed, signature) = token.rsplit_once('.').ok_or(segments)?;
        let (header, claims) = signed.split_once('.').ok_or(segments)?;
        if claims.contains('.') {
            return Err(segments);
        }
        let header = Header::read(&decode(header)?)?;
        let claims = json::read_object(&decode(claims)?)
            .map_err(|_| TokenError::Malformed("the payload is not one unambiguous object"))?;
        Ok(Self { signed, header, claims, signature: decode(signature)? })
    }
}

/// Base64url without padding; what is left over in the last character must be zero, so that no two
/// texts stand for the same bytes.
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed("not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[track_caller]
    fn refused(token: &str) {
        assert!(matches!(Compact::read(token), Err(TokenError::Malformed(_))), "{token}");
    }

    #[test]
    fn reads_the_three_parts() {
        let text = token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"a":1}"#);
        let Ok(compact) = Compact::read(&text) else { panic!("a token") };
        assert_eq!(compact.header.kid.as_deref(), Some("k"));
        assert_eq!(compact.claims.len(), 1);
        assert_eq!(compact.signature, [0]);
        assert_eq!(format!("{}.AA", compact.signed), text);
    }

    #[test]
    fn refuses_any_other_number_of_segments() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        for text in ["", ".", "..", "...", "a", "a.b", "{\"payload\":\"\",\"signatures\":[]}"] {
            refused(text);
        }
        refused(&format!("{good}.AA"));
        refused(&format!("{good}.AA.AA"));
        refused(&format!(".{good}"));
        refused(&format!("{good}."));
        refused(good.rsplit_once('.').unwrap().0);
    }

    #[test]
    fn refuses_every_other_spelling_of_base64() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        let (signed, _) = good.rsplit_once('.').unwrap();
        for signature in ["AA==", "A", "AB", "A+", "A/", "A A", " AA", "AA ", "A\nA", "A?", "é"] {
            refused(&format!("{signed}.{signature}"));
        }
        refused(&format!(" {good}"));
        refused(&good.replacen('.', "=.", 1));
    }
}
