//! The verifier for resource servers.
