//! What several suites need.

pub(crate) mod hsm;
pub(crate) mod store;
