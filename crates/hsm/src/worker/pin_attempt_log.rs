//! What is remembered of a PIN between processes (promise 9).
//!
//! A marker is written before the PIN is presented and removed once the token took it. It stays where the token refused
//! the PIN, and where nobody knows: a module that crashed, hung or gave no clear answer may have counted a try. While
//! it is there the same PIN is not presented again: not until its file was changed, or a person removed the marker. There
//! is one exception. A PIN that the token took before, from this very state of its file, is presented once more where
//! nobody knows how the last login ended: after a loss of power during a login no person is needed. The marker holds
//! nothing of the PIN, only which state of which file it speaks of.
//!
//! The marker's place is beside the PIN's file, or, where that can't be written, in the state directory. Both are looked
//! into, so that all processes agree, whoever they run as.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use signet_core::keys::HsmFailure;
use signet_state_file as state_file;

/// How the marker's line begins that says that the token refused the PIN.
const REFUSED: &str = "refused: ";
/// The marker's line of a PIN that is presented again after an end of unknown fate.
const SECOND_TIME: &str = "presented a second time";

/// What earlier processes left behind, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Earlier {
    /// Nothing that speaks of this PIN.
    Nothing,
    /// One ended while it presented this PIN.
    FateUnknown,
    /// And so did another one that presented it once more.
    FateUnknownTwice,
    /// The token refused it, or whether it did can't be read.
    Refused,
}

/// What the markers say, and why this machine alone would not present the PIN.
pub(super) struct Checked {
    pub(super) earlier: Earlier,
    pub(super) refusal: Option<HsmFailure>,
}

/// The record of attempts to log in by one PIN: where its markers may be, and what they say.
pub(super) struct PinAttemptLog {
    places: Vec<PathBuf>,
    /// The state of the PIN's file that a marker speaks of. A credential's file is new at each start: its marker speaks of
    /// all of them.
    fingerprint: String,
    /// The state of the file, and the HSM token after it, for what is remembered of a good PIN.
    taken: Option<Taken>,
}

struct Taken {
    state: String,
    line: String,
}

impl Taken {
    fn new(state: String, name: &str) -> Self {
        Self { line: format!("{state} {name}"), state }
    }
}

/// The marker of a PIN that is being presented.
pub(super) struct AttemptFile(pub(super) PathBuf);

