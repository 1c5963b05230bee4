//! `portcullis session`: who is signed in where, and an end to it.
//!
//! A running gateway refuses the tokens of an ended session within a second.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::place::{PlaceArgs, find_user};
use super::table::{Layout, moment, write_json, write_table};
use crate::clock::{Clock, Timestamp};
use crate::id::{AppId, SessionId};
use crate::store::{EndReason, SessionRecord, Store, StoreError};

/// Lists and ends sessions.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// Where they are kept.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: SessionCommand,
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the sessions that are not over, oldest first
    List {
        /// Only those of this user: an id, or the name to sign in with
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// End one session, or all of an application; `user logout` ends those of a user
    Revoke {
        /// The session, as `list` prints it
        #[arg(required_unless_present_any = ["app", "token"])]
        id: Option<String>,
        /// All sessions that are bound to this application
        #[arg(long, value_name = "ID", conflicts_with = "id")]
        app: Option<String>,
        /// One token by the `jti` among its claims; its session goes on
        #[arg(long, value_name = "JTI", conflicts_with_all = ["id", "app"])]
        token: Option<String>,
    },
}

/// Runs the command; results go to `out`.
pub async fn run(
    args: &SessionArgs,
    clock: &Clock,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let store = args.place.open().await?;
    let act = Act { store: &store, now: clock.now(), output: args.place.output, out };
    let done = match &args.command {
        SessionCommand::List { user } => act.list(user.as_deref()).await,
        SessionCommand::Revoke { app: Some(app), .. } => act.revoke_app(app).await,
        SessionCommand::Revoke { token: Some(jti), .. } => act.revoke_token(jti).await,
        SessionCommand::Revoke { id, .. } => act.revoke(id.as_deref().unwrap_or_default()).await,
    };
    store.close().await;
    done
}

struct Act<'a> {
    store: &'a Store,
    now: Timestamp,
    output: Layout,
    out: &'a mut (dyn Write + Send),
}

impl Act<'_> {
    async fn list(self, user: Option<&str>) -> anyhow::Result<()> {
        let user = match user {
            Some(user) => Some(find_user(self.store, user).await?.id),
            None => None,
        };
        let mut sessions = Vec::new();
        loop {
            let last = sessions.last().map(|session: &SessionRecord| &session.id);
            let page = self.store.list_sessions(user.as_ref(), last, self.now).await?;
            if page.is_empty() {
                break;
            }
            sessions.extend(page);
        }
        match self.output {
            Layout::Json => write_json(self.out, &sessions.iter().map(session_json).collect()),
            Layout::Table => write_sessions(self.out, &sessions),
        }
    }

    async fn revoke(self, id: &str) -> anyhow::Result<()> {
        let session = SessionId::new(id);
        match self.store.end_session(&session, None, EndReason::Operator, self.now).await {
            Err(StoreError::NotFound) => bail!("there is no session {id}"),
            outcome => outcome.with_context(|| format!("end {id}"))?,
        }
        match self.output {
            Layout::Json => write_json(self.out, &json!({"ended": [id]})),
            Layout::Table => Ok(writeln!(self.out, "ended {id}")?),
        }
    }

    async fn revoke_token(self, jti: &str) -> anyhow::Result<()> {
        // The store does not know what it would expire at: none lives longer than this.
        let until = self.now.plus(LONGEST_LIFE);
        self.store
            .revoke_token(jti, until, self.now)
            .await
            .with_context(|| format!("end {jti}"))?;
        match self.output {
            Layout::Json => write_json(self.out, &json!({"ended": [jti]})),
            Layout::Table => Ok(writeln!(self.out, "ended the token {jti}")?),
        }
    }

    async fn revoke_app(self, app: &str) -> anyhow::Result<()> {
        let ended = self
            .store
            .end_sessions_of_app(&AppId::new(app), EndReason::Operator, self.now)
            .await
            .with_context(|| format!("end the sessions of {app}"))?;
        let ids: Vec<_> = ended.iter().map(SessionId::as_str).collect();
        match self.output {
            Layout::Json => write_json(self.out, &json!({"ended": ids})),
            Layout::Table => Ok(writeln!(self.out, "ended {} sessions of {app}", ids.len())?),
        }
    }
}

fn session_json(session: &SessionRecord) -> Value {
    let instant = |at: Option<Timestamp>| at.map(|at| moment(Some(at)));
    json!({
        "id": session.id.as_str(),
        "user": session.user.as_str(),
        "app": session.app.as_ref().map(AppId::as_str),
        "dialect": session.dialect,
        "address": session.address,
        "agent": session.agent,
        "created_at": instant(Some(session.created_at)),
        "refreshed_at": instant(session.refreshed_at),
        "tokens_until": instant(Some(session.tokens_until)),
        "refresh_until": instant(session.refresh_until),
    })
}

fn write_sessions(out: &mut dyn Write, sessions: &[SessionRecord]) -> anyhow::Result<()> {
    let rows = sessions.iter().map(|session| {
        vec![
            session.id.to_string(),
            session.user.to_string(),
            session.app.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            session.dialect.clone(),
            session.address.to_string(),
            moment(Some(session.created_at)),
            moment(session.refresh_until.max(Some(session.tokens_until))),
            // What a program calls itself may hold anything; a terminal must not obey it.
            session.agent.chars().filter(|c| !c.is_control()).take(40).collect(),
        ]
    });
    let head = ["ID", "USER", "APP", "DIALECT", "ADDRESS", "OPENED", "UNTIL", "AGENT"];
    write_table(out, &head, rows)
}

/// What a login service may be configured to make tokens good for.
const LONGEST_LIFE: Duration = Duration::from_hours(400 * 24);

#[cfg(test)]
mod tests;
