//! A test that needs what this machine or its user doesn't have is counted as skipped: the harness knows no such thing
//! while a test runs.

use std::fs::File;
use std::io::Write as _;
use std::panic::Location;

/// The variable that names the file in which `make test` finds what was skipped.
const LIST: &str = "SKIPPED_TESTS";

/// Says that the calling test, or a part of it, can't be made here. The line goes to standard error past the harness,
/// which keeps to itself what a test prints that passes, and to the list of `make test`.
#[track_caller]
pub(crate) fn skipped(reason: &str) {
    let (thread, place) = (std::thread::current(), Location::caller());
    let place = || format!("{}:{}", place.file(), place.line());
    // The harness names a test's thread by the test, where it gives it one.
    let test = thread.name().filter(|name| *name != "main").map_or_else(place, str::to_owned);
    let line = format!("skipped: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os(LIST) {
        File::options().create(true).append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
    }
}
