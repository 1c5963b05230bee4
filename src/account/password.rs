//! Which passwords may be chosen. What was chosen before any of this is still accepted.

/// The rules for a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest characters.
    pub min_length: usize,
}

/// Why a password may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Fewer characters than the policy asks for.
    #[error("it has fewer than {0} characters")]
    TooShort(usize),
    /// More bytes than a login call is sure to carry.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// It is the user's name, or its part before the `@`.
    #[error("it is the name of the user")]
    IsName,
    /// It is among the first that anybody tries.
    #[error("it is one of the first that are tried")]
    Common,
    /// The same character, or the same few, over and over.
    #[error("it repeats a few characters")]
    Repeats,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min_length: 8 }
    }
}

impl PasswordPolicy {
    /// Judges a new password of the user who signs in as `login`.
    pub fn judge(&self, password: &str, login: &str) -> Result<(), WeakPassword> {
        if password.chars().count() < self.min_length {
            return Err(WeakPassword::TooShort(self.min_length));
        }
        if password.len() > MAX_BYTES {
            return Err(WeakPassword::TooLong);
        }
        let folded = password.to_lowercase();
        let name = login.split('@').next().unwrap_or_default();
        if folded == login || folded == name {
            return Err(WeakPassword::IsName);
        }
        if COMMON.contains(&folded.as_str()) {
            return Err(WeakPassword::Common);
        }
        if repeats(folded.as_bytes()) { Err(WeakPassword::Repeats) } else { Ok(()) }
    }
}

/// Whether it is one piece of at most four bytes, written again and again.
fn repeats(bytes: &[u8]) -> bool {
    (1..=4)
        .filter(|period| period * 2 <= bytes.len())
        .any(|period| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b))
}

/// Most bytes of a new password.
const MAX_BYTES: usize = 1024;
/// The most frequent ones of at least eight characters in published leaks, in lower case.
const COMMON: [&str; 48] = [
    "12345678",
    "123456789",
    "1234567890",
    "0123456789",
    "987654321",
    "87654321",
    "password",
    "password1",
    "password12",
    "password123",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "qwertyuiop",
    "qwerty123",
    "qwerty12",
    "qwertyui",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "asdfghjkl",
    "asdfasdf",
    "zxcvbnm1",
    "iloveyou",
    "iloveyou1",
    "sunshine",
    "princess",
    "princess1",
    "football",
    "football1",
    "baseball",
    "superman",
    "trustno1",
    "welcome1",
    "welcome123",
    "letmein1",
    "whatever",
    "starwars",
    "computer",
    "michelle",
    "jennifer",
    "changeme",
    "changeme1",
    "admin123",
    "administrator",
    "abcd1234",
    "abc12345",
    "a1b2c3d4",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_chosen_and_what_may_not() {
        let longest = "ab#1".repeat(255) + "cdef";
        let too_long = format!("{longest}g");
        for (password, expected) in [
            ("correct horse", None),
            ("xK9#mQ2v", None),
            ("xK9#mQ2", Some(WeakPassword::TooShort(8))),
            ("", Some(WeakPassword::TooShort(8))),
            ("пароль", Some(WeakPassword::TooShort(8))),
            ("паролька", None),
            ("        ", Some(WeakPassword::Repeats)),
            ("aaaaaaaa", Some(WeakPassword::Repeats)),
            ("abcdabcdab", Some(WeakPassword::Repeats)),
            ("abcdabce", None),
            (&longest, None),
            (&too_long, Some(WeakPassword::TooLong)),
            ("alice.smith", Some(WeakPassword::IsName)),
            ("Alice.Smith@Example.com", Some(WeakPassword::IsName)),
            ("alice.smith1", None),
            ("Password1", Some(WeakPassword::Common)),
            ("12345678", Some(WeakPassword::Common)),
        ] {
            let judged = PasswordPolicy::default().judge(password, "alice.smith@example.com");
            assert_eq!(judged.err(), expected, "{password}");
        }
    }

    #[test]
    fn the_list_is_in_lower_case_and_long_enough_to_matter() {
        for common in COMMON {
            assert!(common.len() >= 8 && common == common.to_lowercase(), "{common}");
        }
    }
}
