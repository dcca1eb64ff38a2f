//! Marks of processes that sign: a file each beside the store, locked as long as its process lives.
//!
//! A process that ends in order takes its mark away. One that was killed leaves it behind, unlocked: what it had in hand
//! may have been signed and has no record. The mark says how much that is at most, so that the difference is explained
//! and everything beyond it is an alarm.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use signet_service::custody::balance::{OtherProcesses, Others, Slack};
use signet_state_file::LockedFile;

const SUFFIX: &str = ".run";

/// What a mark says.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    /// The kernel's id of this start of the machine: another one means that the power was lost in between.
    boot: String,
    tokens: u64,
    checkpoints: u64,
    reports: u64,
}

/// This process's mark, and the way to those of others.
pub(crate) struct RunMarks {
    folder: PathBuf,
    /// `None` for callers that only read.
    own: Option<LockedFile>,
    /// Marks of processes that had ended when they were last looked at.
    ended: Mutex<Vec<PathBuf>>,
}

impl RunMarks {
    /// Leaves a mark; it must be there before the first signature.
    /// Errors: Where the folder can't be written to.
    pub(super) fn leave(folder: &Path, slack: Slack) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        for number in 0..1000 {
            let path = folder.join(format!("{}-{number}{SUFFIX}", std::process::id()));
            let file = match LockedFile::create(&path) {
                Ok(file) => file,
                // Of an earlier process of this number, which somebody will account for.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("can't leave a mark in {}", folder.display()));
                }
            };
            let marks = Self { folder: folder.to_owned(), own: Some(file), ended: Mutex::default() };
            marks.announce(slack)?;
            return Ok(marks);
        }
        anyhow::bail!("there are a thousand marks of processes in {}: remove those that ended", folder.display())
    }

    /// Looks at the marks of others, and leaves none: for callers that sign nothing that needs a record.
    pub(crate) fn only_look(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), own: None, ended: Mutex::default() }
    }

    /// Says again what this process may have under way.
    /// Errors: Where the mark can't be written.
    pub(super) fn announce(&self, slack: Slack) -> io::Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        let Slack { tokens, checkpoints, reports } = slack;
        let text = serde_json::to_string(&Text { boot: boot(), tokens, checkpoints, reports })?;
        // Longer than any text before it, so that no half of another is left.
        own.file().write_all_at(format!("{text:<200}").as_bytes(), 0)?;
        own.file().sync_data()
    }

    /// Takes the mark away; where some signatures perhaps have no record, it stays and says how many.
    pub(super) fn end(&self, unaccounted: u64) {
        let Some(path) = self.own.as_ref().map(LockedFile::path) else { return };
        let told = if unaccounted == 0 {
            fs::remove_file(path)
        } else {
            self.announce(Slack { tokens: unaccounted, checkpoints: unaccounted, reports: unaccounted })
        };
        if let Err(error) = told {
            tracing::warn!(%error, mark = %path.display(), "the mark of this process stays behind");
        }
    }

    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let own = self.own.as_ref().map(LockedFile::path);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "run") && Some(path.as_path()) != own {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

impl Others for RunMarks {
    fn look(&self) -> io::Result<OtherProcesses> {
        let (mut others, mut ended) = (OtherProcesses::default(), Vec::new());
        for path in self.others()? {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                // It ended in order just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_live = match file.try_lock_shared() {
                Ok(()) => false,
                Err(TryLockError::WouldBlock) => true,
                Err(TryLockError::Error(error)) => return Err(error),
            };
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            // A mark that is being made says nothing yet, and its process has signed nothing yet.
            let Ok(text) = serde_json::from_str::<Text>(&text) else { continue };
            let slack = Slack { tokens: text.tokens, checkpoints: text.checkpoints, reports: text.reports };
            let sum = if is_live { &mut others.live } else { &mut others.ended };
            *sum = Some(sum.unwrap_or_default().plus(slack));
            if !is_live {
                others.power_lost |= text.boot != boot();
                ended.push(path);
            }
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
        Ok(others)
    }

    fn settled(&self) {
        for path in std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner)) {
            // One that stays is settled once more, with nothing.
            let _ = fs::remove_file(path);
        }
    }
}

/// Where the system does not say, no loss of power is ever assumed.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: Slack = Slack { tokens: 7, checkpoints: 1, reports: 0 };

    #[test]
    fn a_mark_tells_of_its_process_while_it_lives_and_after_it_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let ours = RunMarks::leave(folder.path(), Slack::default()).unwrap();
        assert_eq!(ours.look().unwrap(), OtherProcesses::default());
        let theirs = RunMarks::leave(folder.path(), SLACK).unwrap();
        assert_eq!(ours.look().unwrap(), OtherProcesses { live: Some(SLACK), ..OtherProcesses::default() });
        // As a kill does: the lock goes, the file stays.
        drop(theirs);
        assert_eq!(ours.look().unwrap(), OtherProcesses { ended: Some(SLACK), ..OtherProcesses::default() });
        ours.settled();
        assert_eq!(ours.look().unwrap(), OtherProcesses::default());
        let orderly = RunMarks::leave(folder.path(), SLACK).unwrap();
        orderly.end(0);
        assert_eq!(ours.look().unwrap(), OtherProcesses::default());
        let unsure = RunMarks::leave(folder.path(), SLACK).unwrap();
        unsure.end(2);
        drop(unsure);
        let two = Slack { tokens: 2, checkpoints: 2, reports: 2 };
        assert_eq!(ours.look().unwrap().ended, Some(two));
    }

    #[test]
    fn a_mark_of_another_start_of_the_machine_tells_of_lost_power() {
        let folder = tempfile::tempdir().unwrap();
        let ours = RunMarks::leave(folder.path(), Slack::default()).unwrap();
        let old = serde_json::to_string(&Text { boot: "old".into(), tokens: 1, checkpoints: 0, reports: 0 }).unwrap();
        fs::write(folder.path().join("1-0.run"), old).unwrap();
        assert!(ours.look().unwrap().power_lost);
    }
}
