//! Login services attacked from outside: guessing, replaying, confusing, overloading, cutting off.

mod canaries;
mod confusion;
mod cut_off;
mod forms;
mod guessing;
mod overload;
mod refreshing;
mod second_factors;
pub mod stage;
