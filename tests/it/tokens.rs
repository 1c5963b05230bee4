//! Forged, bent and borrowed tokens, through the whole gateway.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::Upstream;
use crate::world::World;
use crate::world::keys;
use crate::world::keys::EDWARDS;
use crate::world::keys::FOREIGN_RSA;
use crate::world::keys::Key;
use crate::world::keys::NOW;
use crate::world::keys::OTHER_P256;
use crate::world::keys::P256;
use crate::world::keys::P384;
use crate::world::keys::P521;
use crate::world::keys::RSA;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::keys::claims_with;
use crate::world::keys::jwks;

fn ask(token: &str) -> Ask {
    Ask::get("/api/x").keyed().bearing(token)
}

/// 401, `invalid_token`, nothing upstream.
#[track_caller]
fn refused(world: &World, token: &str) -> Message {
    let answer = world.deny(&ask(token), &[401]);
    let challenge = answer.fields.one("www-authenticate");
    assert!(
        challenge.starts_with("Bearer") && challenge.contains("error=\"invalid_token\""),
        "{challenge}"
    );
    answer
}

#[track_caller]
fn reason(answer: &Message) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

fn entry(algorithms: &str, keys: &str) -> String {
    format!(
        "{{ issuer: \"https://id.test\", audience: orders, algorithms: [{algorithms}], {keys} }}"
    )
}

