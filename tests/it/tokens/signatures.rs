//! Signatures: missing, forged, of another algorithm, of another key.

use serde_json::json;

use super::OwnControl;
use super::SECRET;
use super::ask;
use super::entry;
use super::refused;
use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys;
use crate::world::keys::EDWARDS;
use crate::world::keys::FOREIGN_RSA;
use crate::world::keys::Key;
use crate::world::keys::NOW;
use crate::world::keys::P256;
use crate::world::keys::P384;
use crate::world::keys::P521;
use crate::world::keys::RSA;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;

#[test]
fn a_token_of_each_configured_algorithm_passes_and_its_forgery_does_not() {
    let shared = Key::shared("hs", SECRET);
    let cases: [(&Key, &[&str]); 5] = [
        (&RSA, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (&P256, &["ES256"]),
        (&P384, &["ES384"]),
        (&EDWARDS, &["EdDSA"]),
        (&shared, &["HS256", "HS384", "HS512"]),
    ];
    for (key, algorithms) in cases {
        for alg in algorithms {
            let source = if alg.starts_with("HS") {
                "secret: \"file:secret\""
            } else {
                "jwks: \"file:one.json\""
            };
            let setup = Setup::new().jwt(&entry(alg, source)).file("one.json", &jwks(&[key]));
            let world = setup.file("secret", std::str::from_utf8(SECRET).unwrap()).start();
            let header = json!({"alg": alg});
            let mark = world.upstream.mark();
            let good = key.mint(&header, &claims());
            for scheme in ["Bearer", "bearer", "BEARER"] {
                let ask =
                    Ask::get("/api/x").keyed().field("Authorization", format!("{scheme} {good}"));
                assert_eq!(world.answer(&ask).status(), 200, "{alg} {scheme}");
            }
            let (signed, signature) = good.rsplit_once('.').unwrap();
            let mut flipped = signature.as_bytes().to_vec();
            flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
            let later = claims_with(&json!({"exp": NOW + 9999}));
            for forged in [
                format!("{signed}.{}", String::from_utf8(flipped).unwrap()),
                format!(
                    "{}.{}.{signature}",
                    signed.split('.').next().unwrap(),
                    b64(later.to_string().as_bytes())
                ),
                format!(
                    "{}.{}.{signature}",
                    b64(json!({"alg": alg, "a": 1}).to_string().as_bytes()),
                    signed.split('.').nth(1).unwrap()
                ),
                format!("{signed}."),
                format!("{signed}.{signature}A"),
                format!("{signed}.{}", &signature[..signature.len() - 4]),
            ] {
                assert_eq!(world.answer(&ask(&forged)).status(), 401, "{alg}: {forged}");
            }
            assert_eq!(world.upstream.since(&mark).unwrap().len(), 3, "{alg}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let world = World::usual();
    let body = b64(claims().to_string().as_bytes());
    for alg in ["none", "None", "NONE", "nOnE", "", " none", "none "] {
        let header = b64(json!({"alg": alg}).to_string().as_bytes());
        for token in [
            format!("{header}.{body}."),
            format!("{header}.{body}"),
            format!("{header}.{body}.AAAA"),
        ] {
            refused(&world, &token);
        }
        refused(&world, &P256.mint(&json!({"alg": alg, "kid": "p256"}), &claims()));
    }
    let blank = Key::shared("p256", b"");
    for header in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "kid": "p256"}),
        json!({"alg": "HS256", "kid": ""}),
    ] {
        refused(&world, &blank.mint(&header, &claims()));
    }
    let header = b64(json!({"alg": "ES256", "kid": "p256"}).to_string().as_bytes());
    refused(&world, &format!("{header}.{body}.{}", b64(&[0; 64])));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for (key, alg) in [(&*RSA, "RS256"), (&*P256, "ES256")] {
        let setup =
            Setup::new().jwt(&entry(alg, "key: \"file:key.pem\"")).file("key.pem", &key.pem());
        let (world, _) = setup.start_with(key, alg);
        let (spki, pkcs1) = key.der();
        let pem = key.pem();
        let mut secrets = vec![
            pem.clone().into_bytes(),
            pem.trim_end().as_bytes().to_vec(),
            pem.replace('\n', "\r\n").into_bytes(),
            spki,
            key.jwk().to_string().into_bytes(),
            serde_json::to_vec_pretty(&key.jwk()).unwrap(),
        ];
        if !pkcs1.is_empty() {
            secrets.extend([
                keys::pem("RSA PUBLIC KEY", &pkcs1).into_bytes(),
                pkcs1,
                key.rsa_numbers().0,
            ]);
        }
        for secret in secrets {
            for hs in ["HS256", "HS384", "HS512"] {
                let forger = Key::shared(key.kid, &secret);
                refused(&world, &forger.token(hs, &claims()));
                refused(&world, &forger.mint(&json!({"alg": hs}), &claims()));
                let lying = forger.compact(
                    hs,
                    json!({"alg": alg}).to_string().as_bytes(),
                    claims().to_string().as_bytes(),
                );
                refused(&world, &lying);
            }
        }
    }
}

#[test]
fn a_key_signs_only_in_its_own_algorithm() {
    let pinned = Setup::new()
        .jwt(&entry("RS256", "jwks: \"file:keys.json\""))
        .file("keys.json", &jwks(&[&RSA]));
    let (world, control) = pinned.start_with(&RSA, "RS256");
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        refused(&world, &RSA.token(alg, &claims()));
        let lying = RSA.compact(
            alg,
            json!({"alg": "RS256", "kid": "rsa"}).to_string().as_bytes(),
            claims().to_string().as_bytes(),
        );
        refused(&world, &lying);
    }
    for (key, alg) in [
        (&*P256, "ES256"),
        (&*P384, "ES384"),
        (&*P521, "ES512"),
        (&*EDWARDS, "EdDSA"),
        (&*P256, "ES256K"),
    ] {
        refused(&world, &key.mint(&json!({"alg": alg, "kid": "rsa"}), &claims()));
        refused(&world, &key.token(alg, &claims()));
        refused(&world, &key.mint(&json!({"alg": alg}), &claims()));
    }
    refused(&world, &FOREIGN_RSA.token("RS256", &claims()));
    world.pass(&Ask::get("/api/y").keyed().bearing(&control));

    let labelled = |alg: &str| {
        let mut key = RSA.jwk();
        key["alg"] = json!(alg);
        json!({"keys": [key]}).to_string()
    };
    let pss = Setup::new()
        .jwt(&entry("RS256, PS256", "jwks: \"file:keys.json\""))
        .file("keys.json", &labelled("PS256"));
    let (world, _) = pss.start_with(&RSA, "PS256");
    refused(&world, &RSA.token("RS256", &claims()));
}

