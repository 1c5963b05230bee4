//! `portcullis init`: writes a commented configuration to start from.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;

use crate::config::UpstreamAddress;

/// What `portcullis init` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
What it writes asks for an application key on every request, and shows how to ask for a
user's token too.

Example:
  portcullis init --upstream http://127.0.0.1:9000")]
pub struct InitArgs {
    /// The address of the API to protect, such as `http://127.0.0.1:9000`.
    #[arg(long, value_name = "URL")]
    pub upstream: String,
    /// The file to write; one that is already there stays as it is.
    #[arg(long, short, value_name = "FILE", default_value = "portcullis.yaml")]
    pub output: PathBuf,
}

/// Writes the starter configuration and says what to do next.
pub fn run(args: &InitArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let upstream = match UpstreamAddress::parse(&args.upstream) {
        Ok(upstream) => upstream,
        Err((what, help)) => bail!("--upstream: {what}; {help}"),
    };
    let path = args.output.display();
    // `create_new` refuses what is already there in the same act, links that lead nowhere included.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.output)
        .and_then(|mut file| file.write_all(starter(&upstream).as_bytes()))
        .with_context(|| format!("cannot write `{path}`"))?;
    writeln!(out, "wrote {path}; next:")?;
    writeln!(out, "  portcullis check {path}")?;
    writeln!(out, "  portcullis app create my-first-app --config {path}")?;
    writeln!(out, "  portcullis serve --config {path}")?;
    Ok(())
}

/// The text of the starter configuration.
pub fn starter(upstream: &UpstreamAddress) -> String {
    let scheme = if upstream.is_https { "https" } else { "http" };
    STARTER.replace("http://UPSTREAM", &format!("{scheme}://{upstream}"))
}

const STARTER: &str = include_str!("starter.yaml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::Findings;
    use crate::config::Report;
    use crate::config::Source;
    use crate::server;

    fn init(upstream: &str, output: PathBuf) -> Result<String, String> {
        let mut out = Vec::new();
        let args = InitArgs { upstream: upstream.to_owned(), output };
        run(&args, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[track_caller]
    fn assert_accepted(text: &str) {
        let mut loaded = config::parse(Source::new("portcullis.yaml", text)).unwrap();
        let mut findings = Findings::new();
        let gateway = server::compile(&mut loaded, &mut findings);
        let report = Report::new(loaded.source, findings);
        assert!(report.findings().is_empty(), "{report}");
        assert!(gateway.is_some() && loaded.document.upstreams.contains_key("api"));
    }

    #[test]
    fn the_starter_is_accepted_as_it_is_and_with_the_user_check_put_in() {
        let starter = starter(&UpstreamAddress::parse("http://127.0.0.1:9000").unwrap());
        assert!(starter.contains("url: http://127.0.0.1:9000"));
        assert_accepted(&starter);
        let lines = starter.lines().map(|line| line.replacen("#| ", "", 1));
        let with_user = lines.collect::<Vec<_>>().join("\n");
        assert_ne!(with_user, starter);
        assert_accepted(&with_user);
    }

    #[test]
    fn a_file_that_is_already_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis.yaml");
        let said = init("http://127.0.0.1:9000", path.clone()).unwrap();
        assert!(said.contains("portcullis check"));
        let first = std::fs::read(&path).unwrap();
        assert!(init("http://127.0.0.1:9001", path.clone()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn the_scheme_of_the_upstream_is_kept() {
        for (upstream, line) in
            [("https://api", "url: https://api:443"), ("http://api", "url: http://api:80")]
        {
            let starter = starter(&UpstreamAddress::parse(upstream).unwrap());
            assert!(starter.contains(line), "{starter}");
        }
    }

    #[test]
    fn an_address_that_is_not_an_upstream_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portcullis.yaml");
        for upstream in ["", "127.0.0.1:9000", "ftp://api", "http://a\nb", "http://a/b"] {
            assert!(init(upstream, path.clone()).is_err(), "{upstream}");
            assert!(!path.exists());
        }
    }
}
