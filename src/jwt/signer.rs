//! Signing tokens: for `token mint`, for the demonstration, for tests.
//!
//! What it signs is taken as it comes: rules for claims are the verifier's.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::algorithm::{Algorithm, Family};
use crate::secret::Secret;

/// A key that signs, for one algorithm.
pub struct TokenSigner {
    algorithm: Algorithm,
    kid: Option<String>,
    key: EncodingKey,
}

/// Why there is no signer, or no signature.
#[derive(Debug, Error)]
pub enum SignerError {
    /// HMAC signs with a secret, the others with a key pair.
    #[error("{0} needs another kind of key")]
    WrongKind(Algorithm),
    /// The key pair could not be made.
    #[error("the key pair could not be made")]
    Generate(#[from] Unspecified),
    /// The key cannot be read, or does not fit the algorithm.
    #[error("the key cannot sign")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// The header or the claims cannot be written as JSON.
    #[error("the token cannot be written")]
    Write(#[source] serde_json::Error),
}

impl TokenSigner {
    /// Makes a new key pair, in PEM form (PKCS#8).
    pub fn generate_pem(algorithm: Algorithm) -> Result<Secret<String>, SignerError> {
        let der = match algorithm.family() {
            Family::Hmac => return Err(SignerError::WrongKind(algorithm)),
            Family::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                der.as_ref().to_vec()
            }
            Family::P256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                pair.to_pkcs8v1()?.as_ref().to_vec()
            }
            Family::P384 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
                pair.to_pkcs8v1()?.as_ref().to_vec()
            }
            Family::Ed25519 => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
        };
        let text = STANDARD.encode(der);
        let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        Ok(Secret::new(pem))
    }

    /// Makes a signer with a new key pair.
    pub fn generate(algorithm: Algorithm, kid: Option<String>) -> Result<Self, SignerError> {
        Self::from_pem(Self::generate_pem(algorithm)?.expose(), algorithm, kid)
    }

    /// Reads a private key in PEM form (PKCS#8; for RSA also PKCS#1).
    pub fn from_pem(
        pem: &str,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, SignerError> {
        let key = match algorithm.family() {
            Family::Hmac => return Err(SignerError::WrongKind(algorithm)),
            Family::Rsa => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Family::P256 | Family::P384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Family::Ed25519 => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        let signer = Self { algorithm, kid, key: key.map_err(SignerError::Key)? };
        // Tried once, so that a key of another curve is noticed here.
        signer.signature(b"")?;
        Ok(signer)
    }

    /// Signs with a shared secret.
    pub fn from_secret(
        secret: Secret<&[u8]>,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, SignerError> {
        match algorithm.family() {
            Family::Hmac => {
                Ok(Self { algorithm, kid, key: EncodingKey::from_secret(secret.expose()) })
            }
            _ => Err(SignerError::WrongKind(algorithm)),
        }
    }

    /// The algorithm of its signatures.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of its key.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// A token with these claims. Members of `header_extra` are added to the header or replace what
    /// stands there; `null` removes.
    pub fn sign(
        &self,
        header_extra: &Map<String, Value>,
        claims: &Value,
    ) -> Result<String, SignerError> {
        let mut header = Map::new();
        header.insert("alg".to_owned(), json!(self.algorithm.name()));
        header.insert("typ".to_owned(), json!("JWT"));
        if let Some(kid) = &self.kid {
            header.insert("kid".to_owned(), json!(kid));
        }
        for (name, value) in header_extra {
            header.insert(name.clone(), value.clone());
        }
        header.retain(|_, value| !value.is_null());
        let segment =
            |value: &Value| serde_json::to_vec(value).map(|text| URL_SAFE_NO_PAD.encode(text));
        let header = segment(&Value::Object(header)).map_err(SignerError::Write)?;
        let claims = segment(claims).map_err(SignerError::Write)?;
        let signed = format!("{header}.{claims}");
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{signature}"))
    }

    /// The signature over any bytes, in base64url.
    pub fn signature(&self, message: &[u8]) -> Result<String, SignerError> {
        let algorithm = jose(self.algorithm);
        jsonwebtoken::crypto::sign(message, &self.key, algorithm).map_err(SignerError::Key)
    }

    /// The public key as a JWK; nothing for a shared secret, which is not public.
    pub fn public_jwk(&self) -> Option<Value> {
        if self.algorithm.family() == Family::Hmac {
            return None;
        }
        let jwk = Jwk::from_encoding_key(&self.key, jose(self.algorithm)).ok()?;
        let mut jwk = serde_json::to_value(jwk).ok()?;
        let members = jwk.as_object_mut()?;
        members.insert("use".to_owned(), json!("sig"));
        if let Some(kid) = &self.kid {
            members.insert("kid".to_owned(), json!(kid));
        }
        Some(jwk)
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The other name of the same algorithm.
pub(super) const fn jose(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::SECRET;
    use super::*;

    #[test]
    fn writes_the_header_that_it_is_told_to() {
        let secret = Secret::new(SECRET);
        let signer =
            TokenSigner::from_secret(secret, Algorithm::Hs256, Some("k".to_owned())).unwrap();
        let header = |extra: Value| {
            let Value::Object(extra) = extra else { panic!("an object") };
            let token = signer.sign(&extra, &json!({})).unwrap();
            let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            serde_json::from_slice::<Value>(&header).unwrap()
        };
        assert_eq!(header(json!({})), json!({"alg": "HS256", "typ": "JWT", "kid": "k"}));
        let changed = header(json!({"typ": null, "kid": 7, "crit": ["x"]}));
        assert_eq!(changed, json!({"alg": "HS256", "kid": 7, "crit": ["x"]}));
    }

    #[test]
    fn shows_public_keys_and_never_secrets() {
        let secret = Secret::new(SECRET);
        let signer = TokenSigner::from_secret(secret, Algorithm::Hs512, None).unwrap();
        assert_eq!(signer.public_jwk(), None);
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let pem = TokenSigner::generate_pem(algorithm).unwrap();
            let signer =
                TokenSigner::from_pem(pem.expose(), algorithm, Some("k".to_owned())).unwrap();
            let jwk = signer.public_jwk().unwrap();
            let private = ["d", "p", "q", "dp", "dq", "qi", "k"];
            assert!(private.iter().all(|name| jwk.get(name).is_none()), "{jwk}");
            assert_eq!(jwk["alg"], json!(algorithm.name()));
            assert_eq!((&jwk["kid"], &jwk["use"]), (&json!("k"), &json!("sig")));
            assert!(!format!("{signer:?}").contains(pem.expose().lines().nth(1).unwrap()));
        }
    }

    #[test]
    fn keys_fit_their_algorithm() {
        let es256 = TokenSigner::generate_pem(Algorithm::Es256).unwrap();
        for other in [Algorithm::Es384, Algorithm::Rs256, Algorithm::EdDsa, Algorithm::Hs256] {
            assert!(TokenSigner::from_pem(es256.expose(), other, None).is_err(), "{other}");
        }
        assert!(TokenSigner::from_pem("", Algorithm::Es256, None).is_err());
        assert!(TokenSigner::generate_pem(Algorithm::Hs256).is_err());
        assert!(TokenSigner::from_secret(Secret::new(SECRET), Algorithm::Es256, None).is_err());
    }
}
