//! The system calls that no PKCS#11 module has a use for: those that look into or start other processes, change the
//! kernel or the file system's tree, or go around this filter.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Refused with `EPERM`.
const DANGEROUS: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // The file system's tree, and other views of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // The kernel and the machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    // Keys of the kernel's own rings.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Does other calls without asking this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

#[cfg(target_arch = "x86_64")]
const OF_THIS_MACHINE: &[libc::c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_MACHINE: &[libc::c_long] = &[];

/// On x86-64 every call has a second number, and some have a third, for programs with short pointers.
#[cfg(target_arch = "x86_64")]
const SHORT_POINTERS: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const BY_SHORT_POINTERS_ALONE: &[i64] = &[520, 521, 528, 539, 540, 545];

/// New views of the machine, which `clone` gives too.
const NEW_VIEWS: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Installs the filter for this thread and those that it starts.
/// Errors: What the kernel refuses: it may not offer filters.
pub(super) fn apply(network: bool) -> io::Result<()> {
    install(refusals(network)?, libc::EPERM)?;
    // What `clone3` is asked for can't be seen from here; whoever finds it missing uses `clone`.
    install([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)
}

fn install(rules: BTreeMap<i64, Vec<SeccompRule>>, answer: libc::c_int) -> io::Result<()> {
    let refused = SeccompAction::Errno(answer.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

fn refusals(network: bool) -> io::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DANGEROUS.iter().chain(OF_THIS_MACHINE).map(|call| (*call, Vec::new())).collect();
    let mut views = Vec::new();
    for bit in (0..64).map(|bit| 1_u64 << bit).filter(|bit| NEW_VIEWS & bit != 0) {
        views.push(rule([(0, Is::MaskedEq(bit), bit)])?);
    }
    rules.insert(libc::SYS_clone, views);
    // What is not named here is no way to an HSM: raw packets, virtual machines, Bluetooth and so on.
    let families: &[libc::c_int] =
        if network { &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] } else { &[libc::AF_UNIX] };
    let others = families.iter().map(|family| (0, Is::Ne, u64::from(family.unsigned_abs())));
    rules.insert(libc::SYS_socket, vec![rule(others)?]);
    // Packing text into somebody's terminal.
    let typing = rule([(1, Is::Eq, libc::TIOCSTI)])?;
    rules.insert(libc::SYS_ioctl, vec![typing]);
    #[cfg(target_arch = "x86_64")]
    {
        let short: Vec<(i64, Vec<SeccompRule>)> =
            rules.iter().map(|(call, rules)| (call | SHORT_POINTERS, rules.clone())).collect();
        rules.extend(short);
        rules.extend(BY_SHORT_POINTERS_ALONE.iter().map(|call| (call | SHORT_POINTERS, Vec::new())));
    }
    Ok(rules)
}

/// All of these hold of the arguments.
fn rule(conditions: impl IntoIterator<Item = (u8, Is, u64)>) -> io::Result<SeccompRule> {
    let conditions: Result<Vec<_>, _> = conditions
        .into_iter()
        .map(|(argument, is, value)| SeccompCondition::new(argument, Length::Dword, is, value))
        .collect();
    SeccompRule::new(conditions.map_err(io::Error::other)?).map_err(io::Error::other)
}
