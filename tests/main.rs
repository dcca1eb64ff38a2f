//! The suites that cross I/O or stand outside of the library, in one binary.

mod hazards;
mod issuer;
mod verify;
