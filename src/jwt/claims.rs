//! What the claims must say: type, audience, times, identity.
//!
//! Called only after the signature: a forged token is never told that it has expired. Time comes
//! last, so that "expired" is said only of a token that would otherwise be good.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Number, Value};

use super::TokenError;
use crate::clock::Timestamp;
use crate::id::Digest;
use crate::json::Pointer;

/// Which `aud` is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// It is not looked at: written out by the operator.
    Any,
    /// One of these must be among the token's audiences.
    OneOf(Vec<String>),
}

/// Which `typ` is accepted (RFC 8725 §3.11): what tells an access token from other tokens of the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypRule {
    /// It is not looked at: written out by the operator.
    Any,
    /// One of these, and not absent.
    OneOf(Vec<String>),
    /// Absent, `JWT` or `at+jwt`.
    Default,
}

/// When a token is good, leeway included: from `from` on, until just before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Audience {
    pub(super) fn admit(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let Self::OneOf(ours) = self else { return Ok(()) };
        let ours = |theirs: &str| ours.iter().any(|our| our == theirs);
        let admitted = match claims.get("aud") {
            Some(Value::String(theirs)) => ours(theirs),
            Some(Value::Array(list)) => {
                list.iter().all(Value::is_string) && list.iter().filter_map(Value::as_str).any(ours)
            }
            _ => false,
        };
        if admitted { Ok(()) } else { Err(TokenError::WrongAudience) }
    }
}

