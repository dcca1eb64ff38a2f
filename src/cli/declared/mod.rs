//! `signet apply`, `signet export` and `signet settings`: a deployment as a file states it.

mod apply;
mod export;
pub(super) mod file;
mod plan;
mod proposal;

pub(super) use apply::Apply;
pub(super) use export::Export;
pub(super) use proposal::SettingsCommand;