const SECRET: &[u8] = b"k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4sRq8tVw3zXy7KmN0bPl5GhJd";

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
fn a_key_that_the_token_brings_along_is_ignored_and_never_fetched() {
    let world = World::usual();
    let lair = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let thief = &*OTHER_P256;
    let address = format!("{}/jwks.json", lair.url());
    let certificate =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, thief.der().0);
    for header in [
        json!({"alg": "ES256", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "other", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "p256", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "jku": address}),
        json!({"alg": "ES256", "kid": "p256", "jku": address}),
        json!({"alg": "ES256", "kid": address, "jku": address}),
        json!({"alg": "ES256", "x5u": address}),
        json!({"alg": "ES256", "x5c": [certificate]}),
        json!({"alg": "ES256", "kid": "p256", "x5u": address, "x5c": [certificate]}),
    ] {
        refused(&world, &thief.mint(&header, &claims()));
    }
    assert_eq!(lair.look(crate::world::Record::connections), 0, "somebody called");
    let stranger = claims_with(&json!({"iss": lair.url()}));
    refused(&world, &thief.token("ES256", &stranger));
    refused(&world, &P256.token("ES256", &stranger));
    assert_eq!(lair.look(crate::world::Record::connections), 0, "somebody called");
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let setup = Setup::new().file("keys.json", &jwks(&[&P256, &OTHER_P256]));
    let world = setup.start();
    let long = "k".repeat(6 * 1024);
    let begun = Instant::now();
    for kid in [
        json!("../../dev/null"),
        json!("/dev/null"),
        json!("file:///dev/null"),
        json!("x' UNION SELECT '1"),
        json!("p256' OR '1'='1"),
        json!("|sleep 10"),
        json!("$(sleep 10)"),
        json!("p256\u{0}"),
        json!("p256\r\nX: y"),
        json!("P256"),
        json!("p25"),
        json!("p256 "),
        json!(""),
        json!(long),
        json!(0),
        json!(256),
        json!(null),
        json!(true),
        json!({"kid": "p256"}),
        json!(["p256"]),
    ] {
        refused(&world, &P256.mint(&json!({"alg": "ES256", "kid": kid}), &claims()));
        refused(
            &world,
            &Key::shared("x", b"").mint(&json!({"alg": "HS256", "kid": kid}), &claims()),
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "somebody slept");
    refused(&world, &P256.mint(&json!({"alg": "ES256"}), &claims()));
    refused(&world, &P256.mint(&json!({"alg": "ES256", "kid": "other"}), &claims()));
    refused(&world, &OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &claims()));
    world.pass(&ask(&OTHER_P256.token("ES256", &claims())));
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
fn only_three_segments_of_compact_form_are_a_token() {
    let world = World::usual();
    let good = P256.token("ES256", &claims());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    for token in [
        header.to_owned(),
        format!("{header}.{body}"),
        format!("{good}.{signature}"),
        format!("{good}.x.y"),
        format!("{header}..{body}.{signature}"),
        format!(".{good}"),
        format!("{good}."),
        "..".into(),
        ".".into(),
        "...".into(),
        "....".into(),
        json!({"payload": body, "protected": header, "signature": signature}).to_string(),
        json!({"payload": body, "signatures": [{"protected": header, "signature": signature}]})
            .to_string(),
        format!("{}..iv.text.tag", b64(br#"{"alg":"dir","enc":"A256GCM"}"#)),
    ] {
        refused(&world, &token);
    }
    let base = json!({"alg": "ES256", "kid": "p256"});
    for (name, value) in [
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("crit", json!(["http://example.com/UNDEFINED"])),
        ("b64", json!(false)),
        ("typ", json!("id+jwt")),
        ("typ", json!("refresh+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("application/secevent+jwt")),
        ("typ", json!("JWE")),
        ("typ", json!("")),
        ("typ", json!(7)),
        ("typ", json!(["JWT"])),
        ("alg", json!(null)),
        ("alg", json!(256)),
        ("alg", json!(["ES256"])),
        ("alg", json!("es256")),
        ("alg", json!("ES256 ")),
        ("alg", json!("ES256\u{0}")),
    ] {
        let mut header = base.clone();
        header[name] = value;
        let token =
            P256.compact("ES256", header.to_string().as_bytes(), claims().to_string().as_bytes());
        refused(&world, &token);
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        let mut header = base.clone();
        header["typ"] = json!(typ);
        assert_eq!(world.answer(&ask(&P256.mint(&header, &claims()))).status(), 200, "{typ}");
    }
}

#[test]
fn a_header_or_claims_that_two_parsers_read_differently_are_refused() {
    let world = World::usual();
    let header = br#"{"alg":"ES256","kid":"p256"}"#;
    let body = claims().to_string();
    for header in [
        &br#"{"alg":"none","alg":"ES256","kid":"p256"}"#[..],
        br#"{"alg":"ES256","kid":"x","kid":"p256"}"#,
        br#"{"alg":"ES256","kid":"p256""#,
        br#"{"alg":"ES256","kid":"p256"}x"#,
        br#"["ES256"]"#,
        b"\"ES256\"",
        b"null",
        b"",
        b"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"p256\"}",
        b"{\"alg\":\"ES256\",\"kid\":\"p256\",\"x\":\"\xff\"}",
        b"{'alg':'ES256'}",
    ] {
        refused(&world, &P256.compact("ES256", header, body.as_bytes()));
    }
    let with = |more: &str| format!("{}{more}}}", &body[..body.len() - 1]);
    for body in [
        with(&format!(",\"exp\":{}", NOW + 9999)),
        with(",\"sub\":\"root\""),
        with(",\"iss\":\"https://id.test\""),
        with(",\"x\":1e400"),
        with(",\"x\":"),
        format!("{body}x"),
        format!("[{body}]"),
        format!("\"{}\"", body.replace('"', "'")),
        "null".into(),
        String::new(),
        "{}".into(),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))[..5_500].to_owned(),
        with(&format!(",\"x\":{}1{}", "[".repeat(1_500), "]".repeat(1_500))),
    ] {
        refused(&world, &P256.compact("ES256", header, body.as_bytes()));
    }
    let many: Vec<String> = (0..1_200).map(|n| format!(",\"{n}\":0")).collect();
    let answer = world.answer(&ask(&P256.compact(
        "ES256",
        header,
        with(&many.concat()[..5_000]).as_bytes(),
    )));
    assert!([200, 401].contains(&answer.status()), "{answer:?}");
    refused(
        &world,
        &P256.compact("ES256", header, b"{\"iss\":\"https://id.test\",\"sub\":\"\xff\"}"),
    );
}

#[test]
fn base64_has_one_spelling() {
    let world = World::usual();
    let good = P256.token("ES256", &claims());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let last = signature.as_bytes()[signature.len() - 1];
    // 64 bytes leave four unused bits in the last character: each other one decodes the same.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|byte| *byte == last).unwrap();
    let bent = alphabet[value ^ 1];
    let mut tokens = vec![
        format!("{good}="),
        format!("{good}=="),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}=.{signature}"),
        format!("{header}.{body}==.{signature}"),
        format!("{header}.{body}?.{signature}"),
        format!("{header}.{body}%3d.{signature}"),
        format!("{header}.{body}\t.{signature}"),
        format!("{header}.{}.{signature}", body.replacen(char::is_alphanumeric, "*", 1)),
        format!("{}{}", &good[..good.len() - 1], char::from(bent)),
    ];
    let mut n = 0;
    let odd = loop {
        // A signature whose base64url text has `-` or `_`, spelled in the other alphabet.
        let token = P256.token("ES256", &claims_with(&json!({"n": n})));
        let signature = token.rsplit('.').next().unwrap();
        if signature.contains('-') && signature.contains('_') {
            break token;
        }
        n += 1;
    };
    let (rest, signature) = odd.rsplit_once('.').unwrap();
    world.pass(&ask(&odd));
    tokens.push(format!("{rest}.{}", signature.replace('-', "+")));
    tokens.push(format!("{rest}.{}", signature.replace('_', "/")));
    for token in tokens {
        refused(&world, &token);
    }
}

#[test]
fn an_expiry_is_a_number_in_the_future() {
    let world = World::usual();
    let with = |exp: &str| {
        let body = claims_with(&json!({"exp": "EXP"})).to_string().replace("\"EXP\"", exp);
        P256.compact("ES256", br#"{"alg":"ES256","kid":"p256"}"#, body.as_bytes())
    };
    for exp in [
        &format!("\"{}\"", NOW + 300),
        "\"never\"",
        "\"NaN\"",
        "-1",
        "null",
        "true",
        "[]",
        &format!("[{}]", NOW + 300),
        "{}",
        "1e400",
        "-1e400",
        "0",
        &format!("{}", NOW - 1),
        &format!("{NOW}"),
        &format!("{NOW}.0"),
        &format!("{}.999", NOW - 1),
        &format!("{}", NOW - 59),
    ] {
        refused(&world, &with(exp));
    }
    for huge in ["9223372036854775808", "18446744073709551616", "1e300", "9223372036854775807"] {
        let answer = world.answer(&ask(&with(huge)));
        assert!([200, 401].contains(&answer.status()), "{huge}: {answer:?}");
    }
    refused(&world, &P256.token("ES256", &claims_with(&json!({"exp": null}))));
    for exp in [
        format!("{}.5", NOW + 100),
        format!("{}", NOW + 1),
        format!("{NOW}.001"),
        format!("{}e0", NOW + 5),
    ] {
        world.pass(&ask(&with(&exp)));
    }
}

#[test]
fn a_token_ends_at_its_very_second_and_its_cached_verdict_with_it() {
    let world = World::usual();
    let short = P256.token("ES256", &claims_with(&json!({"exp": NOW + 10})));
    world.pass(&ask(&short));
    world.pass(&ask(&short));
    world.advance(9);
    world.pass(&ask(&short));
    world.advance(1);
    let answer = refused(&world, &short);
    assert_eq!(reason(&answer), "expired_token");
    refused(&world, &short);
}

#[test]
fn leeway_moves_both_ends_by_exactly_itself() {
    let keys = "jwks: \"file:keys.json\", leeway: 30s";
    let world = Setup::new().jwt(&entry("ES256", keys)).start();
    let with = |changes: Value| ask(&P256.token("ES256", &claims_with(&changes)));
    world.pass(&with(json!({"exp": NOW - 29})));
    world.pass(&with(json!({"nbf": NOW + 30})));
    for changes in [
        json!({"exp": NOW - 30}),
        json!({"exp": NOW - 31}),
        json!({"nbf": NOW + 31}),
        json!({"nbf": NOW + 300}),
    ] {
        world.deny(&with(changes), &[401]);
    }
}

#[test]
fn a_token_is_not_good_before_its_time() {
    let world = World::usual();
    for changes in [
        json!({"nbf": NOW + 1}),
        json!({"nbf": NOW + 60}),
        json!({"nbf": format!("{NOW}")}),
        json!({"nbf": "soon"}),
        json!({"nbf": []}),
        json!({"nbf": {}}),
        json!({"nbf": true}),
        json!({"iat": "now"}),
        json!({"iat": {}}),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&changes)));
    }
    let early = P256.token("ES256", &claims_with(&json!({"nbf": NOW + 5})));
    refused(&world, &early);
    world.advance(5);
    world.pass(&ask(&early));
    world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"nbf": NOW, "iat": NOW})))));
}

