//! One line of the count: what was counted of one key, readable by people, and damage shows.

use signet_core::keys::{KeyTally, SignedKind};
use signet_jose::clock::Timestamp;

/// The length of a line with its end.
pub(super) const RECORD: usize = 128;

/// What the check at a line's end covers.
const CHECKED: usize = 111;

const MAX_KEY_ID: usize = 48;

const REFUSED: &str = "refused";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Counted {
    Signed(SignedKind),
    Refused,
}

/// The count of one key and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key_id: String,
    what: Counted,
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl Record {
    /// Nothing counted yet; `None` where the name can't be a key's.
    pub(super) fn new(key_id: &str, what: Counted) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=MAX_KEY_ID).contains(&key_id.len()) && key_id.bytes().all(is_plain);
        let never = Timestamp::from_unix_millis(0);
        fits.then(|| Self { key_id: key_id.to_owned(), what, count: 0, first_at: never, last_at: never })
    }

    /// What it counts.
    pub(super) fn name(&self) -> (String, Counted) {
        (self.key_id.clone(), self.what)
    }

    /// One more.
    pub(super) fn add(&mut self, now: Timestamp) {
        if self.count == 0 {
            self.first_at = now;
        }
        self.count = self.count.saturating_add(1);
        self.last_at = self.last_at.max(now);
    }

    /// One less.
    pub(super) fn take_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Adds it to what is known of the key.
    pub(super) fn add_to(&self, tally: &mut KeyTally) {
        let Counted::Signed(kind) = self.what else {
            tally.refused = tally.refused.saturating_add(self.count);
            return;
        };
        let sum = tally.signed_mut(kind);
        *sum = sum.saturating_add(self.count);
        if self.count > 0 {
            tally.first_at = Some(tally.first_at.map_or(self.first_at, |first| first.min(self.first_at)));
            tally.last_at = tally.last_at.max(Some(self.last_at));
        }
    }

    /// The line.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let kind = match self.what {
            Counted::Signed(kind) => kind.name(),
            Counted::Refused => REFUSED,
        };
        // A clock that is far off must not make the line longer.
        let [first, last] = [self.first_at, self.last_at].map(|at| at.unix_millis().clamp(0, 99_999_999_999_999));
        let mut line = format!("{kind:<10} {:<48} {:>20} {first:>14} {last:>14} ", self.key_id, self.count);
        let check = check(line.as_bytes());
        line.push_str(&check);
        line.push('\n');
        line.into_bytes()
    }

    /// Reads a line; `None` for anything that was not written here.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, rest) = bytes.split_at_checked(CHECKED)?;
        if bytes.len() != RECORD || rest.strip_suffix(b"\n")? != check(content).as_bytes() {
            return None;
        }
        let mut words = std::str::from_utf8(content).ok()?.split_ascii_whitespace();
        let kind = words.next()?;
        let what = match SignedKind::named(kind) {
            Some(kind) => Counted::Signed(kind),
            None => (kind == REFUSED).then_some(Counted::Refused)?,
        };
        let record = Self::new(words.next()?, what)?;
        let count = words.next()?.parse().ok()?;
        let mut moment = || words.next()?.parse().ok().map(Timestamp::from_unix_millis);
        Some(Self { count, first_at: moment()?, last_at: moment()?, ..record })
    }
}

/// Against damage, not against somebody: sixteen digits of the SHA-256.
fn check(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    let (first, _) = digest.as_ref().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    format!("{:016x}", u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_long_as_its_place_and_reads_back() {
        for (kind, count) in [(SignedKind::Checkpoint, 1), (SignedKind::Token, u64::MAX)] {
            let mut record = Record::new(&"k".repeat(48), Counted::Signed(kind)).unwrap();
            record.count = count - 1;
            record.add(Timestamp::from_unix_millis(99_999_999_999_999));
            let line = record.to_bytes();
            assert_eq!(line.len(), RECORD);
            assert_eq!(Record::from_bytes(&line), Some(record));
        }
    }

    #[test]
    fn every_kind_fits_its_column() {
        assert!(SignedKind::ALL.iter().all(|kind| kind.name().len() <= 10));
    }
}
