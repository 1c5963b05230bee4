//! JSON from outside: read in one way only, and pointed into.
//!
//! What the values mean is for whoever asked.

mod pointer;
mod strict;

pub use pointer::{Pointer, PointerError};
pub use strict::read_object;
