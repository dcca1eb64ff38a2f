//! NSS softokn: a database by certutil, its place in what the module is given when it is initialized.

use std::process::Command;

use tempfile::TempDir;

use super::{LABEL, ModuleToken, library, run};

pub(super) fn token() -> ModuleToken {
    let directory = TempDir::new().unwrap();
    let database = directory.path().join("nss");
    std::fs::create_dir(&database).unwrap();
    let path = database.to_str().unwrap().to_owned();
    let mut token = ModuleToken::new(directory, library("libsoftokn3.so"), Vec::new());
    let signet_hsm::PinSource::File(pin) = &token.config.pin else { unreachable!() };
    run(Command::new("certutil").args(["-N", "-d", &format!("sql:{path}"), "-f"]).arg(pin));
    token.config.init_args = Some(format!("configdir='sql:{path}' dbTokenDescription='{LABEL}'"));
    token
}
