//! A secret from standard input.

use std::io::Read as _;

use anyhow::Context as _;
use signet_secret::SecretText;

use super::Ended;

/// The longest secret that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Reads a secret: all of standard input without its last line end.
pub(super) fn secret_from_stdin(what: &str) -> anyhow::Result<SecretText> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).context("standard input can't be read")?;
    if bytes.len() as u64 > LONGEST {
        return Err(Ended::Usage(format!("{what} on standard input is longer than {LONGEST} bytes")).into());
    }
    let read = signet_text_file::text(bytes);
    let text = read.map_err(|fault| Ended::Usage(format!("{what} on standard input is no text: {fault}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Ended::Usage(format!("{what} is expected on standard input, and there is nothing")).into());
    }
    Ok(SecretText::new(text.to_owned()))
}
