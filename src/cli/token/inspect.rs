//! `portcullis token inspect`: what stands in a token, unverified.

use std::io::Write;

use anyhow::Context;
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::read_token;
use crate::cli::Exit;
use crate::cli::Output;
use crate::cli::moment;
use crate::clock::Clock;
use crate::clock::Timestamp;

/// What `portcullis token inspect` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Nothing is verified: anybody can write such a token. `portcullis token verify` says whether it is good.

Examples:
  portcullis token inspect eyJhbGciOi…
  pbpaste | portcullis token inspect -        keeps the token out of the process list")]
pub struct InspectArgs {
    /// The token; `-` reads it from standard input
    pub token: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Prints header and claims.
pub(super) fn run(args: &InspectArgs, clock: &Clock, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let token = read_token(&args.token)?;
    let (header, claims) = read(token.expose())?;
    let remarks = remarks(&header, &claims, clock.now());
    match args.output {
        Output::Json => {
            let told = json!({
                "verified": false, "header": header, "claims": claims, "remarks": remarks,
            });
            writeln!(out, "{told:#}")?;
        }
        Output::Text => {
            writeln!(
                out,
                "NOT VERIFIED: anybody can write this. `portcullis token verify` checks it."
            )?;
            writeln!(out, "\nheader {header:#}\n\nclaims {claims:#}\n")?;
            remarks.iter().try_for_each(|remark| writeln!(out, "{remark}"))?;
        }
    }
    Ok(Exit::Done)
}

fn read(token: &str) -> anyhow::Result<(Value, Value)> {
    let segments: Vec<&str> = token.split('.').collect();
    match segments.as_slice() {
        [header, claims, _signature] => {
            Ok((segment("header", header)?, segment("claims", claims)?))
        }
        [_, _, _, _, _] => bail!("this token is encrypted (JWE): only its recipient can read it"),
        segments => bail!("this is no JWT: it has {} parts instead of 3", segments.len()),
    }
}

fn segment(name: &str, text: &str) -> anyhow::Result<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let bytes = bytes.with_context(|| format!("the {name} is not base64url"))?;
    let value: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("the {name} is not JSON"))?;
    if !value.is_object() {
        bail!("the {name} is not a JSON object");
    }
    Ok(value)
}

/// What the times mean today, and what a verifier would stumble over.
fn remarks(header: &Value, claims: &Value, now: Timestamp) -> Vec<String> {
    let mut remarks = Vec::new();
    let times = [("iat", "issued"), ("nbf", "not before"), ("exp", "expires")];
    for (name, word) in times {
        match claims.get(name).map(|value| (value, seconds(value))) {
            Some((_, Some(at))) => {
                let word = if name == "exp" && at <= now { "EXPIRED" } else { word };
                let distance = moment::distance(at, now);
                remarks.push(format!("{word}: {}, {distance}", moment::civil(at)));
            }
            Some((_, None)) => remarks.push(format!("`{name}` is not a number: refused")),
            None if name == "exp" => {
                remarks.push("no `exp`: refused, it would never expire".into())
            }
            None => {}
        }
    }
    match header.get("alg").and_then(Value::as_str) {
        Some(none) if none.eq_ignore_ascii_case("none") => {
            remarks.push("`alg` is none: unsigned, refused".into());
        }
        Some(_) => {}
        None => remarks.push("no `alg`: refused".into()),
    }
    for name in ["jwk", "jku", "x5c", "x5u"] {
        if header.get(name).is_some() {
            remarks.push(format!("`{name}` names a key of the token's own: ignored"));
        }
    }
    remarks
}

#[expect(clippy::as_conversions, reason = "shown to people only; saturates")]
#[expect(clippy::cast_possible_truncation, reason = "a fraction of a second is not shown")]
fn seconds(value: &Value) -> Option<Timestamp> {
    value.as_f64().map(|seconds| Timestamp::from_seconds(seconds as i64))
}
