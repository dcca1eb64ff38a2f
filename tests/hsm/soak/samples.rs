//! What the processes use, as Linux counts it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::time::Duration;

use crate::support::process::children;

/// A sample every ten seconds.
#[derive(Default)]
pub(super) struct Samples {
    all: Vec<Sample>,
    zombies: BTreeSet<u32>,
    lasting_zombies: BTreeSet<u32>,
}

struct Sample {
    at: Duration,
    server_kib: u64,
    workers_kib: u64,
    descriptors: u64,
    threads: u64,
    workers: usize,
}

/// How a use changed from after the warm-up to the end, each by the median of an eighth of the run.
pub(super) struct Growth {
    server_kib: (u64, u64),
    workers_kib: (u64, u64),
    descriptors: (u64, u64),
    threads: (u64, u64),
    lasting_zombies: usize,
    samples: usize,
}

impl Samples {
    pub(super) fn take(&mut self, server: u32, at: Duration) {
        let workers = children(server);
        let zombies: BTreeSet<u32> = workers.iter().copied().filter(|worker| state(*worker) == Some('Z')).collect();
        // A process that ended a moment ago is reaped in the next one; a zombie is there ten seconds later.
        self.lasting_zombies.extend(self.zombies.intersection(&zombies));
        self.zombies = zombies;
        self.all.push(Sample {
            at,
            server_kib: status(server, "VmRSS:").unwrap(),
            workers_kib: workers.iter().filter_map(|worker| status(*worker, "VmRSS:")).sum(),
            descriptors: fs::read_dir(format!("/proc/{server}/fd")).unwrap().count() as u64,
            threads: status(server, "Threads:").unwrap(),
            workers: workers.len(),
        });
    }

    pub(super) fn last(&self) -> String {
        let Some(sample) = self.all.last() else { return String::new() };
        format!(
            "{:5} s: server {} KiB, {} descriptors, {} threads; {} workers {} KiB, {} zombies",
            sample.at.as_secs(),
            sample.server_kib,
            sample.descriptors,
            sample.threads,
            sample.workers,
            sample.workers_kib,
            self.lasting_zombies.len()
        )
    }

    /// From the end of the warm-up, which is this part of the run, to the end.
    pub(super) fn growth(&self, warm_up: u32) -> Growth {
        let (count, window) = (self.all.len(), (self.all.len() / 8).max(1));
        let first = count / warm_up as usize;
        let median = |from: usize, what: fn(&Sample) -> u64| {
            let mut values: Vec<u64> = self.all[from..(from + window).min(count)].iter().map(what).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let both = |what: fn(&Sample) -> u64| (median(first, what), median(count - window, what));
        Growth {
            server_kib: both(|sample| sample.server_kib),
            workers_kib: both(|sample| sample.workers_kib),
            descriptors: both(|sample| sample.descriptors),
            threads: both(|sample| sample.threads),
            lasting_zombies: self.lasting_zombies.len(),
            samples: count,
        }
    }
}

impl Growth {
    /// Memory grew by less than a twentieth; descriptors and threads did not grow by more than requests come and go.
    pub(super) fn check(&self) {
        let (before, after) = self.server_kib;
        assert!(after * 20 < before * 21, "the server's memory grew: {self}");
        for (before, after) in [self.descriptors, self.threads] {
            assert!(after <= before + 3, "a leak: {self}");
        }
        assert_eq!(self.lasting_zombies, 0, "{self}");
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = |(before, after): (u64, u64)| {
            let percent = (after as f64 / before as f64 - 1.0) * 100.0;
            format!("{before} to {after} ({percent:+.1} %)")
        };
        write!(
            formatter,
            "{} samples; from the end of the warm-up to the end: server {} KiB, workers {} KiB, descriptors {}, threads {}; \
             {} lasting zombies",
            self.samples,
            change(self.server_kib),
            change(self.workers_kib),
            change(self.descriptors),
            change(self.threads),
            self.lasting_zombies
        )
    }
}

/// A number of `/proc/ID/status`; a process that has ended has none.
fn status(process: u32, line: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|found| found.strip_prefix(line))?.split_whitespace().next()?.parse().ok()
}

fn state(process: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}
