//! Kryoptic, as `tools/build-kryoptic.sh` builds it: a configuration file, a database that pkcs11-tool initialises.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{LABEL, ModuleToken, PIN, SECURITY_OFFICER, lacks, run, variable};

pub(super) fn token() -> ModuleToken {
    let directory = TempDir::new().unwrap();
    let (configuration, database) = (directory.path().join("token.conf"), directory.path().join("token.sql"));
    let slot = format!("[[slots]]\nslot = 7\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display());
    std::fs::write(&configuration, slot).unwrap();
    let environment = vec![variable("KRYOPTIC_CONF", &configuration)];
    let module = module();
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        run(command.arg("--module").arg(&module).args(arguments).envs(environment.clone()))
    };
    tool(&["--init-token", "--slot", "7", "--label", LABEL, "--so-pin", SECURITY_OFFICER]);
    let as_officer = ["--slot", "7", "--login", "--login-type", "so", "--so-pin", SECURITY_OFFICER];
    tool(&[&as_officer[..], &["--init-pin", "--pin", PIN]].concat());
    ModuleToken::new(directory, module, environment)
}

fn module() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../kryoptic/release/libkryoptic_pkcs11.so");
    if !built.is_file() {
        lacks(&format!("no {}: tools/build-kryoptic.sh builds it", built.display()));
    }
    built.canonicalize().unwrap()
}
