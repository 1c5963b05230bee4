//! `portcullis key` as it is typed.

use clap::CommandFactory;
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const MASTER: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    key: KeyArgs,
}

struct Shell {
    folder: TempDir,
    clock: Clock,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("master.key"), MASTER).unwrap();
        Self { folder, clock: Clock::manual(NOW) }
    }

    async fn run(&self, line: &[&str]) -> anyhow::Result<(String, String)> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let address = format!("sqlite:{}/p.db", self.folder.path().display());
        let words = ["key"].into_iter().chain(line.iter().copied());
        let line = Line::try_parse_from(words.chain(["--store", &address]))?;
        run(&line.key, &self.clock, &mut out, &mut err).await?;
        Ok((String::from_utf8(out)?, String::from_utf8(err)?))
    }

    async fn rotate(&self, family: &str, more: &[&str]) -> anyhow::Result<(String, String)> {
        let master = format!("file:{}/master.key", self.folder.path().display());
        let line = ["rotate", family, "--master", &master, "-o", "json"];
        let (out, err) = self.run(&[&line[..], more].concat()).await?;
        let told: Value = serde_json::from_str(&out)?;
        Ok((told["kid"].as_str().unwrap().to_owned(), err))
    }

    async fn states(&self) -> Vec<String> {
        let (out, _) = self.run(&["list", "-o", "json"]).await.unwrap();
        let keys: Value = serde_json::from_str(&out).unwrap();
        let keys = keys.as_array().unwrap().iter();
        keys.map(|key| key["state"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[tokio::test]
async fn a_rotation_publishes_signs_and_retires() {
    let shell = Shell::new();
    let (first, err) = shell.rotate("native", &["--algorithm", "EdDSA"]).await.unwrap();
    assert_eq!((shell.states().await, err.as_str()), (vec!["signs".to_owned()], ""));
    let (second, err) = shell.rotate("native", &["--after", "1h"]).await.unwrap();
    assert!(err.contains(&format!("key retire {first}")), "{err}");
    assert_eq!(shell.states().await, ["signs", "waits"]);
    let early = shell.run(&["retire", &first, "--verifies-for", "1d"]).await.unwrap_err();
    assert!(early.to_string().contains("only key"), "{early}");

    shell.clock.advance(Duration::from_hours(1));
    assert_eq!(shell.states().await, ["verifies", "signs"]);
    shell.run(&["retire", &first, "--verifies-for", "1d"]).await.unwrap();
    assert_eq!(shell.states().await, ["verifies", "signs"]);
    shell.clock.advance(Duration::from_hours(24));
    assert_eq!(shell.states().await, ["retired", "signs"]);
    let last = shell.run(&["retire", &second, "--verifies-for", "0s"]).await;
    assert!(last.is_err());
    let (table, _) = shell.run(&["list"]).await.unwrap();
    assert!(table.lines().count() == 3 && table.contains("2027-01-16T09:00:00Z"), "{table}");
}

#[tokio::test]
async fn families_are_apart_and_shared_keys_are_not_shown() {
    let shell = Shell::new();
    shell.rotate("native", &["--algorithm", "EdDSA"]).await.unwrap();
    shell.rotate("redis", &["--algorithm", "HS256"]).await.unwrap();
    shell.rotate("redis", &["--after", "0s"]).await.unwrap();
    assert_eq!(shell.states().await, ["signs", "verifies", "signs"]);
    let (out, _) = shell.run(&["list", "-o", "json"]).await.unwrap();
    let keys: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&keys[2]["algorithm"], &keys[2]["public"]), (&json!("HS256"), &Value::Null));
    assert_eq!(keys[0]["public"]["kid"], keys[0]["kid"]);
    assert!(!out.contains("sealed") && !out.contains("\"d\""), "{out}");
}

#[tokio::test]
async fn what_cannot_be_done_makes_no_key() {
    let shell = Shell::new();
    assert!(shell.run(&["list"]).await.is_err(), "no store");
    for more in [&[][..], &["--algorithm", "none"], &["--after", "1"]] {
        assert!(shell.rotate("native", more).await.is_err(), "{more:?}");
    }
    assert!(shell.rotate("na tive", &["--algorithm", "EdDSA"]).await.is_err());
    let line = ["rotate", "native", "--algorithm", "EdDSA"];
    let error = shell.run(&line).await.unwrap_err().to_string();
    assert!(error.contains("--master"), "{error}");
    for line in [&["retire", "x", "--verifies-for", "1d"][..], &["retire", "x"]] {
        assert!(shell.run(line).await.is_err(), "{line:?}");
    }
    assert!(shell.states().await.is_empty());
}

#[tokio::test]
async fn the_examples_of_the_help_can_be_typed() {
    let help = Line::command().get_after_long_help().unwrap().to_string();
    let examples = help.lines().filter_map(|line| line.strip_prefix("  portcullis "));
    let examples: Vec<Vec<&str>> = examples.map(|line| line.split(' ').collect()).collect();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        Line::try_parse_from(example).unwrap();
    }
    let shell = Shell::new();
    let error = shell.rotate("native", &[]).await.unwrap_err().to_string();
    assert!(error.contains("--algorithm EdDSA"), "{error}");
    shell.rotate("native", &["--algorithm", "EdDSA"]).await.unwrap();
    shell.rotate("native", &[]).await.unwrap();
}
