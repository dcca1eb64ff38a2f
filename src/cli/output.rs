//! What commands print: tables for people, JSON for programs; progress and problems on standard error.

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

    /// Prints a value: as JSON where that is asked for, and as `text` says where not.
    pub(super) fn value<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let printed = if self.json { serde_json::to_string_pretty(value)? } else { text(value) };
        self.text(&printed)
    }

    /// Prints text to standard output. A reader that went away is no error.
    pub(super) fn text(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Tells of progress.
    pub(super) fn progress(&self, text: &str) {
        self.note(&format!("… {text}"));
    }

    /// Tells a person something beside the result.
    #[expect(clippy::unused_self, reason = "all that is printed goes through an Output")]
    pub(super) fn note(&self, text: &str) {
        // Nothing can be done where standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Tells of a fault.
    pub(super) fn problem(&self, text: &str) {
        let is_person = std::io::stderr().is_terminal();
        self.note(&if is_person { format!("\x1b[31merror:\x1b[0m {text}") } else { format!("error: {text}") });
    }
}

/// A table with aligned columns.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// `yes` or `no`.
pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["ann".to_owned(), "yes".to_owned()], ["bartholomew".to_owned(), "no".to_owned()]];
        assert_eq!(table(["name", "on"], &rows), "name         on\nann          yes\nbartholomew  no");
    }
}
