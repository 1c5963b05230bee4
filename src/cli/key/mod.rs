//! `portcullis key`: the keys that sign the tokens of the gateway's own login services.
//!
//! A running gateway follows within a second. Private keys are sealed with the master key and never
//! shown.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::place::{MasterArgs, PlaceArgs, length};
use super::table::{Layout, moment, write_json, write_table};
use crate::account::new_signing_key;
use crate::clock::{Clock, Timestamp};
use crate::jwt::Algorithm;
use crate::store::{SigningKeyRecord, Store, StoreError};

/// Lists, rotates and retires signing keys.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A gateway makes the first key of a family when it starts. A rotation in two steps, after which
nobody is signed out:
  portcullis key rotate native -c portcullis.yaml
  portcullis key retire OLD --verifies-for 365d -c portcullis.yaml

The second step can be taken as soon as the new key signs. The first key of a family, before
any gateway ran, is made with its algorithm named:
  portcullis key rotate native --algorithm EdDSA -c portcullis.yaml")]
pub struct KeyArgs {
    /// Where they are kept.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List all signing keys, oldest first
    List,
    /// Make a new key for a family of dialects; the old ones go on verifying
    Rotate {
        /// The family, for example native
        #[arg(value_parser = family)]
        family: String,
        /// The algorithm [default: that of the family's latest key]
        #[arg(long, value_name = "NAME")]
        algorithm: Option<Algorithm>,
        /// Publish the key for so long before it signs, for services that fetch key sets; the first
        /// key of a family signs at once
        #[arg(long, value_name = "TIME", value_parser = length, default_value = "10m")]
        after: Duration,
        /// The key that seals it.
        #[command(flatten)]
        master: MasterArgs,
    },
    /// Have a key sign nothing more, and end what it signed after a time
    Retire {
        /// The key, as `list` prints it
        kid: String,
        /// For how long what it signed is still believed: as long as its tokens live, or 0s
        #[arg(long, value_name = "TIME", value_parser = length)]
        verifies_for: Duration,
    },
}

/// Runs the command; results go to `out`, notices to people go to `err`.
pub async fn run(
    args: &KeyArgs,
    clock: &Clock,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    // Only the first act on a store may create it; a mistyped path must not look like an empty store.
    let store = match args.command {
        KeyCommand::Rotate { .. } => args.place.create().await?,
        _ => args.place.open().await?,
    };
    let act = Act { store: &store, place: &args.place, now: clock.now(), out, err };
    let done = act.run(&args.command).await;
    store.close().await;
    done
}

struct Act<'a> {
    store: &'a Store,
    place: &'a PlaceArgs,
    now: Timestamp,
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
}

