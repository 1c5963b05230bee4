//! `portcullis user totp`: a seed and recovery codes, printed once.

use anyhow::{Context, bail};
use serde_json::json;

use super::act::Act;
use crate::account::{Purpose, RECOVERY_CODES, RecoveryCode, Totp};
use crate::cli::place::{MasterArgs, random};
use crate::cli::table::{Layout, write_json};
use crate::store::UserRecord;

impl Act<'_, '_> {
    /// Puts a new seed in force, with fresh recovery codes.
    pub(super) async fn enrol(
        self,
        user: &UserRecord,
        issuer: &str,
        master: &MasterArgs,
    ) -> anyhow::Result<()> {
        if user.has_totp {
            bail!(
                "{login} has a second factor; take it away first: portcullis user totp {login} --remove",
                login = user.login
            );
        }
        let totp = Totp::new(random()?);
        let sealed = master.read(self.place)?.seal(
            Purpose::TotpSeed,
            user.id.as_str(),
            totp.seed().expose(),
        )?;
        let codes = (0..RECOVERY_CODES)
            .map(|_| random().map(|bytes| RecoveryCode::new(&bytes)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let digests: Vec<_> = codes.iter().map(RecoveryCode::digest).collect();
        // The codes first: a factor in force without them could lock its user out.
        self.store
            .set_recovery_codes(&user.id, &digests, self.now)
            .await
            .context("recovery codes")?;
        self.store
            .set_totp(&user.id, &sealed, true, self.now)
            .await
            .with_context(|| format!("second factor of {}", user.login))?;

        let address = totp.address(issuer, user.login.as_str());
        let codes: Vec<&str> = codes.iter().map(|code| *code.text().expose()).collect();
        match self.place.output {
            Layout::Json => write_json(
                self.out,
                &json!({
                    "id": user.id.as_str(),
                    "login": user.login.as_str(),
                    "seed": totp.seed_text().expose().as_str(),
                    "address": address.expose().as_str(),
                    "recovery_codes": codes,
                }),
            )?,
            Layout::Table => {
                writeln!(self.out, "seed     {}", totp.seed_text().expose().as_str())?;
                writeln!(self.out, "address  {}", address.expose().as_str())?;
                for code in codes {
                    writeln!(self.out, "code     {code}")?;
                }
            }
        }
        writeln!(
            self.err,
            "This is shown once: hand it to {} now. Each code stands in once for a lost app.",
            user.login
        )?;
        Ok(())
    }

    /// Takes the second factor away.
    pub(super) async fn remove_totp(self, user: &UserRecord) -> anyhow::Result<()> {
        self.store
            .remove_totp(&user.id, self.now)
            .await
            .with_context(|| format!("second factor of {}", user.login))?;
        self.tell(user, "second factor removed")
    }
}
