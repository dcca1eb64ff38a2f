//! Reads the PIN, and sees to it that one that is not taken is not presented again (promise 9).

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::pin_attempt_log::{AttemptFile, Checked, Earlier, PinAttemptLog};
use crate::PinSource;
use signet_core::keys::{HsmFailure, PinMarker};

const MAX_PIN: u64 = 1024;

/// A PIN that may be presented. While it lives, no other worker presents the same file's PIN.
pub(super) struct Pin {
    text: Zeroizing<Vec<u8>>,
    source: String,
    /// A PIN that a person types leaves no marker.
    markers: Option<PinAttemptLog>,
    checked: Checked,
    _locked: Option<File>,
}

/// A PIN that is being presented: what became of it must be said.
#[must_use]
pub(super) struct Attempt {
    pin: Pin,
    marker: Option<AttemptFile>,
}

impl Pin {
    /// Reads the PIN, and what this machine remembers of it.
    /// Errors: [`HsmFailure::Configuration`] where the source is missing or unsafe.
    pub(super) fn read(source: &PinSource, name: &str, state_directory: Option<&Path>) -> Result<Self, HsmFailure> {
        match source {
            PinSource::File(path) => {
                Self::from_file(path, |file| PinAttemptLog::of_file(path, state_of(file), name, state_directory))
            }
            PinSource::Credential(credential) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    refuse(
                        "there is no $CREDENTIALS_DIRECTORY: `credential:` works under systemd's LoadCredential= only"
                            .into(),
                    )
                })?;
                let markers = |file: &Metadata| PinAttemptLog::of_credential(state_of(file), name, state_directory);
                Self::from_file(&Path::new(&directory).join(credential), markers)
            }
            PinSource::Prompt => Self::from_prompt(name),
        }
    }

    /// The PIN, where this machine alone would present it.
    /// Errors: [`HsmFailure::PinRefused`] where this very PIN was presented before and not taken.
    pub(super) fn judged_alone(mut self) -> Result<Self, HsmFailure> {
        self.checked.refusal.take().map_or(Ok(self), Err)
    }

    /// Whether an earlier start ended while this PIN was presented: this may be the second and last time, and only where
    /// the token does not say that few tries are left.
    pub(super) fn is_second_time(&self) -> bool {
        self.checked.earlier == Earlier::FateUnknown
    }

    /// What the machine remembers, for whoever judges for all nodes.
    pub(super) fn marker(&self) -> PinMarker {
        match self.checked.earlier {
            Earlier::Nothing => PinMarker::None,
            Earlier::FateUnknown => PinMarker::Unknown,
            Earlier::FateUnknownTwice => PinMarker::UnknownTwice,
            Earlier::Refused => PinMarker::Refused,
        }
    }

    /// Whether the token took it before from this state of its file.
    pub(super) fn was_taken(&self) -> bool {
        self.markers.as_ref().is_some_and(PinAttemptLog::was_taken)
    }

    /// Whether a person typed it.
    pub(super) fn is_typed(&self) -> bool {
        self.markers.is_none()
    }

    /// Leaves the marker; only then may the PIN be presented.
    /// Errors: [`HsmFailure::Configuration`] where the marker can't be written anywhere.
    pub(super) fn attempt(self) -> Result<Attempt, HsmFailure> {
        let Some(markers) = &self.markers else { return Ok(Attempt { pin: self, marker: None }) };
        match markers.begin(self.checked.earlier) {
            Ok(marker) => Ok(Attempt { pin: self, marker: Some(marker) }),
            Err(failures) => Err(refuse(format!(
                "the PIN from {} is not presented, because there is no folder to record that in ({failures}), and without the record a refused PIN would be presented at each start until the token locks: let this user write to one of these folders, and see that the disk is not full",
                self.source
            ))),
        }
    }

    fn from_file(path: &Path, markers: impl FnOnce(&Metadata) -> PinAttemptLog) -> Result<Self, HsmFailure> {
        let unreadable = |error: io::Error| refuse(format!("the PIN file {} can't be read: {error}", path.display()));
        let file = open_private(path)?;
        // Two workers that read the same wrong PIN at once would present it twice. Some network file systems have no
        // locks; there the server's order of starting its workers has to do.
        let _ = file.lock();
        let markers = markers(&file.metadata().map_err(unreadable)?);
        let checked = markers.check(path);
        let longest = usize::try_from(MAX_PIN).unwrap_or_default();
        let mut text = Zeroizing::new(Vec::with_capacity(longest + 1));
        (&file).take(MAX_PIN + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() > longest {
            return Err(refuse(format!(
                "the PIN file {} holds more than {MAX_PIN} bytes, which is no PIN: it must hold the PIN alone",
                path.display()
            )));
        }
        let mut text = signet_text_file::utf8_bytes(text).map_err(|fault| {
            refuse(format!("the PIN file {} is no text, and is not presented: {fault}", path.display()))
        })?;
        trim_newline(&mut text);
        // Whatever else stands there would be presented as part of the PIN, and cost one of its few tries.
        if text.iter().any(u8::is_ascii_control) {
            return Err(refuse(format!(
                "the PIN file {} has more than one line, or a control character, and is not presented: write the PIN into it, and nothing else",
                path.display()
            )));
        }
        if text.is_empty() {
            return Err(refuse(format!(
                "the PIN file {} is empty: write the PIN into it, and nothing else",
                path.display()
            )));
        }
        let source = path.display().to_string();
        Ok(Self { text, source, markers: Some(markers), checked, _locked: Some(file) })
    }

    fn from_prompt(name: &str) -> Result<Self, HsmFailure> {
        let typed = signet_prompt::hidden(&format!("PIN of the HSM token {name}: "))
            .map_err(|error| refuse(format!("the PIN can't be asked for at the terminal: {error}")))?;
        Ok(Self {
            text: Zeroizing::new(typed.expose().as_bytes().to_vec()),
            source: "the terminal".to_owned(),
            markers: None,
            checked: Checked { earlier: Earlier::Nothing, refusal: None },
            _locked: None,
        })
    }
}

