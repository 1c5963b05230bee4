//! `portcullis token mint`: signs a token with a local key, for tests.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::Exit;
use crate::cli::moment;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Length;
use crate::config::SecretRef;
use crate::config::Secrets;
use crate::jwt::Algorithm;
use crate::jwt::TokenSigner;
use crate::secret::Secret;

/// What `portcullis token mint` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
For tests: whoever holds a key that your gateway trusts can be anybody.

Examples:
  portcullis token keygen --private test.pem --jwks keys.json
  portcullis token mint --key test.pem --iss https://id.test --aud api --sub anna
  portcullis token mint --key test.pem --sub anna --ttl=-5m            one that has expired
  portcullis token mint --key test.pem --sub anna --claim 'scope=orders stock' --claim admin=true
  portcullis token mint --secret-file secret.txt --alg HS512 --claims '{\"sub\":{\"id\":7}}'")]
pub struct MintArgs {
    /// A private key in PEM form (PKCS#8; for RSA also PKCS#1)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "secret_file",
        required_unless_present = "secret_file"
    )]
    pub key: Option<PathBuf>,
    /// A shared secret; one line end at the end is left out, as the gateway does
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The algorithm [default: what fits the key; HS256 for a secret]
    #[arg(long, value_name = "NAME")]
    pub alg: Option<Algorithm>,
    /// The name of the key, for the token's header
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
    /// The type, for the token's header [default: JWT]
    #[arg(long, value_name = "TYPE")]
    pub typ: Option<String>,
    /// All claims as a JSON object; what the other options say is added or replaced
    #[arg(long, value_name = "JSON")]
    pub claims: Option<String>,
    /// The subject
    #[arg(long)]
    pub sub: Option<String>,
    /// The issuer
    #[arg(long)]
    pub iss: Option<String>,
    /// The audience; several become a list
    #[arg(long)]
    pub aud: Vec<String>,
    /// How long the token is good from now on; with a minus, since when it is not
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "5m")]
    pub ttl: String,
    /// Any claim; the value is JSON, or else a text; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub more: Vec<String>,
}

/// Prints the token.
pub(super) fn run(args: &MintArgs, clock: &Clock, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let signer = signer(args)?;
    let claims = claims(args, clock.now())?;
    let typ = args.typ.as_ref().map(|typ| ("typ".to_owned(), json!(typ)));
    let token = signer.sign(&typ.into_iter().collect(), &Value::Object(claims))?;
    writeln!(out, "{token}")?;
    Ok(Exit::Done)
}

fn signer(args: &MintArgs) -> anyhow::Result<TokenSigner> {
    match (&args.key, &args.secret_file) {
        (Some(key), _) => of_key(key, args),
        (None, Some(path)) => {
            let secret = read(path)?;
            let algorithm = args.alg.unwrap_or(Algorithm::Hs256);
            let secret = Secret::new(secret.expose().as_slice());
            Ok(TokenSigner::from_secret(secret, algorithm, args.kid.clone())?)
        }
        (None, None) => bail!("give --key or --secret-file"),
    }
}

fn of_key(path: &Path, args: &MintArgs) -> anyhow::Result<TokenSigner> {
    let bytes = read(path)?;
    let pem = std::str::from_utf8(bytes.expose()).ok().filter(|text| text.contains("PRIVATE KEY"));
    let Some(pem) = pem else {
        bail!("{}: not a private key in PEM form", path.display());
    };
    if let Some(algorithm) = args.alg {
        return TokenSigner::from_pem(pem, algorithm, args.kid.clone())
            .with_context(|| format!("{} and {algorithm}", path.display()));
    }
    let usual = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];
    usual
        .into_iter()
        .find_map(|algorithm| TokenSigner::from_pem(pem, algorithm, args.kid.clone()).ok())
        .with_context(|| format!("{}: no supported kind of key", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Secret<Vec<u8>>> {
    Ok(Secrets::new("").read(&SecretRef::File(path.to_string_lossy().into_owned()))?)
}

fn claims(args: &MintArgs, now: Timestamp) -> anyhow::Result<Map<String, Value>> {
    let mut claims: Map<String, Value> = match &args.claims {
        Some(text) => serde_json::from_str(text).context("--claims is not a JSON object")?,
        None => Map::new(),
    };
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    if let Some(iss) = &args.iss {
        set("iss", json!(iss));
    }
    if let Some(sub) = &args.sub {
        set("sub", json!(sub));
    }
    match args.aud.as_slice() {
        [] => {}
        [one] => _ = set("aud", json!(one)),
        several => _ = set("aud", json!(several)),
    }
    let expires = expiry(&args.ttl, now).context("--ttl: write 5m, 12h, or -5m")?;
    claims.entry("iat").or_insert_with(|| json!(now.seconds().min(expires.seconds())));
    claims.entry("exp").or_insert_with(|| json!(expires.seconds()));
    for claim in &args.more {
        let (name, value) = claim.split_once('=').context("--claim: write NAME=VALUE")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        claims.insert(name.to_owned(), value);
    }
    Ok(claims)
}

fn expiry(ttl: &str, now: Timestamp) -> Option<Timestamp> {
    if ttl.starts_with('-') {
        return moment::parse(ttl, now);
    }
    Length::parse(ttl).map(|length| now.plus(length.0))
}