impl Act<'_> {
    async fn run(self, command: &KeyCommand) -> anyhow::Result<()> {
        match command {
            KeyCommand::List => self.list().await,
            KeyCommand::Rotate { family, algorithm, after, master } => {
                self.rotate(family, *algorithm, *after, master).await
            }
            KeyCommand::Retire { kid, verifies_for } => self.retire(kid, *verifies_for).await,
        }
    }

    async fn list(self) -> anyhow::Result<()> {
        let keys = self.store.signing_keys().await?;
        if self.place.output == Layout::Json {
            let keys = keys.iter().map(|key| key_json(key, &keys, self.now));
            return write_json(self.out, &keys.collect());
        }
        let rows = keys.iter().map(|key| {
            vec![
                key.kid.clone(),
                key.family.clone(),
                key.algorithm.clone(),
                state(key, &keys, self.now).to_owned(),
                moment(Some(key.created_at)),
                moment(Some(key.signs_from)),
                moment(key.verifies_until),
            ]
        });
        let head =
            ["KID", "FAMILY", "ALGORITHM", "STATE", "CREATED", "SIGNS FROM", "VERIFIES UNTIL"];
        write_table(self.out, &head, rows)
    }

    async fn rotate(
        self,
        family: &str,
        algorithm: Option<Algorithm>,
        after: Duration,
        master: &MasterArgs,
    ) -> anyhow::Result<()> {
        let keys = self.store.signing_keys().await?;
        let latest = keys.iter().rfind(|key| key.family == family);
        let algorithm = match (algorithm, latest) {
            (Some(algorithm), _) => algorithm,
            (None, Some(key)) => {
                key.algorithm.parse().with_context(|| format!("algorithm of {}", key.kid))?
            }
            (None, None) => {
                bail!("{family} has no key yet; name its algorithm, for example --algorithm EdDSA")
            }
        };
        let has_signer = keys.iter().any(|key| key.family == family && key.may_sign(self.now));
        let signs_from = if has_signer { self.now.plus(after) } else { self.now };
        let key = new_signing_key(&master.read(self.place)?, family, algorithm, signs_from)?;
        self.store
            .add_signing_key(&key, self.now)
            .await
            .with_context(|| format!("rotate the key of {family}"))?;
        match self.place.output {
            Layout::Json => write_json(
                self.out,
                &json!({
                    "kid": key.kid,
                    "family": family,
                    "algorithm": key.algorithm,
                    "signs_from": moment(Some(signs_from)),
                }),
            )?,
            Layout::Table => {
                writeln!(self.out, "kid         {}", key.kid)?;
                writeln!(self.out, "family      {family}")?;
                writeln!(self.out, "algorithm   {}", key.algorithm)?;
                writeln!(self.out, "signs from  {}", moment(Some(signs_from)))?;
            }
        }
        let old = keys.iter().filter(|key| key.family == family && key.retired_at.is_none());
        for old in old {
            writeln!(
                self.err,
                "{old} goes on verifying; once {new} signs: portcullis key retire {old} --verifies-for TIME",
                old = old.kid,
                new = key.kid,
            )?;
        }
        Ok(())
    }

    async fn retire(self, kid: &str, verifies_for: Duration) -> anyhow::Result<()> {
        let until = self.now.plus(verifies_for);
        match self.store.retire_signing_key(kid, until, self.now).await {
            Err(StoreError::NotFound) => bail!("there is no signing key {kid}"),
            Err(StoreError::LastKey) => bail!(
                "{kid} is the only key of its family that signs; rotate first, and wait until the new key signs"
            ),
            outcome => outcome.with_context(|| format!("retire {kid}"))?,
        }
        let until = moment(Some(until));
        match self.place.output {
            Layout::Json => write_json(self.out, &json!({"kid": kid, "verifies_until": until})),
            Layout::Table => Ok(writeln!(self.out, "retired {kid}; it verifies until {until}")?),
        }
    }
}

fn key_json(key: &SigningKeyRecord, keys: &[SigningKeyRecord], now: Timestamp) -> Value {
    let instant = |at: Option<Timestamp>| at.map(|at| moment(Some(at)));
    json!({
        "kid": key.kid,
        "family": key.family,
        "algorithm": key.algorithm,
        "state": state(key, keys, now),
        "created_at": instant(Some(key.created_at)),
        "signs_from": instant(Some(key.signs_from)),
        "retired_at": instant(key.retired_at),
        "verifies_until": instant(key.verifies_until),
        "public": key.public,
    })
}

/// Of the keys of a family that may sign, the latest does.
fn state(key: &SigningKeyRecord, keys: &[SigningKeyRecord], now: Timestamp) -> &'static str {
    let signer = keys.iter().rfind(|other| other.family == key.family && other.may_sign(now));
    if !key.verifies(now) {
        "retired"
    } else if signer.is_some_and(|signer| signer.kid == key.kid) {
        "signs"
    } else if key.retired_at.is_none() && now < key.signs_from {
        "waits"
    } else {
        "verifies"
    }
}

fn family(text: &str) -> Result<String, &'static str> {
    let is_name = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_name { Ok(text.to_owned()) } else { Err("a family is one word, such as native") }
}

#[cfg(test)]
mod tests;
