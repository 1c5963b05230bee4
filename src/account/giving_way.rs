//! How a thread that hashes leaves the cores to the threads that serve requests.
//!
//! Where there is room, it gives way altogether: Linux lets a thread that is merely nice finish its
//! slice, which takes milliseconds. Where there is none, no more than is nice: a thread that gives way
//! altogether would not run at all, and nobody could sign in. Elsewhere than on Linux, and where the
//! system refuses, nothing changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};
#[cfg(target_os = "linux")]
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// What is known about the room that there is; while nothing is, it is assumed that there is none.
#[derive(Debug, Default)]
pub(super) struct GivingWay {
    /// Whether the last piece of work had a core to itself.
    has_room: AtomicBool,
}

impl GivingWay {
    /// Does `work` on a thread that does nothing else, since what is given way cannot be taken back.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(target_os = "linux")]
        let began = {
            self.step_back();
            Instant::now()
        };
        let done = work();
        #[cfg(target_os = "linux")]
        if let Ok(ran) = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)) {
            self.learn(began.elapsed(), ran);
        }
        done
    }

    #[cfg(target_os = "linux")]
    fn step_back(&self) {
        if self.has_room.load(Ordering::Relaxed) {
            let _ = thread_priority::set_thread_priority_and_policy(
                thread_priority::thread_native_id(),
                ThreadPriority::Min,
                ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
            );
        } else {
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        }
    }

    /// There is room when work took about as long as it ran, and none when it mostly waited.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nobody measures there"))]
    fn learn(&self, took: Duration, ran: Duration) {
        if took < ran.saturating_mul(2) {
            self.has_room.store(true, Ordering::Relaxed);
        } else if took > ran.saturating_mul(8) {
            self.has_room.store(false, Ordering::Relaxed);
        }
    }
}

/// How far to step back where there is no room, of 19: to a quarter of a busy core.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_learnt_from_how_long_work_waited() {
        let giving_way = GivingWay::default();
        let learnt = |took: u64, ran: u64| {
            giving_way.learn(Duration::from_millis(took), Duration::from_millis(ran));
            giving_way.has_room.load(Ordering::Relaxed)
        };
        assert!(!learnt(20, 10), "nothing is known, and this tells nothing");
        assert!(learnt(19, 10));
        assert!(learnt(20, 10) && learnt(80, 10), "what lies between leaves it as it is");
        assert!(!learnt(81, 10));
        assert!(!learnt(80, 10) && !learnt(20, 10));
        assert!(learnt(10, 10));
    }

    /// On a thread of its own, which stays as it is left.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_gives_way_altogether_only_where_there_is_room() {
        let policy_with = |has_room: bool| {
            let giving_way = GivingWay { has_room: AtomicBool::new(has_room) };
            let policy = || giving_way.during(thread_priority::thread_schedule_policy);
            std::thread::scope(|scope| scope.spawn(policy).join().unwrap())
        };
        let of = |policy| Ok(ThreadSchedulePolicy::Normal(policy));
        assert_eq!(policy_with(false), of(NormalThreadSchedulePolicy::Other));
        assert_eq!(policy_with(true), of(NormalThreadSchedulePolicy::Idle));
    }
}
