//! Gives up what the worker does not need, before a vendor's module is loaded into it. Modules differ in what they
//! need, so that it is configured: [`Confinement`].

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::seccomp;
use crate::{Confinement, Sandbox};
use signet_core::keys::HsmFailure;

/// No module needs more files and connections at once.
const MAX_FILES: u64 = 4096;

/// What of Landlock is asked for: ABI 6 has the scopes. An older kernel gives less.
const LANDLOCK: ABI = ABI::V6;

/// Written to by everything.
const ALWAYS_WRITABLE: [&str; 2] = ["/dev/null", "/dev/tty"];

/// What is in force, and what the kernel does not offer, in words.
#[derive(Debug, Clone, Default)]
pub(super) struct InForce {
    pub(super) measures: Vec<String>,
    pub(super) missing: Vec<String>,
}

impl InForce {
    fn note(&mut self, measure: &str, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.measures.push(measure.to_owned()),
            Err(error) => self.missing.push(format!("{measure} ({error})")),
        }
    }
}

/// Gives up what the configuration says. `own` are the files and folders that the worker itself writes to.
/// Errors: [`HsmFailure::Configuration`] where a writable path is not there, and in a strict sandbox where the kernel
/// does not offer everything.
pub(super) fn apply(confinement: &Confinement, own: &[PathBuf]) -> Result<InForce, HsmFailure> {
    let mut in_force = InForce::default();
    in_force.note("no core dumps, no debuggers", Ok(()));
    if confinement.sandbox == Sandbox::Off {
        return Ok(in_force);
    }
    in_force.note("no new privileges", rustix::thread::set_no_new_privs(true).map_err(Into::into));
    in_force.note("no capabilities", drop_capabilities());
    in_force.note("at most 4096 open files", limit_files());
    restrict(confinement, own, &mut in_force)?;
    let calls = if confinement.network {
        "no dangerous system calls, no other programs"
    } else {
        "no dangerous system calls, no other programs, no network"
    };
    in_force.note(calls, seccomp::apply(confinement.network));
    if confinement.sandbox == Sandbox::Strict && !in_force.missing.is_empty() {
        return Err(HsmFailure::Configuration(format!(
            "sandbox = \"strict\" asks for what this kernel does not offer: {}; use a newer kernel, or \"standard\"",
            in_force.missing.join("; ")
        )));
    }
    Ok(in_force)
}

/// Also the bounding set, where it may be changed at all.
fn drop_capabilities() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    if held.permitted.is_empty() && held.inheritable.is_empty() {
        return Ok(());
    }
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // Of one that this kernel does not know, nothing is held either.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

fn limit_files() -> io::Result<()> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let least = |limit: Option<u64>| Some(limit.map_or(MAX_FILES, |limit| limit.min(MAX_FILES)));
    let limit = Rlimit { current: least(now.current), maximum: least(now.maximum) };
    Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
}

/// Landlock: where it may write, whether it may connect, whom it may signal.
fn restrict(confinement: &Confinement, own: &[PathBuf], in_force: &mut InForce) -> Result<(), HsmFailure> {
    let is_strict = confinement.sandbox == Sandbox::Strict;
    let writable = confinement.writable.as_deref().or(is_strict.then_some(&[]));
    if let Some(missing) = writable.unwrap_or_default().iter().find(|path| !path.exists()) {
        return Err(HsmFailure::Configuration(format!(
            "{} of `writable` is not there: make it, or correct `writable` of this [[hsm]]",
            missing.display()
        )));
    }
    let all: Option<Vec<&Path>> = writable.map(|writable| {
        let always = ALWAYS_WRITABLE.iter().map(Path::new);
        writable.iter().chain(own).map(PathBuf::as_path).chain(always).filter(|path| path.exists()).collect()
    });
    let offered = enforce(all.as_deref(), confinement.network, is_strict);
    let (abi, refused) = match offered {
        Ok(abi) => (abi, "this kernel does not offer it".to_owned()),
        Err(error) => (ABI::Unsupported, error.to_string()),
    };
    let mut note = |measure: &str, since: ABI| {
        let outcome = if abi >= since { Ok(()) } else { Err(io::Error::other(refused.clone())) };
        in_force.note(measure, outcome);
    };
    if let Some(writable) = writable {
        let named: Vec<String> = writable.iter().map(|path| path.display().to_string()).collect();
        let beside = if named.is_empty() { "its own state".to_owned() } else { named.join(", ") };
        note(&format!("writes to {beside} alone"), ABI::V1);
    }
    if !confinement.network {
        note("no TCP", ABI::V4);
    }
    note("signals to nobody else", ABI::V6);
    Ok(())
}

fn enforce(writable: Option<&[&Path]>, network: bool, is_strict: bool) -> Result<ABI, Box<dyn std::error::Error>> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).scope(Scope::Signal)?;
    if is_strict {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    if !network {
        ruleset = ruleset.handle_access(AccessNet::from_all(LANDLOCK))?;
    }
    if writable.is_some() {
        ruleset = ruleset.handle_access(AccessFs::from_all(LANDLOCK))?;
    }
    let mut ruleset = ruleset.create()?;
    if let Some(writable) = writable {
        // Everything may be read as the user's rights allow; a library is loaded by reading it.
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new("/")?, read))?;
        for path in writable {
            let mut rights = AccessFs::from_all(LANDLOCK);
            rights.remove(AccessFs::Execute);
            if !path.is_dir() {
                rights &= AccessFs::from_file(LANDLOCK);
            }
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, rights))?;
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => ABI::Unsupported,
    })
}
