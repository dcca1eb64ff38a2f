//! The integration suite: one binary, one module a subject. Thirty binaries would link the whole server thirty times.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on says so by panicking")]

mod admin;
mod at_rest;
mod cli;
mod faults;
mod hazards;
mod house_rules;
mod hsm;
mod http;
mod issuer;
mod nodes;
mod rotation;
mod several_hsms;
mod store;
mod support;
mod verify;
