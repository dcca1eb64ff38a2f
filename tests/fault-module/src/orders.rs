//! The rules file and the latch file while they change.

use std::fs::{self, Metadata, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::engine::give_up;
use crate::rules::{Injection, Latch, Rules, When};

/// What tells one state of a file from another.
type Stamp = (u64, i64, i64, u64);

/// The rules in force.
pub(crate) struct Orders {
    path: Option<PathBuf>,
    stamp: Option<Stamp>,
    rules: Rules,
    /// Tells this text from others: a file's number and time may come again.
    text_hash: u64,
    counters: Vec<Counter>,
    latch_stamp: Option<Stamp>,
    latched: Vec<Latch>,
}

#[derive(Clone, Default)]
struct Counter {
    calls: u64,
    is_spent: bool,
}

impl Orders {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        let mut orders = Self {
            path,
            stamp: None,
            rules: Rules::default(),
            text_hash: 0,
            counters: Vec::new(),
            latch_stamp: None,
            latched: Vec::new(),
        };
        orders.refresh();
        orders
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn is_latched(&self, latch: Latch) -> bool {
        self.latched.contains(&latch)
    }

    /// Enters a state for all processes, until the latch file goes.
    pub(crate) fn latch(&mut self, latch: Latch) {
        let Some(path) = self.latch_path() else { give_up("a latch needs a rules file") };
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(format!("{}\n", latch.word()).as_bytes()));
        if let Err(error) = written {
            give_up(&format!("the latch can't be set: {error}"));
        }
        self.refresh();
    }

    fn latch_path(&self) -> Option<PathBuf> {
        self.path.as_deref().map(latch_file)
    }

    /// Reads what has changed.
    pub(crate) fn refresh(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let stamp = fs::metadata(&path).ok().map(|metadata| stamp(&metadata));
        if stamp != self.stamp {
            let text = if stamp.is_some() { fs::read_to_string(&path) } else { Ok(String::new()) };
            let text = text.unwrap_or_else(|error| give_up(&format!("{}: {error}", path.display())));
            let rules = Rules::parse(&text);
            self.rules = rules.unwrap_or_else(|error| give_up(&format!("{}: {error}", path.display())));
            self.text_hash = text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
            self.counters = vec![Counter::default(); self.rules.injections.len()];
            self.stamp = stamp;
        }
        let latch = latch_file(&path);
        let latch_stamp = fs::metadata(&latch).ok().map(|metadata| self::stamp(&metadata));
        if latch_stamp != self.latch_stamp {
            let text = fs::read_to_string(&latch).unwrap_or_default();
            let parsed = |word: &str| {
                Latch::parse(word).unwrap_or_else(|| give_up(&format!("{}: `{word}` is no state", latch.display())))
            };
            self.latched = text.split_whitespace().map(parsed).collect();
            self.latch_stamp = latch_stamp;
        }
    }

    /// Counts a call of this function; gives what is to happen to it.
    pub(crate) fn due(&mut self, function: &str) -> Vec<Injection> {
        let mut due = Vec::new();
        for (injection, counter) in self.rules.injections.iter().zip(&mut self.counters) {
            if injection.function != function {
                continue;
            }
            counter.calls += 1;
            let hits = match injection.when {
                When::Every => true,
                When::From(first) => counter.calls >= first,
                When::Each(step) => counter.calls % step == 0,
                When::Chance { probability, seed } => {
                    draw(seed ^ u64::from(std::process::id()), counter.calls) < probability
                }
                When::Nth(nth) => {
                    counter.calls >= nth && !counter.is_spent && {
                        counter.is_spent = true;
                        is_first(self.path.as_deref(), self.text_hash, injection.line)
                    }
                }
            };
            if hits {
                due.push(injection.clone());
            }
        }
        due
    }
}

/// The file that holds the states which last.
pub(crate) fn latch_file(rules: &Path) -> PathBuf {
    rules.with_extension("latched")
}

/// Whether no process has done this rule of this text before.
fn is_first(path: Option<&Path>, text_hash: u64, line: usize) -> bool {
    let Some(path) = path else { return false };
    let mark = path.with_extension(format!("done-{text_hash:016x}-{line}"));
    OpenOptions::new().write(true).create_new(true).open(mark).is_ok()
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}

/// A number between 0 and 1 that the seed and the call's number decide.
#[expect(clippy::cast_precision_loss, reason = "53 bits are all that a probability needs")]
fn draw(seed: u64, call: u64) -> f64 {
    (mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(call)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// SplitMix64's finish.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_met_and_repeats_with_its_seed() {
        let hits = |seed| (0..100_000).filter(|call| draw(seed, *call) < 0.01).collect::<Vec<u64>>();
        assert!((800..1200).contains(&hits(7).len()), "{}", hits(7).len());
        assert_eq!(hits(7), hits(7));
        assert_ne!(hits(7), hits(8));
    }
}
