//! `portcullis check`: says whether a configuration would run, and what somebody should have meant.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use crate::config;
use crate::config::Findings;
use crate::config::Loaded;
use crate::config::Report;
use crate::config::Severity;

/// What `portcullis check` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Reads what `serve` would read, the files and environment variables that the configuration
names included, and asks nobody else: no store, no issuer. Everything that is wrong is told
at once, each with its place.

Exits with 0 when the configuration would run, with 78 when it would not.

Examples:
  portcullis check
  portcullis check /etc/portcullis/portcullis.yaml --format json")]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(value_name = "FILE", env = "PORTCULLIS_CONFIG", default_value = "portcullis.yaml")]
    pub file: PathBuf,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: an excerpt of the file with a mark under the place.
    #[default]
    Text,
    /// For programs: one JSON object.
    Json,
}

/// The configuration would run.
pub const EXIT_OK: u8 = 0;
/// The configuration would not run (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Checks a file and prints what was found; `compile` is what `serve` does, without the serving.
pub fn run(
    args: &CheckArgs,
    out: &mut dyn Write,
    compile: impl FnOnce(&mut Loaded, &mut Findings),
) -> io::Result<u8> {
    let (report, routes) = match config::load(&args.file) {
        Err(report) => (report, 0),
        Ok(mut loaded) => {
            let mut findings = Findings::new();
            compile(&mut loaded, &mut findings);
            (Report::new(loaded.source, findings), loaded.document.routes.len())
        }
    };
    match args.format {
        Format::Json => {
            let mut json = report.to_json();
            if let Some(object) = json.as_object_mut() {
                object.insert("routes".to_owned(), routes.into());
            }
            writeln!(out, "{json:#}")?;
        }
        Format::Text => write!(out, "{report}{}", closing_line(&report, routes))?,
    }
    Ok(if report.has_errors() { EXIT_CONFIG } else { EXIT_OK })
}

