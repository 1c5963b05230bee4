//! Keys of issuers and the tokens made with them, signed by aws-lc directly.
//!
//! Independent of the product's signer and of `jsonwebtoken`: a token is three texts put together,
//! so a forged one is made as easily as a good one.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

/// The issuer of every good token.
pub const ISSUER: &str = "https://id.test";
/// The audience of every good token.
pub const AUDIENCE: &str = "orders";
/// The user of every good token.
pub const USER: &str = "ada";
/// The hour at which the tests' clock stands still.
pub const NOW: i64 = 1_800_000_000;

/// A signing key and its name.
pub struct Key {
    /// Its `kid`.
    pub kid: &'static str,
    private: Private,
}

enum Private {
    Shared(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    P521(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

/// RSA with 2048 bits.
pub static RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa"));
/// Another RSA key, of an issuer nobody configured.
pub static FOREIGN_RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa"));
/// The curve P-256; the key that signs every good token unless told otherwise.
pub static P256: LazyLock<Key> = LazyLock::new(|| Key::p256("p256"));
/// A second key on P-256.
pub static OTHER_P256: LazyLock<Key> = LazyLock::new(|| Key::p256("other"));
/// The curve P-384.
pub static P384: LazyLock<Key> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    Key { kid: "p384", private: Private::P384(pair) }
});
/// The curve P-521, which no configuration can ask for.
pub static P521: LazyLock<Key> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    Key { kid: "p521", private: Private::P521(pair) }
});
/// Ed25519.
pub static EDWARDS: LazyLock<Key> = LazyLock::new(|| Key {
    kid: "edwards",
    private: Private::Edwards(Ed25519KeyPair::generate().unwrap()),
});

impl Key {
    /// A new RSA key.
    pub fn rsa(kid: &'static str) -> Self {
        Self { kid, private: Private::Rsa(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap()) }
    }

    /// A new key on P-256.
    pub fn p256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid, private: Private::P256(pair) }
    }

    /// A shared secret.
    pub fn shared(kid: &'static str, secret: &[u8]) -> Self {
        Self { kid, private: Private::Shared(secret.to_vec()) }
    }

    /// Signs bytes as the algorithm of this JOSE name does.
    pub fn sign(&self, alg: &str, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Shared(secret) => {
                let alg = match alg {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(alg, secret), input).as_ref().to_vec()
            }
            Private::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match alg {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input, &mut out).unwrap();
                out
            }
            Private::P256(pair) | Private::P384(pair) | Private::P521(pair) => {
                pair.sign(&random, input).unwrap().as_ref().to_vec()
            }
            Private::Edwards(pair) => pair.sign(input).as_ref().to_vec(),
        }
    }

    /// A token with the given algorithm in its header and this key's signature.
    pub fn token(&self, alg: &str, claims: &Value) -> String {
        self.mint(&json!({"alg": alg, "kid": self.kid}), claims)
    }

    /// A token with exactly this header and these claims, signed as the header says.
    pub fn mint(&self, header: &Value, claims: &Value) -> String {
        let alg = header["alg"].as_str().unwrap_or_default();
        self.compact(alg, header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A token over any bytes for header and claims, signed truly.
    pub fn compact(&self, alg: &str, header: &[u8], claims: &[u8]) -> String {
        let input = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(alg, input.as_bytes());
        format!("{input}.{}", b64(&signature))
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let kid = self.kid;
        match &self.private {
            Private::Shared(secret) => json!({"kty": "oct", "kid": kid, "k": b64(secret)}),
            Private::Rsa(_) => {
                let (modulus, exponent) = self.rsa_numbers();
                json!({"kty": "RSA", "kid": kid, "n": b64(&modulus), "e": b64(&exponent)})
            }
            Private::P256(pair) => point("P-256", kid, pair.public_key().as_ref()),
            Private::P384(pair) => point("P-384", kid, pair.public_key().as_ref()),
            Private::P521(pair) => point("P-521", kid, pair.public_key().as_ref()),
            Private::Edwards(pair) => {
                let x = b64(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
            }
        }
    }

    /// The public key as DER: `SubjectPublicKeyInfo`, and for RSA also PKCS#1.
    pub fn der(&self) -> (Vec<u8>, Vec<u8>) {
        let spki =
            |key: &dyn AsDer<PublicKeyX509Der<'static>>| key.as_der().unwrap().as_ref().to_vec();
        match &self.private {
            Private::Rsa(pair) => (spki(pair.public_key()), pair.public_key().as_ref().to_vec()),
            Private::P256(pair) | Private::P384(pair) | Private::P521(pair) => {
                (spki(pair.public_key()), vec![])
            }
            Private::Edwards(pair) => (spki(pair.public_key()), vec![]),
            Private::Shared(_) => (vec![], vec![]),
        }
    }

    /// The public key as PEM (`SubjectPublicKeyInfo`).
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.der().0)
    }

    /// Modulus and exponent of an RSA key, read from its PKCS#1 form.
    pub fn rsa_numbers(&self) -> (Vec<u8>, Vec<u8>) {
        let der = self.der().1;
        let (_, inner) = der_value(&der);
        let (rest, modulus) = der_value(inner);
        let (_, exponent) = der_value(rest);
        let plain = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
        (plain(modulus), plain(exponent))
    }
}

/// The claims of a good token.
pub fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": USER, "exp": NOW + 300, "roles": ["reader"]})
}

/// The claims of a good token with some of them changed; a null takes one away.
pub fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            _ => claims[name] = value.clone(),
        }
    }
    claims
}

/// A key set as an issuer publishes it.
pub fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Base64url without padding.
pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// PEM with lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(super::latin1).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn point(curve: &str, kid: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)})
}

/// What follows a DER value, and its content.
fn der_value(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short @ 0..0x80 => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            (der[2..2 + count].iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), 2 + count)
        }
    };
    (&der[start + length..], &der[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_numbers_are_those_of_the_key() {
        let (modulus, exponent) = RSA.rsa_numbers();
        assert_eq!((modulus.len(), exponent), (256, vec![1, 0, 1]));
    }

    #[test]
    fn a_token_is_accepted_by_an_independent_verifier() {
        use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.set_audience(&[AUDIENCE]);
        let jwk = serde_json::from_value(P256.jwk()).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let token = P256.token("ES256", &claims());
        assert_eq!(decode::<Value>(&token, &key, &rules).unwrap().claims["sub"], USER);
        let forged = OTHER_P256.token("ES256", &claims());
        assert!(decode::<Value>(&forged, &key, &rules).is_err());
    }
}
