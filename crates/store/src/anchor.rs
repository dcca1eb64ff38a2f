//! The anchor: a file beside the database to which every checkpoint is appended too, so that a database that was put
//! back together with its checkpoints is noticed. Keep it where whoever can write the database can't write.
//!
//! Its last line is the checkpoint that reaches furthest: whoever appends holds the file's lock, and adds nothing that
//! reaches less far. That one covers all before it, so the older lines are thinned out once the file has grown long.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StoreFailure;
use signet_core::audit::{Checkpoint, NodeId};
use signet_jose::clock::Timestamp;
use signet_state_file::{self as state_file, Access, LockedFile};

/// One line: a checkpoint as JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    node: NodeId,
    seq: i64,
    at: Timestamp,
    jws: String,
}

/// How long the file may grow, in bytes, before its older lines go.
const MAX_FILE: u64 = 1024 * 1024;
/// How many of the newest lines are kept then.
const KEPT_LINES: usize = 256;
/// How much of the file's end is read at first to find its last line.
const FIRST_WINDOW: u64 = 64 * 1024;
/// How often, and after which pause, the lock is tried.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

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

    /// Appends a checkpoint, unless the file holds one that reaches as far; durable when it returns. The file is made
    /// with mode 0600. Where it has grown long, all but its newest lines go.
    pub async fn append(&self, checkpoint: &Checkpoint) -> Result<(), StoreFailure> {
        let line = Line {
            node: checkpoint.node.clone(),
            seq: checkpoint.sequence,
            at: checkpoint.at,
            jws: checkpoint.jws.clone(),
        };
        let anchor = self.clone();
        let appended = tokio::task::spawn_blocking(move || append_line(&anchor.path, &line)).await;
        appended.unwrap_or_else(|gone| Err(io::Error::other(gone))).map_err(|error| self.unavailable(&error))
    }

    /// Every checkpoint in the file, in its order. A line that a crash left unfinished is passed over.
    /// Errors: [`StoreFailure::Unavailable`] where the file is there and can't be read.
    pub fn read(&self) -> Result<Vec<Checkpoint>, StoreFailure> {
        let text = open_to_read(&self.path).and_then(|file| file.map_or_else(|| Ok(Vec::new()), |file| last(&file, 0)));
        let text = text.map_err(|error| self.unavailable(&error))?;
        Ok(lines_of(&text).filter_map(checkpoint_of).collect())
    }

    /// The checkpoint that reaches furthest: the last complete line. Nothing but the file's end is read.
    /// Errors: [`StoreFailure::Unavailable`] where the file is there and can't be read.
    pub fn furthest(&self) -> Result<Option<Checkpoint>, StoreFailure> {
        let found = open_to_read(&self.path).and_then(|file| file.map_or(Ok(None), |file| last_line(&file)));
        found.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &io::Error) -> StoreFailure {
        StoreFailure::Unavailable(format!("the anchor file {}: {error}", self.path.display()))
    }
}

fn open_to_read(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn append_line(path: &Path, line: &Line) -> io::Result<()> {
    let locked = open_locked(path)?;
    let mut file = locked.file();
    let length = file.metadata()?.len();
    if last_line(file)?.is_some_and(|last| last.node == line.node && last.sequence >= line.seq) {
        return Ok(());
    }
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    if length > 0 && last(file, length - 1)? != b"\n" {
        text.insert(0, '\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if length == 0 {
        state_file::sync_folder_of(path)?;
    }
    if length > MAX_FILE
        && let Err(error) = thin(locked)
    {
        // The checkpoint itself is kept. A file that may only be appended to stays whole, and that is well.
        tracing::debug!(%error, "the anchor file could not be thinned out");
    }
    Ok(())
}

/// Opens the file to append, once no other process holds it.
fn open_locked(path: &Path) -> io::Result<LockedFile> {
    for _ in 0..LOCK_TRIES {
        match LockedFile::try_open(path, Access::Append)? {
            Some(file) => return Ok(file),
            None => std::thread::sleep(LOCK_PAUSE),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock for too long"))
}

/// Puts the newest lines alone in the file's place.
fn thin(locked: LockedFile) -> io::Result<()> {
    let length = locked.file().metadata()?.len();
    let text = last(locked.file(), length.saturating_sub(MAX_FILE))?;
    let whole: Vec<&[u8]> = lines_of(&text).filter(|line| checkpoint_of(line).is_some()).collect();
    let kept = whole.get(whole.len().saturating_sub(KEPT_LINES)..).unwrap_or_default();
    let content: Vec<u8> = kept.iter().flat_map(|line| [*line, b"\n"]).flatten().copied().collect();
    locked.replace(&content)
}

/// What stands in the file from `start` on.
fn last(mut file: &File, start: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// The last line that holds a checkpoint, looked for from the end.
fn last_line(file: &File) -> io::Result<Option<Checkpoint>> {
    let length = file.metadata()?.len();
    let mut window = FIRST_WINDOW;
    loop {
        let start = length.saturating_sub(window);
        let text = last(file, start)?;
        let found = lines_of(&text).rev().find_map(checkpoint_of);
        if found.is_some() || start == 0 {
            return Ok(found);
        }
        window = window.saturating_mul(2);
    }
}

fn lines_of(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn checkpoint_of(line: &[u8]) -> Option<Checkpoint> {
    let Line { node, seq, at, jws } = serde_json::from_slice(line).ok()?;
    Some(Checkpoint { node, sequence: seq, at, jws })
}
