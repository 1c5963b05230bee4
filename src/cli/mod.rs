//! The command table.

pub mod app;
pub mod check;
pub mod init;

use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let path = PathBuf::from(std::env::args().nth(2).unwrap_or_default());
    let _ = crate::telemetry::log::start("info", crate::telemetry::log::Format::Text);
    let options = crate::server::Options {
        watches_files: true,
        writes_access_lines: true,
        ..Default::default()
    };
    match crate::server::Server::start(&path, options) {
        Ok(mut running) => {
            running.join();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error} {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}
