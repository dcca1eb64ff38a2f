//! Reads the PIN, and remembers that it was presented (promise 9).
//!
//! A marker is written before the PIN is presented and removed once the token took it. It stays where the token refused
//! the PIN, and where nobody knows: a module that crashed, hung or gave no clear answer may have counted a try. While
//! it is there the same PIN is not presented again: not until its file was changed, or a person removed the marker.
//! It holds nothing of the PIN, only which state of which file it speaks of.
//!
//! The marker's place is beside the PIN's file, or, where that can't be written, in the state directory. Both are looked
//! into, so that all processes agree, whoever they run as.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use crate::hsm::PinSource;
use crate::keys::HsmFailure;

const LONGEST_PIN: u64 = 1024;

/// How the marker's line begins that says that the token refused the PIN.
const REFUSED: &str = "refused: ";

/// A PIN that may be presented. While it lives, no other worker presents the same file's PIN.
pub(super) struct Pin {
    text: Zeroizing<Vec<u8>>,
    source: String,
    markers: Vec<PathBuf>,
    fingerprint: String,
    is_typed: bool,
    _locked: Option<File>,
}

/// A PIN that is being presented: what became of it must be said.
#[must_use]
pub(super) struct Attempt {
    pin: Pin,
    /// A PIN that a person types has none.
    marker: Option<PathBuf>,
}

impl Pin {
    /// Reads the PIN.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Configuration`] where the source is missing or unsafe; [`HsmFailure::PinRefused`] where this very
    /// PIN was presented before and not taken.
    pub(super) fn read(source: &PinSource, name: &str, state_directory: Option<&Path>) -> Result<Self, HsmFailure> {
        let in_state = state_directory.map(|directory| in_state(directory, name));
        match source {
            PinSource::File(path) => Self::from_file(path, [beside(path)].into_iter().chain(in_state).collect(), true),
            PinSource::Credential(credential) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    refuse(
                        "there is no $CREDENTIALS_DIRECTORY: `credential:` works under systemd's LoadCredential= only"
                            .into(),
                    )
                })?;
                Self::from_file(&Path::new(&directory).join(credential), in_state.into_iter().collect(), false)
            }
            PinSource::Prompt => Self::from_prompt(name),
        }
    }

    /// Leaves the marker; only then may the PIN be presented.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Configuration`] where the marker can't be written anywhere.
    pub(super) fn attempt(self) -> Result<Attempt, HsmFailure> {
        if self.is_typed {
            return Ok(Attempt { pin: self, marker: None });
        }
        let mut failures = Vec::new();
        for marker in &self.markers {
            match write_marker(marker, &self.fingerprint) {
                Ok(()) => {
                    let marker = Some(marker.clone());
                    return Ok(Attempt { pin: self, marker });
                }
                Err(error) => failures.push(format!("{}: {error}", folder(marker).display())),
            }
        }
        let failures = if failures.is_empty() { "no folder is given".to_owned() } else { failures.join("; ") };
        Err(refuse(format!(
            "the PIN from {} is not presented, because there is no folder to record that in ({failures}), and without the record a refused PIN would be presented at each start until the token locks: let this user write to one of these folders, and see that the disk is not full",
            self.source
        )))
    }

    /// `bound_to_file`: the marker speaks of this state of the file only. A credential's file is new at each start.
    fn from_file(path: &Path, markers: Vec<PathBuf>, bound_to_file: bool) -> Result<Self, HsmFailure> {
        let unreadable = |error: io::Error| refuse(format!("the PIN file {} can't be read: {error}", path.display()));
        let file = open_private(path)?;
        // Two workers that read the same wrong PIN at once would present it twice. Some network file systems have no
        // locks; there the server's order of starting its workers has to do.
        let _ = rustix::fs::flock(&file, FlockOperation::LockExclusive);
        let metadata = file.metadata().map_err(unreadable)?;
        let fingerprint = if bound_to_file {
            format!(
                "{} {} {}.{:09} {}",
                metadata.dev(),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.size()
            )
        } else {
            "any".to_owned()
        };
        for marker in &markers {
            check_marker(marker, &fingerprint, path)?;
        }
        let longest = usize::try_from(LONGEST_PIN).unwrap_or_default();
        let mut text = Zeroizing::new(Vec::with_capacity(longest + 1));
        (&file).take(LONGEST_PIN + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() > longest {
            return Err(refuse(format!(
                "the PIN file {} holds more than {LONGEST_PIN} bytes, which is no PIN: it must hold the PIN alone",
                path.display()
            )));
        }
        trim_newline(&mut text);
        if text.is_empty() {
            return Err(refuse(format!(
                "the PIN file {} is empty: write the PIN into it, and nothing else",
                path.display()
            )));
        }
        let source = path.display().to_string();
        Ok(Self { text, source, markers, fingerprint, is_typed: false, _locked: Some(file) })
    }

    fn from_prompt(name: &str) -> Result<Self, HsmFailure> {
        let text = rpassword::prompt_password(format!("PIN of the HSM token {name}: "))
            .map_err(|error| refuse(format!("the PIN can't be asked for at the terminal: {error}")))?;
        Ok(Self {
            text: Zeroizing::new(text.into_bytes()),
            source: "the terminal".to_owned(),
            markers: Vec::new(),
            fingerprint: String::new(),
            is_typed: true,
            _locked: None,
        })
    }
}

