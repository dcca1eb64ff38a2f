//! What commands print: tables for people, JSON for programs; progress and problems on standard error.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// Where and how to print.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads it.
    #[cfg(feature = "server")]
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a value: as JSON where that is asked for, and as `text` says where not.
    pub(super) fn value<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let printed = if self.json { serde_json::to_string_pretty(value)? } else { text(value) };
        self.text(&printed)
    }

    /// Prints a list of these things: as JSON where that is asked for, and where not as a table of its rows, or in words where it is
    /// empty.
    #[cfg(feature = "server")]
    pub(super) fn list<T: Serialize, const N: usize>(
        &self,
        things: &str,
        list: &[T],
        head: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) -> anyhow::Result<()> {
        self.value(&list, |list| match list {
            [] => format!("There are no {things}."),
            some => super::table(head, some.iter().map(row)),
        })
    }

    /// Says that a change was made.
    pub(super) fn done(&self, what: &str) -> anyhow::Result<()> {
        self.value(&serde_json::json!({ "done": what }), |_| what.to_owned())
    }

    /// Prints text to standard output. A reader that went away is no error.
    pub(super) fn text(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", harmless(text.trim_end_matches('\n'))).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Tells of progress.
    #[cfg(feature = "server")]
    pub(super) fn progress(&self, text: &str) {
        self.note(&format!("… {text}"));
    }

    /// Tells a person something beside the result.
    #[expect(clippy::unused_self, reason = "all that is printed goes through an Output")]
    pub(super) fn note(&self, text: &str) {
        tell("", text);
    }

    /// Tells of a fault.
    pub(super) fn problem(&self, text: &str) {
        let is_person = std::io::stderr().is_terminal();
        tell(if is_person { "\x1b[31merror:\x1b[0m " } else { "error: " }, text);
    }
}

fn tell(prefix: &str, text: &str) {
    // Nothing can be done where standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{prefix}{}", harmless(text));
}

/// A text of which a part may be another's, a server's or a user's: it moves no cursor, sets no title and turns no line
/// around. What could is escaped as JSON does it, so that JSON stays what it is.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_harmful(letter) {
            // No error is possible: a String takes everything.
            let _ = write!(harmless, "\\u{:04x}", u32::from(letter));
        } else {
            harmless.push(letter);
        }
    }
    Cow::Owned(harmless)
}

/// Control characters, and those that turn the direction of writing (Unicode's Bidi_Control).
fn is_harmful(letter: char) -> bool {
    let turns =
        matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (letter.is_control() && !matches!(letter, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_escaped_as_in_json() {
        let text = "a\u{1b}[2J\u{7}\u{9b}\u{202e}\r\u{7f}\n\tb ü █";
        assert_eq!(harmless(text), "a\\u001b[2J\\u0007\\u009b\\u202e\\u000d\\u007f\n\tb ü █");
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(serde_json::from_str::<String>(&harmless(&json)).unwrap(), text);
    }
}
