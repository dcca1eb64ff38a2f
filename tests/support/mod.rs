//! What several suites need.

pub(crate) mod hsm;
