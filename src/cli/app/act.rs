//! The acts behind `portcullis app`, each one call of the store and what is told about it.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

use super::AppCommand;
use super::print::{app_json, secret_state, state};
use crate::cli::place::random;
use crate::cli::table::{Layout, day, moment, words, write_json, write_table};
use crate::clock::Timestamp;
use crate::credentials::AppKey;
use crate::id::AppId;
use crate::store::{AppName, AppRecord, NewApp, NewSecret, Scope, Store, StoreError};

/// One command about to be carried out.
pub(super) struct Act<'a> {
    pub(super) store: &'a Store,
    pub(super) now: Timestamp,
    pub(super) output: Layout,
    pub(super) out: &'a mut (dyn Write + Send),
    pub(super) err: &'a mut (dyn Write + Send),
}

impl Act<'_> {
    /// Carries the command out and prints what came of it.
    pub(super) async fn run(self, command: &AppCommand) -> anyhow::Result<()> {
        match command {
            AppCommand::Create { name, scopes, expires } => {
                self.create(name, scopes, *expires).await
            }
            AppCommand::List => self.list().await,
            AppCommand::Show { id } => self.show(&AppId::new(id.as_str())).await,
            AppCommand::Rotate { id, overlap, expires } => {
                self.rotate(&AppId::new(id.as_str()), *overlap, *expires).await
            }
            AppCommand::Revoke { id, secret } => {
                self.revoke(&AppId::new(id.as_str()), *secret).await
            }
        }
    }

    async fn create(
        self,
        name: &AppName,
        scopes: &[Scope],
        expires: Option<Duration>,
    ) -> anyhow::Result<()> {
        let id = AppKey::new_id(random()?);
        let key = AppKey::new(&id, &random()?);
        let secret = self.secret(&key, expires);
        let app = NewApp { id, name: name.clone(), scopes: scopes.to_vec(), secret };
        self.store.create_app(&app, self.now).await.with_context(|| format!("create {name}"))?;
        self.hand_out(&key, 1, secret.expires_at)
    }

    async fn rotate(
        self,
        id: &AppId,
        overlap: Option<Duration>,
        expires: Option<Duration>,
    ) -> anyhow::Result<()> {
        let key = AppKey::new(id, &random()?);
        let secret = self.secret(&key, expires);
        let old_until = overlap.map(|overlap| self.now.plus(overlap));
        let number = match self.store.rotate_app(id, &secret, old_until, self.now).await {
            Err(StoreError::TwoLiveSecrets) => bail!(
                "two keys of {id} are live; revoke one first: portcullis app revoke {id} --secret NUMBER"
            ),
            outcome => outcome.with_context(|| format!("rotate {id}"))?,
        };
        self.hand_out(&key, number, secret.expires_at)
    }

    async fn list(self) -> anyhow::Result<()> {
        let mut apps = Vec::new();
        loop {
            let page = self.store.list_apps(apps.last().map(|app: &AppRecord| &app.id)).await?;
            if page.is_empty() {
                break;
            }
            apps.extend(page);
        }
        let now = self.now;
        if self.output == Layout::Json {
            return write_json(self.out, &apps.iter().map(|app| app_json(app, now)).collect());
        }
        let rows = apps.iter().map(|app| {
            let live = app.secrets.iter().filter(|secret| secret.is_live(now)).count();
            let last_used = app.secrets.iter().filter_map(|secret| secret.last_used_at).max();
            vec![
                app.id.to_string(),
                app.name.clone(),
                state(app, now).to_owned(),
                live.to_string(),
                day(Some(app.created_at)),
                moment(last_used),
                words(&app.scopes),
            ]
        });
        let head = ["ID", "NAME", "STATE", "KEYS", "CREATED", "LAST USED", "SCOPES"];
        write_table(self.out, &head, rows)
    }

    async fn show(self, id: &AppId) -> anyhow::Result<()> {
        let app = self.store.show_app(id).await.with_context(|| format!("show {id}"))?;
        let now = self.now;
        if self.output == Layout::Json {
            return write_json(self.out, &app_json(&app, now));
        }
        writeln!(self.out, "id       {}", app.id)?;
        writeln!(self.out, "name     {}", app.name)?;
        writeln!(self.out, "state    {}", state(&app, now))?;
        writeln!(self.out, "scopes   {}", words(&app.scopes))?;
        writeln!(self.out, "created  {}", moment(Some(app.created_at)))?;
        writeln!(self.out)?;
        let rows = app.secrets.iter().map(|secret| {
            vec![
                secret.number.to_string(),
                secret_state(&app, secret, now).to_owned(),
                moment(Some(secret.created_at)),
                secret.expires_at.map_or_else(|| "never".to_owned(), |end| moment(Some(end))),
                moment(secret.last_used_at),
            ]
        });
        write_table(self.out, &["KEY", "STATE", "CREATED", "EXPIRES", "LAST USED"], rows)
    }

    async fn revoke(self, id: &AppId, secret: Option<u32>) -> anyhow::Result<()> {
        match secret {
            Some(number) => self.store.revoke_secret(id, number, self.now).await,
            None => self.store.revoke_app(id, self.now).await,
        }
        .with_context(|| format!("revoke {id}"))?;
        match (self.output, secret) {
            (Layout::Json, _) => {
                write_json(self.out, &json!({"id": id.as_str(), "number": secret}))
            }
            (Layout::Table, Some(n)) => Ok(writeln!(self.out, "revoked key {n} of {id}")?),
            (Layout::Table, None) => Ok(writeln!(self.out, "revoked {id} with all its keys")?),
        }
    }

    fn secret(&self, key: &AppKey, expires: Option<Duration>) -> NewSecret {
        NewSecret { digest: key.digest(), expires_at: expires.map(|after| self.now.plus(after)) }
    }

    /// Prints a fresh key: the only time it is seen outside the application that will present it.
    fn hand_out(
        self,
        key: &AppKey,
        number: u32,
        expires_at: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let text = key.text();
        match self.output {
            Layout::Json => write_json(
                self.out,
                &json!({
                    "id": key.id().as_str(),
                    "number": number,
                    "key": text.expose(),
                    "expires_at": expires_at.map(|end| moment(Some(end))),
                }),
            )?,
            Layout::Table => {
                writeln!(self.out, "id       {}", key.id())?;
                writeln!(self.out, "key      {}", text.expose())?;
                if let Some(end) = expires_at {
                    writeln!(self.out, "expires  {}", moment(Some(end)))?;
                }
            }
        }
        writeln!(
            self.err,
            "This is key {number} of {id}. It is shown once and kept nowhere: store it now.\n\
             Send it whole in one header; where id and secret are two headers, send {id} and the \
             whole key.",
            id = key.id(),
        )?;
        Ok(())
    }
}