impl Attempt {
    /// The PIN, for the one call that needs it.
    pub(super) fn expose(&self) -> &[u8] {
        &self.pin.text
    }

    /// The token took the PIN, or certainly counted no try: the marker goes.
    pub(super) fn settle(self) {
        let Some(marker) = &self.marker else { return };
        if let Err(error) = remove_durably(marker) {
            eprintln!("{} can't be removed ({error}): remove it, or the next start refuses", marker.display());
        }
    }

    /// The token refused the PIN: the marker stays, and says so.
    pub(super) fn refused(self, code: &str) -> HsmFailure {
        let advice = self.marker.as_ref().map_or_else(String::new, |marker| {
            // The marker counts as it is; this line only tells the next start more.
            let _ = OpenOptions::new().append(true).open(marker).and_then(|mut file| {
                writeln!(file, "{REFUSED}{code}")?;
                file.sync_all()
            });
            format!("; after the PIN is corrected there, or {} is removed, it is tried again", marker.display())
        });
        HsmFailure::PinRefused { detail: format!("{code} for the PIN from {}{advice}", self.pin.source) }
    }

    /// Nobody knows whether the token counted a try: the marker stays.
    pub(super) fn unclear(self, answer: &str) -> HsmFailure {
        let advice = self.marker.as_ref().map_or_else(String::new, |marker| {
            format!(", then remove {} to have the same PIN presented again", marker.display())
        });
        let detail = format!(
            "{answer} when the PIN from {} was presented, and the token may have counted that as a wrong try; check the token{advice}",
            self.pin.source
        );
        HsmFailure::PinRefused { detail }
    }
}

fn refuse(detail: String) -> HsmFailure {
    HsmFailure::Configuration { detail }
}

fn open_private(path: &Path) -> Result<File, HsmFailure> {
    let shown = path.display();
    // Not blocking: a FIFO in its place must not hang the start.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| refuse(format!("the PIN file {shown} can't be opened: {error}. Write the PIN into it (mode 0600), or name another place in [[hsm]]")))?;
    let metadata =
        file.metadata().map_err(|error| refuse(format!("the PIN file {shown} can't be examined: {error}")))?;
    if !metadata.is_file() {
        return Err(refuse(format!("the PIN file {shown} is no regular file")));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refuse(format!(
            "the PIN file {shown} can be read or written by others (mode {:04o}): chmod 600 {shown}, and change the PIN if others may have seen it",
            metadata.mode() & 0o7777
        )));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(refuse(format!("the PIN file {shown} belongs to user {owner}, who is neither this user nor root")));
    }
    Ok(file)
}

