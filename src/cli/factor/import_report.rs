//! What became of each token of a file.

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineOutcome {
    /// It is in the stock now.
    Imported,
    /// The stock or a factor has its serial number already.
    Skipped,
    /// It can't be used.
    Refused(String),
}

/// The line, the serial number where there is one, and what became of it.
pub(super) type Line = (u64, Option<String>, LineOutcome);

/// What became of each token of a file, in its order.
#[derive(Debug, Default)]
pub(super) struct ImportReport {
    pub(super) lines: Vec<Line>,
}

impl ImportReport {
    /// How many were imported, skipped and refused.
    pub(super) fn counts(&self) -> [usize; 3] {
        self.lines.iter().fold([0; 3], |[imported, skipped, refused], (_, _, outcome)| match outcome {
            LineOutcome::Imported => [imported + 1, skipped, refused],
            LineOutcome::Skipped => [imported, skipped + 1, refused],
            LineOutcome::Refused(_) => [imported, skipped, refused + 1],
        })
    }
}

/// What became of each token, as CSV.
pub(super) fn as_csv(report: &ImportReport) -> String {
    let mut lines = vec!["line,serial,outcome,reason".to_owned()];
    lines.extend(report.lines.iter().map(|(line, serial, outcome)| {
        let (word, reason) = match outcome {
            LineOutcome::Imported => ("imported", ""),
            LineOutcome::Skipped => ("skipped", "is there already"),
            LineOutcome::Refused(reason) => ("refused", reason.as_str()),
        };
        let serial = super::view::quoted(serial.as_deref().unwrap_or_default());
        format!("{line},{serial},{word},{}", super::view::quoted(reason))
    }));
    lines.join("\n") + "\n"
}
