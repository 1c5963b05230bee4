//! Where the commands on applications, users, sessions and keys find the store and the master key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::table::Layout;
use crate::account::{MasterKey, PasswordCost, PasswordPolicy};
use crate::config::{self, Findings, Length, Report, SecretRef, Secrets, Settings};
use crate::id::UserId;
use crate::server::StartError;
use crate::store::{AddressError, Login, Store, StoreAddress, StoreError, UserRecord};

/// Where things are kept, and how they are printed.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The store, for example sqlite:portcullis.db, instead of the one that a configuration names
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = address)]
    pub store: Option<StoreAddress>,
    /// The configuration file that names the store [default: portcullis.yaml, without --store]
    #[arg(short, long, global = true, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    pub config: Option<PathBuf>,
    /// How to print: table for people, json for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Layout::Table)]
    pub output: Layout,
}

/// Where the key is that seals second factors and signing keys.
#[derive(Debug, Args)]
pub struct MasterArgs {
    /// The master key, `file:PATH` or `env:NAME`, instead of the one that a configuration names
    #[arg(long, value_name = "REFERENCE", value_parser = reference)]
    pub master: Option<SecretRef>,
}

impl PlaceArgs {
    /// Opens the store, creating it if there is none.
    pub(super) async fn create(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.address()?).await?)
    }

    /// Opens the store, which must be there.
    pub(super) async fn open(&self) -> anyhow::Result<Store> {
        Ok(Store::open_existing(&self.address()?).await?)
    }

    /// How the configuration has passwords judged and kept; as by default when none is named.
    pub(super) fn passwords(&self) -> anyhow::Result<(PasswordPolicy, PasswordCost)> {
        let Some(config) = self.config() else {
            return Ok((PasswordPolicy::default(), PasswordCost::DEFAULT));
        };
        let passwords = settings_of(config)?.passwords;
        let cost = PasswordCost::configured(&passwords)
            .with_context(|| format!("`passwords` of {}", config.display()))?;
        Ok((PasswordPolicy { min_length: passwords.min_length }, cost))
    }

    fn address(&self) -> anyhow::Result<StoreAddress> {
        match (&self.store, self.config()) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(config)) => store_of(config),
            (None, None) => bail!(
                "which store? There is no {USUAL} here; give --config FILE, or --store sqlite:PATH"
            ),
        }
    }

    /// The configuration that was named, or the usual one; but none beside a store that was named,
    /// which may be any gateway's.
    fn config(&self) -> Option<&Path> {
        let usual = || Some(Path::new(USUAL)).filter(|path| self.store.is_none() && path.exists());
        self.config.as_deref().or_else(usual)
    }
}

impl MasterArgs {
    /// Reads the master key: the one that is named, else that of the configuration.
    pub(super) fn read(&self, place: &PlaceArgs) -> anyhow::Result<MasterKey> {
        let text = match (&self.master, place.config()) {
            (Some(reference), _) => Secrets::new(".").read(reference),
            (None, Some(config)) => {
                let Some(reference) = settings_of(config)?.master else {
                    bail!("{} has no `secrets.master`; or give --master", config.display());
                };
                // As for the gateway: beside the configuration.
                Secrets::new(config.parent().unwrap_or(Path::new("."))).read(&reference)
            }
            (None, None) => bail!("which master key? Give --master file:PATH, or --config FILE"),
        };
        MasterKey::parse(text.context("master key")?.expose()).context("master key")
    }
}

fn store_of(path: &Path) -> anyhow::Result<StoreAddress> {
    let file = path.display();
    let Some(store) = settings_of(path)?.store else {
        bail!("{file} names no store; its applications stand under `apps` and are changed there");
    };
    StoreAddress::try_from(&store).with_context(|| format!("store of {file}"))
}

fn settings_of(path: &Path) -> anyhow::Result<Settings> {
    let refused = |report| StartError::Config(Box::new(report));
    let loaded = config::load(path).map_err(refused)?;
    let mut findings = Findings::new();
    let settings = Settings::resolve(&loaded, &mut findings);
    let Some(settings) = settings.filter(|_| !findings.has_errors()) else {
        return Err(refused(Report::new(loaded.source, findings)).into());
    };
    Ok(settings)
}

/// The user with this id, or else the one who signs in under this name.
pub(super) async fn find_user(store: &Store, user: &str) -> anyhow::Result<UserRecord> {
    match store.show_user(&UserId::new(user)).await {
        Err(StoreError::NotFound) => {}
        found => return Ok(found?),
    }
    let by_login = match Login::parse(user) {
        Some(login) => store.find_user_by_login(&login).await?,
        None => None,
    };
    by_login.with_context(|| format!("there is no user {user}"))
}

/// Reads a length of time up to a century, within what every calendar can print.
pub(super) fn length(text: &str) -> Result<Duration, &'static str> {
    Length::parse(text)
        .map(|length| length.0)
        .filter(|length| *length <= LONGEST)
        .ok_or("a length of time is written 12h or 90d, up to 36500d")
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).context("no random bytes from the system")?;
    Ok(bytes)
}

fn address(text: &str) -> Result<StoreAddress, AddressError> {
    StoreAddress::parse(text)
}

fn reference(text: &str) -> Result<SecretRef, &'static str> {
    SecretRef::parse(text).ok_or("a secret is named file:PATH or env:NAME")
}

/// Where a configuration is sought when none is named.
const USUAL: &str = "portcullis.yaml";
const LONGEST: Duration = Duration::from_hours(24 * 36_500);
