//! A gate that one thread opens and others wait for: order without sleeping.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

use super::DEADLINE;

/// Closed until opened; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Waits until the gate is open; false when it stayed closed up to the deadline.
    pub fn wait(&self) -> bool {
        let open = self.0.0.lock().unwrap();
        *self.0.1.wait_timeout_while(open, DEADLINE, |open| !*open).unwrap().0
    }
}
