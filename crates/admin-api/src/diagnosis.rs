//! What a check of the deployment found, and what to do about it.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// False where Signet would not serve, or should not.
    pub ok: bool,
    /// Whether it is worth a look though Signet would serve.
    pub warning: bool,
    /// What was found.
    pub text: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What all checks found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"ok": true, "findings": [{"subject": "store", "ok": true, "warning": false,
    "text": "a durable write was made"}]}))]
pub struct Findings {
    /// Whether Signet would serve.
    pub ok: bool,
    /// Each check.
    pub findings: Vec<Finding>,
}

impl Default for Findings {
    fn default() -> Self {
        Self { ok: true, findings: Vec::new() }
    }
}

impl Findings {
    /// All is well.
    pub fn well(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(subject.into(), true, false, text.into(), None);
    }

    /// Signet would serve, and a person should look at this.
    pub fn warn(&mut self, subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) {
        self.add(subject.into(), true, true, text.into(), Some(advice.into()));
    }

    /// Signet would not serve, or should not.
    pub fn fault(&mut self, subject: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) {
        self.add(subject.into(), false, false, text.into(), Some(advice.into()));
    }

    /// A fault whose text says itself what to do.
    pub fn error(&mut self, subject: impl Into<String>, error: impl Display) {
        self.add(subject.into(), false, false, format!("{error:#}"), None);
    }

    /// What another look found as well.
    pub fn extend(&mut self, other: Self) {
        self.ok &= other.ok;
        self.findings.extend(other.findings);
    }

    fn add(&mut self, subject: String, ok: bool, warning: bool, text: String, advice: Option<String>) {
        self.ok &= ok;
        self.findings.push(Finding { subject, ok, warning, text, advice });
    }
}