#[test]
fn a_curve_point_signature_has_exactly_its_length() {
    let world = World::usual();
    let good = P256.token("ES256", &claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature)
        .unwrap();
    let (r, s) = raw.split_at(32);
    let der = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        let mut body = number[start..].to_vec();
        if body[0] >= 0x80 {
            body.insert(0, 0);
        }
        [&[2, u8::try_from(body.len()).unwrap()], &body[..]].concat()
    };
    let inner = [der(r), der(s)].concat();
    let as_der = [&[0x30, u8::try_from(inner.len()).unwrap()], &inner[..]].concat();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    for bad in [
        vec![0; 64],
        [r, &[0; 32]].concat(),
        [&[0; 32], s].concat(),
        [order, order].concat(),
        vec![0xff; 64],
        as_der,
        raw[..63].to_vec(),
        raw[1..].to_vec(),
        [&raw[..], &[0]].concat(),
        [&[0], &raw[..]].concat(),
        [&raw[..], &[0, 0]].concat(),
        [&[0], r, &[0], s].concat(),
        raw[..32].to_vec(),
        [s, r].concat(),
        vec![],
    ] {
        refused(&world, &format!("{input}.{}", b64(&bad)));
    }
}

#[test]
fn weak_or_muddled_keys_do_not_start() {
    let weak = |algorithms: &str, name: &str, content: &str| {
        let source = if algorithms.starts_with("HS") { "secret" } else { "jwks" };
        let keys = format!("{source}: \"file:{name}\"");
        let started = Setup::new().jwt(&entry(algorithms, &keys)).file(name, content).try_start();
        let Err(report) = started else { panic!("{algorithms} starts with {content}") };
        let secret = content.trim();
        assert!(
            algorithms.starts_with("RS") || secret.len() < 8 || !report.contains(secret),
            "{report}"
        );
        report
    };
    for secret in [
        "",
        "short",
        "secret",
        "your-256-bit-secret",
        &"a".repeat(64),
        &"0123456789abcdef".repeat(4)[..31],
    ] {
        weak("HS256", "secret", secret);
    }
    weak("HS384", "secret", "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4sRq8tVw");
    weak("HS512", "secret", "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4sRq8tVw3zXy7KmN0bPl5GhJ");
    let (modulus, exponent) = RSA.rsa_numbers();
    let short = json!({"keys": [{"kty": "RSA", "kid": "a", "n": b64(&modulus[..128]), "e": b64(&exponent)}]});
    let twice = json!({"keys": [P256.jwk(), P256.jwk()]});
    let mixed = json!({"keys": [P256.jwk(), {"kty": "oct", "kid": "b", "k": b64(SECRET)}]});
    let private = {
        let mut key = P256.jwk();
        key["d"] = json!(b64(&[7; 32]));
        json!({"keys": [key]})
    };
    for set in [short, twice, mixed, private, json!({"keys": []}), json!({}), json!([]), json!("x")]
    {
        weak("RS256, ES256", "set.json", &set.to_string());
    }
    weak("RS256", "set.json", "<html>");
    weak("ES256", "set.json", &jwks(&[&RSA]));
    let mixed = Setup::new()
        .jwt(&entry("HS256, RS256", "secret: \"file:s\""))
        .file("s", std::str::from_utf8(SECRET).unwrap());
    assert!(mixed.try_start().is_err());
    let none = Setup::new().jwt(&entry("none", "jwks: \"file:keys.json\""));
    assert!(none.try_start().is_err());
}
