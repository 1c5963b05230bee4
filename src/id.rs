//! Names as types, so that no two of them can be taken for one another.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

macro_rules! name {
    ($(#[$doc:meta] $type:ident;)*) => {$(
        #[$doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Wraps the text of a name.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

name! {
    /// The public id of an application.
    AppId;
    /// The name of a route in metrics and logs: its `name`, or its `match` text.
    RouteId;
    /// The label under which the operator declared a check.
    CheckName;
    /// The label under which the operator declared an upstream.
    UpstreamName;
    /// The id of a user: `u_` and 16 characters.
    UserId;
    /// The id of a session: `s_` and 22 characters.
    SessionId;
}

impl UserId {
    /// An id out of 80 random bits, in the extended alphabet of RFC 4648 §7, in lower case.
    pub fn generate(random: [u8; 10]) -> Self {
        let (high, low) = random.split_at(5);
        let text: String = [high, low].into_iter().flat_map(base32).collect();
        Self::new(format!("u_{text}"))
    }
}

impl SessionId {
    /// An id out of 128 random bits, in base64url.
    pub fn generate(random: [u8; 16]) -> Self {
        Self::new(format!("s_{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// Reads a text that has the form of an id; whether there is such a session is another question.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("s_")?;
        let is_id = rest.len() == 22
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        is_id.then(|| Self::new(text))
    }
}

/// The eight characters for five bytes.
fn base32(bytes: &[u8]) -> impl Iterator<Item = char> {
    let bits = bytes.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    (0..8_u32).rev().filter_map(move |place| {
        let five = u32::try_from(bits >> (5 * place) & 31).ok()?;
        char::from_digit(five, 32)
    })
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// A digest already computed.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(out))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first four bytes in hexadecimal: enough to tell log lines apart, too little to find the source.
    pub fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::from_hex(&text), Some(digest));
        assert_eq!(Digest::from_hex(&text.to_uppercase()), Some(digest));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        assert_eq!(Digest::from_hex(""), None);
        assert_eq!(Digest::from_hex(&"a".repeat(63)), None);
        assert_eq!(Digest::from_hex(&"a".repeat(65)), None);
        assert_eq!(Digest::from_hex(&"+1".repeat(32)), None);
    }

    #[test]
    fn ids_are_made_of_all_their_bits() {
        assert_eq!(UserId::generate([0; 10]).as_str(), "u_0000000000000000");
        assert_eq!(UserId::generate([255; 10]).as_str(), "u_vvvvvvvvvvvvvvvv");
        assert_ne!(UserId::generate([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), UserId::generate([0; 10]));
        let id = SessionId::generate([255; 16]);
        assert_eq!(id.as_str(), "s______________________w");
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        for bad in [
            "",
            "s_",
            "s_aaaaaaaaaaaaaaaaaaaaa",
            "s_aaaaaaaaaaaaaaaaaaaaaaa",
            "t_aaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
        assert_eq!(SessionId::parse("s_aaaaaaaaaaaaaaaaaaaa.a"), None);
        assert_eq!(SessionId::parse("s_aaaaaaaaaaaaaaaaaaaaé"), None);
    }
}
