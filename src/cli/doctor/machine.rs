//! The machine: its variables, its clock, the address to listen on, and room on its disks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Config, StoreConfig, is_platforms};
use signet_admin_api::diagnosis::Findings;
use signet_jose::clock::{Clock as _, SystemClock, Timestamp};

/// 2026-01-01: a clock before it was never set.
const BUILT_AFTER: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);
/// 2100-01-01: no certificate and no battery lasts until then.
const BEYOND: Timestamp = Timestamp::from_unix_seconds(4_102_444_800);

/// With less, a busy server's log has filled the disk before anybody looks.
const MIN_MIB: u64 = 100;
/// With less, somebody should look.
const SCARCE_MIB: u64 = 1024;

/// Variables that look like Signet's and do nothing. Those that were surely meant as overrides are refused already.
pub(super) fn examine_variables(variables: impl Iterator<Item = (OsString, OsString)>, findings: &mut Findings) {
    for (name, value) in variables {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix("SIGNET_")) else { continue };
        let is_platforms = is_platforms(name, &value.to_string_lossy());
        if !matches!(name, "CONFIG" | "SERVER") && !name.contains("__") && !is_platforms {
            findings.warn(
                "configuration",
                format!("the variable SIGNET_{name} does nothing"),
                "an override joins the parts of its name by two underscores: SIGNET_SERVER__LISTEN",
            );
        }
    }
}

/// Whether the clock can be right at all; the store compares it with the audit log.
pub(super) fn examine_clock(findings: &mut Findings) -> Timestamp {
    let now = SystemClock.now();
    if now > BUILT_AFTER && now < BEYOND {
        findings.well("clock", now.to_string());
    } else {
        let text = format!("{now} is not today: tokens would be expired, or valid for years");
        findings.fault("clock", text, "set the clock, and keep it set with chrony or systemd-timesyncd");
    }
    now
}

/// Whether the address can be had.
pub(super) fn examine_address(listen: SocketAddr, findings: &mut Findings) {
    match TcpListener::bind(listen) {
        Ok(_) => findings.well("address", format!("{listen} is free to listen on")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let text = format!("somebody listens on {listen} already");
            findings.warn("address", text, "fine if that is Signet; if not, choose another server.listen");
        }
        Err(error) => findings.fault(
            "address",
            format!("{listen} can't be listened on: {error}"),
            "choose an address of this machine and a port above 1023 in server.listen",
        ),
    }
}

/// Room where the store, the state and the anchor live; each file system once.
pub(super) fn examine_disks(config: &Config, findings: &mut Findings) {
    let mut disks: BTreeMap<u64, (PathBuf, Vec<&str>)> = BTreeMap::new();
    let what = match config.store {
        StoreConfig::Sqlite(_) => "the store and state",
        StoreConfig::Postgres(_) => "the state",
    };
    let anchor = config.audit.anchor.parent().unwrap_or(Path::new("/"));
    for (what, folder) in [(what, config.store.folder()), ("the anchor", anchor)] {
        match std::fs::metadata(folder) {
            Ok(found) => {
                disks.entry(found.dev()).or_insert_with(|| (folder.to_owned(), Vec::new())).1.push(what);
            }
            Err(error) => {
                let text = format!("{}, for {what}: {error}", folder.display());
                findings.fault("disk", text, format!("make the folder: mkdir -p {}", folder.display()));
            }
        }
    }
    for (folder, whats) in disks.values() {
        examine_disk(folder, &whats.join(" and "), findings);
    }
}

fn examine_disk(folder: &Path, what: &str, findings: &mut Findings) {
    let shown = folder.display();
    let space = match rustix::fs::statvfs(folder) {
        Ok(space) => space,
        Err(error) => return findings.fault("disk", format!("{shown}: {error}"), "check the file system"),
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024);
    let text = format!("{free} MiB are free in {shown} for {what}");
    let advice = "free some space, or give Signet a disk of its own: on a full one no token is issued";
    // A file system that counts no files says 0 of 0.
    let no_files = space.f_files > 0 && space.f_favail < 100;
    if space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        findings.fault("disk", format!("{shown} is mounted read-only"), "mount it so that it can be written");
    } else if free < MIN_MIB {
        findings.fault("disk", text, advice);
    } else if no_files {
        findings.fault("disk", format!("{shown} has no room for new files (inodes)"), advice);
    } else if free < SCARCE_MIB {
        findings.warn("disk", text, advice);
    } else {
        findings.well("disk", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(examine: impl FnOnce(&mut Findings)) -> String {
        let mut findings = Findings::default();
        examine(&mut findings);
        crate::cli::doctor::finding::as_text(&findings)
    }

    #[test]
    fn a_variable_without_effect_is_worth_a_look() {
        let look = |names: &[&str]| {
            let variables = names.iter().map(|name| (OsString::from(name), OsString::new())).collect::<Vec<_>>();
            told(|findings| examine_variables(variables.into_iter(), findings))
        };
        assert!(look(&["SIGNET_LISTEN"]).contains("look   configuration: the variable SIGNET_LISTEN does nothing"));
        let well = look(&[
            "SIGNET_CONFIG",
            "SIGNET_SERVER",
            "SIGNET_SERVER_SERVICE_HOST",
            "SIGNET_SERVER__LISTEN",
            "SIGNET_PORT_443_TCP",
            "SIGNET_SERVICE_HOST",
            "HOME",
        ]);
        assert!(!well.contains("does nothing"), "{well}");
    }

    #[test]
    fn an_address_of_another_machine_is_a_fault_and_one_in_use_is_not() {
        let other = told(|findings| examine_address("192.0.2.1:8080".parse().unwrap(), findings));
        assert!(other.contains("FAULT  address") && other.contains("server.listen"), "{other}");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let used = told(|findings| examine_address(taken.local_addr().unwrap(), findings));
        assert!(used.contains("look   address"), "{used}");
    }
}
