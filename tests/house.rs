//! The rules of the house that neither the compiler nor clippy can check, and what the papers claim.
//!
//! Text is read, not syntax. A `crate::` in a comment counts as a use: documentation looks down as
//! code does. What clippy checks (clock, environment, spawning, long functions) has no test here.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use portcullis::config::BOUNDS;
use portcullis::config::Findings;
use portcullis::config::PRESETS;
use portcullis::config::Report;
use portcullis::config::Source;
use portcullis::gateway::Reason;
use portcullis::server;

/// Modules from the ground up. A module uses those on floors below its own, and itself.
const FLOORS: &[&[&str]] = &[
    &["clock", "id", "json", "secret"],
    &["certificate"],
    &["fetch", "inquiry", "message", "principal", "telemetry"],
    &["config"],
    &["store"],
    &["credentials", "dialect", "endpoint", "jwt", "limits", "policy"],
    &["account", "route"],
    &["gateway"],
    &["upstream"],
    &["admin", "login", "proxy"],
    &["server"],
    &["cli"],
];
/// Lines of a file before its tests.
const LONGEST_FILE: usize = 500;
/// They say where something lies, not what it is.
const NAMES_THAT_SAY_NOTHING: &[&str] = &[
    "common", "data", "handler", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];
/// Names of dialects that are also words of the language.
const ORDINARY: &[&str] = &["native"];
/// Where tasks and threads are started; the rest offers futures for these to run.
const SPAWNERS: &[&str] = &["server", "cli"];
/// Starts a thread for each hash, as many as there are permits.
const HASHER: &str = "src/account/hasher.rs";

