//! The numbers under which workers keep unused connections: one for each address, never given twice.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::address::Address;

/// Numbers addresses; as large as there ever were addresses.
///
/// A number is not used again, since a worker may still keep connections under it.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<Address, usize>>);

impl Slots {
    /// The number of an address.
    pub fn of(&self, address: &Address) -> usize {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = slots.len();
        *slots.entry(address.clone()).or_insert(next)
    }
}
