//! What a connection of HTTP/1.1 is doing, and until when it may.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::time::Instant;

use super::super::{LINGER_FOR, Patience};

/// What the connection is doing, since when. Written and read by one task; atomic only so that the
/// task may move between threads.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    phase: AtomicU8,
    since_nanos: AtomicU64,
    /// Whether the last request had a body, of which a part may be unread when the connection closes.
    pub(super) had_body: AtomicBool,
    /// Whether an answer broke off where only the end of the connection tells its end.
    pub(super) is_torn: AtomicBool,
    /// Since when the client takes nothing of what is to be written; zero while it does.
    stalled_nanos: AtomicU64,
    /// Bytes of an answer that were handed out to be written and are not.
    unwritten: AtomicUsize,
    /// Whether an answer waits for them.
    is_held: AtomicBool,
}

impl Activity {
    pub(super) const fn new(opened: Instant) -> Self {
        Self {
            opened,
            phase: AtomicU8::new(HEAD),
            since_nanos: AtomicU64::new(0),
            had_body: AtomicBool::new(false),
            is_torn: AtomicBool::new(false),
            stalled_nanos: AtomicU64::new(0),
            unwritten: AtomicUsize::new(0),
            is_held: AtomicBool::new(false),
        }
    }

    /// Bytes came in: between requests they begin a head.
    pub(super) fn read(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE {
            self.enter(HEAD);
        }
    }

    pub(super) fn begin_request(&self, has_body: bool) -> Instant {
        let since = self.since();
        self.had_body.store(has_body, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
        since
    }

    pub(super) fn end_request(&self) {
        self.enter(IDLE);
    }

    /// Whether nothing is under way in either direction.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    /// What the client still sends is read and dropped.
    pub(super) fn linger(&self) {
        self.enter(LINGER);
    }

    fn enter(&self, phase: u8) {
        self.since_nanos.store(self.nanos(), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// Notes bytes that are to be written.
    pub(super) fn hand(&self, bytes: usize) {
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        self.unwritten.store(unwritten.saturating_add(bytes), Ordering::Relaxed);
    }

    /// Whether no more of an answer is to be read for now; whoever asks is woken when it is.
    pub(super) fn is_full(&self) -> bool {
        let is_full = self.unwritten.load(Ordering::Relaxed) >= MOST_UNWRITTEN;
        if is_full {
            self.is_held.store(true, Ordering::Relaxed);
        }
        is_full
    }

    /// Notes how many bytes the client took.
    pub(super) fn took(
        &self,
        outcome: Poll<io::Result<usize>>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = outcome {
            // Heads are not counted as they are handed out.
            let unwritten = self.unwritten.load(Ordering::Relaxed).saturating_sub(bytes);
            self.unwritten.store(unwritten, Ordering::Relaxed);
            if unwritten < MOST_UNWRITTEN && self.is_held.load(Ordering::Relaxed) {
                self.is_held.store(false, Ordering::Relaxed);
                cx.waker().wake_by_ref();
            }
        }
        self.wrote(outcome)
    }

    /// Notes whether the client took something.
    pub(super) fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        let is_stalled = self.stalled_nanos.load(Ordering::Relaxed) > 0;
        if is_stalled != outcome.is_pending() {
            let since = if is_stalled { 0 } else { self.nanos() };
            self.stalled_nanos.store(since, Ordering::Relaxed);
        }
        outcome
    }

    /// An answer that nobody takes is not left to the kernel to keep.
    pub(super) fn give_up(&self) {
        if self.phase.load(Ordering::Relaxed) == BUSY {
            self.is_torn.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn nanos(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn since(&self) -> Instant {
        self.opened + Duration::from_nanos(self.since_nanos.load(Ordering::Relaxed))
    }

    /// When the present phase must be over; a request under way has deadlines of its own, but for a
    /// client that does not read: it would hold an upstream's connection as long as it likes.
    pub(super) fn due(&self, patience: Patience) -> Option<Instant> {
        match self.phase.load(Ordering::Relaxed) {
            HEAD => Some(self.since() + patience.head),
            IDLE if self.stalled_nanos.load(Ordering::Relaxed) == 0 => {
                Some(self.since() + patience.idle.min(PARKED_AFTER))
            }
            LINGER => Some(self.since() + LINGER_FOR),
            _ => match self.stalled_nanos.load(Ordering::Relaxed) {
                0 => None,
                since => Some(self.opened + Duration::from_nanos(since) + patience.idle),
            },
        }
    }
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const LINGER: u8 = 3;
/// So many bytes of an answer wait to be written, and another piece of it, but no more.
const MOST_UNWRITTEN: usize = 8 * 1024;
/// How long a connection keeps what it needs for another request.
const PARKED_AFTER: Duration = Duration::from_secs(1);
