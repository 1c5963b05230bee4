//! `portcullis version`: which build this is.

use std::io::Write;

use serde_json::json;

use super::Exit;
use super::Output;

/// What `portcullis version` is asked.
#[derive(Debug, clap::Args)]
pub struct VersionArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Prints version, target, compiler and features.
pub fn run(args: &VersionArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    match args.output {
        Output::Json => {
            let version = json!({
                "version": VERSION,
                "rust": RUST,
                "target": target,
                "build": build,
                "features": features(),
                "tls": TLS,
            });
            writeln!(out, "{version:#}")?;
        }
        Output::Text => {
            writeln!(out, "portcullis {VERSION}")?;
            writeln!(out, "rust      {RUST}")?;
            writeln!(out, "target    {target}, {build} build")?;
            writeln!(out, "features  {}", features().join(" "))?;
            writeln!(out, "tls       {TLS}")?;
        }
    }
    Ok(Exit::Done)
}

fn features() -> Vec<&'static str> {
    [("jemalloc", cfg!(feature = "jemalloc")), ("peers", cfg!(feature = "peers"))]
        .into_iter()
        .filter_map(|(name, is_on)| is_on.then_some(name))
        .collect()
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The toolchain that the package asks for, and is built and tested with.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");
const TLS: &str = "rustls with aws-lc-rs";