impl Attempt {
    /// The PIN, for the one call that needs it.
    pub(super) fn expose(&self) -> &[u8] {
        &self.pin.text
    }

    /// The token took the PIN: the marker goes, and it is remembered that this state of the file holds a good one.
    pub(super) fn taken(self) {
        if let (Some(marker), Some(markers)) = (self.marker, &self.pin.markers) {
            markers.remember_taken(&marker);
            marker.remove();
        }
    }

    /// The token certainly counted no try: the marker goes.
    pub(super) fn not_counted(self) {
        if let Some(marker) = self.marker {
            marker.remove();
        }
    }

    /// The token refused the PIN: the marker stays, and says so, and what was remembered of a good one is forgotten.
    pub(super) fn refused(self, code: &str) -> HsmFailure {
        if let Some(markers) = &self.pin.markers {
            markers.forget_taken();
        }
        let advice = self.marker.as_ref().map_or_else(String::new, |marker| {
            marker.add_refusal(code);
            format!("; after the PIN is corrected there, or {} is removed, it is tried again", marker.0.display())
        });
        HsmFailure::PinRefused(format!("{code} for the PIN from {}{advice}", self.pin.source))
    }

    /// Nobody knows whether the token counted a try: the marker stays. A PIN that was taken before may be presented once
    /// more by another worker.
    pub(super) fn unclear(self, answer: &str) -> HsmFailure {
        let source = &self.pin.source;
        if self.pin.was_taken() && !self.pin.is_second_time() {
            let detail = format!("{answer} when the PIN from {source} was presented, which was taken before");
            return HsmFailure::Unavailable(detail);
        }
        let advice = self.marker.as_ref().map_or_else(String::new, |marker| {
            format!(", then remove {} to have the same PIN presented again", marker.0.display())
        });
        let detail = format!(
            "{answer} when the PIN from {source} was presented, and the token may have counted that as a wrong try; check the token{advice}"
        );
        HsmFailure::PinRefused(detail)
    }
}

/// What of a file changes with what it holds.
fn state_of(file: &Metadata) -> String {
    format!("{} {} {}.{:09} {}", file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size())
}

