//! Users, sessions and signing keys: passwords that are piped and typed, what is printed and what is not.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::process::Stdio;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::pty;
use rustix::pty::OpenptFlags;
use serde_json::Value;

use crate::shell::Folder;
use crate::shell::PATIENCE;

const STORE: [&str; 2] = ["--store", "sqlite:p.db"];
const MASTER: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";

fn line<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().chain(STORE).collect()
}

#[test]
fn a_user_comes_and_goes() {
    let folder = Folder::new();
    folder.write("master.key", MASTER);
    let piped = folder.run_with(&line(&["user", "add", "Anna"]), "correct horse\n");
    assert!(piped.code == 0 && piped.out.contains("login          anna"), "{piped:?}");
    for (words, input, code) in [
        (&["user", "add", "anna"][..], "correct horse", 1),
        (&["user", "add", "bert"], "", 1),
        (&["user", "add", "bert"], "short", 1),
        (&["user", "show", "bert"], "", 1),
        (&["user", "password", "anna"], "another horse", 0),
        (&["user", "totp", "anna"], "", 1),
        (&["user", "totp", "anna", "--master", "file:master.key"], "", 0),
        (&["session", "list"], "", 0),
        (&["session", "revoke", "s_none"], "", 1),
        (&["key", "rotate", "native", "--master", "file:master.key"], "", 1),
        (
            &["key", "rotate", "native", "--master", "file:master.key", "--algorithm", "EdDSA"],
            "",
            0,
        ),
        (&["user", "delete", "anna"], "", 0),
        (&["user", "show", "anna"], "", 1),
    ] {
        let said = folder.run_with(&line(words), input);
        assert_eq!(said.code, code, "{words:?} {said:?}");
        assert!(said.code == 0 || said.out.is_empty(), "{words:?} {said:?}");
    }
    let keys: Value =
        serde_json::from_str(&folder.good(&line(&["key", "list", "-o", "json"]))).unwrap();
    assert_eq!(keys[0]["state"], "signs");
    let unopened = folder.run(&["user", "list", "--store", "sqlite:nowhere.db"]);
    assert_eq!(unopened.code, 69, "{unopened:?}");
}

#[test]
fn the_usual_configuration_of_the_folder_names_store_and_master_key() {
    let folder = Folder::new();
    folder.write("master.key", MASTER);
    for words in [["app", "list"], ["user", "list"], ["session", "list"], ["key", "list"]] {
        let said = folder.run(&words);
        assert!(said.code == 1 && said.err.contains("no portcullis.yaml here"), "{said:?}");
    }
    folder.write("portcullis.yaml", "listen: [");
    let broken = folder.run(&["user", "list"]);
    assert_eq!(broken.code, 78, "{broken:?}");
    // A store that is named may be another gateway's: what lies around is not asked about it.
    assert_eq!(folder.run_with(&line(&["user", "add", "anna"]), "correct horse\n").code, 0);
    let text = "store: sqlite:p.db\nlisten: { public: 127.0.0.1:0 }\n\
                secrets: { master: file:master.key }\n\
                upstreams: { api: { url: \"http://127.0.0.1:9\" } }\n\
                routes: [ { match: \"* /**\", to: api, public: true } ]\n";
    folder.write("portcullis.yaml", text);
    assert!(folder.good(&["user", "list"]).contains("anna"));
    folder.good(&["user", "totp", "anna"]);
    folder.good(&["app", "create", "shop"]);
    folder.good(&["key", "rotate", "native", "--algorithm", "EdDSA"]);
    folder.good(&["session", "list"]);
}

#[test]
fn a_typed_password_is_not_shown_and_typed_twice() {
    for (second, code) in [("correct horse\n", 0), ("correct house\n", 1)] {
        let folder = Folder::new();
        let (mut person, terminal) = terminal();
        let mut command = folder.command(&line(&["user", "add", "anna"]));
        command.stdin(terminal).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut prompts = child.stderr.take().unwrap();
        for (prompt, typed) in [("New password: ", "correct horse\n"), ("\nOnce more: ", second)] {
            let mut seen = vec![0; prompt.len()];
            prompts.read_exact(&mut seen).unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), prompt);
            // The prompt is written before the terminal falls silent; the mode says when it has.
            wait_for_silence(&person);
            person.write_all(typed.as_bytes()).unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(code));
        drop(child);
        person.write_all(b"seen again\n").unwrap();
        let mut shown = [0; 64];
        let length = person.read(&mut shown).unwrap();
        let shown = String::from_utf8_lossy(&shown[..length]).into_owned();
        assert!(!shown.contains("horse") && shown.starts_with("seen again"), "{shown}");
    }
}

/// The two ends of a terminal: the person's and the program's.
fn terminal() -> (File, Stdio) {
    let person = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&person).unwrap();
    pty::unlockpt(&person).unwrap();
    let name = pty::ptsname(&person, Vec::new()).unwrap();
    let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (File::from(person), Stdio::from(program))
}

#[track_caller]
fn wait_for_silence(person: &File) {
    let begun = std::time::Instant::now();
    while shows_what_is_typed(person) {
        assert!(begun.elapsed() < PATIENCE, "the terminal goes on showing");
        std::thread::yield_now();
    }
}

fn shows_what_is_typed(person: &File) -> bool {
    let modes = rustix::termios::tcgetattr(person).unwrap();
    modes.local_modes.contains(rustix::termios::LocalModes::ECHO)
}
