//! `portcullis explain`: how a request would be judged, step by step, by the very code that serves.
//!
//! The request is read by the parser of the listeners and judged by the gateway's own decision, so
//! that nothing here can disagree with what `serve` does. Nothing is sent anywhere.

mod print;

use std::io::Read;
use std::io::Write;
use std::net::IpAddr;

use anyhow::Context;
use anyhow::bail;

use self::print::Telling;
use super::ConfigArg;
use super::Exit;
use super::Output;
use super::moment;
use crate::clock::Clock;
use crate::server::Trial;

/// What `portcullis explain` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exits with 0 when the request would be forwarded and with 1 when it would be refused. Credentials are
shown as `[secret]`. The store of the configuration is read and remote key sets are fetched; nothing
is written, and nothing is sent to an upstream.

Examples:
  portcullis explain /orders -H 'X-App-Key: pc_…' -H 'Authorization: Bearer eyJ…'
  portcullis explain DELETE /orders/7 --host api.example.com --from 192.0.2.7
  portcullis explain /orders --at +2h -H - < headers.txt     would this still pass in two hours?
  portcullis explain -c portcullis.yaml -o json GET /healthz")]
pub struct ExplainArgs {
    /// Which configuration judges.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The method (GET unless written) and the target, as in the first line of a request
    #[arg(required = true, num_args = 1..=2, value_names = ["METHOD", "TARGET"])]
    pub request: Vec<String>,
    /// A header line; may be repeated. `-` reads lines from standard input, so that secrets stay
    /// out of the process list
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The host that is asked [default: localhost]; `-H 'Host: …'` does the same
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The address of the other end of the connection
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// The instant of the request: 2026-11-05T12:00:00Z, +2h or -5m [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Judges the request and tells how.
pub async fn run(args: &ExplainArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<Exit> {
    let clock = clock(args)?;
    let head = head(args, &mut std::io::stdin())?;
    let trial = Trial::open(&args.config.config, clock).await?;
    let asked = trial.ask(head.as_bytes(), args.from).await;
    let telling = Telling::of(asked, trial.settings());
    match args.output {
        Output::Text => telling.write_text(out)?,
        Output::Json => writeln!(out, "{:#}", telling.to_json())?,
    }
    Ok(if telling.is_allowed() { Exit::Done } else { Exit::Failed })
}

/// A clock that stands still when an instant was given: everything happens at that instant.
fn clock(args: &ExplainArgs) -> anyhow::Result<Clock> {
    let Some(text) = &args.at else { return Ok(Clock::system()) };
    let at = moment::parse(text, Clock::system().now());
    let at = at.context("--at: write 2026-11-05T12:00:00Z, +2h or -5m")?;
    Ok(Clock::manual(at))
}

/// The bytes that a client would send. Nothing is corrected: what is odd reaches the parser as it is.
fn head(args: &ExplainArgs, input: &mut dyn Read) -> anyhow::Result<String> {
    let (method, target) = match args.request.as_slice() {
        [method, target] => (method.as_str(), target.as_str()),
        [target] => ("GET", target.as_str()),
        _ => bail!("write a method and a target, such as GET /orders"),
    };
    let mut lines = Vec::new();
    for written in &args.headers {
        if written == "-" {
            let mut text = String::new();
            input.take(MOST_INPUT).read_to_string(&mut text).context("read standard input")?;
            lines.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        } else {
            lines.push(written.clone());
        }
    }
    if let Some(odd) = lines.iter().position(|line| !line.contains(':')) {
        // Not repeated: what stands here by mistake may well be a secret.
        bail!("header line {} has no colon; write -H 'Name: value'", odd.saturating_add(1));
    }
    let names_host = lines.iter().any(|line| {
        line.split(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("host"))
    });
    let host = match (&args.host, names_host) {
        (Some(host), _) => Some(host.as_str()),
        (None, false) => Some("localhost"),
        (None, true) => None,
    };
    let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    Ok(format!("{method} {target} HTTP/1.1\r\n{host}{lines}\r\n"))
}

/// Bytes of header lines that are read from standard input.
const MOST_INPUT: u64 = 256 * 1024;

#[cfg(test)]
mod tests;
