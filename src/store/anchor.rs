//! The anchor: a file beside the database to which every checkpoint is appended too, so that a database that was put
//! back together with its checkpoints is noticed. Keep it where whoever can write the database can't write.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreFailure;
use crate::audit::Checkpoint;
use crate::clock::Timestamp;

/// One line: a checkpoint as JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    seq: i64,
    at: Timestamp,
    jws: String,
}

/// The longest line that is read.
const LONGEST_LINE: u64 = 16 * 1024;

/// An anchor file. It need not exist yet.
#[derive(Debug, Clone)]
pub struct Anchor {
    path: PathBuf,
}

impl Anchor {
    /// The anchor at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a checkpoint; durable when it returns. The file is made with mode 0600.
    ///
    /// # Errors
    ///
    /// [`StoreFailure::Unavailable`].
    pub async fn append(&self, checkpoint: &Checkpoint) -> Result<(), StoreFailure> {
        let line = Line { seq: checkpoint.sequence, at: checkpoint.at, jws: checkpoint.jws.clone() };
        let anchor = self.clone();
        let appended = tokio::task::spawn_blocking(move || append_line(&anchor.path, &line)).await;
        appended.unwrap_or_else(|gone| Err(io::Error::other(gone))).map_err(|error| self.unavailable(&error))
    }

    /// Every checkpoint in the file, in its order. A line that a crash left unfinished is passed over.
    ///
    /// # Errors
    ///
    /// [`StoreFailure::Unavailable`] where the file is there and can't be read.
    pub fn read(&self) -> Result<Vec<Checkpoint>, StoreFailure> {
        read_lines(&self.path).map_err(|error| self.unavailable(&error))
    }

    /// The checkpoint that reaches furthest.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn furthest(&self) -> Result<Option<Checkpoint>, StoreFailure> {
        Ok(self.read()?.into_iter().max_by_key(|checkpoint| checkpoint.sequence))
    }

    fn unavailable(&self, error: &io::Error) -> StoreFailure {
        StoreFailure::Unavailable(format!("the anchor file {}: {error}", self.path.display()))
    }
}

fn append_line(path: &Path, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let is_new = file.metadata()?.len() == 0;
    if !is_new && !ends_with_newline(&mut file)? {
        text.insert(0, '\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if is_new { sync_folder_of(path) } else { Ok(()) }
}

/// Makes a new file's name durable.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Whether the last line of a file that is not empty is finished.
fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn read_lines(path: &Path) -> io::Result<Vec<Checkpoint>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut checkpoints = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(checkpoints);
        }
        if let Ok(Line { seq, at, jws }) = serde_json::from_slice(&line) {
            checkpoints.push(Checkpoint { sequence: seq, at, jws });
        }
    }
}
