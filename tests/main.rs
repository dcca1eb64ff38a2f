//! Every integration test, in one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers may panic as the test itself may")]

mod store;
mod support;