#[test]
fn a_token_for_another_audience_or_of_another_issuer_is_refused() {
    let world = World::usual();
    for changes in [
        json!({"aud": null}),
        json!({"aud": []}),
        json!({"aud": ""}),
        json!({"aud": "billing"}),
        json!({"aud": "Orders"}),
        json!({"aud": "orders "}),
        json!({"aud": "orders,billing"}),
        json!({"aud": "orders billing"}),
        json!({"aud": ["billing", "orderss"]}),
        json!({"aud": [["orders"]]}),
        json!({"aud": {"orders": true}}),
        json!({"aud": {"0": "orders"}}),
        json!({"aud": 7}),
        json!({"aud": true}),
        json!({"iss": null}),
        json!({"iss": ""}),
        json!({"iss": "https://id.test/"}),
        json!({"iss": "https://ID.test"}),
        json!({"iss": "https://id.test.evil"}),
        json!({"iss": ["https://id.test"]}),
        json!({"iss": ["https://evil.test", "https://id.test"]}),
        json!({"iss": {"0": "https://id.test"}}),
        json!({"iss": 7}),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&changes)));
    }
    for aud in [json!("orders"), json!(["orders"]), json!(["billing", "orders"])] {
        world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"aud": aud})))));
    }
}

#[test]
fn a_user_without_a_usable_name_is_refused() {
    let world = World::usual();
    for sub in [
        json!(null),
        json!(""),
        json!(true),
        json!([]),
        json!(["ada"]),
        json!({}),
        json!({"customer_id": 7}),
        json!("ada\r\nX-Auth-User: root"),
        json!("ada\n"),
        json!("ada\u{0}"),
        json!("\u{7f}"),
    ] {
        refused(&world, &P256.token("ES256", &claims_with(&json!({"sub": sub}))));
    }
    let forwarded = world.pass(&ask(&P256.token("ES256", &claims_with(&json!({"sub": 4711})))));
    assert_eq!(forwarded.fields.one("x-auth-user"), "4711");
    let keys = "jwks: \"file:keys.json\", identity: /sub/customer_id";
    let (nested, token) = Setup::new()
        .jwt(&entry("ES256", keys))
        .start_with_claims(&json!({"sub": {"customer_id": 7}}));
    let forwarded = nested.answer(&Ask::get("/api/x").keyed().bearing(&token));
    assert_eq!(forwarded.status(), 200);
    for sub in [json!("ada"), json!({"customer": 7}), json!({"customer_id": {}})] {
        refused(&nested, &P256.token("ES256", &claims_with(&json!({"sub": sub}))));
    }
}

