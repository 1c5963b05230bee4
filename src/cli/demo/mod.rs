//! `portcullis demo`: an API, the gateway before it, a key, tokens, and requests to try.
//!
//! Everything lives in this process and one temporary folder, which is removed at the end. The
//! gateway is the real one: it is configured by a file and reached over a socket.

mod echo;
mod logins;
mod stage;
mod tries;

use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::time::Duration;

use self::echo::Echo;
use self::stage::Stage;
use self::tries::Try;
use super::Exit;
use super::get;
use super::signals::Signals;
use crate::clock::Clock;
use crate::server::Options;
use crate::server::Running;
use crate::server::Server;

/// What `portcullis demo` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Needs nothing but this program, and leaves nothing behind. Ends with Ctrl-C.")]
pub struct DemoArgs {
    /// The port of the gateway on 127.0.0.1; another one is taken when it is in use
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Send all requests at once, say whether the answers are as expected, and end
    #[arg(long)]
    pub check: bool,
}

/// Runs the demonstration until a signal ends it.
pub fn run(args: &DemoArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let runtime = super::runtime()?;
    // Before there is anything that would have to be removed.
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let clock = Clock::system();
    let now = clock.now();
    let (port, problem) = usable(args.port);
    let echo = Echo::start()?;
    let stage = runtime.block_on(Stage::set(port, echo.address(), now))?;
    let running = Server::start(&stage.configuration(), Options { clock, ..Options::default() })?;
    let authority = running.public().to_string();
    if let Some(problem) = problem {
        writeln!(
            out,
            "Port {} cannot be used ({problem}); using {authority} instead.\n",
            args.port
        )?;
    }
    let mut tries = tries::all(&stage);
    tries.extend(runtime.block_on(logins::all(&stage, &authority, now))?);
    let exit = if args.check {
        check(&tries, &authority, out)?
    } else {
        introduce(&stage, &running, out)?;
        for (number, one) in (1..).zip(&tries) {
            one.write(number, &authority, out)?;
        }
        writeln!(out, "Ctrl-C ends the demonstration and removes its folder.")?;
        out.flush()?;
        runtime.block_on(signals.next());
        Exit::Done
    };
    // The gateway first, so that nothing of it writes into a folder that is being removed.
    drop(running);
    stage.strike()?;
    Ok(exit)
}

/// The port, or 0 for any free one and why the other cannot be had. Asked without the sharing of
/// ports that the workers use, which would let two gateways take turns on one port.
fn usable(port: u16) -> (u16, Option<std::io::Error>) {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_free) => (port, None),
        Err(error) => (0, Some(error)),
    }
}

fn introduce(stage: &Stage, running: &Running, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "Portcullis stands in front of a small API that echoes whatever reaches it.\n")?;
    writeln!(out, "  gateway        http://{}", running.public())?;
    if let Some(admin) = running.admin() {
        writeln!(out, "  for operators  http://{admin}/metrics and /readyz")?;
    }
    writeln!(out, "  configuration  {}", stage.configuration().display())?;
    writeln!(out, "  application    {}, which sends its key in X-App-Key", stage.app)?;
    writeln!(
        out,
        "  user           {}, who may see and change orders, not delete them\n",
        stage::USER
    )?;
    writeln!(
        out,
        "Paste these into another terminal. The tokens are good for five minutes at least, the one-time\n\
         code for half a minute.\n"
    )
}

fn check(tries: &[Try], authority: &str, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for one in tries {
        let answer = get::send(authority, &one.request_line(), &one.headers, &one.body, PATIENCE)?;
        if answer.status == one.status && answer.body.contains(&one.shows) {
            writeln!(out, "ok      {} {}", answer.status, one.title)?;
        } else {
            writeln!(out, "FAILED  {} instead of {}: {}", answer.status, one.status, one.title)?;
            writeln!(out, "{}", answer.body)?;
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// For each step of an exchange with ourselves.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_in_use_is_told_and_left_alone() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let (instead, problem) = usable(port);
        assert!(instead == 0 && problem.is_some());
        drop(taken);
        assert!(matches!(usable(0), (0, None)));
    }

    #[test]
    fn every_request_is_answered_as_it_is_announced() {
        let mut out = Vec::new();
        let exit = run(&DemoArgs { port: 0, check: true }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(exit, Exit::Done, "{text}");
        assert!(text.lines().count() >= 10 && !text.contains("FAILED"), "{text}");
    }
}
