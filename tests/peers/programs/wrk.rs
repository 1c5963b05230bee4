//! wrk: as many requests as fit into a time, all alike.

use std::net::SocketAddr;
use std::time::Duration;

use super::Program;
use super::command;
use super::pin;

/// A wrk that is under way.
pub struct Wrk(Program);

/// What a wrk has counted.
#[derive(Debug)]
pub struct Load {
    /// Answers that came whole.
    pub requests: u32,
    /// Its report.
    pub report: String,
}

impl Wrk {
    /// Starts one on a core, over 64 connections.
    #[track_caller]
    pub fn start(
        core: usize,
        seconds: u64,
        to: SocketAddr,
        target: &str,
        fields: &[String],
    ) -> Self {
        let mut wrk = command("wrk");
        wrk.args(["--threads", "1", "--connections", "64", "--duration", &format!("{seconds}s")]);
        for field in fields {
            wrk.args(["--header", field]);
        }
        wrk.arg(format!("http://{to}{target}"));
        let program = Program::start(wrk);
        pin(program.id(), core);
        Self(program)
    }

    /// Waits until its time is over.
    #[track_caller]
    pub fn end(self) -> Load {
        Load::of(self.0.end())
    }

    /// Ends it before its time.
    #[track_caller]
    pub fn stop(self) -> Load {
        self.0.signal("INT");
        self.end()
    }
}

impl Load {
    #[track_caller]
    fn of(report: String) -> Self {
        let count = report.lines().find_map(|line| line.trim().split_once(" requests in "));
        let count = count.unwrap_or_else(|| panic!("wrk did not count: {report}")).0;
        Self { requests: count.parse().unwrap(), report }
    }

    /// Whether every answer was a 2xx or 3xx and no connection failed.
    pub fn is_clean(&self) -> bool {
        let complaints = ["Non-2xx or 3xx responses", "Socket errors"];
        self.requests > 0 && !complaints.iter().any(|text| self.report.contains(text))
    }

    /// How much of `time` one request had.
    pub fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / f64::from(self.requests)
    }
}
