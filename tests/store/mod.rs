//! The store: one suite for every adapter (`contract`), and what only files, processes and disks can show.

#![expect(clippy::unwrap_used, reason = "what a test's helpers can't go on without fails the test")]

mod anchor;
mod backup;
mod bounds;
mod clock;
mod contract;
mod copy;
mod faults;
mod forged_lists;
mod forged_rows;
mod nobody;
mod online_renewal;
mod opening;
mod postgres;
pub(crate) mod races;
mod renewed_rows;
mod schema;
mod tampering;
