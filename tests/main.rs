//! The one integration binary: thirty would link the whole server thirty times.

mod hazards;
mod import_rules;
mod store;
mod support;
