//! The command line: what can be typed, and with which code the process ends.
//!
//! Printing and `anyhow` live only here. A command writes to the streams it is given and returns an
//! [`Exit`]; what it does is done by the parts below.

pub mod app;
pub mod check;
pub mod demo;
pub mod explain;
pub mod healthcheck;
pub mod init;
pub mod key;
pub mod place;
pub mod serve;
pub mod session;
pub mod table;
pub mod token;
pub mod user;
pub mod version;

mod failure;
mod get;
mod moment;
mod password;
mod signals;

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::clock::Clock;
use crate::config;
use crate::telemetry::log;

/// Everything that can be typed.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "A reverse proxy that lets a request through when its application key and its user's token are good",
    long_about = "Portcullis stands in front of an HTTP API. On every request it checks which program \
                  is calling (the application key) and on whose behalf (the user's JWT). Valid \
                  requests are forwarded with headers that say who calls; all others are refused \
                  and never reach the API.",
    after_long_help = FIRST_STEPS,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Line {
    /// What to log: a level, or levels by part [default: info for serve, warn otherwise]
    ///
    /// error, warn, info, debug or trace, also by part of the program: `warn,portcullis::jwt=debug`.
    /// The log goes to standard error.
    #[arg(long, global = true, value_name = "LEVEL", env = "PORTCULLIS_LOG", help_heading = LOG)]
    log_level: Option<String>,
    /// How log lines look [default: text on a terminal, json otherwise]
    #[arg(long, global = true, value_name = "FORMAT", value_enum, help_heading = LOG)]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    command: Command,
}

/// Above the options that every command has.
const LOG: &str = "Log options";

const FIRST_STEPS: &str = "\
First steps:
  portcullis demo                                   see it work, nothing else needed
  portcullis init --upstream http://127.0.0.1:9000  a configuration for your own API
  portcullis check portcullis.yaml                  what is wrong with it
  portcullis app create my-app -c portcullis.yaml   make an application key
  portcullis serve -c portcullis.yaml               run
  portcullis explain GET /path -H 'X-App-Key: …'    why is this request refused?

Exit codes:
  0   done
  1   failed, or the answer is no
  2   wrong command line
  69  an address cannot be listened on, or the store cannot be opened
  78  the configuration has errors";

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show it working: an API, the gateway, a key, tokens, and requests to try
    Demo(demo::DemoArgs),
    /// Write a commented configuration to start from
    Init(init::InitArgs),
    /// Say what is wrong with a configuration, and what is worth knowing about it
    Check(check::CheckArgs),
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Say how a request would be judged, step by step, and why
    Explain(explain::ExplainArgs),
    /// Create, list, show, rotate and revoke applications and their keys
    App(app::AppArgs),
    /// Create, list, show and change users, their passwords and second factors
    User(user::UserArgs),
    /// List and end the sessions of users
    Session(session::SessionArgs),
    /// List, rotate and retire the keys that sign the gateway's own tokens
    Key(key::KeyArgs),
    /// Look into tokens, verify them, and sign tokens for tests
    Token(token::TokenArgs),
    /// Ask a running gateway whether it is ready
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print the JSON Schema of the configuration, for editors
    #[command(after_long_help = "\
Example:
  portcullis schema > portcullis.schema.json

In an editor that knows YAML schemas, begin the configuration beside it with:
  # yaml-language-server: $schema=portcullis.schema.json")]
    Schema,
    /// Print completions for a shell
    #[command(after_long_help = "\
Examples:
  portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis
  portcullis completions zsh > ~/.zfunc/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version and how this program was built
    Version(version::VersionArgs),
}

/// The configuration file, for commands that need one.
#[derive(Clone, Debug, Args)]
pub struct ConfigArg {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        default_value = "portcullis.yaml"
    )]
    pub config: PathBuf,
}

/// How to print an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON value, for programs.
    Json,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// How a command ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done,
    /// Failed, or the answer is no.
    Failed,
    /// The command line is wrong.
    Usage,
    /// An address cannot be listened on, or a store cannot be opened (`EX_UNAVAILABLE`).
    Unavailable,
    /// The configuration has errors (`EX_CONFIG`).
    Config,
}

impl Exit {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Config => check::EXIT_CONFIG,
        }
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(asked) => {
            // Help and version come this way too. A reader that went away needs no answer.
            drop(asked.print());
            return ExitCode::from(u8::try_from(asked.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let format = match line.log_format {
        Some(LogFormat::Text) => log::Format::Text,
        Some(LogFormat::Json) => log::Format::Json,
        None if io::stderr().is_terminal() => log::Format::Text,
        None => log::Format::Json,
    };
    let level = line.log_level.as_deref().unwrap_or_else(|| line.command.usual_level());
    if let Err(error) = log::start(level, format) {
        drop(writeln!(io::stderr(), "error: --log-level: {error}"));
        return ExitCode::from(Exit::Usage.code());
    }
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let exit = match line.command.run(&mut out, &mut err) {
        Ok(exit) => exit,
        Err(error) => failure::tell(&error, &mut err),
    };
    ExitCode::from(exit.code())
}

impl Command {
    const fn usual_level(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            _ => "warn",
        }
    }

    fn run(
        self,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
    ) -> anyhow::Result<Exit> {
        let clock = Clock::system();
        match self {
            Self::Demo(args) => demo::run(&args, out),
            Self::Init(args) => init::run(&args, out).map(|()| Exit::Done),
            Self::Check(args) => {
                let code = check::run(&args, out, |loaded, findings| {
                    drop(crate::server::compile(loaded, findings));
                })?;
                Ok(if code == check::EXIT_OK { Exit::Done } else { Exit::Config })
            }
            Self::Serve(args) => serve::run(&args),
            Self::Explain(args) => runtime()?.block_on(explain::run(&args, out)),
            Self::App(args) => {
                let done = runtime()?.block_on(app::run(&args, &clock, out, err));
                done.map(|()| Exit::Done)
            }
            Self::User(args) => {
                let mut passwords = password::Source::of_process();
                let done =
                    runtime()?.block_on(user::run(&args, &clock, &mut passwords, (out, err)));
                done.map(|()| Exit::Done)
            }
            Self::Session(args) => {
                runtime()?.block_on(session::run(&args, &clock, out)).map(|()| Exit::Done)
            }
            Self::Key(args) => {
                runtime()?.block_on(key::run(&args, &clock, out, err)).map(|()| Exit::Done)
            }
            Self::Token(args) => runtime()?.block_on(token::run(args, &clock, out, err)),
            Self::Healthcheck(args) => healthcheck::run(&args, out),
            Self::Schema => {
                writeln!(out, "{:#}", config::schema())?;
                Ok(Exit::Done)
            }
            Self::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Line::command(), "portcullis", &mut text);
                out.write_all(&text)?;
                Ok(Exit::Done)
            }
            Self::Version(args) => version::run(&args, out),
        }
    }
}

/// A runtime for a command that asks once and ends.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_table_is_consistent_and_explains_itself() {
        let table = Line::command();
        table.clone().debug_assert();
        for command in table.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let is_told = argument.get_help().is_some() || ["help", "version"].contains(&name);
                assert!(is_told, "{} {name}", command.get_name());
            }
        }
    }

    #[test]
    fn exit_codes_are_those_of_sysexits() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Unavailable, Exit::Config];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 69, 78]);
    }
}
