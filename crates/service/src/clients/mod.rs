//! OAuth clients: who they are, and what operators change of them.

pub mod authentication;
pub mod registry;
