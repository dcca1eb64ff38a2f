//! Reads the PIN, and remembers that one was refused (promise 9).
//!
//! A refused PIN leaves a marker beside it, so that the next start does not send it again: not until its file was
//! changed, or a person removed the marker. The marker holds nothing of the PIN, only which file was refused when.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use crate::hsm::PinSource;
use crate::keys::HsmFailure;

const LONGEST_PIN: u64 = 1024;

/// A PIN with what is needed to remember its refusal. While it lives, no other worker presents the same file's PIN.
pub(super) struct Pin {
    text: Zeroizing<Vec<u8>>,
    source: String,
    marker: Option<PathBuf>,
    fingerprint: String,
    _locked: Option<File>,
}

impl Pin {
    /// Reads the PIN.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Configuration`] where the source is missing or unsafe; [`HsmFailure::PinRefused`] where this very
    /// PIN was refused before.
    pub(super) fn read(source: &PinSource, name: &str, state_directory: Option<&Path>) -> Result<Self, HsmFailure> {
        match source {
            PinSource::File(path) => {
                let marker = state_directory.map_or_else(|| beside(path), |directory| in_state(directory, name));
                Self::from_file(path, Some(marker), true)
            }
            PinSource::Credential(credential) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    refuse(
                        "there is no $CREDENTIALS_DIRECTORY: `credential:` works under systemd's LoadCredential= only"
                            .into(),
                    )
                })?;
                let marker = state_directory.map(|directory| in_state(directory, name));
                Self::from_file(&Path::new(&directory).join(credential), marker, false)
            }
            PinSource::Prompt => Self::from_prompt(name),
        }
    }

    /// The PIN, for the one call that needs it.
    pub(super) fn expose(&self) -> &[u8] {
        &self.text
    }

    /// Remembers that the module refused the PIN, and says so.
    pub(super) fn refused(&self, code: &str) -> HsmFailure {
        let remembered = self.marker.as_ref().map(|marker| (marker, write_marker(marker, &self.fingerprint)));
        let advice = match remembered {
            Some((marker, Ok(()))) => format!(
                "{code} for the PIN from {}; after the PIN is corrected there, or {} is removed, it is tried again",
                self.source,
                marker.display()
            ),
            Some((marker, Err(error))) => format!(
                "{code} for the PIN from {}; that could not be recorded in {} ({error}), so do not start again before it is corrected",
                self.source,
                marker.display()
            ),
            None => format!("{code} for the PIN from {}", self.source),
        };
        HsmFailure::PinRefused { detail: advice }
    }

    /// `bound_to_file`: the marker speaks of this state of the file only. A credential's file is new at each start.
    fn from_file(path: &Path, marker: Option<PathBuf>, bound_to_file: bool) -> Result<Self, HsmFailure> {
        let (file, metadata) = open_private(path)?;
        // Two workers that read the same wrong PIN at once would present it twice. Some network file systems have no
        // locks; there the server's order of starting its workers has to do.
        let _ = rustix::fs::flock(&file, FlockOperation::LockExclusive);
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
        if let Some(marker) = &marker {
            check_marker(marker, &fingerprint, path)?;
        }
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST_PIN).unwrap_or_default()));
        (&file)
            .take(LONGEST_PIN)
            .read_to_end(&mut text)
            .map_err(|error| refuse(format!("the PIN file {} can't be read: {error}", path.display())))?;
        trim_newline(&mut text);
        if text.is_empty() {
            return Err(refuse(format!("the PIN file {} is empty", path.display())));
        }
        Ok(Self { text, source: path.display().to_string(), marker, fingerprint, _locked: Some(file) })
    }

    fn from_prompt(name: &str) -> Result<Self, HsmFailure> {
        let text = rpassword::prompt_password(format!("PIN of the HSM token {name}: "))
            .map_err(|error| refuse(format!("the PIN can't be asked for at the terminal: {error}")))?;
        Ok(Self {
            text: Zeroizing::new(text.into_bytes()),
            source: "the terminal".to_owned(),
            marker: None,
            fingerprint: String::new(),
            _locked: None,
        })
    }
}

fn refuse(detail: String) -> HsmFailure {
    HsmFailure::Configuration { detail }
}

fn open_private(path: &Path) -> Result<(File, fs::Metadata), HsmFailure> {
    let shown = path.display();
    // Not blocking: a FIFO in its place must not hang the start.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| refuse(format!("the PIN file {shown} can't be opened: {error}")))?;
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
    Ok((file, metadata))
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

/// A marker of another state of the file is outdated: the PIN was changed since.
fn check_marker(marker: &Path, fingerprint: &str, pin_file: &Path) -> Result<(), HsmFailure> {
    let Ok(recorded) = fs::read_to_string(marker) else { return Ok(()) };
    if recorded.lines().next() != Some(fingerprint) {
        // If it stays behind it is outdated all the same.
        let _ = fs::remove_file(marker);
        return Ok(());
    }
    Err(HsmFailure::PinRefused {
        detail: format!(
            "this PIN was refused at an earlier start and is not sent again; correct the PIN in {}, or remove {} to try the same one",
            pin_file.display(),
            marker.display()
        ),
    })
}

fn write_marker(marker: &Path, fingerprint: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(marker)?;
    writeln!(file, "{fingerprint}\nThe HSM refused the PIN. Remove this file to have the same PIN tried once more.")?;
    file.sync_all()
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
            let pin = Pin::read(&PinSource::File(path), "a", None).unwrap();
            assert_eq!(pin.expose(), read.as_bytes());
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
        let refusal = Pin::read(&source, "a", None).unwrap().refused("CKR_PIN_INCORRECT");
        assert!(!refusal.to_string().contains("1234"));
        assert!(matches!(Pin::read(&source, "a", None), Err(HsmFailure::PinRefused { .. })));
        fs::write(&path, "123456").unwrap();
        assert!(Pin::read(&source, "a", None).is_ok());
        assert!(!beside(&path).exists());
    }
}
