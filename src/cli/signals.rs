//! Signals as words: what the operator wants of the process.

use std::io;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM, SIGINT: finish what is under way and end.
    End,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGQUIT: end now.
    EndNow,
}

/// The signals of this process; from here on they no longer end it by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next signal; may be dropped, a signal that came stays to be read.
    pub(super) async fn next(&mut self) -> Wish {
        // Each branch may be dropped at its await: a signal received is kept by its stream.
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.quit.recv() => Wish::EndNow,
        }
    }
}
