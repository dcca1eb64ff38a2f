//! CPU time and memory of processes, as Linux counts them.

use std::path::Path;

use crate::Failure;

/// CPU seconds of this process.
pub(crate) fn own_cpu_seconds() -> Result<f64, Failure> {
    cpu_seconds(std::process::id())
}

/// User and system CPU seconds of a process, with those of children that it has waited for.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the command in parentheses and may hold spaces.
    let rest = stat.rsplit_once(')').ok_or("an unreadable stat")?.1;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// A process and all that it has started.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let children = |process: u32| -> Vec<u32> {
        let tasks = Path::new("/proc").join(process.to_string()).join("task");
        let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
    };
    let mut next = 0;
    while let Some(&process) = family.get(next) {
        family.extend(children(process));
        next += 1;
    }
    family
}

/// A line of `/proc/PID/status` in KiB: `VmRSS` (now) or `VmHWM` (peak).
pub(crate) fn memory_kib(process: u32, line: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    Ok(found.and_then(|text| text.split_whitespace().next()).ok_or("no such line")?.parse()?)
}
