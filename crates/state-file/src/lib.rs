//! Files in which processes keep state beside the store: how such a file is made, locked, replaced and brought to disk.
//!
//! A file that is made here can be used by its owner alone (mode 0600). What is written durably is on the disk when the
//! call returns, and so is the file's name: a new name lasts only once its folder was synced as well. Locks are those of
//! `flock(2)`: they end with the process that holds them, however it ends.
//!
//! This crate never decides what stands in a file, where the file lies, or what to do where it can't be used.

#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How often a file is opened again that was replaced between opening and locking it.
const MAX_OPENINGS: u32 = 8;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading, and writing at any place. A symbolic link in the file's place is refused.
    InPlace,
    /// Reading, and writing at the end. The operator may have put a symbolic link in the file's place.
    Append,
}

/// A file that this process has locked. The lock ends when this is dropped.
#[derive(Debug)]
pub struct LockedFile {
    file: File,
    path: PathBuf,
}

impl LockedFile {
    /// Opens the file and takes its lock; makes the file where there is none. Returns `None` where another process has
    /// the lock.
    /// Errors: Why it can't be opened or locked.
    pub fn try_open(path: &Path, access: Access) -> io::Result<Option<Self>> {
        Self::acquire(path, access, |file| match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        })
    }

    /// Opens the file, or makes it, and waits for its lock.
    /// Errors: Why it can't be opened or locked.
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        let locked = Self::acquire(path, access, |file| file.lock().map(|()| true))?;
        locked.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// Opens the file, or makes it, and takes its lock by `lock`, which says whether it got it. A file that was replaced
    /// between opening and locking is not the one that others would lock: then the next one is opened.
    fn acquire(path: &Path, access: Access, lock: impl Fn(&File) -> io::Result<bool>) -> io::Result<Option<Self>> {
        for _ in 0..MAX_OPENINGS {
            let file = open(path, access)?;
            if !lock(&file)? {
                return Ok(None);
            }
            let locked = Self { file, path: path.to_owned() };
            if locked.is_in_place() {
                return Ok(Some(locked));
            }
        }
        Err(io::Error::other("it is replaced again and again"))
    }

    /// Makes a new file and locks it.
    /// Errors: [`io::ErrorKind::AlreadyExists`] where there is one; otherwise why it can't be made or locked.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = for_the_owner().read(true).write(true).create_new(true).open(path)?;
        // Whoever looks at it may hold its lock for a moment.
        file.lock()?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this file: somebody may have removed or replaced it.
    pub fn is_in_place(&self) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(identity).ok();
        ours.is_some() && ours == fs::metadata(&self.path).map(identity).ok()
    }

    /// Puts another content durably in the file's place, as [`replace`] does. Whoever waits for the lock gets the new
    /// file.
    /// Errors: Why the new file can't be written; the old one is then as it was.
    pub fn replace(self, content: &[u8]) -> io::Result<()> {
        replace(&self.path, content)
    }
}

/// Puts a file with this content durably in the place of another, or of none, by way of a file beside it whose name has
/// `.new` added. A crash leaves the old file or the new one.
/// Errors: Why the new file can't be written.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // One that a crash left behind may have any mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = for_the_owner().write(true).create_new(true).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Writes a file durably where it stands. A crash may leave a part of it.
/// Errors: Why it can't be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = for_the_owner().write(true).create(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_folder_of(path)
}

/// Adds to the end of a file that is there, durably.
/// Errors: Why it can't be written.
pub fn append(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file durably: it does not come back after a loss of power.
/// Errors: Why it can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_folder_of(path)
}

/// Makes what was done to a file's name durable: that it was made, replaced or removed.
/// Errors: Why the folder can't be brought to the disk.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Whether nobody but the file's owner (and root) may read or write it.
pub fn is_private(metadata: &Metadata) -> bool {
    metadata.mode() & 0o077 == 0
}

fn open(path: &Path, access: Access) -> io::Result<File> {
    let mut options = for_the_owner();
    options.read(true).create(true);
    match access {
        Access::InPlace => {
            let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
            options.write(true).truncate(false).custom_flags(no_link)
        }
        Access::Append => options.append(true),
    };
    options.open(path)
}

/// Options by which a new file is its owner's alone.
fn for_the_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_holder_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let held = LockedFile::try_open(&path, Access::InPlace).unwrap().unwrap();
        assert!(LockedFile::try_open(&path, Access::Append).unwrap().is_none());
        assert!(is_private(&held.file().metadata().unwrap()) && held.is_in_place());
        assert_eq!(LockedFile::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(held);
        assert!(LockedFile::try_open(&path, Access::Append).unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_replaced_is_not_the_one_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(folder.path().join("state.new"), "left by a crash").unwrap();
        let held = LockedFile::try_open(&path, Access::InPlace).unwrap().unwrap();
        replace(&path, b"new").unwrap();
        assert!(!held.is_in_place());
        assert!(LockedFile::try_open(&path, Access::InPlace).unwrap().is_some());
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"new".to_vec(), 1));
    }

    #[test]
    fn a_link_is_followed_to_append_and_not_to_write_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("state"), folder.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(LockedFile::try_open(&link, Access::InPlace).is_err());
        assert!(LockedFile::try_open(&link, Access::Append).unwrap().is_some());
    }

    #[test]
    fn what_is_written_is_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(append(&path, b"nothing to add to").is_err());
        write(&path, b"longer than what follows").unwrap();
        write(&path, b"one,").unwrap();
        append(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one,two");
        assert!(is_private(&fs::metadata(&path).unwrap()));
        remove(&path).unwrap();
        assert!(remove(&path).is_err());
    }
}
