//! `portcullis token` as it is typed.

use clap::Parser;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::clock::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SECRET: &str = "k8s-3Qv.Zr7!pLw0xTn5yHd9cBf2jMg6aEu1iOo4";

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    token: TokenArgs,
}

async fn typed(words: &[&str]) -> anyhow::Result<String> {
    let line = Line::try_parse_from([&["token"], words].concat())?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    run(line.token, &Clock::manual(NOW), &mut out, &mut err).await?;
    Ok(String::from_utf8(out)?)
}

/// The claims of a token minted with these words.
async fn minted(words: &[&str]) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET)?;
    let path = path.display().to_string();
    let token = typed(&[&["mint", "--secret-file", &path], words].concat()).await?;
    let told = typed(&["inspect", token.trim(), "-o", "json"]).await?;
    Ok(serde_json::from_str::<Value>(&told)?["claims"].clone())
}

#[tokio::test]
async fn claims_are_those_that_were_asked_for() {
    let times = |extra: Value| {
        let mut claims = json!({"iat": NOW.seconds(), "exp": NOW.seconds() + 300});
        let (all, Value::Object(extra)) = (claims.as_object_mut().unwrap(), extra) else {
            panic!("an object");
        };
        all.extend(extra);
        claims
    };
    for (words, expected) in [
        (&[][..], json!({})),
        (&["--sub", "7"], json!({"sub": "7"})),
        (&["--claim", "sub=7"], json!({"sub": 7})),
        (&["--aud", "a"], json!({"aud": "a"})),
        (&["--aud", "a", "--aud", "b"], json!({"aud": ["a", "b"]})),
        (&["--claim", "a=b=c", "--claim", "d=[1]"], json!({"a": "b=c", "d": [1]})),
        (&["--claim", "a="], json!({"a": ""})),
        (&["--claims", r#"{"sub":{"id":7}}"#, "--iss", "i"], json!({"sub": {"id": 7}, "iss": "i"})),
        (&["--claims", r#"{"exp":5}"#, "--ttl", "1h"], json!({"exp": 5})),
        (&["--ttl", "1h"], json!({"exp": NOW.seconds() + 3600})),
        (&["--ttl", "-10s"], json!({"iat": NOW.seconds() - 10, "exp": NOW.seconds() - 10})),
        (&["--ttl", "0s"], json!({"exp": NOW.seconds()})),
    ] {
        assert_eq!(minted(words).await.unwrap(), times(expected), "{words:?}");
    }
    for words in [
        &["--claims", "[]"][..],
        &["--claims", "{"],
        &["--claim", "a"],
        &["--ttl", "5"],
        &["--ttl", "+5m"],
        &["--alg", "ES256"],
        &["--alg", "none"],
        &["--key", "x"],
    ] {
        assert!(minted(words).await.is_err(), "{words:?}");
    }
}

#[tokio::test]
async fn what_a_verifier_would_stumble_over_is_remarked() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    for (header, claims, remark) in [
        (json!({"alg": "nOnE"}), json!({}), "`alg` is none: unsigned, refused"),
        (json!({}), json!({}), "no `alg`: refused"),
        (json!({"alg": "x"}), json!({}), "no `exp`: refused, it would never expire"),
        (json!({"alg": "x"}), json!({"exp": "1"}), "`exp` is not a number: refused"),
        (
            json!({"alg": "x"}),
            json!({"exp": NOW.seconds()}),
            "EXPIRED: 2027-01-15T08:00:00Z, 0s ago",
        ),
        (
            json!({"alg": "x"}),
            json!({"exp": NOW.seconds() + 1}),
            "expires: 2027-01-15T08:00:01Z, in 1s",
        ),
        (
            json!({"alg": "x", "jku": "https://evil"}),
            json!({}),
            "`jku` names a key of the token's own: ignored",
        ),
    ] {
        let segment = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.x", segment(&header), segment(&claims));
        let told = typed(&["inspect", &token]).await.unwrap();
        assert!(told.lines().any(|line| line == remark), "{remark} in {told}");
    }
}

#[test]
fn a_token_is_taken_as_it_is_copied() {
    for text in ["a.b.c", " a.b.c\n", "Bearer a.b.c", "Authorization: Bearer a.b.c"] {
        assert_eq!(read_token(text).unwrap().expose(), "a.b.c", "{text:?}");
    }
    for text in ["", " ", "Authorization:"] {
        assert!(read_token(text).is_err_and(|e| e.to_string() == "there is no token"), "{text:?}");
    }
}
