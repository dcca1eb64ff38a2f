//! The HSM room against real SoftHSM tokens, through real worker processes.

mod custody;
mod faults;
mod figure;
mod modules;
mod pin;
mod recovery;
mod sign;
mod start;
mod vault;