#[test]
fn a_forged_expired_token_is_called_forged() {
    let world = World::usual();
    let old = claims_with(&json!({"exp": NOW - 100}));
    assert_eq!(reason(&refused(&world, &P256.token("ES256", &old))), "expired_token");
    for forged in [
        OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &old),
        format!("{}x", P256.token("ES256", &old)),
        P256.mint(&json!({"alg": "ES256", "kid": "nobody"}), &old),
        P256.token("ES256", &claims_with(&json!({"exp": NOW - 100, "iss": "https://evil.test"}))),
    ] {
        assert_eq!(reason(&refused(&world, &forged)), "invalid_token", "{forged}");
    }
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
        [&r[..], &[0; 32]].concat(),
        [&[0; 32], &s[..]].concat(),
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
fn a_token_has_a_largest_size() {
    let world = World::usual();
    let of = |size: usize| {
        let bare = P256.token("ES256", &claims_with(&json!({"pad": ""}))).len();
        // Base64 grows by four characters for three bytes, so the exact size may need a few tries.
        let guess = (size - bare) * 3 / 4;
        let sized = |n| P256.token("ES256", &claims_with(&json!({"pad": "x".repeat(n)})));
        (guess - 8..guess + 8)
            .map(sized)
            .filter(|token| token.len() <= size)
            .max_by_key(String::len)
            .unwrap()
    };
    world.pass(&ask(&of(4 * 1024)));
    world.pass(&ask(&of(8 * 1024)));
    world.deny(&ask(&of(8 * 1024 + 8)), &[401]);
    for size in [9_000, 16 * 1024, 30 * 1024, 64 * 1024, 300 * 1024, 1024 * 1024] {
        world.deny(&ask(&of(size)), &[401, 431]);
    }
}

#[test]
fn a_token_of_another_kind_is_no_access_token() {
    let world = World::usual();
    let header = |typ: &str| json!({"alg": "ES256", "kid": "p256", "typ": typ});
    for (typ, changes) in [
        ("id+jwt", json!({"aud": "web-client", "nonce": "n"})),
        ("refresh+jwt", json!({})),
        ("JWT", json!({"aud": "web-client", "nonce": "n"})),
        ("JWT", json!({"aud": "https://id.test", "purpose": "password-reset"})),
        ("totp+jwt", json!({})),
    ] {
        refused(&world, &P256.mint(&header(typ), &claims_with(&changes)));
    }
}

