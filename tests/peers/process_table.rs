//! What Linux tells of a process under `/proc`.

use std::fs;
use std::time::Duration;

/// Processor time that a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// In the program itself.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl Spent {
    /// All of it.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What has been added since.
    pub fn since(self, earlier: Self) -> Self {
        let (user, system) = (earlier.user, earlier.system);
        // The kernel divides one sum anew each time; a part of it may seem to run backwards.
        Self { user: self.user.saturating_sub(user), system: self.system.saturating_sub(system) }
    }
}

/// What a process has used so far, in steps of a hundredth of a second.
#[track_caller]
pub fn spent(id: u32) -> Spent {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name, in parentheses, may hold anything; `utime` is the 12th field after it.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: Vec<&str> = fields.split(' ').skip(11).take(2).collect();
    let time = |ticks: &str| Duration::from_millis(10 * ticks.parse::<u64>().unwrap());
    Spent { user: time(ticks[0]), system: time(ticks[1]) }
}

/// A line of `/proc/ID/status` that is in kB, such as `VmRSS` (now) or `VmHWM` (the most so far).
#[track_caller]
pub fn memory_kb(id: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let rest = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    rest.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// The processes that a process has started and that are still there.
#[track_caller]
pub fn children(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}
