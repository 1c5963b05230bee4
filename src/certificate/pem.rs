//! PEM files (RFC 7468): the certificates of one, or the private key of one, and the line where it goes wrong.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::Certificate;

/// Why a file does not hold what it should. Never says what it holds: that may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PemError {
    /// A section is cut short or is not base64: a file that is still being written, for example.
    #[error("the section at line {0} is broken or has no end")]
    Broken(usize),
    /// A section that says it is a certificate is none.
    #[error("the section at line {0} is not a certificate")]
    NotACertificate(usize),
    /// There are sections, or none, but not of this kind.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// There is no key that can be used; one behind a password cannot.
    #[error("there is no unencrypted private key in it")]
    NoKey,
    /// Which of them is meant would be chance.
    #[error("there are several private keys in it")]
    SeveralKeys,
    /// More than any chain or set of roots has.
    #[error("there are more than {MOST} sections in it")]
    TooMany,
}

/// The certificates of a file, at least one, in its order.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut found = Vec::new();
    for section in sections(pem) {
        let (line, kind, content) = section?;
        if kind != SectionKind::Certificate {
            continue;
        }
        Certificate::read(&content).ok_or(PemError::NotACertificate(line))?;
        found.push(CertificateDer::from(content));
    }
    if found.is_empty() { Err(PemError::NoCertificate) } else { Ok(found) }
}

/// The one private key of a file.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut found = None;
    for section in sections(pem) {
        let (line, kind, content) = section?;
        if !matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        ) {
            continue;
        }
        if found.is_some() {
            return Err(PemError::SeveralKeys);
        }
        found = Some(PrivateKeyDer::from_pem(kind, content).ok_or(PemError::Broken(line))?);
    }
    found.ok_or(PemError::NoKey)
}

type Section = (usize, SectionKind, Vec<u8>);

/// Every section with the line on which it begins.
fn sections(pem: &[u8]) -> impl Iterator<Item = Result<Section, PemError>> {
    let mut reader = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    let (mut read, mut is_over) = (0, false);
    let (mut line, mut counted) = (1, 0);
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let begins = start_of_next(pem, reader.remainder());
        line += pem.get(counted..begins)?.split(|byte| *byte == b'\n').count() - 1;
        counted = begins;
        let next = reader.next()?;
        read += 1;
        let next = match next {
            _ if read > MOST => Err(PemError::TooMany),
            Ok((kind, content)) => Ok((line, kind, content)),
            Err(_) => Err(PemError::Broken(line)),
        };
        is_over = next.is_err();
        Some(next)
    })
}

/// Where in `pem` the first section of `rest`, its end, begins.
fn start_of_next(pem: &[u8], rest: &[u8]) -> usize {
    let skipped = rest.windows(BEGIN.len()).position(|bytes| bytes == BEGIN).unwrap_or(0);
    pem.len().saturating_sub(rest.len()).saturating_add(skipped)
}

const BEGIN: &[u8] = b"-----BEGIN";
/// Sections of one file; a system's whole set of roots has 150.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const BILLING: &str = include_str!("testing/billing.pem");
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    #[track_caller]
    fn refused(pem: &str, error: PemError) {
        assert_eq!(certificates(pem.as_bytes()), Err(error), "{pem}");
    }

    #[test]
    fn a_chain_is_read_in_order_and_what_is_no_certificate_is_passed_over() {
        let chain = format!("a chain\n{BILLING}{KEY}# the next\n{BILLING}");
        assert_eq!(certificates(chain.as_bytes()).unwrap().len(), 2);
        assert!(private_key(chain.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        refused("", PemError::NoCertificate);
        refused("hello", PemError::NoCertificate);
        refused(KEY, PemError::NoCertificate);
        let lines = BILLING.lines().count();
        let half = BILLING.get(..BILLING.len() / 2).unwrap();
        refused(half, PemError::Broken(1));
        refused(&format!("{BILLING}{half}"), PemError::Broken(lines + 1));
        refused(&format!("\n{BILLING}\n\n{half}"), PemError::Broken(lines + 4));
        let none = KEY.replace("PRIVATE KEY", "CERTIFICATE");
        refused(&format!("{BILLING}{none}"), PemError::NotACertificate(lines + 1));
        let unreadable = none.replace("AAAA", "A!AA");
        refused(&format!("{BILLING}{unreadable}"), PemError::Broken(lines + 1));
    }

    #[test]
    fn a_file_has_one_key_that_no_password_hides() {
        let read = |pem: &str| private_key(pem.as_bytes()).map(drop);
        assert_eq!(read(KEY), Ok(()));
        assert_eq!(read(&format!("{BILLING}{KEY}")), Ok(()));
        assert_eq!(read(""), Err(PemError::NoKey));
        assert_eq!(read(BILLING), Err(PemError::NoKey));
        assert_eq!(read(&KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")), Err(PemError::NoKey));
        assert_eq!(read(&format!("{KEY}{KEY}")), Err(PemError::SeveralKeys));
        assert_eq!(read(KEY.strip_suffix("KEY-----\n").unwrap()), Err(PemError::Broken(1)));
    }

    #[test]
    fn sections_are_bounded() {
        let many = |count| BILLING.repeat(count);
        assert_eq!(certificates(many(MOST).as_bytes()).unwrap().len(), MOST);
        refused(&many(MOST + 1), PemError::TooMany);
    }
}
