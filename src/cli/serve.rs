//! `portcullis serve`: runs the gateway until a signal ends it.

use tokio::sync::mpsc;

use super::ConfigArg;
use super::Exit;
use super::signals::Signals;
use super::signals::Wish;
use crate::config::Report;
use crate::server::Options;
use crate::server::Order;
use crate::server::Server;

/// What `portcullis serve` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The log goes to standard error, one access line per request to standard output.
The configuration is read again when it changes on disk, with every file it names; a bad one is
refused and the old one stays in force.

Signals:
  TERM, INT  fail readiness, finish what is under way, end; a second one ends at once
  HUP        read the configuration again
  QUIT       end at once

Examples:
  portcullis serve
  portcullis serve -c /etc/portcullis/portcullis.yaml --log-level debug
  PORTCULLIS_CONFIG=/etc/portcullis/portcullis.yaml portcullis serve")]
pub struct ServeArgs {
    /// Which configuration to run.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Serves until a signal ends it.
pub fn run(args: &ServeArgs) -> anyhow::Result<Exit> {
    let runtime = super::runtime()?;
    // Before anything else, so that a signal during the start is not lost.
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let options = Options { watches_files: true, writes_access_lines: true, ..Options::default() };
    let mut running = Server::start(&args.config.config, options)?;
    log_warnings(running.warnings());
    let admin = running.admin().map(tracing::field::display);
    tracing::info!(public = %running.public(), admin, "listening");
    runtime.block_on(obey(&mut signals, running.orders()));
    running.join();
    tracing::info!("ended");
    Ok(Exit::Done)
}

/// Passes signals on as orders until the gateway has ended.
async fn obey(signals: &mut Signals, orders: mpsc::Sender<Order>) {
    let mut is_draining = false;
    loop {
        // Both may be dropped at their await: a signal is kept, the end of a channel comes again.
        let wish = tokio::select! {
            wish = signals.next() => wish,
            () = orders.closed() => return,
        };
        let order = match wish {
            Wish::Reload => Order::Reload(None),
            Wish::End if !is_draining => Order::Drain,
            Wish::End | Wish::EndNow => Order::Stop,
        };
        is_draining |= wish == Wish::End;
        if orders.send(order).await.is_err() {
            return;
        }
    }
}

fn log_warnings(report: &Report) {
    for finding in report.findings() {
        let (line, help) = (finding.place.line, finding.help.as_deref());
        tracing::warn!(line, help, "configuration: {}", finding.message);
    }
}
