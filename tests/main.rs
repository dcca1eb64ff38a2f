//! One integration binary: thirty would link the whole server thirty times.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod hsm;
mod support;