#[test]
fn modules_use_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for file in sources("src").iter().filter(|file| !file.module.is_empty()) {
        let uses = wrong_uses(&file.module, &file.text);
        wrong.extend(uses.iter().map(|text| format!("{}: {text}", file.path.display())));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_floor() {
    let lib = read("src/lib.rs");
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let placed: BTreeSet<&str> = FLOORS.iter().copied().flatten().copied().collect();
    assert_eq!(declared, placed);
}

#[test]
fn an_upward_or_sideward_use_is_found() {
    for (module, code, expected) in [
        ("route", "use crate::gateway::Denial;", "route may not use gateway"),
        ("route", "use crate::policy::Policy;", ""),
        ("jwt", "use crate::credentials::Locations;", "jwt may not use credentials"),
        ("jwt", "use crate::jwt::Pointer;", ""),
        ("jwt", "/// See [`crate::gateway::Pass`].", "jwt may not use gateway"),
        ("jwt", "let x = crate::server::cores();", "jwt may not use server"),
        ("cli", "use crate::{config, server};", "one `use` for each module"),
        ("cli", "use crate::cellar::Wine;", "cli may not use cellar"),
        ("jwt", "use super::gateway::Pass;", "jwt may not use gateway"),
        ("jwt::key", "use super::Pointer;", ""),
        ("jwt::key", "use super::super::server::Order;", "jwt may not use server"),
        ("jwt::key", "mod tests {\n use super::super::server::Order;", ""),
        ("jwt::key", "mod tests {\n use super::super::super::cli;", "jwt may not use cli"),
        ("jwt", "pub(crate) fn f() {} // mycrate::gateway", ""),
    ] {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        assert_eq!(wrong_uses(&module, code).join(" "), expected, "{code}");
    }
}

#[test]
fn files_begin_by_saying_what_they_are_for() {
    for file in sources("src").iter().chain(&sources("tests")).chain(&sources("benches")) {
        // The front page is shown from the README.
        let begins = file.text.starts_with("//!") || file.text.starts_with("#![doc = include_str!");
        assert!(begins, "{}", file.path.display());
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for file in sources("src").iter().chain(&sources("tests")) {
        let lines = before_tests(&file.text).lines().count();
        assert!(lines <= LONGEST_FILE, "{}: {lines} lines", file.path.display());
    }
}

#[test]
fn only_the_tests_at_the_end_of_a_file_are_left_out() {
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {\nb"), "a\n");
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
    assert_eq!(before_tests("a\n#[cfg(test)]\nfn f() {}"), "a\n#[cfg(test)]\nfn f() {}");
}

#[test]
fn names_say_something() {
    for file in sources("src").iter().chain(&sources("tests")) {
        for part in file.path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str()) {
            assert!(!NAMES_THAT_SAY_NOTHING.contains(&part), "{}", file.path.display());
        }
    }
}

#[test]
fn tasks_and_threads_are_started_by_the_server() {
    for file in sources("src").iter().filter(|file| !file.is_test()) {
        let starts = ["JoinSet", ".spawn(", "thread::spawn", "spawn_local"]
            .into_iter()
            .find(|word| before_tests(&file.text).contains(word));
        let may = file.path.ends_with(HASHER)
            || file.module.first().is_some_and(|module| SPAWNERS.contains(&module.as_str()));
        assert!(may || starts.is_none(), "{}: {starts:?}", file.path.display());
    }
}

/// A dialect is data: its name stands in its file, in the table that embeds it, and in tests.
#[test]
fn no_dialect_is_known_by_name() {
    let names: Vec<String> = PRESETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let words = names.iter().filter(|name| !ORDINARY.contains(&name.as_str()));
    let words: Vec<&str> = words.filter_map(|name| name.split('-').next()).collect();
    assert!(words.len() > 3, "{words:?}");
    for file in sources("src").iter().filter(|file| !file.is_test()) {
        if file.path.ends_with("config/preset/table.rs") {
            continue;
        }
        let text = before_tests(&file.text).to_lowercase();
        for word in &words {
            // A word of its own: `ping` is also the end of many others.
            let is_named = paths_from(&text, word)
                .iter()
                .any(|(_, rest)| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!is_named, "{}: {word}", file.path.display());
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let manifest = read("Cargo.toml");
    let all: Vec<SourceFile> = ["src", "tests", "benches"].into_iter().flat_map(sources).collect();
    for name in dependencies(&manifest) {
        let crate_name = name.replace('-', "_");
        let is_used = all.iter().any(|file| mentions_crate(&file.text, &crate_name));
        assert!(is_used, "{name} is a dependency that nothing uses");
    }
}

#[test]
fn dependencies_and_their_mentions_are_recognised() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na-b = \"1\"\n# c = \"1\"\n\
                    [features]\nd = []\n[target.'cfg(unix)'.dependencies]\ne = { version = \"1\" }\n\
                    [dev-dependencies]\nf = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a-b", "e", "f"]);
    for (code, expected) in [
        ("use a_b::C;", true),
        ("a_b::f()", true),
        ("use a_b;", true),
        ("a_bc::f()", false),
        ("xa_b::f()", false),
        ("// a_b", false),
    ] {
        assert_eq!(mentions_crate(code, "a_b"), expected, "{code}");
    }
}

/// A file that is built in lies beside the code, or in a folder that the image's build copies too.
#[test]
fn the_image_is_built_from_everything_that_is_built_in() {
    let dockerfile = read("deploy/docker/Dockerfile");
    let copied = |folder: &str| dockerfile.contains(&format!("\nCOPY {folder} {folder}\n"));
    assert!(copied("src") && !copied("target"));
    let mut outside = BTreeSet::new();
    for file in sources("src").iter().filter(|file| !file.is_test()) {
        let named = before_tests(&file.text).split("include_str!(\"").skip(1);
        let named = named.filter_map(|rest| rest.split('"').next());
        for path in named.map(|name| file.path.with_file_name(name).canonicalize().unwrap()) {
            let inside = path.strip_prefix(root_path("").canonicalize().unwrap()).unwrap();
            outside.insert(inside.iter().next().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert!(outside.len() > 1, "{outside:?}");
    assert!(outside.iter().all(|folder| copied(folder)), "{outside:?}");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    // Halves, so that this file does not find itself.
    let words = [("/ho", "me/"), ("/ro", "ot/"), ("/wo", "rk/"), ("../sha", "red"), ("FIX", "ME")];
    let papers = ["README.md", "src/README.md", "benches/README.md", "Cargo.toml"].map(root_path);
    let papers =
        papers.into_iter().chain(walk(&root_path(".github"))).chain(walk(&root_path("config")));
    let texts = papers.map(|path| (fs::read_to_string(&path).unwrap(), path));
    let code = ["src", "tests", "benches"].into_iter().flat_map(sources);
    for (text, path) in texts.chain(code.map(|file| (file.text, file.path))) {
        for (half, rest) in words {
            let word = format!("{half}{rest}");
            assert!(!text.contains(&word), "{}: {word}", path.display());
        }
    }
}

/// `UPDATE_README=1 cargo test --test house` writes the tables anew.
#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let text = read("README.md");
    let expected = with_section(&with_section(&text, "reasons", &reasons()), "limits", &limits());
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(root_path("README.md"), &expected).unwrap();
    } else {
        assert_eq!(text, expected, "run it again with UPDATE_README=1");
    }
}

#[test]
fn a_section_is_replaced_and_its_surroundings_stay() {
    let text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n";
    let expected = "a\n<!-- begin: x -->\nnew\n<!-- end: x -->\nb\n";
    assert_eq!(with_section(text, "x", "new\n"), expected);
    assert_eq!(with_section(expected, "x", "new\n"), expected);
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let readme = read("README.md");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let master = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
    fs::write(folder.path().join("master.key"), master).unwrap();
    // A dialect is read in a test that signs in with it.
    for text in blocks.into_iter().filter(|text| !text.starts_with("dialect:")) {
        let mut loaded =
            portcullis::config::parse(Source::new(folder.path().join("README.md"), text)).unwrap();
        let mut findings = Findings::new();
        let gateway = server::compile(&mut loaded, &mut findings);
        assert!(gateway.is_some(), "{}", Report::new(loaded.source, findings));
    }
}

#[test]
fn the_readme_lists_every_metric() {
    let readme = read("README.md");
    let code: String = read("src/telemetry/metrics.rs").split_whitespace().collect();
    let names: Vec<&str> =
        code.split("(r,\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("`portcullis_{name}`")), "{name}");
    }
}

fn reasons() -> String {
    let mut table = "| status | reason | meaning |\n| --- | --- | --- |\n".to_owned();
    for reason in Reason::ALL {
        let (status, code) = (reason.status().as_u16(), reason.code());
        writeln!(table, "| {status} | `{code}` | {} |", reason.meaning()).unwrap();
    }
    table
}

fn limits() -> String {
    let mut table = "| key | default | bounds |\n| --- | --- | --- |\n".to_owned();
    for bound in BOUNDS {
        let default = bound.default.map_or_else(|| "–".to_owned(), |value| bound.unit.write(value));
        writeln!(table, "| `{}` | {default} | {} |", bound.key, bound.range()).unwrap();
    }
    table
}

/// Replaces what stands between the marks of `name`.
fn with_section(text: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{content}{end}{after}")
}

/// A Rust file and the module it is; empty for the crate's own two files.
struct SourceFile {
    path: PathBuf,
    module: Vec<String>,
    text: String,
}

impl SourceFile {
    /// Whether its parent declares it for tests only.
    fn is_test(&self) -> bool {
        let name = self.path.file_stem().unwrap().to_str().unwrap();
        let front = fs::read_to_string(self.path.with_file_name("mod.rs")).unwrap_or_default();
        front.contains(&format!("#[cfg(test)]\nmod {name};"))
    }
}

fn sources(folder: &str) -> Vec<SourceFile> {
    let folder = root_path(folder);
    let files =
        walk(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files
        .map(|path| {
            let inside = path.strip_prefix(&folder).unwrap().with_extension("");
            let parts = inside.iter().map(|part| part.to_str().unwrap().to_owned());
            let module = parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str()));
            SourceFile { module: module.collect(), text: fs::read_to_string(&path).unwrap(), path }
        })
        .collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root_path(path)).unwrap()
}

