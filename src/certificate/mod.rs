//! Certificates: what they say of their holder, and how pairs and roots of trust are read.
//!
//! Whoever serves or speaks TLS takes its material from here. Opens no connection, and reads no file but
//! the roots that the system keeps.

mod der;
mod pair;
mod pem;
mod roots;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;

use crate::clock::Timestamp;
use crate::id::Digest;
use der::{Der, DistinguishedName};
pub use pair::{Pair, PairError};
pub use pem::{PemError, certificates, private_key};
pub use roots::{RootsError, own_roots, system_roots};

/// What a certificate says of its holder. True of a client's only once its chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the whole, by which a token can be bound to it (RFC 8705 §3.1).
    pub digest: Digest,
    /// The subject as RFC 4514 writes it, most specific first: `CN=billing,O=Example`.
    pub subject: String,
    /// Who issued it, written alike.
    pub issuer: String,
    /// The common name; none when there are several.
    pub common_name: Option<String>,
    /// DNS names (subjectAltName).
    pub dns: Vec<String>,
    /// URIs, such as a SPIFFE id.
    pub uris: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// Before this instant it is not good.
    pub good_from: Timestamp,
    /// After this instant it is not good.
    pub good_until: Timestamp,
}

impl Certificate {
    /// Reads what stands in one (RFC 5280 §4.1); nothing when it is none, or its names are not text.
    pub fn read(encoded: &[u8]) -> Option<Self> {
        let mut fields = Der::new(Der::new(encoded).expect(SEQUENCE)?);
        let mut body = Der::new(fields.expect(SEQUENCE)?);
        body.optional(VERSION);
        body.expect(INTEGER)?;
        body.expect(SEQUENCE)?;
        let issuer = DistinguishedName::read(body.expect(SEQUENCE)?)?;
        let mut validity = Der::new(body.expect(SEQUENCE)?);
        let (good_from, good_until) = (validity.time()?, validity.time()?);
        let subject = DistinguishedName::read(body.expect(SEQUENCE)?)?;
        body.expect(SEQUENCE)?;
        body.optional(ISSUER_ID);
        body.optional(SUBJECT_ID);
        let mut read = Self {
            digest: Digest::of(encoded),
            subject: subject.text,
            issuer: issuer.text,
            common_name: subject.common_name,
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            good_from,
            good_until,
        };
        if let Some(extensions) = body.optional(EXTENSIONS) {
            read.read_names(extensions)?;
        }
        Some(read)
    }

    fn read_names(&mut self, extensions: &[u8]) -> Option<()> {
        let mut list = Der::new(Der::new(extensions).expect(SEQUENCE)?);
        while !list.is_over() {
            let mut extension = Der::new(list.expect(SEQUENCE)?);
            if extension.expect(OBJECT)? != SUBJECT_ALT_NAME {
                continue;
            }
            extension.optional(BOOLEAN);
            let mut names = Der::new(Der::new(extension.expect(OCTETS)?).expect(SEQUENCE)?);
            while !names.is_over() {
                self.add_name(names.next()?)?;
            }
        }
        Some(())
    }

    fn add_name(&mut self, (tag, name): (u8, &[u8])) -> Option<()> {
        match tag {
            EMAIL => self.emails.push(plain(name)?),
            DNS => self.dns.push(plain(name)?),
            URI => self.uris.push(plain(name)?),
            _ => {}
        }
        Some(())
    }

    /// Whether it is good at this instant.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.good_from <= now && now <= self.good_until
    }
}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A name of printable ASCII: a NUL in it would end it for somebody else.
fn plain(name: &[u8]) -> Option<String> {
    let is_plain = name.iter().all(u8::is_ascii_graphic);
    (is_plain && !name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by openssl: subject `C=DE, O=Acme, Inc., CN=billing`, three kinds of names.
    const BILLING: &str = include_str!("testing/billing.pem");

    fn billing() -> Vec<u8> {
        certificates(BILLING.as_bytes()).unwrap().remove(0).to_vec()
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_times() {
        let read = Certificate::read(&billing()).unwrap();
        assert_eq!(read.subject, r"CN=billing,O=Acme\, Inc.,C=DE");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.common_name.as_deref(), Some("billing"));
        assert_eq!(read.dns, ["billing.example.com", "*.billing.example.com"]);
        assert_eq!(read.uris, ["spiffe://example.com/billing"]);
        assert_eq!(read.emails, ["billing@example.com"]);
        assert_eq!(read.good_from.seconds(), 1_767_225_600, "2026-01-01");
        assert_eq!(read.good_until.seconds(), 2_398_377_600, "2046-01-01");
        let at = |seconds| read.is_good(Timestamp::from_seconds(seconds));
        assert!(at(1_767_225_600) && at(2_398_377_600));
        assert!(!at(1_767_225_599) && !at(2_398_377_601));
    }

    #[test]
    fn what_is_cut_short_or_altered_is_read_as_nothing_or_as_another() {
        let whole = billing();
        for end in 0..whole.len() {
            assert_eq!(Certificate::read(whole.get(..end).unwrap()), None, "{end}");
        }
        let read = Certificate::read(&whole).unwrap();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x55;
            let altered = Certificate::read(&altered);
            assert!(altered.is_none_or(|altered| altered.digest != read.digest), "{at}");
        }
    }

    #[test]
    fn a_name_with_a_byte_that_could_end_it_is_no_name() {
        assert_eq!(plain(b"a.example.com").as_deref(), Some("a.example.com"));
        for name in [&b""[..], b"a\0.example.com", b"a b", b"a\n", b"\xc3\xa9", b"\x7f"] {
            assert_eq!(plain(name), None, "{name:?}");
        }
    }
}
