//! Presets of the operator's own: another API by a file alone, and every mistake with its place.

use std::path::Path;

use super::Dialect;
use crate::config::At;
use crate::config::CallKind;
use crate::config::Failure;
use crate::config::Findings;
use crate::config::Place;
use crate::config::Report;
use crate::config::Secrets;
use crate::config::Source;

/// An invented API.
const SIXTH: &str = r#"dialect: acme
token:
  algorithm: ES256
  lifetime: 10m
  identity: /who
  claims: { who: "${user.id}", exp: "${expires}" }
calls:
  login:
    match: [POST /enter]
    fields:
      login: { at: /who/0, type: string, required: true }
      password: { at: /secret, type: string, required: true }
    success: { status: 200, text: "${token}" }
answers:
  malformed: { status: 400 }
  wrong_credentials: { status: 401, text: no }
  throttled: { status: 429 }
  unavailable: { status: 503 }
"#;

/// What is said about a preset that stands in a file.
fn load(text: &str) -> (Option<Dialect>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.yaml"), text).unwrap();
    load_from(folder.path(), "file:acme.yaml", None)
}

fn load_from(folder: &Path, name: &str, generation: Option<&str>) -> (Option<Dialect>, String) {
    let at = |text: &str| At { value: text.to_owned(), place: Place { line: 1, column: 9 } };
    let mut findings = Findings::new();
    let generation = generation.map(at);
    let mut secrets = Secrets::new(folder);
    let dialect = Dialect::load(&at(name), generation.as_ref(), &mut secrets, &mut findings);
    assert_eq!(dialect.is_none(), findings.has_errors(), "{findings:?}");
    let report = Report::new(Source::new("p.yaml", "login: [dialect]\n"), findings).to_string();
    (dialect, report.replace(&format!("{}/", folder.display()), ""))
}

/// The preset with one text replaced is refused with this at the place.
#[track_caller]
fn assert_refused(from: &str, to: &str, place: &str, message: &str) {
    assert!(SIXTH.contains(from), "{from}");
    let (dialect, report) = load(&SIXTH.replacen(from, to, 1));
    assert!(dialect.is_none(), "accepted: {to}");
    assert!(report.starts_with(&format!("error: {message}\n")), "{to}\n{report}");
    assert!(report.contains(&format!("--> acme.yaml:{place}\n")), "{to}\n{report}");
}

#[test]
fn another_api_is_a_file() {
    let (dialect, report) = load(SIXTH);
    let dialect = dialect.unwrap_or_else(|| panic!("{report}"));
    assert_eq!((dialect.name.as_str(), dialect.family.as_str()), ("acme", "acme"));
    let login = &dialect.calls[&CallKind::Login];
    assert_eq!(login.matches[0].pattern(Some("a.example")), "POST a.example/enter");
    let body = br#"{"who":["ada"],"secret":"s"}"#;
    let fields = login.read(Some(b"application/json"), body).unwrap();
    assert_eq!(fields.login.as_deref(), Some("ada"));
    assert_eq!(dialect.answers.answer(Failure::Locked).status(), 401);
    assert_eq!(dialect.answers.answer(Failure::BlankField).status(), 400);
}

#[test]
fn a_mistake_is_shown_in_the_file_where_it_stands() {
    let (_, report) = load(&SIXTH.replace("${token}", "${tokn}"));
    let expected = r#"
error: `${tokn}` is no name
  --> acme.yaml:13:35
   |
13 |     success: { status: 200, text: "${tokn}" }
   |                                   ^^^^^^^^^
   |
   = help: did you mean `${token}`?
"#;
    assert_eq!(report.trim_end(), expected.trim());
    let (_, report) = load(&SIXTH.replace("malformed:", "malfromed:"));
    assert!(report.contains("error: unknown name `malfromed`\n"), "{report}");
    assert!(report.contains("help: did you mean `malformed`?"), "{report}");
    let (_, report) = load(&SIXTH.replace("  login:\n", "  logon:\n"));
    assert!(report.contains("error: unknown name `logon`\n"), "{report}");
}

