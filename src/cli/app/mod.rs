//! `portcullis app`: applications and their keys, in the store that a gateway reads.
//!
//! A running gateway follows within a second. A key is printed once, when it is made; what is kept
//! is its digest.

mod act;
mod print;

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::act::Act;
use super::place::{PlaceArgs, length};
use crate::clock::Clock;
use crate::store::{AppName, Scope};

/// Creates, lists, rotates and revokes applications and their keys.
#[derive(Debug, Args)]
pub struct AppArgs {
    /// Where they are kept.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: AppCommand,
}

/// What to do with applications.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Create an application and print its first key, once
    Create {
        /// A name for people, which no other live application has
        #[arg(value_parser = name)]
        name: AppName,
        /// What it may be used for; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
        scopes: Vec<Scope>,
        /// How long the key is good, for example 90d; for ever by default
        #[arg(long, value_name = "TIME", value_parser = length)]
        expires: Option<Duration>,
    },
    /// List all applications, oldest first
    List,
    /// Show one application and its keys
    Show {
        /// The public id
        id: String,
    },
    /// Add a second key and print it, once; the old one stays good until it is revoked
    Rotate {
        /// The public id
        id: String,
        /// Let the old key expire after this time, for example 7d; 0s ends it at once
        #[arg(long, value_name = "TIME", value_parser = length)]
        overlap: Option<Duration>,
        /// How long the new key is good, for example 90d; for ever by default
        #[arg(long, value_name = "TIME", value_parser = length)]
        expires: Option<Duration>,
    },
    /// Revoke an application with all its keys, or one key of it; for good
    Revoke {
        /// The public id
        id: String,
        /// Only the key with this number, as `show` prints it
        #[arg(long, value_name = "NUMBER")]
        secret: Option<u32>,
    },
}

/// Runs the command; results go to `out`, notices to people go to `err`.
pub async fn run(
    args: &AppArgs,
    clock: &Clock,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    // Only the first act on a store may create it; a mistyped path must not look like an empty store.
    let store = match args.command {
        AppCommand::Create { .. } => args.place.create().await?,
        _ => args.place.open().await?,
    };
    let done = Act { store: &store, now: clock.now(), output: args.place.output, out, err }
        .run(&args.command)
        .await;
    store.close().await;
    done
}

fn name(text: &str) -> Result<AppName, &'static str> {
    AppName::parse(text).ok_or("a name has 1 to 64 printable characters")
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    Scope::parse(text).ok_or("a scope is one word of at most 64 visible ASCII characters")
}

#[cfg(test)]
mod tests;
