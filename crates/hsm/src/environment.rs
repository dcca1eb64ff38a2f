//! The environment of a worker: what a process and the known modules need, and what the configuration gives.

use std::ffi::OsString;

/// What any process may need.
const GENERAL: &[&str] = &[
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "RUST_BACKTRACE",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// How the variables of the modules in the HSM guide begin.
const MODULES: &[&str] = &[
    "CHRYSTOKI",
    "CKNFAST_",
    "CLOUDHSM_",
    "ChrystokiConfigurationPath",
    "KRB5",
    "KRYOPTIC_",
    "NFAST_",
    "NSS_",
    "OCK_",
    "P11_KIT_",
    "PKCS11_",
    "PKCSLIB",
    "SOFTHSM2_",
    "TPM2_PKCS11_",
    "TSS2_",
    "YUBIHSM_",
];

/// What of this process's environment a worker inherits.
pub fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_inherited))
}

/// Whether a worker inherits this variable. Any other comes from `[[hsm]] environment`.
fn is_inherited(name: &str) -> bool {
    GENERAL.contains(&name) || MODULES.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::is_inherited;

    #[test]
    fn a_worker_inherits_what_modules_read_and_nothing_that_changes_programs() {
        for name in ["PATH", "SOFTHSM2_CONF", "ChrystokiConfigurationPath", "KRB5CCNAME", "CREDENTIALS_DIRECTORY"] {
            assert!(is_inherited(name), "{name}");
        }
        for name in ["LD_PRELOAD", "LD_AUDIT", "SIGNET_CONFIG", "SIGNET_STORE__URL", "AWS_SECRET_ACCESS_KEY", ""] {
            assert!(!is_inherited(name), "{name}");
        }
    }
}