impl TypRule {
    pub(super) fn admit(&self, typ: Option<&str>) -> Result<(), TokenError> {
        let admitted = match (self, typ) {
            (Self::Any, _) | (Self::Default, None) => true,
            (Self::Default, Some(typ)) => is_type(typ, "JWT") || is_type(typ, "at+jwt"),
            (Self::OneOf(_), None) => false,
            (Self::OneOf(ours), Some(typ)) => ours.iter().any(|our| is_type(typ, our)),
        };
        if admitted { Ok(()) } else { Err(TokenError::WrongType) }
    }
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn is_type(theirs: &str, ours: &str) -> bool {
    let short = |typ| match str::split_at_checked(typ, "application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    };
    str::eq_ignore_ascii_case(short(theirs), short(ours))
}

impl Window {
    /// Reads `exp` (required), `nbf` and `iat`; gives the window and the `exp` itself.
    pub(super) fn of(
        claims: &Map<String, Value>,
        leeway: Duration,
    ) -> Result<(Self, Timestamp), TokenError> {
        let expires = instant(claims, "exp")?.ok_or(TokenError::Claims("exp"))?;
        let from = instant(claims, "nbf")?.map(|nbf| nbf.minus(leeway));
        instant(claims, "iat")?;
        let from = from.unwrap_or(Timestamp::from_millis(i64::MIN));
        Ok((Self { from, until: expires.plus(leeway) }, expires))
    }

    /// Expired in the very millisecond of `until`: RFC 7519 §4.1.4 says "on or after".
    pub(super) fn holds(self, now: Timestamp) -> Result<(), TokenError> {
        if now >= self.until {
            Err(TokenError::Expired)
        } else if now < self.from {
            Err(TokenError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

/// The text at the identity pointer: a printable string, or a whole number in decimal.
pub(super) fn identity(
    claims: &Map<String, Value>,
    pointer: &Pointer,
) -> Result<String, TokenError> {
    match pointer.resolve(claims) {
        Some(Value::String(text)) if !text.is_empty() && !text.contains(char::is_control) => {
            Ok(text.clone())
        }
        // Fractions and numbers beyond 64 bits are read as floating point: two ids could fall together.
        Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
        _ => Err(TokenError::Claims("identity")),
    }
}

/// The `iss` of a token: absent, or a string. A list would let one token choose among issuers.
pub(super) fn issuer(claims: &Map<String, Value>) -> Result<Option<&str>, TokenError> {
    match claims.get("iss") {
        None => Ok(None),
        Some(Value::String(issuer)) => Ok(Some(issuer)),
        Some(_) => Err(TokenError::Claims("iss")),
    }
}

/// The certificate to which a token is bound (RFC 8705 §3.1): absent, or the whole digest of one. Another
/// kind of confirmation is not ours to judge.
pub(super) fn bound_to(claims: &Map<String, Value>) -> Result<Option<Digest>, TokenError> {
    let wrong = TokenError::Claims("cnf");
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let confirmation = confirmation.as_object().ok_or(wrong)?;
    let Some(thumbprint) = confirmation.get("x5t#S256") else { return Ok(None) };
    let bytes = thumbprint.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let digest = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)?;
    Ok(Some(Digest::from_bytes(digest)))
}

fn instant(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => millis(seconds)
            .map(|ms| Some(Timestamp::from_millis(ms)))
            .ok_or(TokenError::Claims(name)),
        Some(_) => Err(TokenError::Claims(name)),
    }
}

/// A `NumericDate` (seconds, fractions allowed) in milliseconds, when that can be expressed.
fn millis(seconds: &Number) -> Option<i64> {
    if let Some(seconds) = seconds.as_i64() {
        return seconds.checked_mul(1000);
    }
    let millis = (seconds.as_f64()? * 1000.0).round();
    // 2^62 is far beyond any date and far within what an i64 holds exactly enough.
    if millis.abs() > 4.6e18 {
        return None;
    }
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "bounded above")]
    Some(millis as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("an object") };
        map
    }

    fn judge(claims: Value, leeway_ms: u64, now_ms: i64) -> Result<(), TokenError> {
        let (window, _) = Window::of(&map(claims), Duration::from_millis(leeway_ms))?;
        window.holds(Timestamp::from_millis(now_ms))
    }

    #[test]
    fn a_token_is_expired_from_the_millisecond_of_its_expiry_on() {
        let claims = json!({"exp": NOW});
        assert_eq!(judge(claims.clone(), 0, NOW * 1000 - 1), Ok(()));
        assert_eq!(judge(claims.clone(), 0, NOW * 1000), Err(TokenError::Expired));
        assert_eq!(judge(claims.clone(), 0, NOW * 1000 + 1), Err(TokenError::Expired));
        assert_eq!(judge(claims.clone(), 5000, NOW * 1000 + 4999), Ok(()));
        assert_eq!(judge(claims, 5000, NOW * 1000 + 5000), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_is_good_from_the_millisecond_of_nbf_on() {
        let claims = json!({"exp": NOW + 100, "nbf": NOW});
        assert_eq!(judge(claims.clone(), 0, NOW * 1000 - 1), Err(TokenError::NotYetValid));
        assert_eq!(judge(claims.clone(), 0, NOW * 1000), Ok(()));
        assert_eq!(judge(claims.clone(), 2000, NOW * 1000 - 2000), Ok(()));
        assert_eq!(judge(claims, 2000, NOW * 1000 - 2001), Err(TokenError::NotYetValid));
    }

    #[test]
    fn expiry_may_be_a_fraction_and_nothing_but_a_number() {
        assert_eq!(judge(json!({"exp": 1_700_000_100.5}), 0, NOW * 1000), Ok(()));
        assert_eq!(judge(json!({"exp": 1_700_000_000.5}), 0, NOW * 1000 + 499), Ok(()));
        let late = judge(json!({"exp": 1_700_000_000.5}), 0, NOW * 1000 + 500);
        assert_eq!(late, Err(TokenError::Expired));
        assert_eq!(judge(json!({"exp": -1}), 0, NOW * 1000), Err(TokenError::Expired));
        assert_eq!(judge(json!({"exp": -1.5}), 0, NOW * 1000), Err(TokenError::Expired));
        for wrong in [
            json!({}),
            json!({"exp": null}),
            json!({"exp": "1800000000"}),
            json!({"exp": "NaN"}),
            json!({"exp": [1_800_000_000]}),
            json!({"exp": {}}),
            json!({"exp": true}),
            json!({"exp": 9_223_372_036_854_775_807_u64}),
            json!({"exp": 9_223_372_036_854_775_808_u64}),
            json!({"exp": 18_446_744_073_709_551_615_u64}),
            json!({"exp": 1.8e19}),
            json!({"exp": 1e300}),
            json!({"exp": -1e300}),
            json!({"EXP": 1_800_000_000}),
        ] {
            assert_eq!(
                judge(wrong.clone(), 0, NOW * 1000),
                Err(TokenError::Claims("exp")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_other_times_are_numbers_when_they_are_there() {
        let with = |name: &str, value: Value| {
            let mut claims = map(json!({"exp": NOW + 100}));
            claims.insert(name.to_owned(), value);
            judge(Value::Object(claims), 0, NOW * 1000)
        };
        assert_eq!(with("nbf", json!(NOW)), Ok(()));
        assert_eq!(with("iat", json!(NOW + 1000)), Ok(()));
        assert_eq!(with("nbf", json!(NOW + 1)), Err(TokenError::NotYetValid));
        for wrong in [json!("1"), json!(null), json!([1]), json!({}), json!(false), json!(1e300)] {
            assert_eq!(with("nbf", wrong.clone()), Err(TokenError::Claims("nbf")), "{wrong}");
            assert_eq!(with("iat", wrong.clone()), Err(TokenError::Claims("iat")), "{wrong}");
        }
    }

    #[test]
    fn one_of_the_audiences_must_be_ours() {
        let rule = Audience::OneOf(vec!["good".to_owned(), "fine".to_owned()]);
        for aud in [json!("good"), json!("fine"), json!(["good"]), json!(["other", "good"])] {
            assert_eq!(rule.admit(&map(json!({"aud": aud.clone()}))), Ok(()), "{aud}");
        }
        for aud in [
            json!("other"),
            json!("Good"),
            json!("good "),
            json!("good,other"),
            json!("good other"),
            json!(""),
            json!([]),
            json!(["other"]),
            json!([["good"]]),
            json!(["good", 7]),
            json!({"good": 1}),
            json!(7),
            json!(null),
        ] {
            let judged = rule.admit(&map(json!({"aud": aud.clone()})));
            assert_eq!(judged, Err(TokenError::WrongAudience), "{aud}");
        }
        assert_eq!(rule.admit(&map(json!({}))), Err(TokenError::WrongAudience));
        assert_eq!(Audience::Any.admit(&map(json!({}))), Ok(()));
        assert_eq!(Audience::Any.admit(&map(json!({"aud": 7}))), Ok(()));
        let nobody = Audience::OneOf(vec![]);
        assert_eq!(nobody.admit(&map(json!({"aud": "good"}))), Err(TokenError::WrongAudience));
    }

    #[test]
    fn the_type_tells_kinds_of_tokens_apart() {
        let ok = |rule: &TypRule, typ| rule.admit(typ) == Ok(());
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
            assert!(ok(&TypRule::Default, Some(typ)), "{typ}");
        }
        assert!(ok(&TypRule::Default, None));
        for typ in [
            "",
            "refresh+jwt",
            "id+jwt",
            "JWE",
            "logout+jwt",
            "text/jwt",
            "at+jwt ",
            "application/",
            "application/application/jwt",
        ] {
            assert!(!ok(&TypRule::Default, Some(typ)), "{typ}");
        }
        let only = TypRule::OneOf(vec!["at+jwt".to_owned()]);
        assert!(ok(&only, Some("application/AT+jwt")));
        assert!(!ok(&only, Some("JWT")));
        assert!(!ok(&only, None));
        assert!(ok(&TypRule::Any, Some("anything")) && ok(&TypRule::Any, None));
    }

    #[test]
    fn the_identity_is_a_printable_string_or_a_whole_number() {
        let at = |claims: Value, pointer: &str| {
            identity(&map(claims), &Pointer::parse(pointer).unwrap())
        };
        assert_eq!(at(json!({"sub": "anna"}), "/sub"), Ok("anna".to_owned()));
        assert_eq!(at(json!({"sub": 7}), "/sub"), Ok("7".to_owned()));
        assert_eq!(at(json!({"sub": -7}), "/sub"), Ok("-7".to_owned()));
        let large = json!({"sub": 18_446_744_073_709_551_615_u64});
        assert_eq!(at(large, "/sub"), Ok("18446744073709551615".to_owned()));
        assert_eq!(at(json!({"sub": {"id": 42}}), "/sub/id"), Ok("42".to_owned()));
        for claims in [
            json!({}),
            json!({"sub": ""}),
            json!({"sub": "a\nb"}),
            json!({"sub": "a\u{0}"}),
            json!({"sub": "a\u{85}"}),
            json!({"sub": 1.5}),
            json!({"sub": 1e20}),
            json!({"sub": null}),
            json!({"sub": true}),
            json!({"sub": ["anna"]}),
            json!({"sub": {"id": 42}}),
        ] {
            assert_eq!(at(claims.clone(), "/sub"), Err(TokenError::Claims("identity")), "{claims}");
        }
    }

    #[test]
    fn the_issuer_is_one_string() {
        assert_eq!(issuer(&map(json!({}))), Ok(None));
        assert_eq!(issuer(&map(json!({"iss": "a"}))), Ok(Some("a")));
        for wrong in [json!(["a"]), json!(null), json!(1), json!({})] {
            assert_eq!(issuer(&map(json!({"iss": wrong}))), Err(TokenError::Claims("iss")));
        }
    }
}