fn refuse(detail: String) -> HsmFailure {
    HsmFailure::Configuration(detail)
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
    if !signet_state_file::is_private(&metadata) {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn judged(source: &PinSource, name: &str, state: Option<&Path>) -> Result<Pin, HsmFailure> {
        Pin::read(source, name, state)?.judged_alone()
    }

    fn pin_file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("pin");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn one_trailing_newline_is_no_part_of_the_pin() {
        let directory = tempfile::tempdir().unwrap();
        for (written, read) in
            [("1234\n", "1234"), ("1234\r\n", "1234"), (" 1234 ", " 1234 "), ("\u{feff}1234\n", "1234")]
        {
            let path = pin_file(directory.path(), written, 0o600);
            let attempt = judged(&PinSource::File(path), "a", None).unwrap().attempt().unwrap();
            assert_eq!(attempt.expose(), read.as_bytes());
            attempt.taken();
        }
    }

    #[test]
    fn hazard_114_and_63_a_pin_is_read_as_every_text_and_what_is_none_is_not_presented() {
        let directory = tempfile::tempdir().unwrap();
        let path = pin_file(directory.path(), "1234", 0o600);
        fs::write(&path, b"\xff\xfe1\x002\x003\x004\x00\r\x00\n\x00").unwrap();
        assert_eq!(&*judged(&PinSource::File(path.clone()), "a", None).unwrap().text, b"1234");
        for (written, told) in [
            ("1234\n\n", "more than one line"),
            ("1234\nnot the PIN\n", "more than one line"),
            ("12\t34", "control character"),
            ("1\x002\x003\x004\x00", "UTF-16"),
            ("\u{feff}\n", "empty"),
        ] {
            fs::write(&path, written).unwrap();
            let refusal = judged(&PinSource::File(path.clone()), "a", None).err().unwrap().to_string();
            assert!(refusal.contains(told) && !refusal.contains("1234"), "{written:?}: {refusal}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620] {
            let path = pin_file(directory.path(), "1234", mode);
            let refusal = judged(&PinSource::File(path), "a", None).err().unwrap();
            assert!(refusal.to_string().contains("chmod 600"), "{refusal}");
        }
        let empty = pin_file(directory.path(), "\n", 0o600);
        assert!(judged(&PinSource::File(empty), "a", None).is_err());
        assert!(judged(&PinSource::File(directory.path().to_owned()), "a", None).is_err());
    }

    #[test]
    fn a_refused_pin_is_not_read_again_until_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = pin_file(directory.path(), "1234", 0o600);
        let source = PinSource::File(path.clone());
        let refusal = judged(&source, "a", None).unwrap().attempt().unwrap().refused("CKR_PIN_INCORRECT");
        assert!(!refusal.to_string().contains("1234"));
        assert!(matches!(judged(&source, "a", None), Err(HsmFailure::PinRefused(_))));
        fs::write(&path, "123456").unwrap();
        assert!(judged(&source, "a", None).is_ok());
        assert!(!directory.path().join("pin.refused").exists());
    }

    #[test]
    fn a_pin_whose_fate_is_unknown_is_not_presented_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        // As after a crash: nobody says what became of it.
        drop(judged(&source, "a", None).unwrap().attempt().unwrap());
        let refusal = judged(&source, "a", None).err().unwrap().to_string();
        assert!(refusal.contains("ended while this PIN was presented") && refusal.contains("pin.refused"), "{refusal}");
        fs::remove_file(directory.path().join("pin.refused")).unwrap();
        judged(&source, "a", None).unwrap().attempt().unwrap().not_counted();
        assert!(judged(&source, "a", None).is_ok());
    }

    #[test]
    fn a_marker_in_either_place_counts() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        drop(judged(&source, "a", Some(state.path())).unwrap().attempt().unwrap());
        fs::rename(directory.path().join("pin.refused"), state.path().join("a.pin-refused")).unwrap();
        assert!(matches!(judged(&source, "a", Some(state.path())), Err(HsmFailure::PinRefused(_))));
    }

    #[test]
    fn without_a_place_for_the_marker_the_pin_is_not_presented() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = pin_file(directory.path(), "1234", 0o600);
        let pin = |folders: &[&Path]| {
            let markers = PinAttemptLog::in_places(folders.iter().map(|folder| folder.join("pin.refused")).collect());
            Pin::from_file(&path, |_| markers).unwrap().judged_alone().unwrap()
        };
        let nowhere = directory.path().join("missing");
        let Err(HsmFailure::Configuration(detail)) = pin(&[&nowhere]).attempt() else { panic!("presented") };
        assert!(detail.contains("missing") && detail.contains("let this user write"), "{detail}");
        assert!(pin(&[]).attempt().is_err());
        // The second place does.
        drop(pin(&[&nowhere, state.path()]).attempt().unwrap());
        assert!(state.path().join("pin.refused").exists());
    }

    #[test]
    fn a_pin_that_was_taken_before_survives_one_crash_of_unknown_fate() {
        let directory = tempfile::tempdir().unwrap();
        let path = pin_file(directory.path(), "1234", 0o600);
        let source = PinSource::File(path.clone());
        let read = |name| judged(&source, name, None);
        read("a").unwrap().attempt().unwrap().taken();
        drop(read("a").unwrap().attempt().unwrap());
        // Another token's PIN in the same file was never taken.
        assert!(matches!(read("b"), Err(HsmFailure::PinRefused(_))));
        let second = read("a").unwrap();
        assert!(second.is_second_time());
        drop(second.attempt().unwrap());
        assert!(matches!(read("a"), Err(HsmFailure::PinRefused(_))), "a third time");
        fs::remove_file(directory.path().join("pin.refused")).unwrap();
        let good = read("a").unwrap();
        assert!(!good.is_second_time());
        good.attempt().unwrap().taken();
        // Each success makes room for one such end.
        drop(read("a").unwrap().attempt().unwrap());
        read("a").unwrap().attempt().unwrap().taken();
        drop(read("a").unwrap().attempt().unwrap());
        assert!(read("a").unwrap().is_second_time());
        // Another PIN in the file is another matter.
        fs::write(&path, "12345").unwrap();
        drop(read("a").unwrap().attempt().unwrap());
        assert!(matches!(read("a"), Err(HsmFailure::PinRefused(_))));
    }

    #[test]
    fn a_refused_pin_stays_refused_though_it_was_taken_before() {
        let directory = tempfile::tempdir().unwrap();
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        judged(&source, "a", None).unwrap().attempt().unwrap().taken();
        let unclear = judged(&source, "a", None).unwrap().attempt().unwrap().unclear("CKR_GENERAL_ERROR");
        assert!(matches!(unclear, HsmFailure::Unavailable(_)), "{unclear}");
        let refused = judged(&source, "a", None).unwrap().attempt().unwrap().refused("CKR_PIN_INCORRECT");
        assert!(matches!(refused, HsmFailure::PinRefused(_)));
        assert!(matches!(judged(&source, "a", None), Err(HsmFailure::PinRefused(_))));
    }

    #[test]
    fn what_is_remembered_is_told_and_an_operators_word_overrules_it() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = PinSource::File(pin_file(directory.path(), "1234", 0o600));
        let read = || Pin::read(&source, "a", Some(state.path())).unwrap();
        // One at a time: each holds the file's lock.
        let told = || {
            let pin = read();
            (pin.marker(), pin.was_taken())
        };
        assert_eq!(told(), (PinMarker::None, false));
        assert!(!read().is_typed());
        read().attempt().unwrap().taken();
        assert!(read().was_taken());
        drop(read().attempt().unwrap());
        assert_eq!(told(), (PinMarker::Unknown, true));
        drop(read().attempt().unwrap());
        assert_eq!(read().marker(), PinMarker::UnknownTwice);
        let refused = read().attempt().unwrap().refused("CKR_PIN_INCORRECT");
        assert!(matches!(refused, HsmFailure::PinRefused(_)));
        assert_eq!(told(), (PinMarker::Refused, false), "it is not taken any more");
        // A marker in the other place as well: whoever presents it all the same and has it taken is rid of both.
        fs::copy(directory.path().join("pin.refused"), state.path().join("a.pin-refused")).unwrap();
        read().attempt().unwrap().taken();
        assert_eq!(told(), (PinMarker::None, true));
    }

    #[test]
    fn a_credential_is_known_again_while_its_file_is_the_same() {
        let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = pin_file(directory.path(), "1234", 0o600);
        let read = || {
            let log = |file: &Metadata| PinAttemptLog::of_credential(state_of(file), "a", Some(state.path()));
            Pin::from_file(&path, log).unwrap()
        };
        read().attempt().unwrap().taken();
        assert!(read().was_taken());
        drop(read().attempt().unwrap());
        // As the service manager makes it anew: the marker speaks of it all the same.
        fs::remove_file(&path).unwrap();
        pin_file(directory.path(), "12345", 0o600);
        let pin = read();
        assert_eq!((pin.marker(), pin.was_taken()), (PinMarker::Unknown, false));
    }

    #[test]
    fn a_long_file_is_refused_and_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let longest = PinSource::File(pin_file(directory.path(), &"7".repeat(1024), 0o600));
        assert!(judged(&longest, "a", None).is_ok());
        let longer = PinSource::File(pin_file(directory.path(), &"7".repeat(1025), 0o600));
        let refusal = judged(&longer, "a", None).err().unwrap().to_string();
        assert!(refusal.contains("more than 1024 bytes"), "{refusal}");
    }
}
