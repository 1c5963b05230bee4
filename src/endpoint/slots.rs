//! The numbers under which workers keep unused connections: one for each endpoint of each upstream.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::address::Address;

/// Numbers endpoints; as large as there ever were endpoints.
///
/// Two upstreams share no connections, even to one address: each has bounds of its own. A number is
/// not used again, since a worker may still keep connections under it.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<(String, Address), usize>>);

impl Slots {
    /// The number of an address that belongs to an upstream.
    pub fn of(&self, upstream: &str, address: &Address) -> usize {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = slots.len();
        *slots.entry((upstream.to_owned(), address.clone())).or_insert(next)
    }
}