fn closing_line(report: &Report, routes: usize) -> String {
    let file = report.source().path.display();
    let warnings = count(report.count(Severity::Warning), "warning");
    match report.count(Severity::Error) {
        0 => format!("{file}: ok, {}, {warnings}\n", count(routes, "route")),
        errors => format!("{file}: refused, {}, {warnings}\n", count(errors, "error")),
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::server;

    fn check(text: &str, format: Format) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        std::fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let code = run(&CheckArgs { file, format }, &mut out, |loaded, findings| {
            Settings::resolve(loaded, findings);
        });
        let text = String::from_utf8(out).unwrap();
        (code.unwrap(), text.replace(&*folder.path().to_string_lossy(), "…"))
    }

    const GOOD: &str = "
listen: { public: 127.0.0.1:8080 }
upstreams: { api: { url: \"http://127.0.0.1:9000\" } }
routes: [ { match: \"* /**\", to: api, public: true } ]
";

    #[test]
    fn a_good_file_is_named_with_its_routes() {
        let (code, text) = check(GOOD, Format::Text);
        assert_eq!((code, &*text), (0, "…/portcullis.yaml: ok, 1 route, 0 warnings\n"));
    }

    #[test]
    fn a_bad_file_ends_with_78_and_the_number_of_errors() {
        let bad = GOOD.replace("8080", "port").replace("http:", "ftp:");
        let (code, text) = check(&bad, Format::Text);
        assert_eq!(code, 78);
        assert!(text.ends_with("…/portcullis.yaml: refused, 2 errors, 0 warnings\n"), "{text}");
        let (code, text) = check("listen: [", Format::Text);
        assert_eq!(code, 78);
        assert!(text.ends_with("…/portcullis.yaml: refused, 1 error, 0 warnings\n"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_ends_with_78() {
        let mut out = Vec::new();
        let file = PathBuf::from("/nonexistent/portcullis.yaml");
        let args = CheckArgs { file, format: Format::Text };
        let code = run(&args, &mut out, |_, _| panic!("nothing to compile")).unwrap();
        assert_eq!(code, 78);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("error: `/nonexistent/portcullis.yaml` cannot be read: No such"));
    }

    #[test]
    fn a_program_reads_the_place_and_the_advice() {
        let (code, text) = check(&GOOD.replace("public: true", "publc: true"), Format::Json);
        assert_eq!(code, 78);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["errors"], 1);
        assert_eq!(json["findings"][0]["line"], 4);
        assert_eq!(json["findings"][0]["column"], 38);
        assert_eq!(json["findings"][0]["help"], "did you mean `public`?");
        let (code, text) = check(GOOD, Format::Json);
        assert_eq!(code, 0);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["errors"], &json["routes"]), (&0.into(), &1.into()));
    }

    const LOGIN: &str = "
listen: { public: 127.0.0.1:8080 }
store: sqlite:p.db
secrets: { master: \"file:master.key\" }
login: [ { dialect: native } ]
upstreams: { api: { url: \"http://127.0.0.1:9000\" } }
checks: { app: { app_key: { header: X-App-Key } } }
routes: [ { match: \"* /things/**\", to: api, require: app } ]
";

    const KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";

    /// What `check` says of a configuration beside which a master key lies, or none.
    fn check_whole(text: &str, key: Option<&str>) -> (u8, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        std::fs::write(&file, text).unwrap();
        if let Some(key) = key {
            std::fs::write(folder.path().join("master.key"), key).unwrap();
        }
        let mut out = Vec::new();
        let args = CheckArgs { file, format: Format::Json };
        let code = run(&args, &mut out, |loaded, findings| {
            server::compile(loaded, findings);
        });
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let findings = json["findings"].as_array().unwrap().iter().map(|finding| {
            let message = finding["message"].as_str().unwrap();
            format!("{}:{} {message}", finding["line"], finding["column"])
        });
        (code.unwrap(), findings.collect())
    }

    #[test]
    fn a_master_key_that_serve_could_not_use_is_told_with_its_place() {
        assert_eq!(check_whole(LOGIN, Some(KEY)), (0, vec![]));
        let (short, weak) = ("0011223344556677", "00".repeat(32));
        for key in [None, Some(""), Some(short), Some("not a key"), Some(&weak)] {
            let (code, found) = check_whole(LOGIN, key);
            assert_eq!((code, found.len()), (78, 1), "{key:?}: {found:?}");
            assert!(found[0].starts_with("4:20 "), "{found:?}");
            assert!(key.is_none_or(|key| key.is_empty() || !found[0].contains(key)), "{found:?}");
        }
    }

    #[test]
    fn a_login_service_that_registers_is_a_warning_at_its_place() {
        let of = |entry: &str| check_whole(&LOGIN.replace("dialect: native", entry), Some(KEY));
        let (code, found) = of("dialect: analogue, host: a.example");
        assert_eq!((code, found.len()), (0, 1), "{found:?}");
        assert!(
            found[0].starts_with("5:21 anybody can become a user")
                && found[0].ends_with("`analogue` serves `POST a.example/api/users`"),
            "{found:?}"
        );
        for dialect in ["native", "monogoto", "redis-7.4", "redis-7.8"] {
            assert_eq!(of(&format!("dialect: {dialect}")), (0, vec![]), "{dialect}");
        }
    }

    #[test]
    fn a_header_of_users_whom_nobody_identifies_is_a_warning() {
        let of = |checks: &str| {
            let key = "checks: { own: { header: { name: apikey, equals: user.Id } }, ";
            check_whole(&LOGIN.replace("checks: { ", &format!("{key}{checks}")), Some(KEY))
        };
        let foreign = "t: { jwt: [ { issuer: a, audience: b, algorithms: [HS256], \
                       secret: \"file:master.key\" } ] }, ";
        for checks in ["", foreign] {
            let (code, found) = of(checks);
            assert_eq!((code, found.len()), (0, 1), "{found:?}");
            assert!(found[0].ends_with("no request could ever pass this check"), "{found:?}");
        }
        for checks in ["b: { basic: self }, ", "t: { jwt: [ { issuer: self } ] }, "] {
            assert_eq!(of(checks), (0, vec![]), "{checks}");
        }
    }

    #[test]
    fn every_shipped_configuration_is_accepted_whole() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let mut files = vec![folder.join("reference.yaml")];
        for entry in std::fs::read_dir(folder.join("examples")).unwrap() {
            files.push(entry.unwrap().path());
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        assert_eq!(files.len(), 11);
        for file in files {
            let mut out = Vec::new();
            let args = CheckArgs { file, format: Format::Text };
            let code = run(&args, &mut out, |loaded, findings| {
                server::compile(loaded, findings);
            });
            assert_eq!(code.unwrap(), 0, "{}", String::from_utf8_lossy(&out));
        }
    }
}
