//! Several HSM tokens in one deployment: real SoftHSM tokens, each with a configuration of its own.

mod choosing;
mod group;
mod load;
mod losing_one;
mod members;
mod two_makes;
mod vault;
