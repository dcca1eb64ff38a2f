//! What the admin API takes and gives: a file a noun, and what all of them share.
//!
//! The server writes these types and the command line reads them, so that one shape stands in one place. It decides nothing
//! about what a change means, and never asks a server by itself. Times are RFC 3339 in UTC.

#![forbid(unsafe_code)]

pub mod audit;
pub mod clients;
pub mod custody;
pub mod deployment_secret;
pub mod diagnosis;
pub mod factors;
pub mod four_eyes;
pub mod hsm;
pub mod keys;
pub mod nodes;
pub mod otp_validation;
mod page;
mod problem;
pub mod secret;
pub mod settings;
pub mod stock;
pub mod users;

pub use page::{Page, PageQuery};
pub use problem::{Problem, ProblemKind};
