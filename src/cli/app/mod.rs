//! `portcullis app`: applications and their keys, in the store that a gateway reads.
//!
//! A running gateway follows within a second. A key is printed once, when it is made; what is kept
//! is its digest.

mod act;
mod print;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use self::act::Act;
use crate::clock::Clock;
use crate::config::{self, Findings, Length, Report, Settings};
use crate::server::StartError;
use crate::store::{AddressError, AppName, Scope, Store, StoreAddress};

/// Creates, lists, rotates and revokes applications and their keys.
#[derive(Debug, Args)]
pub struct AppArgs {
    /// The store, for example sqlite:portcullis.db, instead of the one that a configuration names
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = address)]
    pub store: Option<StoreAddress>,
    /// The configuration file that names the store
    #[arg(short, long, global = true, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    pub config: Option<PathBuf>,
    /// How to print: table for people, json for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: AppCommand,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// One JSON value for programs.
    Json,
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
    let address = match (&args.store, &args.config) {
        (Some(address), _) => address.clone(),
        (None, Some(config)) => store_of(config)?,
        (None, None) => bail!("which store? Give --store sqlite:PATH, or --config FILE"),
    };
    // Only the first act on a store may create it; a mistyped path must not look like an empty store.
    let store = match args.command {
        AppCommand::Create { .. } => Store::open(&address).await?,
        _ => Store::open_existing(&address).await?,
    };
    let done = Act { store: &store, now: clock.now(), output: args.output, out, err }
        .run(&args.command)
        .await;
    store.close().await;
    done
}

fn store_of(path: &Path) -> anyhow::Result<StoreAddress> {
    let file = path.display();
    let refused = |report| StartError::Config(Box::new(report));
    let loaded = config::load(path).map_err(refused)?;
    let mut findings = Findings::new();
    let settings = Settings::resolve(&loaded, &mut findings);
    let Some(settings) = settings.filter(|_| !findings.has_errors()) else {
        return Err(refused(Report::new(loaded.source, findings)).into());
    };
    let Some(store) = settings.store else {
        bail!("{file} names no store; its applications stand under `apps` and are changed there");
    };
    StoreAddress::try_from(&store).with_context(|| format!("store of {file}"))
}

fn address(text: &str) -> Result<StoreAddress, AddressError> {
    StoreAddress::parse(text)
}

fn name(text: &str) -> Result<AppName, &'static str> {
    AppName::parse(text).ok_or("a name has 1 to 64 printable characters")
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    Scope::parse(text).ok_or("a scope is one word of at most 64 visible ASCII characters")
}

fn length(text: &str) -> Result<Duration, &'static str> {
    Length::parse(text)
        .map(|length| length.0)
        .filter(|length| *length <= LONGEST)
        .ok_or("a length of time is written 12h or 90d, up to 36500d")
}

/// A century: within what every calendar can print.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

#[cfg(test)]
mod tests;
