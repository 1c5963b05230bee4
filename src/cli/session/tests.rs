//! `portcullis session` as it is typed.

use clap::CommandFactory;
use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::id::UserId;
use crate::store::{Login, NewSession, NewUser, StoreAddress, UserState};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    session: SessionArgs,
}

struct Shell(TempDir);

fn user(name: &str) -> NewUser {
    NewUser {
        id: UserId::new(format!("u_{name}")),
        login: Login::parse(name).unwrap(),
        state: UserState::Active,
        attributes: serde_json::Map::new(),
        unique: Vec::new(),
        permissions: Value::Null,
        password: None,
    }
}

impl Shell {
    /// Two users, three sessions: `s1` and `s2` of anna, `s2` and `s3` bound to an application.
    async fn new() -> Self {
        let shell = Self(tempfile::tempdir().unwrap());
        let store = Store::open(&StoreAddress::parse(&shell.address()).unwrap()).await.unwrap();
        for (session, user_name, app) in
            [("s1", "anna", None), ("s2", "anna", Some("web")), ("s3", "bert", Some("web"))]
        {
            let login = Login::parse(user_name).unwrap();
            let record = match store.find_user_by_login(&login).await.unwrap() {
                Some(record) => record,
                None => store.create_user(&user(user_name), NOW).await.unwrap(),
            };
            let new = NewSession {
                id: SessionId::new(session),
                user: record.id,
                revision: record.revision,
                app: app.map(AppId::new),
                dialect: "native".to_owned(),
                address: "192.0.2.1".parse().unwrap(),
                agent: "curl\u{1b}[31m/8".to_owned(),
                tokens_until: NOW.plus(Duration::from_hours(1)),
                refresh: None,
            };
            store.open_session(&new, 9, NOW).await.unwrap();
        }
        store.close().await;
        shell
    }

    fn address(&self) -> String {
        format!("sqlite:{}/p.db", self.0.path().display())
    }

    async fn run(&self, line: &[&str]) -> anyhow::Result<String> {
        let mut out = Vec::new();
        let address = self.address();
        let words = ["session"].into_iter().chain(line.iter().copied());
        let line = Line::try_parse_from(words.chain(["--store", &address]))?;
        run(&line.session, &Clock::manual(NOW), &mut out).await?;
        Ok(String::from_utf8(out)?)
    }

    async fn ids(&self, more: &[&str]) -> Vec<String> {
        let line = [&["list", "-o", "json"], more].concat();
        let list: Value = serde_json::from_str(&self.run(&line).await.unwrap()).unwrap();
        let ids = list.as_array().unwrap().iter();
        ids.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[tokio::test]
async fn sessions_are_listed_by_user_and_an_agent_cannot_steer_the_terminal() {
    let shell = Shell::new().await;
    assert_eq!(shell.ids(&[]).await, ["s1", "s2", "s3"]);
    for user in ["anna", "ANNA", "u_anna"] {
        assert_eq!(shell.ids(&["--user", user]).await, ["s1", "s2"], "{user}");
    }
    assert!(shell.run(&["list", "--user", "carl"]).await.is_err());
    let table = shell.run(&["list"]).await.unwrap();
    assert!(table.starts_with("ID  USER    APP  DIALECT"), "{table}");
    assert!(table.contains("192.0.2.1") && table.contains("curl[31m/8"), "{table}");
}

#[tokio::test]
async fn a_session_is_ended_by_id_and_those_of_an_application_together() {
    let shell = Shell::new().await;
    let said: Value =
        serde_json::from_str(&shell.run(&["revoke", "s3", "-o", "json"]).await.unwrap()).unwrap();
    assert_eq!(said, json!({"ended": ["s3"]}));
    assert_eq!(shell.ids(&[]).await, ["s1", "s2"]);
    let said = shell.run(&["revoke", "--app", "web"]).await.unwrap();
    assert_eq!(said, "ended 1 sessions of web\n");
    assert_eq!(shell.ids(&[]).await, ["s1"]);
    for line in [&["revoke"][..], &["revoke", "s9"], &["revoke", "s1", "--app", "web"], &["end"]] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
    assert_eq!(shell.ids(&[]).await, ["s1"]);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_made() {
    let shell = Shell(tempfile::tempdir().unwrap());
    for line in [&["list"][..], &["revoke", "s1"], &["revoke", "--app", "web"]] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
    assert!(!shell.0.path().join("p.db").exists());
}
