//! The text in which a password's hash is kept: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
//!
//! Strict: one algorithm, one version, one order of parameters, one spelling of each number, so that
//! equal hashes are equal texts. It hashes nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::cost::PasswordCost;

/// A hash as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Phc {
    pub(super) cost: PasswordCost,
    pub(super) salt: Vec<u8>,
    pub(super) output: [u8; OUTPUT],
}

impl Phc {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (params, salt, output) = (fields.next()?, fields.next()?, fields.next()?);
        let mut params = params.split(',');
        let memory_kib = number(params.next()?.strip_prefix("m=")?)?;
        let passes = number(params.next()?.strip_prefix("t=")?)?;
        let lanes = number(params.next()?.strip_prefix("p=")?)?;
        if fields.next().is_some() || params.next().is_some() {
            return None;
        }
        let salt = STANDARD_NO_PAD.decode(salt).ok().filter(|salt| is_salt(salt))?;
        let output = STANDARD_NO_PAD.decode(output).ok()?.try_into().ok()?;
        Some(Self { cost: PasswordCost::stored(memory_kib, passes, lanes).ok()?, salt, output })
    }
}

impl fmt::Display for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory_kib, passes, lanes) = self.cost.parts();
        let salt = STANDARD_NO_PAD.encode(&self.salt);
        let output = STANDARD_NO_PAD.encode(self.output);
        write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${output}")
    }
}

fn number(text: &str) -> Option<u32> {
    let has_one_spelling = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if has_one_spelling { text.parse().ok() } else { None }
}

const fn is_salt(salt: &[u8]) -> bool {
    salt.len() >= 8 && salt.len() <= 64
}

/// Bytes of a hash.
pub(super) const OUTPUT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of `password` under the salt `somesalt`, as the reference implementation gives it.
    const REFERENCE: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn reads_what_it_writes() {
        let phc = Phc::parse(REFERENCE).unwrap();
        assert_eq!((phc.cost.parts(), phc.salt.as_slice()), ((65536, 2, 1), &b"somesalt"[..]));
        assert_eq!(phc.to_string(), REFERENCE);
    }

    #[test]
    fn what_is_spelt_otherwise_is_no_hash() {
        for (good, bad) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("v=19$", ""),
            ("m=65536", "m=065536"),
            ("m=65536", "m=+65536"),
            ("m=65536", "m=4294967296"),
            ("m=65536", "m=1048577"),
            ("m=65536", "m=7"),
            ("t=2", "t=0"),
            ("p=1", "p=0"),
            ("p=1", "p=1,x=1"),
            ("t=2,p=1", "p=1,t=2"),
            ("c29tZXNhbHQ", "c29tZXNhbH"),
            ("c29tZXNhbHQ", "c29tZXNhbHQ="),
            ("GRPPc", "GRPP"),
            ("GRPPc", "GRPPc$"),
            ("GRPPc", "GRPPc "),
            ("$argon2id", "argon2id"),
        ] {
            let text = REFERENCE.replacen(good, bad, 1);
            assert_ne!(text, REFERENCE, "{good}");
            assert!(Phc::parse(&text).is_none(), "{text}");
        }
        assert!(Phc::parse("").is_none());
    }
}
