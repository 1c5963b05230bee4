//! The command table.

pub mod check;
pub mod init;

/// Runs the command line of this process.
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
