//! `portcullis user` as it is typed: words and a password in, two streams out.

use clap::CommandFactory;
use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::account::{MasterKey, Purpose, RecoveryCode, Totp};
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};
use crate::secret::Secret;
use crate::store::{Credentials, NewSession, Store, StoreAddress};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const PASSWORD: &str = "correct horse";
const MASTER: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    user: UserArgs,
}

struct Shell {
    folder: TempDir,
    clock: Clock,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("master.key"), format!("{MASTER}\n")).unwrap();
        Self { folder, clock: Clock::manual(NOW) }
    }

    fn address(&self) -> String {
        format!("sqlite:{}/p.db", self.folder.path().display())
    }

    async fn store(&self) -> Store {
        Store::open_existing(&StoreAddress::parse(&self.address()).unwrap()).await.unwrap()
    }

    async fn credentials(&self, id: &Value) -> Credentials {
        self.store().await.credentials_of(&UserId::new(text(id))).await.unwrap()
    }

    fn master(&self) -> String {
        format!("file:{}/master.key", self.folder.path().display())
    }

    /// What it prints for people and what it tells them beside.
    async fn run(&self, line: &[&str], input: &str) -> anyhow::Result<(String, String)> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let address = self.address();
        let words = ["user"].into_iter().chain(line.iter().copied()).chain(["--store", &address]);
        let line = Line::try_parse_from(words)?;
        let mut input = input.as_bytes();
        let mut passwords = Source::Stream(&mut input);
        run(&line.user, &self.clock, &mut passwords, (&mut out, &mut err)).await?;
        Ok((String::from_utf8(out)?, String::from_utf8(err)?))
    }

    async fn json(&self, line: &[&str]) -> Value {
        let line: Vec<_> = line.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.run(&line, PASSWORD).await.unwrap().0).unwrap()
    }

    async fn open_session(&self, id: &Value, session: &str) {
        let user = self.credentials(id).await.user;
        let new = NewSession {
            id: SessionId::new(session),
            user: user.id,
            revision: user.revision,
            app: None,
            dialect: "native".to_owned(),
            address: "192.0.2.1".parse().unwrap(),
            agent: String::new(),
            tokens_until: NOW.plus(std::time::Duration::from_hours(1)),
            refresh: None,
        };
        self.store().await.open_session(&new, 9, NOW).await.unwrap();
    }

    async fn sessions(&self) -> usize {
        self.store().await.list_sessions(None, None, NOW).await.unwrap().len()
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
async fn an_added_user_is_shown_without_hashes_and_its_password_is_hashed() {
    let shell = Shell::new();
    let line = [
        "add",
        "Anna@Example.com",
        "--attributes",
        r#"{"name":"Anna"}"#,
        "--permissions",
        r#"{"Things":["view"]}"#,
    ];
    let added = shell.json(&line).await;
    assert_eq!((&added["login"], &added["number"]), (&json!("anna@example.com"), &json!(1)));
    assert_eq!((&added["state"], &added["second_factor"]), (&json!("active"), &json!(false)));
    assert_eq!(added["attributes"], json!({"name": "Anna"}));
    let kept = shell.credentials(&added["id"]).await;
    let hash = kept.passwords[0].phc.expose();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");

    let id = text(&added["id"]);
    for name in [id, "anna@example.com", "ANNA@example.com"] {
        for layout in ["table", "json"] {
            let (out, err) = shell.run(&["show", name, "-o", layout], "").await.unwrap();
            assert!(out.contains(id) && out.contains("Anna") && out.contains("Things"), "{out}");
            assert!(!out.contains("argon2") && err.is_empty(), "{out}{err}");
        }
    }
    assert_eq!(shell.json(&["list"]).await[0]["login"], "anna@example.com");
    let (table, _) = shell.run(&["list"], "").await.unwrap();
    let rows: Vec<_> = table.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with("ID ") && rows[1].starts_with(id), "{table}");
}

