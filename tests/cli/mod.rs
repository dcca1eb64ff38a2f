//! The command line as people and scripts use it: what it prints, how it ends, and what it says when it can't.

mod audit;
mod audit_rows;
mod backup;
mod configuration;
mod custody;
mod dev;
mod directory;
mod doctor;
mod import;
mod import_figure;
#[cfg(feature = "keyring")]
mod keyring;
mod keys;
mod login;
mod manual;
#[cfg(feature = "piv")]
mod piv_card;
mod restore;
mod restore_renewal;
mod restore_since;
mod store_copy;
mod token;
