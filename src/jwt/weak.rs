//! Secrets that anybody could guess although they are long enough.
//!
//! Not a measure of strength: a net for what stands in tutorials, and for keys made by repeating.

use std::collections::BTreeMap;

/// Fewer different bytes than this is no random secret: 32 random hexadecimal digits have at least
/// eight different ones all but once in 20 million times.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Why `secret` can be guessed, if it can.
pub(crate) fn weakness(secret: &[u8]) -> Option<&'static str> {
    let mut counts = BTreeMap::new();
    for byte in secret {
        *counts.entry(byte).or_insert(0_usize) += 1;
    }
    if counts.len() < MIN_DIFFERENT_BYTES {
        return Some("it consists of very few different bytes");
    }
    if counts.values().any(|count| count * 2 > secret.len()) {
        return Some("one byte fills more than half of it");
    }
    if repeats(secret) {
        return Some("it repeats itself");
    }
    if is_run(secret) {
        return Some("it counts up or down");
    }
    let folded = secret.to_ascii_lowercase();
    let known = KNOWN.iter().any(|known| folded.starts_with(known.as_bytes()));
    if known { Some("it stands in public documentation") } else { None }
}

/// Whether the whole is a shorter piece written at least twice, the last time perhaps in part.
fn repeats(secret: &[u8]) -> bool {
    (1..=secret.len() / 2).any(|period| {
        let (head, tail) = (secret.iter(), secret.iter().skip(period));
        head.zip(tail).all(|(a, b)| a == b)
    })
}

fn is_run(secret: &[u8]) -> bool {
    let steps = || secret.iter().zip(secret.iter().skip(1));
    steps().all(|(a, b)| b.wrapping_sub(*a) == 1) || steps().all(|(a, b)| a.wrapping_sub(*b) == 1)
}

/// Examples of tutorials and of libraries' documentation, in lower case, that are long enough to
/// pass for a key of 256 bits; a longer secret that begins with one is refused too.
const KNOWN: [&str; 27] = [
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "yourverystrongsecret",
    "yoursecretkey",
    "your_secret_key",
    "your-secret-key",
    "your_jwt_secret",
    "your-jwt-secret",
    "my-secret-key",
    "my_secret_key",
    "mysecretkey",
    "mysupersecret",
    "my-super-secret",
    "my_super_secret",
    "supersecret",
    "super-secret",
    "super_secret",
    "secretkey",
    "secret-key",
    "changeme",
    "change-me",
    "this-is-a-secret",
    "this is a secret",
    "abcdefghijklmnopqrstuvwxyz",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_secrets_that_anybody_could_guess() {
        for secret in [
            "a".repeat(32),
            "ab".repeat(16),
            format!("{:0<32}", "hunter2-pass"),
            "secret".repeat(6),
            "0123456789abcdef".repeat(2),
            "0123456789abcdef0123456789abcdef01234567".to_owned(),
            "a-string-secret-at-least-256-bits-long".to_owned(),
            "A-String-Secret-At-Least-256-Bits-Long".to_owned(),
            "your-256-bit-secret-your-384-bit-secret".to_owned(),
            "abcdefghijklmnopqrstuvwxyz012345".to_owned(),
            "supersecretsupersecretkeythatislong".to_owned(),
        ] {
            assert!(weakness(secret.as_bytes()).is_some(), "{secret}");
        }
        let counting: Vec<u8> = (0..64).collect();
        assert!(weakness(&counting).is_some());
        let down: Vec<u8> = (0..64).rev().collect();
        assert!(weakness(&down).is_some());
    }

    #[test]
    fn leaves_random_secrets_alone() {
        for secret in [
            "3f1c9a7be0d54826a1b7c3d9e5f60718",
            "kX9vQ2mZ7tR4wL8pN1sF6hJ3dG5bC0yA",
            "not-secret-in-itself-but-chosen-by-somebody",
        ] {
            assert_eq!(weakness(secret.as_bytes()), None, "{secret}");
        }
        let digest = crate::id::Digest::of(b"x");
        assert_eq!(weakness(digest.as_bytes()), None);
    }
}
