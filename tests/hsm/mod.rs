//! The HSM room against real SoftHSM tokens, through real worker processes.

mod sign;
