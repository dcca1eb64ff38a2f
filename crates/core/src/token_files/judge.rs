//! Judges a whole file before anything of it is taken.

use std::collections::{BTreeSet, HashMap};

use super::{FileFault, Format, ImportOptions, LineFault, ReadToken, format_of, tokens};

/// Tokens between two calls of whatever watches the judging.
const JUDGED_EVERY: u64 = 5_000;

/// A file as a whole.
#[derive(Debug)]
pub struct Judged {
    /// How many tokens of it are good.
    pub count: u64,
    /// What is wrong with the others, by their place among all: a file may have many tokens in one line.
    pub faults: Vec<(usize, LineFault)>,
}

/// Judges every token of a file; `progress` hears now and then how many were.
/// Errors: [`FileFault`] where the file can't be read at all, or has no token.
pub fn judge(bytes: &[u8], options: &ImportOptions, progress: &mut dyn FnMut(u64)) -> Result<Judged, FileFault> {
    let (mut count, mut faults, mut lines) = (0, Vec::new(), HashMap::new());
    for (place, token) in tokens(bytes, options)?.enumerate() {
        match token {
            Ok(ReadToken { line, serial, .. }) => match lines.insert(serial.clone(), line) {
                None => count += 1,
                Some(first) => {
                    let reason = format!("its serial number stands in line {first} already");
                    faults.push((place, LineFault::of(line, &serial, reason)));
                }
            },
            Err(fault) => faults.push((place, fault)),
        }
        if count % JUDGED_EVERY == 0 {
            progress(count);
        }
    }
    if count == 0 && faults.is_empty() {
        return Err(FileFault(match format_of(bytes, options) {
            Some(Format::Pskc) => {
                "there is no token in the file: the container has no KeyPackage of an HOTP or TOTP key".to_owned()
            }
            _ => "there is no token in the file: all its lines are empty, comments or a headline".to_owned(),
        }));
    }
    Ok(Judged { count, faults })
}

/// The good tokens of a file that was judged, in its order.
/// Errors: [`FileFault`] where the file can't be read at all.
pub fn good_tokens<'b>(
    bytes: &'b [u8],
    options: &ImportOptions,
    judged: &Judged,
) -> Result<impl Iterator<Item = ReadToken> + Send + use<'b>, FileFault> {
    let faulty: BTreeSet<usize> = judged.faults.iter().map(|(place, _)| *place).collect();
    let read = tokens(bytes, options)?.enumerate();
    Ok(read.filter(move |(place, _)| !faulty.contains(place)).filter_map(|(_, token)| token.ok()))
}
