//! What a check found: well, worth a look, or a fault, and what to do about it.

use serde::Serialize;

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    subject: String,
    /// False where Signet would not serve, or should not.
    ok: bool,
    /// Whether it is worth a look though Signet would serve.
    warning: bool,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What all checks found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// Whether Signet would serve.
    pub(super) ok: bool,
    findings: Vec<Finding>,
}

impl Findings {
    pub(super) const fn new() -> Self {
        Self { ok: true, findings: Vec::new() }
    }

    /// All is well.
    pub(super) fn well(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(subject.into(), true, false, text.into(), None);
    }

    /// Signet would serve, and a person should look at this.
    pub(super) fn warn(&mut self, subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) {
        self.add(subject.into(), true, true, text.into(), Some(advice.into()));
    }

    /// Signet would not serve, or should not.
    pub(super) fn fault(&mut self, subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) {
        self.add(subject.into(), false, false, text.into(), Some(advice.into()));
    }

    /// A fault whose text says itself what to do.
    pub(super) fn error(&mut self, subject: impl Into<String>, error: impl std::fmt::Display) {
        self.add(subject.into(), false, false, format!("{error:#}"), None);
    }

    fn add(&mut self, subject: String, ok: bool, warning: bool, text: String, advice: Option<String>) {
        self.ok &= ok;
        self.findings.push(Finding { subject, ok, warning, text, advice });
    }

    pub(super) fn as_text(&self) -> String {
        let mut lines: Vec<String> = self.findings.iter().map(Finding::line).collect();
        let faults = self.findings.iter().filter(|finding| !finding.ok).count();
        lines.push(match faults {
            0 => "\nSignet would serve.".to_owned(),
            1 => "\nSignet would NOT serve: 1 fault.".to_owned(),
            many => format!("\nSignet would NOT serve: {many} faults."),
        });
        lines.join("\n")
    }
}

impl Finding {
    fn line(&self) -> String {
        let mark = match (self.ok, self.warning) {
            (false, _) => "FAULT",
            (true, true) => "look ",
            (true, false) => "ok   ",
        };
        let advice = self.advice.as_ref().map_or_else(String::new, |advice| format!("\n       → {advice}"));
        format!("{mark}  {}: {}{advice}", self.subject, self.text)
    }
}
