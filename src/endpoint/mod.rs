//! The servers behind an upstream as all workers see them: which there are, how they fare, whose turn it is.
//!
//! Opens no connection and sends nothing; whoever does tells here how it went.

mod address;
mod budget;
mod load;
mod pool;
mod room;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod turn;

pub use address::Address;
pub use load::Load;
pub use pool::{Pool, Shown};
pub use room::{Full, Place, Room};
pub use slots::Slots;
pub use state::{Checked, Connected, Endpoint, Verdict};
