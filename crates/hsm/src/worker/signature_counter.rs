//! Counts what is signed, by key and kind, in a file that outlives every process.
//!
//! Each worker has a file of its own, `<state directory>/<name of the HSM token>.<number>.tally`: the first that no
//! other worker has locked, so that the workers of the server and of a command beside it never write to one file. What
//! was signed with a token is the sum over its files.
//!
//! A record is written before the HSM is asked, in one write that no kill can tear: the count is never behind. Its
//! place was reserved when the file was made, so that a full disk takes it from nobody. Where it can't be written,
//! nothing is signed. The file goes to the disk each second: a loss of power costs that much.
//!
//! ```text
//! token      7aUE...QbA     12345     1795331234000     1795331299123 <check>      one line of 128 bytes
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::counter_record::{Counted, RECORD, Record};
use signet_core::keys::{HsmFailure, KeyTally, SignedKind};
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_state_file::{self as state_file, Access, LockedFile};

/// Room for 128 records is reserved at once.
const RESERVED_BYTES: u64 = 128 * RECORD as u64;

/// More workers of one token at once are a mistake.
const MAX_FILES: u32 = 256;

/// How often the file is brought to the disk and looked after.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A record that another worker writes this moment is read again.
const READINGS: u32 = 5;

/// The count of one worker, and the way to those of the others.
pub(super) struct SignatureCounter {
    directory: PathBuf,
    token: String,
    counts: Mutex<Counts>,
    is_dirty: AtomicBool,
}

struct Counts {
    /// Locked as long as the worker lives.
    file: LockedFile,
    records: Vec<Record>,
    places: HashMap<(String, Counted), usize>,
}

impl SignatureCounter {
    /// Takes a file of this token that no other worker has, or makes one.
    /// Errors: [`HsmFailure::Configuration`] where the files can't be used, one of them is damaged, or others may write
    /// to it; [`HsmFailure::Unavailable`] where the disk is full.
    pub(super) fn open(directory: &Path, token: &str) -> Result<Self, HsmFailure> {
        for number in 0..MAX_FILES {
            let path = directory.join(format!("{token}.{number}.tally"));
            if let Some(counts) = Counts::open(path)? {
                let (directory, token) = (directory.to_owned(), token.to_owned());
                return Ok(Self { directory, token, counts: Mutex::new(counts), is_dirty: AtomicBool::new(false) });
            }
        }
        Err(HsmFailure::Configuration(format!("{MAX_FILES} workers of the HSM token {token} run already")))
    }

    /// Counts one signature before it is made.
    /// Errors: [`HsmFailure::Unavailable`] where it can't be written down: then it must not be made.
    pub(super) fn count(&self, key_id: &str, what: Counted, now: Timestamp) -> Result<(), HsmFailure> {
        let mut counts = self.counts.lock();
        let place = counts.place(key_id, what)?;
        let counted = counts.write(place, |record| record.add(now));
        self.is_dirty.store(true, Ordering::Relaxed);
        counted.map_err(|error| {
            let path = counts.file.path().display();
            HsmFailure::Unavailable(format!("the signature can't be counted in {path}: {error}; it is not made"))
        })
    }

    /// A signature was counted and not made.
    pub(super) fn take_back(&self, key_id: &str, kind: SignedKind) {
        let mut counts = self.counts.lock();
        if let Some(place) = counts.places.get(&(key_id.to_owned(), Counted::Signed(kind))).copied() {
            // Where it can't be written the count stays ahead, which is the side to err on.
            let _ = counts.write(place, Record::take_back);
        }
    }

    /// What all workers of the token have signed.
    /// Errors: [`HsmFailure::Configuration`] where a file can't be read or is damaged.
    pub(super) fn sum(&self) -> Result<Vec<KeyTally>, HsmFailure> {
        let mut sums: BTreeMap<String, KeyTally> = BTreeMap::new();
        for path in self.files()? {
            for record in read_settled(&path)? {
                let tally = sums
                    .entry(record.key_id.clone())
                    .or_insert_with(|| KeyTally::new(KeyId::new(record.key_id.as_str())));
                record.add_to(tally);
            }
        }
        Ok(sums.into_values().collect())
    }

    /// Has a thread look after the file as long as the process lives.
    /// Errors: Where the system gives no thread.
    pub(super) fn keep(counter: &Arc<Self>) -> io::Result<()> {
        let counter = Arc::clone(counter);
        let keep = move || loop {
            thread::sleep(SYNC_EVERY);
            counter.look_after();
        };
        thread::Builder::new().name("counter".into()).spawn(keep).map(drop)
    }

