//! The HSM room against real SoftHSM tokens, through real worker processes.

mod confinement;
mod custody;
mod faults;
mod login_faults;
mod matrix;
mod modules;
mod nodes;
mod own_user;
mod pin;
mod policy;
mod recovery;
mod sign;
mod soak;
mod start;
mod tally;
mod transport;
mod vault;