/// What the file of `module` uses and may not, in the order of the text: paths from the crate's root
/// first, then those that climb to it by `super`.
fn wrong_uses(module: &[String], code: &str) -> Vec<String> {
    let own = module.first().unwrap();
    let mut wrong = Vec::new();
    let mut judge = |used: &str| {
        let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
        if used.is_empty() {
            wrong.push("one `use` for each module".to_owned());
        } else if used != own && floor(used).is_none_or(|below| Some(below) >= floor(own)) {
            wrong.push(format!("{own} may not use {used}"));
        }
    };
    for (_, rest) in paths_from(code, "crate::") {
        judge(word(rest));
    }
    for (at, mut rest) in paths_from(code, "super::") {
        let is_inner = code.get(..at).is_some_and(|before| before.contains("mod tests {"));
        let mut height = module.len() + usize::from(is_inner) - 1;
        while let Some(above) = rest.strip_prefix("super::") {
            rest = above;
            height = height.saturating_sub(1);
        }
        if height == 0 {
            judge(word(rest));
        }
    }
    wrong
}

/// Where paths begin with `start`, and how they go on.
fn paths_from<'t>(code: &'t str, start: &str) -> Vec<(usize, &'t str)> {
    let begins = |at: usize| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    };
    let matches = code.match_indices(start).filter(|(at, _)| begins(*at));
    matches.filter_map(|(at, found)| Some((at, code.get(at + found.len()..)?))).collect()
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

fn before_tests(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text.get(..end).unwrap()
}

/// The names under every `[…dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_inside = line.trim_end().ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_inside) {
            names.extend((!name.starts_with('#')).then_some(name));
        }
    }
    names
}

fn mentions_crate(code: &str, name: &str) -> bool {
    paths_from(code, name).iter().any(|(_, rest)| rest.starts_with("::") || rest.starts_with(';'))
}
