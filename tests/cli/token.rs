//! Tokens: minted, looked into, verified.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use serde_json::json;

use crate::shell::Folder;

#[test]
fn a_minted_token_is_verified_and_another_is_not() {
    let folder = Folder::gateway();
    let verify = |token: &str| {
        let said = folder.run(&["token", "verify", "-o", "json", token]);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(said.code == 0, told[0]["valid"] == true, "{said:?}");
        told[0].clone()
    };
    let good = verify(&folder.mint("key.pem", &["--claim", "scope=orders:edit x"]));
    assert_eq!((&good["check"], &good["subject"]), (&json!("user"), &json!("anna")));
    assert_eq!(good["permissions"], json!(["orders:edit", "x"]));
    for (key, more, error) in [
        ("key.pem", &["--ttl", "-1s"][..], "expired"),
        ("key.pem", &["--claim", "nbf=4102444800"], "not_yet_valid"),
        ("key.pem", &["--claim", "aud=other"], "audience"),
        ("key.pem", &["--claim", "iss=https://other"], "issuer"),
        ("key.pem", &["--claim", "exp=\"soon\""], "claims"),
        ("key.pem", &["--typ", "refresh+jwt"], "type"),
        ("other.pem", &[], "signature"),
    ] {
        assert_eq!(verify(&folder.mint(key, more))["error"], error, "{more:?}");
    }
    assert_eq!(verify("a.b.c")["error"], "malformed");

    let token = folder.mint("key.pem", &[]);
    let by_input = folder.run_with(&["token", "verify", "-"], &format!("Bearer {token}\n"));
    assert!(by_input.code == 0 && by_input.out.starts_with("user: valid"), "{by_input:?}");
    let unknown = folder.run(&["token", "verify", "--check", "app", &token]);
    assert!(unknown.code == 1 && unknown.err.contains("user"), "{unknown:?}");
    assert_eq!(folder.run_with(&["token", "verify", "-"], "").code, 1);
}

#[test]
fn every_algorithm_that_is_accepted_can_be_minted() {
    let folder = Folder::new();
    folder.write("secret", "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4-Xs0bVq3zW8rYt6uNk5mPl2Gd9e\n");
    for alg in ["ES256", "ES384", "EdDSA", "RS256", "HS512"] {
        let is_shared = alg == "HS512";
        let (private, public) = (format!("{alg}.pem"), format!("{alg}.json"));
        let keys = if is_shared {
            "secret: \"file:secret\"".to_owned()
        } else {
            let line = ["token", "keygen", "--alg", alg, "--kid", "k", "--private", &private];
            let line = [&line[..], &["--jwks", &public]].concat();
            folder.good(&line);
            let mode = std::fs::metadata(folder.path(&private)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{alg}");
            assert_eq!(folder.run(&line).code, 1, "a key is never overwritten");
            format!("jwks: \"file:{public}\"")
        };
        let entry = format!("{{ issuer: i, audience: none, algorithms: [{alg}], {keys} }}");
        let base = "\
listen: { public: 127.0.0.1:0 }
upstreams: { api: { url: \"http://127.0.0.1:9\" } }
routes: [ { match: GET /, to: api, public: true } ]
";
        let checks = format!("{base}checks: {{ user: {{ jwt: [ {entry} ] }} }}\n");
        folder.write("portcullis.yaml", &checks);
        let line = if is_shared {
            vec!["--secret-file", "secret", "--alg", alg]
        } else {
            // What fits the key is found without being told.
            vec!["--key", &private, "--kid", "k"]
        };
        let claims = ["token", "mint", "--claims", r#"{"iss":"i","sub":"a"}"#];
        let token = folder.good(&[&claims[..], &line].concat());
        let said = folder.run(&["token", "verify", token.trim()]);
        assert_eq!(said.code, 0, "{alg}: {said:?}");
    }
}

#[test]
fn inspecting_says_that_nothing_is_verified() {
    let folder = Folder::gateway();
    let token = folder.mint("other.pem", &["--ttl", "-90m", "--claim", "deep={\"a\":[1]}"]);
    let told = folder.good(&["token", "inspect", &token]);
    for shown in ["NOT VERIFIED", "\"EdDSA\"", "\"anna\"", "EXPIRED", "1h 30m ago"] {
        assert!(told.contains(shown), "{shown} in {told}");
    }
    let told = folder.run_with(&["token", "inspect", "-", "-o", "json"], &token);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["verified"], false);
    assert_eq!(told["claims"]["deep"], json!({"a": [1]}));
    for bad in ["", "a", "a.b", "a.b.c", "bnVsbA.e30.x", "e30.W10.x", "a.b.c.d.e"] {
        assert_eq!(folder.run(&["token", "inspect", bad]).code, 1, "{bad}");
    }
}