#[tokio::test]
async fn a_user_may_be_added_without_a_password() {
    let shell = Shell::new();
    let (out, _) = shell.run(&["add", "anna", "--without-password"], "").await.unwrap();
    assert!(out.contains("login          anna"), "{out}");
    assert_eq!(shell.json(&["show", "anna"]).await["passwords"], json!([]));
}

#[tokio::test]
async fn passwords_are_replaced_added_and_removed() {
    let shell = Shell::new();
    let added = shell.json(&["add", "anna"]).await;
    let id = &added["id"];
    shell.run(&["password", "anna", "--add"], "another horse\n").await.unwrap();
    let kept = shell.credentials(id).await.passwords;
    let salt = |n: usize| kept[n].phc.expose().split('$').nth(4).unwrap().to_owned();
    assert_eq!((kept.len(), salt(0)), (2, salt(1)), "one work for both");

    shell.open_session(id, "s1").await;
    shell.run(&["password", "anna", "--remove", "1"], "").await.unwrap();
    assert_eq!(shell.sessions().await, 0);
    assert!(shell.run(&["password", "anna", "--remove", "1"], "").await.is_err());
    assert!(shell.run(&["password", "anna", "--remove", "2"], "").await.is_err(), "the last");
    assert!(shell.run(&["password", "anna", "--remove", "2", "--add"], "x").await.is_err());

    shell.open_session(id, "s2").await;
    shell.run(&["password", "anna"], "a third horse").await.unwrap();
    assert_eq!(shell.sessions().await, 0);
    let shown = shell.json(&["show", "anna"]).await;
    assert_eq!(shown["passwords"][0]["number"], 3);
    assert_eq!(shown["passwords"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_password_that_is_none_changes_nothing() {
    let shell = Shell::new();
    let added = shell.json(&["add", "anna@example.com"]).await;
    let before = shell.credentials(&added["id"]).await.user;
    let own_name = shell.run(&["password", "anna@example.com"], "ANNA@example.com").await;
    assert!(own_name.unwrap_err().to_string().contains("name of the user"));
    for weak in ["", "\n", "short", "password1", &"ab".repeat(10)] {
        for line in [&["password", "anna@example.com"][..], &["add", "bert"]] {
            let error = shell.run(line, weak).await.unwrap_err().to_string();
            assert!(error.contains("password"), "{weak}: {error}");
        }
    }
    assert_eq!(shell.credentials(&added["id"]).await.user, before);
    assert_eq!(shell.json(&["list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn attributes_and_permissions_are_changed() {
    let shell = Shell::new();
    shell.json(&["add", "anna", "--attributes", r#"{"a":1,"b":2}"#]).await;
    let changed = shell.json(&["attributes", "anna", r#"{"a":null,"c":[3]}"#]).await;
    assert_eq!(changed["attributes"], json!({"b": 2, "c": [3]}));
    let changed = shell.json(&["permissions", "anna", r#"{"Things":["edit"]}"#]).await;
    assert_eq!(changed["permissions"], json!({"Things": ["edit"]}));
    for line in [
        &["attributes", "anna", "[]"][..],
        &["attributes", "anna", "{"],
        &["attributes", "anna"],
        &["permissions", "anna", "view"],
        &["permissions", "anna"],
        &["attributes", "bert", "{}"],
    ] {
        assert!(shell.run(line, "").await.is_err(), "{line:?}");
    }
}

#[tokio::test]
async fn a_second_factor_is_printed_once_sealed_and_taken_away() {
    let shell = Shell::new();
    let added = shell.json(&["add", "anna"]).await;
    let master = shell.master();
    assert!(shell.run(&["totp", "anna"], "").await.is_err(), "no master key");
    let line = ["totp", "anna", "--issuer", "Shop", "--master", &master, "-o", "json"];
    let (out, err) = shell.run(&line, "").await.unwrap();
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(text(&told["address"]).starts_with("otpauth://totp/Shop:anna?secret="), "{told}");
    assert!(err.contains("shown once"), "{err}");

    let kept = shell.credentials(&added["id"]).await;
    let totp = kept.totp.unwrap();
    assert!(kept.user.has_totp && totp.confirmed && totp.recovery_codes == 10);
    let opened = MasterKey::parse(MASTER.as_bytes()).unwrap();
    let id = kept.user.id.as_str();
    let seed = opened.open(Purpose::TotpSeed, id, &totp.sealed).unwrap();
    let seed = Totp::from_bytes(seed.expose()).unwrap();
    assert_eq!(seed.seed_text().expose().as_str(), told["seed"]);
    let code = Secret::new(text(&told["recovery_codes"][9]));
    let code = RecoveryCode::digest_of(code).unwrap();
    let store = shell.store().await;
    assert!(store.claim_recovery_code(&kept.user.id, &code, NOW).await.unwrap());

    let (out, _) = shell.run(&["show", "anna"], "").await.unwrap();
    assert!(out.contains("second factor  yes") && out.contains("codes left     9"), "{out}");
    assert!(!out.contains(text(&told["seed"])), "{out}");
    let again = shell.run(&line, "").await.unwrap_err().to_string();
    assert!(again.contains("--remove"), "{again}");
    shell.run(&["totp", "anna", "--remove"], "").await.unwrap();
    assert_eq!(shell.credentials(&added["id"]).await.totp, None);
}

#[tokio::test]
async fn a_master_key_that_is_none_seals_nothing() {
    let shell = Shell::new();
    let added = shell.json(&["add", "anna"]).await;
    let path = shell.folder.path().join("bad.key");
    let reference = format!("file:{}", path.display());
    for bad in ["", "short", &"0".repeat(64)] {
        std::fs::write(&path, bad).unwrap();
        assert!(shell.run(&["totp", "anna", "--master", &reference], "").await.is_err(), "{bad}");
    }
    for bad in ["master.key", "file:", "file:/nonexistent/master.key"] {
        assert!(shell.run(&["totp", "anna", "--master", bad], "").await.is_err(), "{bad}");
    }
    assert_eq!(shell.credentials(&added["id"]).await.totp, None);
}

#[tokio::test]
async fn states_are_set_and_sessions_end_with_them() {
    let shell = Shell::new();
    let added = shell.json(&["add", "anna"]).await;
    let id = &added["id"];
    let mut opened = 0;
    for (command, state, sessions) in [
        ("lock", "locked", 1),
        ("unlock", "active", 1),
        ("unlock", "active", 1),
        ("disable", "disabled", 0),
        ("enable", "active", 1),
        ("logout", "active", 0),
    ] {
        if shell.credentials(id).await.user.state.as_str() == "active" {
            shell.run(&["logout", "anna"], "").await.unwrap();
            opened += 1;
            shell.open_session(id, &format!("s{opened}")).await;
        }
        shell.run(&[command, "anna"], "").await.unwrap();
        assert_eq!(shell.json(&["show", "anna"]).await["state"], state, "{command}");
        let expected = if command == "enable" { 0 } else { sessions };
        assert_eq!(shell.sessions().await, expected, "{command}");
    }
    shell.run(&["disable", "anna"], "").await.unwrap();
    assert!(shell.run(&["unlock", "anna"], "").await.is_err(), "disabled is more than locked");
    assert_eq!(shell.json(&["delete", "anna"]).await["done"], "deleted, sessions ended");
    assert!(shell.run(&["show", "anna"], "").await.is_err());
}

#[tokio::test]
async fn a_password_expires_and_an_invitation_waits() {
    let shell = Shell::new();
    shell.json(&["add", "anna"]).await;
    for (command, input, state) in [
        ("expire", "", "expired"),
        ("expire", "", "expired"),
        ("password", "another battery", "active"),
        ("expire", "", "expired"),
        ("enable", "", "active"),
    ] {
        shell.run(&[command, "anna"], input).await.unwrap();
        assert_eq!(shell.json(&["show", "anna"]).await["state"], state, "{command}");
    }
    // A change of password must not let in whom an operator keeps out.
    for command in ["lock", "disable"] {
        shell.run(&[command, "anna"], "").await.unwrap();
        assert!(shell.run(&["expire", "anna"], "").await.is_err(), "{command}");
    }
    assert_eq!(shell.json(&["add", "berta", "--invited"]).await["state"], "invited");
    assert!(shell.run(&["expire", "berta"], "").await.is_err());
    shell.run(&["password", "berta"], "another battery").await.unwrap();
    assert_eq!(shell.json(&["show", "berta"]).await["state"], "invited");
    shell.run(&["enable", "berta"], "").await.unwrap();
    assert_eq!(shell.json(&["show", "berta"]).await["state"], "active");
}

#[tokio::test]
async fn what_is_not_there_is_an_error_and_makes_no_store() {
    let shell = Shell::new();
    let lines = [
        &["list"][..],
        &["show", "x"],
        &["password", "x"],
        &["lock", "x"],
        &["unlock", "x"],
        &["expire", "x"],
        &["disable", "x"],
        &["enable", "x"],
        &["delete", "x"],
        &["logout", "x"],
        &["totp", "x", "--remove"],
    ];
    for line in lines {
        assert!(shell.run(line, PASSWORD).await.is_err(), "{line:?}");
    }
    assert!(!shell.folder.path().join("p.db").exists());
    shell.json(&["add", "anna"]).await;
    for line in &lines[1..] {
        assert!(shell.run(line, PASSWORD).await.is_err(), "{line:?}");
    }
    let twice = shell.run(&["add", "ANNA"], PASSWORD).await.unwrap_err().to_string();
    assert!(twice.contains("already"), "{twice}");
}

#[tokio::test]
async fn words_that_mean_nothing_are_refused_before_any_act() {
    let shell = Shell::new();
    for line in [
        &["add"][..],
        &["add", ""],
        &["add", "a b"],
        &["add", "a@b@c"],
        &["add", "ännchen"],
        &["add", "anna", "--password", "x"],
        &["add", "anna", "--attributes", "1"],
        &["password", "anna", "secret"],
    ] {
        assert!(shell.run(line, PASSWORD).await.is_err(), "{line:?}");
    }
    assert!(!shell.folder.path().join("p.db").exists());
}

#[tokio::test]
async fn a_configuration_tells_the_master_key_and_how_long_a_password_must_be() {
    let shell = Shell::new();
    let path = shell.folder.path().join("portcullis.yaml");
    let config = path.display().to_string();
    let text = "listen: { public: 127.0.0.1:8080 }\nstore: sqlite:p.db\n\
        upstreams: { api: { url: \"http://127.0.0.1:9000\" } }\n\
        routes: [ { match: GET /, to: api, public: true } ]\n";
    std::fs::write(&path, format!("{text}passwords: {{ min_length: 14 }}\n")).unwrap();
    let add = ["add", "anna", "-c", &config];
    let told = format!("{:#}", shell.run(&add, PASSWORD).await.unwrap_err());
    assert!(told.contains("14 characters"), "{told}");
    shell.run(&add, "correct: horse").await.unwrap();
    let totp = ["totp", "anna", "-c", &config];
    let told = format!("{:#}", shell.run(&totp, "").await.unwrap_err());
    assert!(told.contains("has no `secrets.master`"), "{told}");
    let told = format!("{:#}", shell.run(&["totp", "anna"], "").await.unwrap_err());
    assert!(told.contains("which master key?"), "{told}");
    // Relative to the file that names it.
    std::fs::write(&path, format!("{text}secrets: {{ master: \"file:master.key\" }}\n")).unwrap();
    assert!(shell.run(&totp, "").await.unwrap().0.contains("seed "));
}
