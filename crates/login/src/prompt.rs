//! What a person types, without echo where it is secret; or lines of standard input.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use signet_secret::SecretText;

use crate::error::{LoginError, Result, because};

/// The longest line that is read, in bytes.
const LONGEST: usize = 4096;

/// Where answers come from.
pub(crate) struct Lines {
    from_stdin: bool,
}

impl Lines {
    pub(crate) fn new(from_stdin: bool) -> Self {
        Self { from_stdin }
    }

    /// A secret: not echoed.
    pub(crate) fn secret(&mut self, what: &str) -> Result<SecretText> {
        if self.from_stdin {
            return next_line(what);
        }
        require_terminal(what)?;
        signet_prompt::hidden(&format!("{what}: ")).map_err(because(LoginError::Terminal, "the prompt can't be read"))
    }

    /// What may be seen.
    pub(crate) fn visible(&mut self, what: &str) -> Result<String> {
        if !self.from_stdin {
            require_terminal(what)?;
            // The answer is on standard output; what is asked is not.
            write!(std::io::stderr(), "{what}: ")
                .map_err(because(LoginError::Terminal, "standard error can't be written"))?;
        }
        Ok(next_line(what)?.expose().to_owned())
    }
}

fn require_terminal(what: &str) -> Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let text = format!("{what} is asked for in a terminal, and there is none; scripts give it by --credentials-stdin");
    Err(LoginError::Usage(text))
}

/// One line of standard input without its end.
fn next_line(what: &str) -> Result<SecretText> {
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(LONGEST));
    let stdin = std::io::stdin().lock();
    let mut bounded = std::io::Read::take(stdin, LONGEST as u64);
    bounded.read_until(b'\n', &mut line).map_err(because(LoginError::Terminal, "standard input can't be read"))?;
    let missing =
        || LoginError::Usage(format!("{what} is expected as the next line of standard input, and there is none"));
    let text = std::str::from_utf8(signet_text_file::without_mark(&line)).map_err(|_| missing())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || line.len() >= LONGEST {
        return Err(missing());
    }
    Ok(SecretText::new(text.to_owned()))
}