    /// Brings the file to the disk; makes it again where somebody removed it.
    fn look_after(&self) {
        let (is_there, handle) = {
            let counts = self.counts.lock();
            (counts.file.is_in_place(), counts.file.file().try_clone())
        };
        if !is_there {
            self.make_again();
        } else if self.is_dirty.swap(false, Ordering::Relaxed)
            && let Err(error) = handle.and_then(|file| file.sync_data())
        {
            eprintln!("the count of signatures does not reach the disk: {error}");
        }
    }

    fn make_again(&self) {
        let mut counts = self.counts.lock();
        eprintln!("ALARM: the count of signatures {} was removed; it is written again", counts.file.path().display());
        match Counts::open(counts.file.path().to_owned()) {
            Ok(Some(mut made)) if made.records.is_empty() => {
                made.places.clone_from(&counts.places);
                made.records.clone_from(&counts.records);
                match (0..made.records.len()).try_for_each(|place| made.write(place, |_| ())) {
                    Ok(()) => *counts = made,
                    Err(error) => eprintln!("the count of signatures can't be written again: {error}"),
                }
            }
            Ok(_) => eprintln!("the count of signatures was taken by another worker; the next start sorts it out"),
            Err(failure) => eprintln!("the count of signatures can't be written again: {failure}"),
        }
    }

    /// The files of this token.
    fn files(&self) -> Result<Vec<PathBuf>, HsmFailure> {
        let unreadable = |error: io::Error| unusable(&self.directory, &error);
        let prefix = format!("{}.", self.token);
        let is_ours = |name: &str| {
            let number = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tally"));
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let entries = fs::read_dir(&self.directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let ours =
            entries.map_err(unreadable)?.into_iter().filter(|entry| entry.file_name().to_str().is_some_and(is_ours));
        let mut paths: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths)
    }
}

impl Counts {
    /// The file with its records; `None` where another worker has it.
    fn open(path: PathBuf) -> Result<Option<Self>, HsmFailure> {
        let fail = |error: io::Error| unusable(&path, &error);
        let Some(file) = LockedFile::try_open(&path, Access::InPlace).map_err(fail)? else { return Ok(None) };
        let metadata = file.file().metadata().map_err(fail)?;
        if !metadata.is_file() || !state_file::is_private(&metadata) {
            return Err(HsmFailure::Configuration(format!(
                "the count of signatures {} is no regular file that its owner alone can use: chmod 600 it, and ask who could change it",
                path.display()
            )));
        }
        let records = read(&path)?;
        if metadata.len() < RESERVED_BYTES {
            // Records that are not used yet.
            let missing = vec![0; (RESERVED_BYTES - metadata.len()) as usize];
            file.file().write_all_at(&missing, metadata.len()).map_err(fail)?;
            file.file().sync_all().and_then(|()| state_file::sync_folder_of(&path)).map_err(fail)?;
        }
        let places = records.iter().enumerate().map(|(place, record)| (record.name(), place)).collect();
        Ok(Some(Self { file, records, places }))
    }

    fn place(&mut self, key_id: &str, what: Counted) -> Result<usize, HsmFailure> {
        if let Some(place) = self.places.get(&(key_id.to_owned(), what)) {
            return Ok(*place);
        }
        let record = Record::new(key_id, what)
            .ok_or_else(|| HsmFailure::Refused("the key's name is not the thumbprint of a key".to_owned()))?;
        self.places.insert(record.name(), self.records.len());
        self.records.push(record);
        Ok(self.records.len() - 1)
    }

