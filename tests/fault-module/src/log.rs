//! The log: a line a record, tab-separated, appended by every process that loads the module.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// The process that called.
    pub process_id: u32,
    /// When, in microseconds since 1970.
    pub at_micros: u64,
    /// The function that was called.
    pub function: String,
    /// The rule of a fault, the code of an answer, the text of an error.
    pub detail: String,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A function was called; only where the rules say `log calls`.
    Call,
    /// A PIN was presented: `C_Login` was called.
    Login,
    /// What `C_Login` answered.
    Answer,
    /// A fault was injected.
    Fault,
    /// A rule can't be read, or could not take effect.
    Error,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Call, Self::Login, Self::Answer, Self::Fault, Self::Error];

    const fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Login => "login",
            Self::Answer => "answer",
            Self::Fault => "fault",
            Self::Error => "error",
        }
    }
}

/// The records of a log's text; a line that is none is left out.
pub fn read(text: &str) -> Vec<Record> {
    let record = |line: &str| {
        let mut parts = line.splitn(5, '\t');
        let word = parts.next()?;
        Some(Record {
            kind: Kind::ALL.into_iter().find(|kind| kind.word() == word)?,
            process_id: parts.next()?.parse().ok()?,
            at_micros: parts.next()?.parse().ok()?,
            function: parts.next()?.to_owned(),
            detail: parts.next()?.to_owned(),
        })
    };
    text.lines().filter_map(record).collect()
}

/// Where records go.
#[derive(Debug)]
pub(crate) struct Log(Option<File>);

impl Log {
    /// Appends to this file.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn open(path: Option<&Path>) -> std::io::Result<Self> {
        path.map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose().map(Self)
    }

    /// Appends one record by one write, so that processes don't mix their lines.
    pub(crate) fn add(&self, kind: Kind, function: &str, detail: &str) {
        let Some(mut file) = self.0.as_ref() else { return };
        let line =
            format!("{}\t{}\t{}\t{function}\t{detail}\n", kind.word(), std::process::id(), micros_since_the_epoch());
        if let Err(error) = file.write_all(line.as_bytes()) {
            crate::engine::give_up(&format!("the log can't be written: {error}"));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a log's times are the machine's, to be compared across processes")]
fn micros_since_the_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let text = "fault\t12\t99\tC_Sign\tC_Sign before hang\nnonsense\nlogin\t13\t100\tC_Login\t\nfault\t1";
        let records = read(text);
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].kind, records[0].process_id, records[0].at_micros), (Kind::Fault, 12, 99));
        assert_eq!((records[1].kind, records[1].function.as_str()), (Kind::Login, "C_Login"));
    }
}
