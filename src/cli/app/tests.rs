//! `portcullis app` as it is typed: words in, two streams out.

use clap::CommandFactory;
use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::credentials::{Shape, shape};
use crate::id::Digest;
use crate::store::{Store, StoreAddress};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    app: AppArgs,
}

struct Shell {
    folder: TempDir,
    clock: Clock,
}

/// What a command wrote to its two streams.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::manual(NOW) }
    }

    fn store(&self) -> String {
        format!("sqlite:{}/p.db", self.folder.path().display())
    }

    async fn run(&self, line: &[&str]) -> anyhow::Result<Said> {
        let store = ["--store".to_owned(), self.store()];
        let line = line.iter().map(|&word| word.to_owned());
        let words = std::iter::once("app".to_owned()).chain(line).chain(store);
        self.run_words(words).await
    }

    async fn run_words(&self, words: impl Iterator<Item = String>) -> anyhow::Result<Said> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let line = Line::try_parse_from(words)?;
        run(&line.app, &self.clock, &mut out, &mut err).await?;
        Ok(Said { out: String::from_utf8(out)?, err: String::from_utf8(err)? })
    }

    async fn json(&self, line: &[&str]) -> Value {
        let line: Vec<_> = line.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.run(&line).await.unwrap().out).unwrap()
    }

    async fn is_revoked(&self, key: &Value) -> bool {
        let store = Store::open(&StoreAddress::parse(&self.store()).unwrap()).await.unwrap();
        let digest = Digest::of(key.as_str().unwrap().as_bytes());
        store.find_secret(&digest).await.unwrap().unwrap().is_revoked
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[tokio::test]
async fn a_created_key_is_printed_once_and_known_to_the_store() {
    let shell = Shell::new();
    let line = ["create", "mobile", "--scope", "orders", "--scope", "stock", "--expires", "90d"];
    let said = shell.run(&line).await.unwrap();
    let lines: Vec<_> = said.out.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let (id, key) = (lines[0].1.trim(), lines[1].1.trim());
    assert_eq!(shape(key), Shape::Ours { id });
    assert_eq!(lines[2].1.trim(), "2027-04-15T08:00:00Z");
    assert!(said.err.contains("shown once") && !said.err.contains(key), "{}", said.err);

    for line in [&["list"][..], &["show", id], &["list", "-o", "json"], &["show", id, "-o", "json"]]
    {
        let said = shell.run(line).await.unwrap();
        let (_, tail) = key.rsplit_once('_').unwrap();
        assert!(said.out.contains(id) && !said.out.contains(tail), "{line:?} {}", said.out);
        assert!(said.out.contains("mobile") && said.out.contains("orders"), "{}", said.out);
    }
}

#[tokio::test]
async fn an_application_is_rotated_and_its_old_key_revoked() {
    let shell = Shell::new();
    let first = shell.json(&["create", "mobile"]).await;
    let id = text(&first["id"]);
    assert_eq!((&first["number"], &first["expires_at"]), (&json!(1), &Value::Null));
    let second = shell.json(&["rotate", id, "--overlap", "7d", "--expires", "90d"]).await;
    assert_eq!(second["number"], 2);
    let shown = shell.json(&["show", id]).await;
    assert_eq!(shown["keys"][0]["expires_at"], "2027-01-22T08:00:00Z");
    assert_eq!(shown["keys"][1]["expires_at"], second["expires_at"]);
    let third = shell.run(&["rotate", id]).await.unwrap_err().to_string();
    assert!(third.contains("--secret NUMBER"), "{third}");

    assert_eq!(shell.json(&["revoke", id, "--secret", "1"]).await["number"], 1);
    assert!(shell.is_revoked(&first["key"]).await && !shell.is_revoked(&second["key"]).await);
    shell.run(&["revoke", id]).await.unwrap();
    assert!(shell.is_revoked(&second["key"]).await);
    assert_eq!(shell.json(&["show", id]).await["state"], "revoked");
    assert!(shell.run(&["rotate", id]).await.is_err());
}

#[tokio::test]
async fn a_key_that_ran_out_is_shown_as_expired() {
    let shell = Shell::new();
    let app = shell.json(&["create", "mobile", "--expires", "1d"]).await;
    assert_eq!(shell.json(&["list"]).await[0]["state"], "live");
    shell.clock.advance(Duration::from_hours(24));
    let shown = shell.json(&["show", text(&app["id"])]).await;
    assert_eq!(
        (&shown["state"], &shown["keys"][0]["state"]),
        (&json!("no live key"), &json!("expired"))
    );
}

#[tokio::test]
async fn the_table_is_aligned() {
    let shell = Shell::new();
    shell.run(&["create", "Bücher"]).await.unwrap();
    shell.run(&["create", "a much longer name"]).await.unwrap();
    let said = shell.run(&["list"]).await.unwrap();
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID            NAME                STATE"), "{}", said.out);
    assert!(lines[1].contains("Bücher              live"), "{}", said.out);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_and_makes_no_store() {
    let shell = Shell::new();
    for line in [&["list"][..], &["show", "x"], &["rotate", "x"], &["revoke", "x"]] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
    assert_eq!(std::fs::read_dir(shell.folder.path()).unwrap().count(), 0);
    shell.run(&["create", "mobile"]).await.unwrap();
    for line in [&["show", "x"][..], &["rotate", "x"], &["revoke", "x"], &["create", "mobile"]] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
}

#[tokio::test]
async fn words_that_mean_nothing_are_refused_before_any_act() {
    let shell = Shell::new();
    for line in [
        &["create"][..],
        &["create", ""],
        &["create", "a\nb"],
        &["create", "m", "--scope", "a b"],
        &["create", "m", "--expires", "90"],
        &["create", "m", "--expires", "36501d"],
        &["revoke", "x", "--secret", "one"],
        &["list", "--output", "xml"],
    ] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
    let no_store = ["app", "list"].map(str::to_owned);
    let error = shell.run_words(no_store.into_iter()).await.unwrap_err().to_string();
    assert!(error.contains("--store sqlite:PATH"), "{error}");
}

#[tokio::test]
async fn the_store_may_be_named_by_the_configuration() {
    let shell = Shell::new();
    let file = shell.folder.path().join("p.yaml");
    let rest = "listen: { public: 127.0.0.1:8080 }\nupstreams: {}\nroutes: []\n";
    let line = |command: &[&str]| {
        let config = ["--config".to_owned(), file.display().to_string()];
        let command: Vec<_> = command.iter().map(|&word| word.to_owned()).collect();
        std::iter::once("app".to_owned()).chain(command).chain(config)
    };
    std::fs::write(&file, format!("{rest}store: {}\n", shell.store())).unwrap();
    shell.run_words(line(&["create", "mobile"])).await.unwrap();
    assert!(shell.run(&["list"]).await.unwrap().out.contains("mobile"));

    for bad in [rest.to_owned(), format!("{rest}store: x\n"), format!("{rest}stor: x\n")] {
        std::fs::write(&file, bad).unwrap();
        assert!(shell.run_words(line(&["list"])).await.is_err());
    }
}
