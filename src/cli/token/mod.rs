//! `portcullis token`: looking into tokens, verifying them, signing some for tests.

mod inspect;
mod keygen;
mod mint;
mod verify;

use std::io::Read;
use std::io::Write;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use clap::Subcommand;

use super::Exit;
use crate::clock::Clock;
use crate::secret::Secret;

/// Looks into tokens, verifies them, and signs tokens for tests.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Show header and claims WITHOUT verifying anything
    Inspect(inspect::InspectArgs),
    /// Say whether a configuration accepts a token, and why not
    Verify(verify::VerifyArgs),
    /// Sign a token, for tests
    Mint(mint::MintArgs),
    /// Make a key pair for `mint`, and the key set that verifies what it signs
    Keygen(keygen::KeygenArgs),
}

/// Runs the command.
pub async fn run(
    args: TokenArgs,
    clock: &Clock,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<Exit> {
    match args.command {
        TokenCommand::Inspect(args) => inspect::run(&args, clock, out),
        TokenCommand::Verify(args) => verify::run(&args, clock, out).await,
        TokenCommand::Mint(args) => mint::run(&args, clock, out),
        TokenCommand::Keygen(args) => keygen::run(&args, out, err),
    }
}

/// The token that was given: the argument itself, or what stands on standard input.
fn read_token(argument: &str) -> anyhow::Result<Secret<String>> {
    let mut text = String::new();
    if argument == "-" {
        let input = std::io::stdin();
        input.take(MOST_INPUT).read_to_string(&mut text).context("read standard input")?;
    } else {
        argument.clone_into(&mut text);
    }
    // As it is copied out of a request.
    let text = text.trim();
    let text = text.strip_prefix("Authorization:").unwrap_or(text).trim_start();
    let text = text.strip_prefix("Bearer ").unwrap_or(text).trim_start();
    if text.is_empty() {
        bail!("there is no token");
    }
    Ok(Secret::new(text.to_owned()))
}

/// Bytes of a token that are read from standard input.
const MOST_INPUT: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
