//! Operators: who they are by a token, and whom and what they may touch.

pub mod rights;
pub mod tokens;