#[test]
fn tokens_without_issuer_or_audience_pass_only_where_that_is_written() {
    let open =
        "{ issuer: none, audience: none, typ: any, algorithms: [ES256], jwks: \"file:keys.json\" }";
    let bare = json!({"iss": null, "aud": null});
    let (world, good) = Setup::new().jwt(open).start_with_claims(&bare);
    assert_eq!(world.answer(&ask(&good)).status(), 200);
    let strange =
        P256.mint(&json!({"alg": "ES256", "kid": "p256", "typ": "strange"}), &claims_with(&bare));
    assert_eq!(world.answer(&ask(&strange)).status(), 200);
    let forged = OTHER_P256.mint(&json!({"alg": "ES256", "kid": "p256"}), &claims_with(&bare));
    assert_eq!(world.answer(&ask(&forged)).status(), 401);
    let usual = World::usual();
    refused(&usual, &good);
    refused(&usual, &strange);
}

#[test]
fn the_issuer_picks_the_keys_and_no_others_are_tried() {
    let two = "{ issuer: \"https://a.test\", audience: orders, algorithms: [ES256], jwks: \"file:a.json\" }, \
               { issuer: \"https://b.test\", audience: orders, algorithms: [ES256, RS256], jwks: \"file:b.json\" }";
    let setup = Setup::new()
        .jwt(two)
        .file("a.json", &jwks(&[&P256]))
        .file("b.json", &jwks(&[&OTHER_P256, &RSA]));
    let world = setup.start();
    let of = |issuer: &str| claims_with(&json!({"iss": issuer}));
    let mark = world.upstream.mark();
    for good in [
        P256.token("ES256", &of("https://a.test")),
        OTHER_P256.token("ES256", &of("https://b.test")),
        RSA.token("RS256", &of("https://b.test")),
    ] {
        assert_eq!(world.answer(&ask(&good)).status(), 200);
    }
    for bad in [
        P256.token("ES256", &of("https://b.test")),
        OTHER_P256.token("ES256", &of("https://a.test")),
        RSA.token("RS256", &of("https://a.test")),
        P256.mint(&json!({"alg": "ES256"}), &of("https://b.test")),
        P256.token("ES256", &of("https://c.test")),
        P256.token("ES256", &claims_with(&json!({"iss": null}))),
    ] {
        assert_eq!(world.answer(&ask(&bad)).status(), 401);
    }
    assert_eq!(world.upstream.since(&mark).unwrap().len(), 3);
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
            algorithms.starts_with("RS") || secret.len() < 6 || !report.contains(secret),
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

#[test]
fn a_flood_of_bad_tokens_leaves_the_good_one_cached() {
    let world = World::usual();
    world.pass(&ask(&P256.token("ES256", &claims())));
    let hits = world.metric("portcullis_token_cache_hits_total");
    let mut client = world.connect();
    for n in 0..2_000 {
        let token = format!(
            "{}.{}.{}",
            b64(br#"{"alg":"ES256","kid":"p256"}"#),
            b64(format!("{{\"n\":{n}}}").as_bytes()),
            b64(&[1; 64])
        );
        client.send(&ask(&token).bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 401);
    }
    let evicted = world.metric("portcullis_token_cache_evictions_total");
    assert!(evicted < 0.5, "{evicted} evicted");
    let again = P256.token("ES256", &claims_with(&json!({"n": 1})));
    world.pass(&ask(&again));
    world.pass(&ask(&again));
    assert!(world.metric("portcullis_token_cache_hits_total") > hits);
}

/// Gateways whose good request is not the usual one: started with their own control.
trait OwnControl {
    fn start_with(self, key: &Key, alg: &str) -> (World, String);
    fn start_with_claims(self, changes: &Value) -> (World, String);
}

impl OwnControl for Setup {
    fn start_with(self, key: &Key, alg: &str) -> (World, String) {
        let token = key.mint(&json!({"alg": alg}), &claims());
        (self.start().with_control(&token), token)
    }

    fn start_with_claims(self, changes: &Value) -> (World, String) {
        let token = P256.token("ES256", &claims_with(changes));
        (self.start().with_control(&token), token)
    }
}