impl PinAttemptLog {
    /// Of a PIN file in this state.
    pub(super) fn of_file(path: &Path, state: String, name: &str, state_directory: Option<&Path>) -> Self {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".refused");
        let places = [beside.into()].into_iter().chain(in_state(name, state_directory)).collect();
        Self { places, fingerprint: state.clone(), taken: Some(Taken::new(state, name)) }
    }

    /// Of a service manager's credential, whose file is in this state until the service ends.
    pub(super) fn of_credential(state: String, name: &str, state_directory: Option<&Path>) -> Self {
        let places = in_state(name, state_directory).into_iter().collect();
        Self { places, fingerprint: "any".to_owned(), taken: Some(Taken::new(state, name)) }
    }

    #[cfg(test)]
    pub(super) fn in_places(places: Vec<PathBuf>) -> Self {
        Self { places, fingerprint: "any".to_owned(), taken: None }
    }

    /// What earlier processes left. A marker of another state of the file is outdated, because the PIN was changed
    /// since; it is removed.
    pub(super) fn check(&self, pin_file: &Path) -> Checked {
        let mut worst = Checked { earlier: Earlier::Nothing, refusal: None };
        for marker in &self.places {
            let (earlier, why) = self.check_one(marker);
            if earlier > worst.earlier {
                let refusal = why.map(|why| refusal(&why, pin_file, marker));
                worst = Checked { earlier, refusal };
            }
        }
        worst
    }

    /// What one marker says, and why the PIN is not presented by it alone.
    fn check_one(&self, marker: &Path) -> (Earlier, Option<String>) {
        let recorded = match fs::read_to_string(marker) {
            Ok(recorded) => recorded,
            Err(error) if is_absent(&error) => return (Earlier::Nothing, None),
            Err(error) => {
                let why = format!("whether this PIN was refused before can't be read ({error})");
                return (Earlier::Refused, Some(why));
            }
        };
        if recorded.lines().next() != Some(&self.fingerprint) {
            // If it stays behind it is outdated all the same.
            let _ = fs::remove_file(marker);
            return (Earlier::Nothing, None);
        }
        if recorded.lines().any(|line| line.starts_with(REFUSED)) {
            return (Earlier::Refused, Some("this PIN was refused at an earlier start".to_owned()));
        }
        let is_second = recorded.lines().any(|line| line == SECOND_TIME);
        let earlier = if is_second { Earlier::FateUnknownTwice } else { Earlier::FateUnknown };
        let why = "an earlier start ended while this PIN was presented, by a crash, a hang or an unclear answer of the module; the token may have counted a wrong try: check it first. The PIN stays unused";
        (earlier, (is_second || !self.was_taken()).then(|| why.to_owned()))
    }

    /// Writes the marker in the first place that takes it, so that it outlives a loss of power, as the token's count
    /// does.
    /// Errors: Why no place took it.
    pub(super) fn begin(&self, earlier: Earlier) -> Result<AttemptFile, String> {
        let mut failures = Vec::new();
        // Where an older marker speaks, it is the one to go on with: a second one would leave it behind.
        let (there, others): (Vec<_>, Vec<_>) = self.places.iter().partition(|place| place.exists());
        for place in there.into_iter().chain(others) {
            match self.write(place, earlier) {
                Ok(()) => return Ok(AttemptFile(place.clone())),
                Err(error) => failures.push(format!("{}: {error}", state_file::folder_of(place).display())),
            }
        }
        Err(if failures.is_empty() { "no folder is given".to_owned() } else { failures.join("; ") })
    }

    fn write(&self, marker: &Path, earlier: Earlier) -> io::Result<()> {
        if matches!(earlier, Earlier::FateUnknown | Earlier::FateUnknownTwice) {
            // Added to the marker that is there: cut short by a crash, it must not look outdated.
            return state_file::append(marker, format!("{SECOND_TIME}\n").as_bytes());
        }
        let text = "The PIN was presented to the HSM. Where this file stays, it was not taken, or nobody knows.\nRemove this file to have the same PIN presented once more.";
        state_file::write(marker, format!("{}\n{text}\n", self.fingerprint).as_bytes())
    }

    /// Whether the token is known to have taken the PIN from this state of the file.
    pub(super) fn was_taken(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| {
            let says_so = |place: &PathBuf| {
                fs::read_to_string(taken_beside(place)).is_ok_and(|text| text.lines().any(|line| line == taken.line))
            };
            self.places.iter().any(says_so)
        })
    }

    /// Remembers that the token took the PIN from this state of the file.
    pub(super) fn remember_taken(&self, marker: &AttemptFile) {
        if let Some(taken) = self.taken.as_ref().filter(|_| !self.was_taken()) {
            keep_of_taken(&taken_beside(&marker.0), taken, true);
        }
        // An older marker elsewhere, which an operator's word had presented again, speaks no more.
        for other in self.places.iter().filter(|place| **place != marker.0 && place.exists()) {
            AttemptFile(other.clone()).remove();
        }
    }

    /// Forgets that the token took it: it does not any more.
    pub(super) fn forget_taken(&self) {
        if let Some(taken) = self.taken.as_ref().filter(|_| self.was_taken()) {
            self.places.iter().map(|place| taken_beside(place)).filter(|path| path.exists()).for_each(|path| {
                keep_of_taken(&path, taken, false);
            });
        }
    }
}

/// Writes what is remembered of good PINs: of this state of the file what is said of other HSM tokens, and this one or not.
fn keep_of_taken(path: &Path, taken: &Taken, is_taken: bool) {
    let said = fs::read_to_string(path).unwrap_or_default();
    let others = said.lines().filter(|line| line.starts_with(&taken.state) && *line != taken.line);
    let lines: String = others.chain(is_taken.then_some(taken.line.as_str())).map(|line| format!("{line}\n")).collect();
    // Without it, a later crash during a login needs a person; with too much, one try more is presented.
    let _ = state_file::write(path, lines.as_bytes());
}

impl AttemptFile {
    /// Takes the marker away, so that it does not come back after a loss of power and refuse a good PIN.
    pub(super) fn remove(self) {
        if let Err(error) = state_file::remove(&self.0) {
            eprintln!("{} can't be removed ({error}): remove it, or the next start refuses", self.0.display());
        }
    }

    /// Adds that the token refused the PIN. The marker counts as it is; this only tells the next start more.
    pub(super) fn add_refusal(&self, code: &str) {
        let _ = state_file::append(&self.0, format!("{REFUSED}{code}\n").as_bytes());
    }
}

/// Why this machine alone does not present the PIN.
fn refusal(why: &str, pin_file: &Path, marker: &Path) -> HsmFailure {
    HsmFailure::PinRefused(format!(
        "{why} and is not sent again; correct the PIN in {}, or remove {} to have the same one presented once more",
        pin_file.display(),
        marker.display()
    ))
}

fn in_state(name: &str, state_directory: Option<&Path>) -> Option<PathBuf> {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    state_directory.map(|directory| directory.join(format!("{plain}.pin-refused")))
}

/// `pin.refused` has `pin.accepted` beside it.
fn taken_beside(marker: &Path) -> PathBuf {
    let name = marker.file_name().unwrap_or_default().to_string_lossy();
    marker.with_file_name(format!("{}accepted", name.strip_suffix("refused").unwrap_or(&name)))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
