//! The shape of a token: segments, encoding, header members, size.

use serde_json::json;

use super::ask;
use super::refused;
use crate::world::World;
use crate::world::keys::NOW;
use crate::world::keys::P256;
use crate::world::keys::b64;
use crate::world::keys::claims;
use crate::world::keys::claims_with;

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
