//! Authorities that certify servers, written in DER by hand: any name, any time.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::keys::pem;

/// Who can say that a server is who it says.
pub struct Authority {
    name: &'static str,
    pair: EcdsaKeyPair,
    certificate: Vec<u8>,
}

/// What a server shows, and the key that proves it.
pub type Shown = (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>);

/// From when until when a certificate is good, as `YYYYMMDD`.
pub type Period = (&'static str, &'static str);

/// A period that holds now and for long.
pub const LONG: Period = ("20200101", "20990101");

impl Authority {
    /// An authority that vouches for itself.
    pub fn new(name: &'static str) -> Self {
        let (pair, _) = pair();
        // basicConstraints, critical: an authority.
        let rights =
            seq(&[&[6, 3, 0x55, 0x1d, 19], &[1, 1, 0xff], &tlv(4, &seq(&[&[1, 1, 0xff]]))]);
        let certificate = certificate((name, name), LONG, &pair, &rights, &pair);
        Self { name, pair, certificate }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Its certificate, as it is.
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.clone().into()
    }

    /// Certifies a new key for a server of this DNS name.
    pub fn certify(&self, host: &str, period: Period) -> Shown {
        self.certify_as("server", &[Name::Dns(host)], period)
    }

    /// Certifies a new key for whoever has this common name and these other names.
    pub fn certify_as(&self, subject: &str, names: &[Name<'_>], period: Period) -> Shown {
        let (pair, private) = pair();
        let names: Vec<_> = names.iter().map(Name::encoded).collect();
        let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
        // subjectAltName
        let names = seq(&[&[6, 3, 0x55, 0x1d, 17], &tlv(4, &seq(&names))]);
        let der = certificate((self.name, subject), period, &pair, &names, &self.pair);
        (der.into(), private)
    }
}

/// A name under subjectAltName.
pub enum Name<'a> {
    /// Of a host.
    Dns(&'a str),
    /// Of anything.
    Uri(&'a str),
    /// Of a mailbox.
    Email(&'a str),
}

impl Name<'_> {
    fn encoded(&self) -> Vec<u8> {
        match self {
            Self::Email(name) => tlv(0x81, name.as_bytes()),
            Self::Dns(name) => tlv(0x82, name.as_bytes()),
            Self::Uri(name) => tlv(0x86, name.as_bytes()),
        }
    }
}

/// The certificate and the key as files hold them.
pub fn pems((certificate, key): &Shown) -> [String; 2] {
    [pem("CERTIFICATE", certificate), pem("PRIVATE KEY", key.secret_pkcs8_der())]
}

fn pair() -> (EcdsaKeyPair, PrivatePkcs8KeyDer<'static>) {
    let alg = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(alg, document.as_ref()).unwrap();
    (pair, document.as_ref().to_vec().into())
}

/// RFC 5280 section 4.1.
fn certificate(
    (issuer, subject): (&str, &str),
    (from, until): Period,
    certified: &EcdsaKeyPair,
    extension: &[u8],
    signer: &EcdsaKeyPair,
) -> Vec<u8> {
    let key: PublicKeyX509Der<'_> = certified.public_key().as_der().unwrap();
    let body = seq(&[
        &[0xa0, 3, 2, 1, 2],
        &[2, 1, 7],
        &ecdsa_with_sha256(),
        &name(issuer),
        &seq(&[&midnight(from), &midnight(until)]),
        &name(subject),
        key.as_ref(),
        &tlv(0xa3, &seq(&[extension])),
    ]);
    let signature = signer.sign(&SystemRandom::new(), &body).unwrap();
    seq(&[&body, &ecdsa_with_sha256(), &tlv(3, &[&[0], signature.as_ref()].concat())])
}

fn ecdsa_with_sha256() -> Vec<u8> {
    seq(&[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])
}

/// One common name.
fn name(text: &str) -> Vec<u8> {
    seq(&[&tlv(0x31, &seq(&[&[6, 3, 0x55, 4, 3], &tlv(12, text.as_bytes())]))])
}

fn midnight(day: &str) -> Vec<u8> {
    tlv(0x18, format!("{day}000000Z").as_bytes())
}

fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short @ 0..0x80) => vec![tag, short],
        Ok(byte) => vec![tag, 0x81, byte],
        Err(_) => [&[tag, 0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [&head, content].concat()
}
