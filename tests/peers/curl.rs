//! The lines that the papers and the demonstration tell people to paste, pasted.

use std::fs;

use tempfile::TempDir;

use crate::gateway::addresses;
use crate::gateway::portcullis;
use crate::programs::Nginx;
use crate::programs::command;
use crate::programs::run;
use crate::world::process::Process;

#[test]
fn every_line_of_the_demo_does_in_a_shell_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Process::start(folder.path(), &["demo", "--port", "0"]);
    let (mut expected, mut count) = (None, 0);
    loop {
        let line = demo.line("");
        if let Some(rest) = line.strip_prefix("#    expect ") {
            let (status, shows) = rest.split_once(" with ").unwrap();
            expected = Some((status.to_owned(), shows.to_owned()));
        } else if line.starts_with("curl ") {
            let (status, shows) = expected.take().unwrap();
            let (got, answer) = pasted(&line);
            assert!(got == status && answer.contains(&shows), "{line}\n{answer}");
            count += 1;
        } else if line.starts_with("Ctrl-C") {
            break;
        }
    }
    assert_eq!(count, 28);
    demo.signal("INT");
    assert_eq!(demo.end().0, Some(0));
}

/// As `README.md` has it under "In front of your own API": init, app create, check, serve, curl.
#[test]
fn the_first_steps_of_the_readme_end_in_an_answer() {
    let api = Nginx::answering();
    let folder = tempfile::tempdir().unwrap();
    portcullis(&folder, &["init", "--upstream", &api.url()]);
    free_ports(&folder);
    let told = portcullis(&folder, &["app", "create", "my-app", "-c", "portcullis.yaml"]);
    let key = told.split_whitespace().find(|word| word.starts_with("pc_")).expect(&told);
    portcullis(&folder, &["check", "portcullis.yaml"]);
    let mut process = Process::start(folder.path(), &["serve", "-c", "portcullis.yaml"]);
    let (public, _) = addresses(&process.line("\"listening\""));
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("curl ")).unwrap();
    let line = line.replace("127.0.0.1:8080", &public.to_string());
    assert!(line.contains("pc_…"), "{line}");
    let (status, answer) = pasted(&line.replace("pc_…", key));
    assert!(status == "200" && answer.ends_with("an answer\n"), "{answer}");
    assert_eq!(pasted(&line).0, "401");
    assert_eq!(pasted(&line.replace("pc_…", &format!("{key}x"))).0, "401");
    process.signal("QUIT");
    drop(process.end());
}

/// The ports that `init` writes are others' while tests run beside each other.
fn free_ports(folder: &TempDir) {
    let file = folder.path().join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let free = text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("127.0.0.1:9901", "127.0.0.1:0");
    assert_eq!(free.matches("127.0.0.1:0").count(), 2, "{text}");
    fs::write(file, free).unwrap();
}

/// The status, and all that curl showed.
#[track_caller]
fn pasted(line: &str) -> (String, String) {
    let curl = command("curl").get_program().to_owned();
    let mut bash = command("bash");
    // Silent but for errors: the progress goes to a terminal only, the answer is what was asked for.
    let rest = line.strip_prefix("curl ").unwrap();
    bash.arg("-c").arg(format!("\"$0\" -sS {rest}")).arg(curl);
    let (is_content, said) = run(bash);
    assert!(is_content, "{line}\n{said}");
    let status = said.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{line}\n{said}"));
    (status[..3].to_owned(), said)
}
