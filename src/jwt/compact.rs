//! A token in compact form (RFC 7515 §7.1), taken apart strictly: three segments, one reading.
//!
//! Nothing here is verified. Keys that a token brings along (`jwk`, `x5c`, `jku`, `x5u`) are not
//! looked at, so that nobody can vouch for himself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenError;
use super::algorithm::Algorithm;
use super::json;

/// A key id may have this many bytes.
const MAX_KID_BYTES: usize = 256;
/// Header members that change what the other bytes mean: critical extensions (RFC 7515 §4.1.11),
/// unencoded payload (RFC 7797), encryption and compression (RFC 7516). None is implemented.
const REFUSED: [&str; 4] = ["crit", "b64", "enc", "zip"];

/// The parts of a token, unverified.
pub(super) struct Compact<'t> {
    /// What the signature is over.
    pub(super) signed: &'t str,
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    pub(super) signature: Vec<u8>,
}

/// What of a header is used.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
}

impl<'t> Compact<'t> {
    pub(super) fn read(token: &'t str) -> Result<Self, TokenError> {
        let segments = TokenError::Malformed("not three segments");
        let (signed, signature) = token.rsplit_once('.').ok_or(segments)?;
        let (header, claims) = signed.split_once('.').ok_or(segments)?;
        if claims.contains('.') {
            return Err(segments);
        }
        let header = json::read_object(&decode(header)?)
            .map_err(|_| TokenError::Malformed("the header is not one unambiguous object"))?;
        let header = Header::read(&header)?;
        let claims = json::read_object(&decode(claims)?)
            .map_err(|_| TokenError::Malformed("the payload is not one unambiguous object"))?;
        Ok(Self { signed, header, claims, signature: decode(signature)? })
    }
}

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Self, TokenError> {
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
            return Err(TokenError::Malformed("the header asks for an extension"));
        }
        let algorithm = text(members, "alg")?
            .ok_or(TokenError::UnsupportedAlgorithm)?
            .parse()
            .map_err(|_| TokenError::UnsupportedAlgorithm)?;
        let kid = text(members, "kid")?;
        // Control characters have no place in an id, and would travel into logs.
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES || kid.contains(char::is_control)) {
            return Err(TokenError::Malformed("the key id is too long or not printable"));
        }
        let typ = text(members, "typ")?;
        Ok(Self { algorithm, kid: kid.map(str::to_owned), typ: typ.map(str::to_owned) })
    }
}

fn text<'h>(members: &'h Map<String, Value>, name: &str) -> Result<Option<&'h str>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed("a header member is not a string")),
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
        let text =
            token(r#"{"alg":"ES256","typ":"JWT","kid":"k","jwk":{},"jku":"x"}"#, r#"{"a":1}"#);
        let Ok(compact) = Compact::read(&text) else { panic!("a token") };
        assert_eq!(compact.header.algorithm, Algorithm::Es256);
        assert_eq!(compact.header.kid.as_deref(), Some("k"));
        assert_eq!(compact.header.typ.as_deref(), Some("JWT"));
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

    #[test]
    fn refuses_headers_with_two_readings_or_extensions() {
        for header in [
            r#"{"alg":"ES256","alg":"HS256"}"#,
            r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
            r#"{"alg":"ES256","x":1,"x":1}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","b64":true}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
            r#"{"alg":"ES256","enc":"A256GCM"}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES256","typ":1}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","kid":null}"#,
            r#"{"alg":"ES256","kid":{}}"#,
            r#"{"alg":"ES256","kid":"a\u0000"}"#,
            r#"{"alg":"ES256","kid":"a\r\nb"}"#,
            "[]",
            "",
        ] {
            refused(&token(header, "{}"));
        }
    }

    #[test]
    fn refuses_algorithms_that_are_none_or_not_known() {
        for header in [
            "{}",
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"ES512"}"#,
            r#"{"alg":"ES256K"}"#,
        ] {
            let text = token(header, "{}");
            assert_eq!(Compact::read(&text).err(), Some(TokenError::UnsupportedAlgorithm));
        }
    }

    #[test]
    fn a_key_id_has_at_most_256_bytes() {
        let with =
            |n: usize| token(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(n)), "{}");
        assert!(Compact::read(&with(256)).is_ok());
        refused(&with(257));
        refused(&with(65_536));
    }
}