#[test]
fn values_are_judged_where_they_stand() {
    assert_refused("ES256", "none", "3:14", "`none` is not a known algorithm");
    assert_refused("10m", "0s", "4:13", "`lifetime` is out of bounds");
    assert_refused(
        "identity: /who",
        "identity: /whom",
        "5:13",
        "`identity` points to no claim that names the user",
    );
    assert_refused(
        "${user.id}",
        "${user.nick}",
        "5:13",
        "`identity` points to no claim that names the user",
    );
    assert_refused(
        "${user.id}",
        "${user.id ?? 1}",
        "5:13",
        "`identity` points to no claim that names the user",
    );
    assert_refused(
        "identity: /who",
        "identity: who",
        "5:13",
        "`who`: a JSON pointer begins with `/`, for example `/sub`",
    );
    assert_refused(", exp: \"${expires}\"", "", "6:11", "a token without its end is good for ever");
    assert_refused(
        "exp: \"${expires}\"",
        "exp: 1",
        "6:11",
        "a token without its end is good for ever",
    );
    assert_refused(", exp:", ", iss: me, exp:", "6:11", "`iss` is checked and must be `${issuer}`");
}

#[test]
fn calls_and_answers_are_judged_where_they_stand() {
    assert_refused("POST /enter", "POST enter", "9:13", "`POST enter` is no place for a call");
    assert_refused("POST /enter", "post /enter", "9:13", "`post /enter` is no place for a call");
    assert_refused("POST /enter", "\"POST /e/{id}\"", "9:13", "`/e/{id}` does not fit `login`");
    assert_refused("[POST /enter]", "[]", "9:12", "a call is found somewhere: `match` is empty");
    assert_refused(
        "status: 200",
        "status: 302",
        "13:24",
        "`status` is 302, which is out of bounds",
    );
    assert_refused(
        "status: 400",
        "status: 200",
        "15:24",
        "`status` is 200, which is out of bounds",
    );
    assert_refused(
        "{ status: 400 }",
        "{ status: 400, body: 1, text: a }",
        "15:44",
        "an answer has either `body` or `text`",
    );
    assert_refused(
        "{ status: 400 }",
        "{ status: 400, headers: { Date: a } }",
        "15:46",
        "`Date` is no header that an answer can set",
    );
    assert_refused(
        "type: string, required: true }\n    success",
        "type: integer, required: true }\n    success",
        "12:38",
        "`integer` cannot be the type of this",
    );
    assert_refused(
        "/secret, type: string",
        "/secret, max: 1025, type: string",
        "12:17",
        "the bounds of `password` are out of bounds",
    );
    assert_refused(
        "/who/0, type: string",
        "/who/0, unique: true, type: string",
        "11:14",
        "`login` cannot be `unique`",
    );
}

#[test]
fn what_is_missing_is_said() {
    for (from, to, message) in [
        ("  lifetime: 10m\n", "", "the dialect's `token` has no `lifetime`"),
        ("  throttled: { status: 429 }\n", "", "the dialect has no answer for `throttled`"),
        (
            "login:\n    match: [POST /enter]",
            "register:\n    match: [POST /enter]",
            "a dialect without a `login` call opens no door",
        ),
        ("status: 401, text: no", "status: 403, text: no", "an expired token is answered with 401"),
        (
            "type: string, required: true }\n    success",
            "type: string }\n    success",
            "`login` needs the field `password`, and needs it `required`",
        ),
    ] {
        assert!(SIXTH.contains(from), "{from}");
        let (_, report) = load(&SIXTH.replacen(from, to, 1));
        assert!(report.contains(&format!("error: {message}\n")), "{report}");
    }
}

