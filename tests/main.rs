//! The integration suite: one binary, one module a subject.

mod house_rules;
mod import_rules;
mod paths;
mod source;
