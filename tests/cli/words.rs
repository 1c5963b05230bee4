//! The command line itself: help, mistakes, what is printed without a configuration.

use serde_json::Value;

use crate::shell::Folder;
use crate::shell::PATIENCE;
use crate::shell::whole;

#[test]
fn every_command_explains_itself() {
    let folder = Folder::new();
    let help = folder.good(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        let help = folder.good(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: portcullis {command}")), "{help}");
    }
    for line in [
        "app create",
        "app rotate",
        "user add",
        "user totp",
        "session revoke",
        "key rotate",
        "token mint",
        "token inspect",
        "token keygen",
    ] {
        let words: Vec<&str> = line.split(' ').chain(["--help"]).collect();
        assert!(folder.good(&words).contains("Usage: portcullis "), "{line}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_why() {
    let folder = Folder::new();
    for line in [
        "",
        "serv",
        "serve extra",
        "explain",
        "explain GET /a /b",
        "explain /a --from localhost",
        "token",
        "token mint",
        "token mint --key a --secret-file b",
        "token mint --key a --alg none",
        "user add",
        "user add anna --password x",
        "session revoke",
        "key retire x",
        "demo --port 65536",
        "completions tcsh",
        "--log-format xml version",
        "--log-level =,= version",
    ] {
        let said = folder.run(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(said.code, 2, "{line}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{line}: {said:?}");
    }
}

#[test]
fn version_schema_and_completions_are_printed() {
    let folder = Folder::new();
    assert!(folder.good(&["--version"]).starts_with("portcullis "));
    assert_eq!(folder.good(&["-V"]), folder.good(&["--version"]));
    let version: Value = serde_json::from_str(&folder.good(&["version", "-o", "json"])).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let schema: Value = serde_json::from_str(&folder.good(&["schema"])).unwrap();
    assert!(schema["properties"]["routes"].is_object());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(folder.good(&["completions", shell]).contains("healthcheck"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let mut child = folder.command(&["completions", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    let err = whole(child.stderr.take().unwrap()).recv_timeout(PATIENCE).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*err), (Some(0), ""));
}
