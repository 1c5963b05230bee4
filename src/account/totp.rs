//! One-time codes by time (RFC 6238), as authenticator apps make them, and codes for when the app is
//! lost.
//!
//! SHA-1, six digits, 30 seconds: the one setting that every app knows. That a code is used only once
//! is the business of whoever keeps which steps were spent.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::credentials::base32;
use crate::id::Digest;
use crate::secret;
use crate::secret::Secret;

/// The seed that a user's app and we have in common.
pub struct Totp(hmac::Key, Secret<Zeroizing<[u8; SEED]>>);

impl Totp {
    /// Takes 20 random bytes.
    pub fn new(seed: [u8; SEED]) -> Self {
        Self(
            hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &seed),
            Secret::new(Zeroizing::new(seed)),
        )
    }

    /// Reads a seed as it was sealed; an empty or shortened one is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    /// The bytes to be sealed.
    pub fn seed(&self) -> Secret<&[u8]> {
        Secret::new(self.1.expose().as_slice())
    }

    /// What the user types into an app that reads no picture.
    pub fn seed_text(&self) -> Secret<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(SEED * 8 / 5));
        base32(self.1.expose().as_slice(), &mut text);
        text.make_ascii_uppercase();
        Secret::new(text)
    }

    /// What an app reads from a picture. `issuer` tells the user whose code it is.
    pub fn address(&self, issuer: &str, account: &str) -> Secret<Zeroizing<String>> {
        let (issuer, account) = (escaped(issuer), escaped(account));
        let seed = self.seed_text();
        let seed = seed.expose().as_str();
        Secret::new(Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={seed}&issuer={issuer}\
             &algorithm=SHA1&digits=6&period=30"
        )))
    }

    /// The step whose code this is, at most one step off: clocks differ, and typing takes time.
    pub fn step_of(&self, code: Secret<&str>, now: Timestamp) -> Option<i64> {
        if !is_code(code.expose()) {
            return None;
        }
        let step = Self::step_at(now);
        // All are compared, so that time does not tell which clock is off.
        [step - 1, step, step + 1].into_iter().fold(None, |found, step| {
            let is_it = secret::equal(self.code(step).as_bytes(), code.expose().as_bytes());
            if is_it { Some(step) } else { found }
        })
    }

    /// The step of an instant.
    pub const fn step_at(now: Timestamp) -> i64 {
        now.seconds().div_euclid(PERIOD)
    }

    /// The code of a step, as RFC 4226 §5.3 has it.
    pub fn code(&self, step: i64) -> Zeroizing<String> {
        let tag = hmac::sign(&self.0, &step.to_be_bytes());
        let last = tag.as_ref().last().copied().unwrap_or_default();
        let at = usize::from(last & 0xf);
        let four = tag.as_ref().get(at..at + 4).and_then(|four| four.try_into().ok());
        let number = u32::from_be_bytes(four.unwrap_or_default()) & 0x7fff_ffff;
        Zeroizing::new(format!("{:06}", number % 1_000_000))
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp([secret])")
    }
}

/// Whether a text can be a one-time code: six ASCII digits and nothing else.
pub(super) fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A code that stands in once for a lost app: four groups of four letters and digits, 80 random bits.
#[derive(Debug)]
pub struct RecoveryCode(Secret<Zeroizing<String>>);

impl RecoveryCode {
    /// A code of random bytes.
    pub fn new(random: &[u8; 10]) -> Self {
        let mut letters = Zeroizing::new(String::with_capacity(16));
        base32(random, &mut letters);
        let mut text = Zeroizing::new(String::with_capacity(19));
        for (place, letter) in letters.chars().enumerate() {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            text.push(letter);
        }
        Self(Secret::new(text))
    }

    /// What the user writes down.
    pub fn text(&self) -> Secret<&str> {
        Secret::new(self.0.expose().as_str())
    }

