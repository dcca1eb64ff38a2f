//! A file that is there whole or not at all: written beside its place, synced, and moved there in the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file that is being written. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub(crate) struct WholeFile {
    out: BufWriter<File>,
    beside: PathBuf,
    place: PathBuf,
    is_finished: bool,
}

impl WholeFile {
    /// Begins one that only its owner can read.
    /// Errors: there is one already, or none can be made there.
    pub(crate) fn begin(place: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(place).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is one of that name already"));
        }
        let mut name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let beside = place.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { out: BufWriter::with_capacity(1 << 16, file), beside, place: place.to_owned(), is_finished: false })
    }

    /// Makes it last, under its name.
    /// Errors: it can't be written, or somebody made another one of that name meanwhile.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(rustix::fs::CWD, &self.beside, rustix::fs::CWD, &self.place, flags)?;
        self.is_finished = true;
        signet_state_file::sync_folder_of(&self.place)
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // One that stays is named in the guide.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let (place, names) = (folder.path().join("b"), || fs::read_dir(folder.path()).unwrap().count());
        let mut file = WholeFile::begin(&place).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!place.exists());
        drop(file);
        assert_eq!(names(), 0);
        let mut file = WholeFile::begin(&place).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!((fs::read(&place).unwrap(), names()), (b"whole".to_vec(), 1));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(WholeFile::begin(&place).is_err());
        let other = folder.path().join("c");
        let file = WholeFile::begin(&other).unwrap();
        fs::write(&other, "somebody else's").unwrap();
        assert!(file.finish().is_err());
        assert_eq!((fs::read(&other).unwrap(), names()), (b"somebody else's".to_vec(), 2));
    }
}
