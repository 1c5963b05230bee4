//! `portcullis healthcheck`: asks a running gateway whether it is ready; for containers and scripts.

use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use serde_json::Value;

use super::ConfigArg;
use super::Exit;
use super::get;
use crate::config;
use crate::config::Findings;
use crate::config::ListenAddress;
use crate::config::Report;
use crate::config::Settings;
use crate::config::UpstreamAddress;
use crate::server::StartError;

/// What `portcullis healthcheck` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exits with 0 when the gateway is ready, with 1 when it is not or does not answer.
Ready: it serves and does not drain, its store answers, every issuer's keys are there.

Examples:
  portcullis healthcheck -c /etc/portcullis/portcullis.yaml
  portcullis healthcheck --admin-url http://127.0.0.1:9901
  portcullis healthcheck --admin-url unix:/run/portcullis/admin.sock

In a container:
  HEALTHCHECK CMD [\"portcullis\", \"healthcheck\"]")]
pub struct HealthcheckArgs {
    /// The address of the admin listener, instead of the one in the configuration
    #[arg(long, value_name = "URL", env = "PORTCULLIS_ADMIN_URL")]
    pub admin_url: Option<String>,
    /// Where the admin listener is configured.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Asks, and tells what is not ready.
pub fn run(args: &HealthcheckArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let authority = match &args.admin_url {
        Some(url) => authority(url)?,
        None => configured(&args.config.config)?.to_string(),
    };
    let answer = get::send(&authority, "GET /readyz?verbose", &[], "", PATIENCE)
        .with_context(|| format!("no answer from {authority} to /readyz"))?;
    let is_ready = answer.status == 200;
    writeln!(out, "{}", if is_ready { "ready" } else { "not ready" })?;
    let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    for condition in document.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| condition.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_met = condition.get("met").and_then(Value::as_bool).unwrap_or_default();
        let mark = if is_met { "ok" } else { "NO" };
        writeln!(out, "  {mark}  {}: {}", text("name"), text("detail"))?;
    }
    Ok(if is_ready { Exit::Done } else { Exit::Failed })
}

fn authority(url: &str) -> anyhow::Result<String> {
    if url.starts_with("unix:/") {
        return Ok(url.to_owned());
    }
    match UpstreamAddress::parse(url) {
        Ok(address) if address.is_https => bail!("--admin-url: the scheme is not http"),
        Ok(address) => Ok(address.to_string()),
        Err((what, _)) => bail!("--admin-url: {what}; write http://HOST:PORT or unix:/PATH"),
    }
}

fn configured(path: &Path) -> anyhow::Result<ListenAddress> {
    let refused = |report| StartError::Config(Box::new(report));
    let loaded = config::load(path).map_err(refused)?;
    let mut findings = Findings::new();
    let Some(settings) = Settings::resolve(&loaded, &mut findings) else {
        return Err(refused(Report::new(loaded.source, findings)).into());
    };
    let Some(admin) = settings.listen.admin else {
        bail!("{} has no `listen.admin` to ask", path.display());
    };
    Ok(match admin {
        ListenAddress::Socket(address) => ListenAddress::Socket(reachable(address)),
        unix @ ListenAddress::Unix(_) => unix,
    })
}

/// Where one asks a listener that listens everywhere.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// For each step of the exchange; container platforms give a check a few seconds.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listener, asked) in [
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("192.0.2.1:9901", "192.0.2.1:9901"),
        ] {
            assert_eq!(reachable(listener.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn only_a_plain_address_of_a_listener_is_asked() {
        assert_eq!(authority("http://127.0.0.1:9901/").unwrap(), "127.0.0.1:9901");
        assert_eq!(authority("unix:/run/p.sock").unwrap(), "unix:/run/p.sock");
        for url in ["https://127.0.0.1:9901", "127.0.0.1:9901", "http://a/readyz", "unix:p", ""] {
            assert!(authority(url).is_err(), "{url}");
        }
    }
}
