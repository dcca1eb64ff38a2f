//! One integration binary: thirty would link the whole server thirty times.

mod hsm;
mod support;