    /// Changes one record, in the file first: what can't be written did not happen.
    fn write(&mut self, place: usize, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let Some(record) = self.records.get_mut(place) else { return Ok(()) };
        let mut changed = record.clone();
        change(&mut changed);
        self.file.file().write_all_at(&changed.to_bytes(), (place * RECORD) as u64)?;
        *record = changed;
        Ok(())
    }
}

/// Reads a file that another worker may be writing to.
fn read_settled(path: &Path) -> Result<Vec<Record>, HsmFailure> {
    (1..READINGS).find_map(|_| read(path).ok()).map_or_else(|| read(path), Ok)
}

fn read(path: &Path) -> Result<Vec<Record>, HsmFailure> {
    let bytes = fs::read(path).map_err(|error| unusable(path, &error))?;
    let mut records = Vec::new();
    for (number, bytes) in bytes.chunks(RECORD).enumerate() {
        if bytes.iter().all(|byte| *byte == 0) {
            // A place that was reserved, or made ready when the machine lost power.
            continue;
        }
        match Record::from_bytes(bytes) {
            // Records stand at their places: one that follows a hole is not where it was written.
            Some(record) if records.len() == number => records.push(record),
            _ => {
                return Err(HsmFailure::Configuration(format!(
                    "the count of signatures {} is damaged in line {}. Nothing is signed without a count: keep the file for whoever looks into it, and move it away to begin a new one",
                    path.display(),
                    number + 1
                )));
            }
        }
    }
    Ok(records)
}

fn unusable(path: &Path, error: &io::Error) -> HsmFailure {
    let path = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => HsmFailure::Unavailable(format!(
            "the count of signatures {path} can't be made: {error}; nothing is signed without it"
        )),
        _ => HsmFailure::Configuration(format!(
            "the count of signatures {path} can't be used: {error}. Nothing is signed without it: see that the worker's user can read and write there, on a local file system, and run commands as that user"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    const KEY: &str = "7aUEWjNKkNXGuqcKPJzLBPnC1g8ywt0sQQeiFF4VxrQ";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn open(directory: &Path) -> SignatureCounter {
        SignatureCounter::open(directory, "primary").unwrap()
    }

    fn counted(counter: &SignatureCounter) -> KeyTally {
        let mut sums = counter.sum().unwrap();
        assert_eq!(sums.len(), 1);
        sums.remove(0)
    }

    #[test]
    fn a_count_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path());
        for second in 10..20 {
            first.count(KEY, Counted::Signed(SignedKind::Token), at(second)).unwrap();
        }
        first.count(KEY, Counted::Refused, at(30)).unwrap();
        drop(first);
        let second = open(directory.path());
        second.count(KEY, Counted::Signed(SignedKind::Test), at(40)).unwrap();
        second.take_back(KEY, SignedKind::Token);
        let expected = KeyTally {
            tokens: 9,
            tests: 1,
            refused: 1,
            first_at: Some(at(10)),
            last_at: Some(at(40)),
            ..KeyTally::new(KeyId::new(KEY))
        };
        assert_eq!(counted(&second), expected);
        assert_eq!(second.files().unwrap().len(), 1);
        let mode = fs::metadata(directory.path().join("primary.0.tally")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn workers_beside_each_other_have_a_file_each_and_one_sum() {
        let directory = tempfile::tempdir().unwrap();
        let counters: Vec<SignatureCounter> = (0..3).map(|_| open(directory.path())).collect();
        let other = SignatureCounter::open(directory.path(), "primary-2").unwrap();
        thread::scope(|scope| {
            for counter in counters.iter().chain([&other]) {
                scope.spawn(|| {
                    for second in 0..500 {
                        counter.count(KEY, Counted::Signed(SignedKind::Token), at(second)).unwrap();
                        counter.sum().unwrap();
                    }
                });
            }
        });
        assert_eq!(counted(&counters[0]).tokens, 1500);
        assert_eq!(counted(&other).tokens, 500);
    }

    #[test]
    fn a_damaged_file_is_not_counted_on() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).count(KEY, Counted::Signed(SignedKind::Token), at(1)).unwrap();
        let path = directory.path().join("primary.0.tally");
        let good = fs::read(&path).unwrap();
        for place in [0, 12, 60, 70, 100, 127] {
            let mut damaged = good.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let failure = SignatureCounter::open(directory.path(), "primary").err().unwrap().to_string();
            assert!(failure.contains("damaged in line 1"), "byte {place}: {failure}");
        }
        let moved = [vec![0; RECORD], good[..RECORD].to_vec()].concat();
        fs::write(&path, moved).unwrap();
        assert!(SignatureCounter::open(directory.path(), "primary").is_err());
    }

    #[test]
    fn a_file_that_others_can_write_to_is_not_counted_in() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()));
        let path = directory.path().join("primary.0.tally");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(SignatureCounter::open(directory.path(), "primary").is_err());
        assert!(SignatureCounter::open(&directory.path().join("missing"), "primary").is_err());
    }

    #[test]
    fn a_file_that_was_removed_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let counter = open(directory.path());
        counter.count(KEY, Counted::Signed(SignedKind::Token), at(1)).unwrap();
        fs::remove_file(directory.path().join("primary.0.tally")).unwrap();
        counter.look_after();
        counter.count(KEY, Counted::Signed(SignedKind::Token), at(2)).unwrap();
        assert_eq!(counted(&counter).tokens, 2);
        // Another worker does not take it.
        assert_eq!(open(directory.path()).counts.lock().file.path().file_name().unwrap(), "primary.1.tally");
    }

    #[test]
    fn what_was_half_made_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("primary.0.tally");
        for length in [0, 1, RECORD, RECORD + 5] {
            fs::write(&path, vec![0; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let counter = open(directory.path());
            counter.count(KEY, Counted::Signed(SignedKind::Token), at(1)).unwrap();
            assert_eq!(counted(&counter).tokens, 1);
        }
    }

    #[test]
    fn a_name_that_is_no_thumbprint_is_not_counted() {
        let directory = tempfile::tempdir().unwrap();
        let counter = open(directory.path());
        for name in ["", "a b", "a\nb", &"a".repeat(49)] {
            assert!(counter.count(name, Counted::Refused, at(1)).is_err(), "{name}");
        }
        assert_eq!(counter.sum().unwrap(), []);
    }
}
