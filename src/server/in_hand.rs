//! What this node's process may have under way, said beforehand in a file of the state folder: whoever is the node after one that was
//! killed knows how much of a difference between signatures and records that explains, and that everything beyond is an alarm.
//!
//! One process at a time is the node, by its lock, which whoever writes here holds. One that ends in order takes its word back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use signet_service::custody::balance::{InHand, Left};

const FILE: &str = "in-hand";

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Text {
    /// The kernel's id of this start of the machine: another one means that the power was lost in between.
    boot: String,
    own: InHand,
    /// What those before left, until that is settled.
    left: Option<InHand>,
    power_lost: bool,
}

impl Text {
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        let unusable = || {
            format!(
                "{} says what a process that was killed had in hand, and can't be read; without it, that is an alarm",
                path.display()
            )
        };
        match fs::read(&path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(unusable)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(unusable),
        }
    }

    /// What is left where whoever wrote this has ended without a word.
    fn left(&self) -> Left {
        let in_hand = Some(self.own.plus(self.left.unwrap_or_default()));
        Left { in_hand, power_lost: self.power_lost || self.boot != boot() }
    }
}

/// That file, of the process that is the node now.
pub(super) struct InHandFile {
    path: PathBuf,
    text: Mutex<Text>,
}

impl InHandFile {
    /// What is left unsettled, for those who sign nothing that needs a record.
    /// Errors: the file can't be read.
    pub(super) fn look(folder: &Path) -> anyhow::Result<Left> {
        Ok(Text::read(folder)?.map(|text| text.left()).unwrap_or_default())
    }

    /// Takes over what was left, and says what this process may have under way. It must be said before the first signature.
    /// Errors: the file can't be read or written.
    pub(super) fn take_over(folder: &Path, own: InHand) -> anyhow::Result<(Self, Left)> {
        let left = Self::look(folder)?;
        let text = Text { boot: boot(), own, left: left.in_hand, power_lost: left.power_lost };
        let file = Self { path: folder.join(FILE), text: Mutex::new(text) };
        file.write(|_| ()).with_context(|| format!("{} can't be written", file.path.display()))?;
        Ok((file, left))
    }

    /// Says again what this process may have under way.
    /// Errors: the file can't be written.
    pub(super) fn announce(&self, own: InHand) -> io::Result<()> {
        self.write(|text| text.own = own)
    }

    /// What those before left is settled.
    pub(super) fn settled(&self) {
        if self.text.lock().left.is_some() {
            self.tell(self.write(|text| (text.left, text.power_lost) = (None, false)));
        }
    }

    /// Takes the word back; where some signatures perhaps have no record, the file stays and says how many.
    pub(super) fn end(&self, unaccounted: u64) {
        let is_settled = unaccounted == 0 && self.text.lock().left.is_none();
        let own = InHand { tokens: unaccounted, checkpoints: unaccounted, reports: unaccounted };
        self.tell(if is_settled { signet_state_file::remove(&self.path) } else { self.announce(own) });
    }

    fn write(&self, change: impl FnOnce(&mut Text)) -> io::Result<()> {
        let mut text = self.text.lock();
        change(&mut text);
        signet_state_file::replace(&self.path, &serde_json::to_vec(&*text)?)
    }

    fn tell(&self, done: io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, file = %self.path.display(), "what this process has in hand is not written down as it is");
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

    const OWN: InHand = InHand { tokens: 7, checkpoints: 1, reports: 0 };

    fn left(in_hand: Option<InHand>) -> Left {
        Left { in_hand, power_lost: false }
    }

    #[test]
    fn what_a_killed_process_had_in_hand_is_left_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (first, nothing) = InHandFile::take_over(folder, OWN).unwrap();
        assert_eq!(nothing, Left::default());
        // As a kill does: the file stays.
        drop(first);
        assert_eq!(InHandFile::look(folder).unwrap(), left(Some(OWN)));
        let (second, of_first) = InHandFile::take_over(folder, OWN).unwrap();
        assert_eq!(of_first, left(Some(OWN)));
        // Killed as well, before anything was settled: both had something in hand.
        drop(second);
        let (third, of_both) = InHandFile::take_over(folder, InHand::default()).unwrap();
        assert_eq!(of_both, left(Some(OWN.plus(OWN))));
        third.settled();
        assert_eq!(InHandFile::look(folder).unwrap(), left(Some(InHand::default())));
        third.end(2);
        let two = InHand { tokens: 2, checkpoints: 2, reports: 2 };
        assert_eq!(InHandFile::look(folder).unwrap(), left(Some(two)));
        let (orderly, _) = InHandFile::take_over(folder, OWN).unwrap();
        orderly.end(0);
        assert_eq!(
            InHandFile::look(folder).unwrap(),
            left(Some(two)),
            "its own word is taken back, and that of before stays"
        );
        let (last, _) = InHandFile::take_over(folder, OWN).unwrap();
        last.settled();
        last.end(0);
        assert_eq!(InHandFile::look(folder).unwrap(), Left::default());
    }

    #[test]
    fn what_is_left_of_another_start_of_the_machine_tells_of_lost_power() {
        let folder = tempfile::tempdir().unwrap();
        let text = Text { boot: "old".into(), own: OWN, left: None, power_lost: false };
        fs::write(folder.path().join(FILE), serde_json::to_vec(&text).unwrap()).unwrap();
        let (file, of_old) = InHandFile::take_over(folder.path(), InHand::default()).unwrap();
        assert!(of_old.power_lost);
        drop(file);
        assert!(InHandFile::look(folder.path()).unwrap().power_lost, "it is not settled yet");
        fs::write(folder.path().join(FILE), "half").unwrap();
        assert!(InHandFile::look(folder.path()).unwrap_err().to_string().contains("in-hand"));
    }
}