    /// What is kept: enough, since nobody guesses 80 random bits.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.expose().as_bytes())
    }

    /// The digest of a code as a user types it, in either case, with or without hyphens.
    pub fn digest_of(text: Secret<&str>) -> Option<Digest> {
        let mut typed = Zeroizing::new(String::with_capacity(19));
        for letter in text.expose().chars().filter(|letter| *letter != '-') {
            if typed.len() >= 19 || !letter.is_ascii_alphanumeric() {
                return None;
            }
            if typed.len() % 5 == 4 {
                typed.push('-');
            }
            typed.push(letter.to_ascii_lowercase());
        }
        (typed.len() == 19).then(|| Digest::of(typed.as_bytes()))
    }
}

/// Everything but what RFC 3986 calls unreserved, in percent.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect::<Vec<_>>().concat()
}

/// Bytes of a seed: what RFC 4226 recommends.
pub const SEED: usize = 20;
/// Recovery codes that a user is given.
pub const RECOVERY_CODES: usize = 10;
/// Seconds of a step.
const PERIOD: i64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn totp() -> Totp {
        Totp::new(*b"12345678901234567890")
    }

    fn step(code: &str, seconds: i64) -> Option<i64> {
        totp().step_of(Secret::new(code), Timestamp::from_seconds(seconds))
    }

    /// RFC 6238, appendix B, without the first two of the eight digits; and RFC 4226, appendix D.
    #[test]
    fn makes_the_codes_of_the_standards() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp().code(seconds / 30).as_str(), code, "{seconds}");
        }
        for (step, code) in [(0, "755224"), (1, "287082"), (2, "359152"), (9, "520489")] {
            assert_eq!(totp().code(step).as_str(), code, "{step}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_one_step_late() {
        for (seconds, expected) in [(0, 1), (29, 1), (30, 1), (59, 1), (60, 1), (89, 1)] {
            assert_eq!(step("287082", seconds), Some(expected), "{seconds}");
        }
        for seconds in [-1, 90, 120, 1_111_111_109] {
            assert_eq!(step("287082", seconds), None, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_six_digits_and_nothing_else() {
        assert_eq!(step("287082", 59), Some(1));
        for code in [
            "",
            "28708",
            "2870820",
            "0287082",
            " 287082",
            "287082 ",
            "287082\n",
            "287 082",
            "+87082",
            "２８７０８２",
            "٢٨٧٠٨٢",
            "28708２",
            "28708x",
            "000000",
        ] {
            assert_eq!(step(code, 59), None, "{code:?}");
        }
    }

    #[test]
    fn a_seed_is_20_bytes() {
        for length in [0, 1, 19, 21] {
            assert!(Totp::from_bytes(&vec![7; length]).is_none(), "{length}");
        }
        let again = Totp::from_bytes(totp().seed().expose()).unwrap();
        assert_eq!(again.code(1), totp().code(1));
    }

    #[test]
    fn an_app_is_told_everything_in_one_address() {
        assert_eq!(
            totp().address("Acme & Co", "al:ice@example.com").expose().as_str(),
            "otpauth://totp/Acme%20%26%20Co:al%3Aice%40example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme%20%26%20Co\
             &algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn a_recovery_code_is_recognised_as_it_is_typed() {
        let code = RecoveryCode::new(&[0, 1, 2, 3, 4, 250, 251, 252, 253, 254]);
        let text = *code.text().expose();
        assert_eq!(text, "aaaq-eaye-7l57-z7p6");
        let typed = |text: &str| RecoveryCode::digest_of(Secret::new(text));
        for text in [text, &text.to_uppercase(), &text.replace('-', ""), "aa-aqeaye7l57z7p6-"] {
            assert_eq!(typed(text), Some(code.digest()), "{text}");
        }
        for text in [
            "",
            "-",
            text.split_at(1).1,
            &format!("{text}a"),
            "aaaq eaye 7l57 z7p6",
            "äaaqeaye7l57z7p6",
        ] {
            assert_eq!(typed(text), None, "{text}");
        }
        assert_ne!(typed(&text.replace('q', "r")), Some(code.digest()));
    }

    #[test]
    fn nothing_is_shown_by_debug() {
        let code = RecoveryCode::new(&[7; 10]);
        let shown = format!("{:?} {:?} {:?} {code:?}", totp(), totp().seed(), totp().seed_text());
        assert_eq!(shown, "Totp([secret]) [secret] [secret] RecoveryCode([secret])");
    }
}
