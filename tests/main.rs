//! The integration suite: one binary, one module a subject. Thirty binaries would link the whole server thirty times.

mod house_rules;
mod hsm;
mod import_rules;
mod paths;
mod source;
mod store;
mod support;
