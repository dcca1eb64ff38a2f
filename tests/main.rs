//! The suites that cross I/O or stand outside of the library, in one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on says so by panicking")]

mod hazards;
mod issuer;
mod verify;