fn trim_newline(text: &mut Vec<u8>) {
    if text.last() == Some(&b'\n') {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut marker = path.as_os_str().to_owned();
    marker.push(".refused");
    marker.into()
}

fn in_state(directory: &Path, name: &str) -> PathBuf {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    directory.join(format!("{plain}.pin-refused"))
}

fn folder(marker: &Path) -> &Path {
    marker.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A marker of another state of the file is outdated: the PIN was changed since.
fn check_marker(marker: &Path, fingerprint: &str, pin_file: &Path) -> Result<(), HsmFailure> {
    let refused = |what: &str| {
        let detail = format!(
            "{what} and is not sent again; correct the PIN in {}, or remove {} to have the same one presented once more",
            pin_file.display(),
            marker.display()
        );
        Err(HsmFailure::PinRefused { detail })
    };
    let recorded = match fs::read_to_string(marker) {
        Ok(recorded) => recorded,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return refused(&format!("whether this PIN was refused before can't be read ({error})")),
    };
    if recorded.lines().next() != Some(fingerprint) {
        // If it stays behind it is outdated all the same.
        let _ = fs::remove_file(marker);
        return Ok(());
    }
    if recorded.lines().any(|line| line.starts_with(REFUSED)) {
        return refused("this PIN was refused at an earlier start");
    }
    refused(
        "an earlier start ended while this PIN was presented, by a crash, a hang or an unclear answer of the module; the token may have counted a wrong try: check it first. The PIN stays unused",
    )
}

/// Writes the marker so that it outlives a loss of power, as the token's count does.
fn write_marker(marker: &Path, fingerprint: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(marker)?;
    let text = "The PIN was presented to the HSM. Where this file stays, it was not taken, or nobody knows.\nRemove this file to have the same PIN presented once more.";
    write!(file, "{fingerprint}\n{text}\n")?;
    file.sync_all()?;
    File::open(folder(marker))?.sync_all()
}

/// A marker that came back after a loss of power would refuse a good PIN.
fn remove_durably(marker: &Path) -> io::Result<()> {
    fs::remove_file(marker)?;
    File::open(folder(marker))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pin_file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_trailing_newline_is_no_part_of_the_pin() {
        let directory = tempfile::tempdir().unwrap();
        for (written, read) in [("1234\n", "1234"), ("1234\r\n", "1234"), (" 1234 ", " 1234 "), ("12\n\n", "12\n")] {
            let path = pin_file(directory.path(), written, 0o600);
            let attempt = Pin::read(&PinSource::File(path), "a", None).unwrap().attempt().unwrap();
            assert_eq!(attempt.expose(), read.as_bytes());
            attempt.settle();
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620] {
            let path = pin_file(directory.path(), "1234", mode);
            let refusal = Pin::read(&PinSource::File(path), "a", None).err().unwrap();
            assert!(refusal.to_string().contains("chmod 600"), "{refusal}");
        }
        let empty = pin_file(directory.path(), "\n", 0o600);
        assert!(Pin::read(&PinSource::File(empty), "a", None).is_err());
        assert!(Pin::read(&PinSource::File(directory.path().to_owned()), "a", None).is_err());
    }

    #[test]
    fn a_refused_pin_is_not_read_again_until_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = pin_file(directory.path(), "1234", 0o600);
        let source = PinSource::File(path.clone());
        let refusal = Pin::read(&source, "a", None).unwrap().attempt().unwrap().refused("CKR_PIN_INCORRECT");
        assert!(!refusal.to_string().contains("1234"));
        assert!(matches!(Pin::read(&source, "a", None), Err(HsmFailure::PinRefused { .. })));
        fs::write(&path, "123456").unwrap();
        assert!(Pin::read(&source, "a", None).is_ok());
        assert!(!beside(&path).exists());
    }
    #[test]
    fn a_pin_whose_fate_is_unknown_is_not_presented_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        // As after a crash: nobody says what became of it.
        drop(Pin::read(&source, "a", None).unwrap().attempt().unwrap());
        let refusal = Pin::read(&source, "a", None).err().unwrap().to_string();
        assert!(refusal.contains("ended while this PIN was presented") && refusal.contains("pin.refused"), "{refusal}");
        fs::remove_file(directory.path().join("pin.refused")).unwrap();
        Pin::read(&source, "a", None).unwrap().attempt().unwrap().settle();
        assert!(Pin::read(&source, "a", None).is_ok());
    }

    #[test]
    fn a_marker_in_either_place_counts() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        drop(Pin::read(&source, "a", Some(state.path())).unwrap().attempt().unwrap());
        fs::rename(directory.path().join("pin.refused"), state.path().join("a.pin-refused")).unwrap();
        assert!(matches!(Pin::read(&source, "a", Some(state.path())), Err(HsmFailure::PinRefused { .. })));
    }

    #[test]
    fn without_a_place_for_the_marker_the_pin_is_not_presented() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = pin_file(directory.path(), "1234", 0o600);
        let in_state = in_state(state.path(), "a");
        let pin = |markers| Pin::from_file(&path, markers, true).unwrap();
        let nowhere = directory.path().join("missing/pin.refused");
        let Err(HsmFailure::Configuration { detail }) = pin(vec![nowhere.clone()]).attempt() else {
            panic!("presented")
        };
        assert!(detail.contains("missing") && detail.contains("let this user write"), "{detail}");
        assert!(pin(Vec::new()).attempt().is_err());
        // The second place does.
        drop(pin(vec![nowhere, in_state.clone()]).attempt().unwrap());
        assert!(in_state.exists());
    }

    #[test]
    fn a_long_file_is_refused_and_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let longest = PinSource::File(pin_file(directory.path(), &"7".repeat(1024), 0o600));
        assert!(Pin::read(&longest, "a", None).is_ok());
        let longer = PinSource::File(pin_file(directory.path(), &"7".repeat(1025), 0o600));
        let refusal = Pin::read(&longer, "a", None).err().unwrap().to_string();
        assert!(refusal.contains("more than 1024 bytes"), "{refusal}");
    }
}