#[test]
fn a_preset_stands_on_another_and_says_only_what_differs() {
    let upper = "dialect: mine\nextends: redis-7.8\nanswers:\n  wrong_credentials: { status: 403, text: no }\n  missing_token: { status: 401 }\n";
    let (dialect, report) = load(upper);
    let dialect = dialect.unwrap_or_else(|| panic!("{report}"));
    assert_eq!((dialect.name.as_str(), dialect.family.as_str()), ("mine", "mine"));
    assert_eq!(dialect.answers.answer(Failure::WrongCredentials).status(), 403);
    assert_eq!(dialect.answers.answer(Failure::PasswordExpired).status(), 401);
    assert!(dialect.calls.contains_key(&CallKind::PasswordAdd));
}

#[test]
fn a_call_of_what_is_extended_is_left_out() {
    let mine = |calls: &str| load(&format!("dialect: mine\nextends: redis-7.4\n{calls}"));
    let loaded = |(dialect, report): (Option<Dialect>, String)| {
        dialect.unwrap_or_else(|| panic!("{report}")).calls
    };
    let calls = loaded(mine("calls:\n  password_add: none\n"));
    assert!(
        !calls.contains_key(&CallKind::PasswordAdd)
            && calls.contains_key(&CallKind::PasswordReplace)
    );
    let generation = "generations: { open: {}, shut: { calls: { password_add: none } } }\n";
    let open = loaded(mine(&format!("generation: open\n{generation}")));
    assert!(open.contains_key(&CallKind::PasswordAdd));
    let shut = loaded(mine(&format!("generation: shut\n{generation}")));
    assert!(!shut.contains_key(&CallKind::PasswordAdd));

    for (call, place, message) in [
        ("logout: none", "4:11", "there is no call `logout` to leave out"),
        ("login: none", "1:10", "a dialect without a `login` call opens no door"),
        ("password_add: nobody", "4:17", "expected a call, or `none`"),
        ("password_add: 7", "4:3", "invalid type: integer `7`, expected a call, or `none`"),
    ] {
        let (dialect, report) = mine(&format!("calls:\n  {call}\n"));
        assert!(dialect.is_none(), "{call}");
        assert!(report.starts_with(&format!("error: {message}\n")), "{call}\n{report}");
        assert!(report.contains(&format!("--> acme.yaml:{place}\n")), "{call}\n{report}");
    }
    let nowhere = "error: there is no call `refresh` to leave out\n";
    let (_, report) = load(&SIXTH.replace("answers:\n", "  refresh: none\nanswers:\n"));
    assert!(report.contains(nowhere), "{report}");
    // Also where nobody chose it yet, and a call of the file's own is one to leave out there.
    let generations =
        |call: &str| format!("{SIXTH}generations: {{ shut: {{ calls: {{ {call} }} }} }}\n");
    let (_, report) = load(&generations("refresh: none"));
    assert!(report.contains(nowhere), "{report}");
    let (dialect, report) = load(&generations("login: none"));
    assert!(dialect.is_some(), "{report}");
}

#[test]
fn presets_in_a_circle_and_borrowed_names_are_refused() {
    let (_, report) = load("dialect: acme\nextends: \"file:acme.yaml\"\n");
    assert!(
        report.contains("error: presets extend one another in a circle, or too deeply"),
        "{report}"
    );
    assert!(report.contains("--> acme.yaml:2:10\n"), "{report}");
    let (_, report) = load("dialect: native\nextends: native\n");
    assert!(report.contains("error: `native` is the name of another preset"), "{report}");
    let (_, report) = load("dialect: mine\nextends: natve\n");
    assert!(report.contains("error: no dialect is named `natve`"), "{report}");
    assert!(report.contains("help: did you mean `native`?"), "{report}");
}

#[test]
fn what_cannot_be_loaded_is_said_where_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, generation, message) in [
        ("file:absent.yaml", None, "`absent.yaml` cannot be read"),
        ("ntaive", None, "no dialect is named `ntaive`"),
        ("native", Some("old"), "no generation is named `old`"),
        ("analogue", Some("nodes"), "no generation is named `nodes`"),
    ] {
        let (dialect, report) = load_from(folder.path(), name, generation);
        assert!(dialect.is_none());
        assert!(report.starts_with(&format!("error: {message}")), "{report}");
        assert!(report.contains("--> p.yaml:1:9\n"), "{report}");
    }
}
