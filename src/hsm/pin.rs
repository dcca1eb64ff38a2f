//! Where a PIN may come from: RFC 7512 §2.4 `pin-source`, without the command form.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::keys::HsmFailure;

/// Where the worker reads the PIN. The PIN itself is never in a configuration, an argument or the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinSource {
    /// A regular file that only its owner can read.
    File(PathBuf),
    /// A systemd credential: the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A person types it at the controlling terminal.
    Prompt,
}

/// `/path`, `file:/path`, `credential:NAME` or `prompt`.
impl FromStr for PinSource {
    type Err = HsmFailure;

    fn from_str(text: &str) -> Result<Self, HsmFailure> {
        let refuse = |detail: &str| Err(HsmFailure::Configuration { detail: detail.to_owned() });
        if text.starts_with('|') {
            return refuse(
                "the PIN source is a command (`|...`), which is not run: name a file of mode 0600, `credential:NAME` or `prompt`",
            );
        }
        if text == "prompt" {
            return Ok(Self::Prompt);
        }
        if let Some(name) = text.strip_prefix("credential:") {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return refuse("the PIN source `credential:NAME` needs the plain name of a credential");
            }
            return Ok(Self::Credential(name.to_owned()));
        }
        if text.starts_with("file:") {
            return url::Url::parse(text)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::File)
                .map_or_else(|| refuse("the PIN source is no absolute file URI such as file:/etc/signet/pin"), Ok);
        }
        if text.is_empty() {
            return refuse("the PIN source is empty: name a file of mode 0600, `credential:NAME` or `prompt`");
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        assert_eq!("/etc/pin".parse(), Ok(PinSource::File("/etc/pin".into())));
        assert_eq!("pin".parse(), Ok(PinSource::File("pin".into())));
        assert_eq!("file:/etc/my%20pin".parse(), Ok(PinSource::File("/etc/my pin".into())));
        assert_eq!("credential:hsm-pin".parse(), Ok(PinSource::Credential("hsm-pin".into())));
        assert_eq!("prompt".parse(), Ok(PinSource::Prompt));
    }

    #[test]
    fn refuses_commands_and_traversal() {
        for text in ["|/usr/bin/getpin", "credential:", "credential:../pin", "credential:a/b", ""] {
            assert!(matches!(text.parse::<PinSource>(), Err(HsmFailure::Configuration { .. })), "{text}");
        }
    }
}
