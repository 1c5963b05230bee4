//! `portcullis token keygen`: a key pair for tests, and the key set that belongs to it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::cli::Exit;
use crate::jwt::Algorithm;
use crate::jwt::TokenSigner;

/// What `portcullis token keygen` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  portcullis token keygen --private test.pem --jwks keys.json
Then, in the configuration:
  user: { jwt: [ { issuer: https://id.test, audience: api, algorithms: [EdDSA], jwks: \"file:keys.json\" } ] }
And a token for it:
  portcullis token mint --key test.pem --iss https://id.test --aud api --sub anna")]
pub struct KeygenArgs {
    /// The algorithm
    #[arg(long, value_name = "NAME", default_value = "EdDSA")]
    pub alg: Algorithm,
    /// The name of the key, for tokens and the key set
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
    /// Where the private key is written; a file that is already there stays as it is
    #[arg(long, value_name = "FILE")]
    pub private: PathBuf,
    /// Where the key set is written [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
}

/// Makes the pair and writes its two halves.
pub(super) fn run(
    args: &KeygenArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let pem = TokenSigner::generate_pem(args.alg)?;
    let signer = TokenSigner::from_pem(pem.expose(), args.alg, args.kid.clone())?;
    let set = format!("{:#}\n", json!({ "keys": [signer.public_jwk()] }));
    write_new(&args.private, pem.expose(), 0o600)?;
    match &args.jwks {
        Some(path) => write_new(path, &set, 0o644)?,
        None => out.write_all(set.as_bytes())?,
    }
    writeln!(err, "wrote the private key to {}; keep it to yourself", args.private.display())?;
    Ok(Exit::Done)
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
