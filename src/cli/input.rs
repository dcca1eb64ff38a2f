//! Secrets from standard input or a prompt.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Ended;
use signet_core::secret::SecretText;

/// The longest secret that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Reads a secret: all of standard input without its last line end.
pub(super) fn secret_from_stdin(what: &str) -> anyhow::Result<SecretText> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).context("standard input can't be read")?;
    if bytes.len() as u64 > LONGEST {
        return Err(Ended::Usage(format!("{what} on standard input is longer than {LONGEST} bytes")).into());
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Ended::Usage(format!("{what} on standard input is not UTF-8")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Ended::Usage(format!("{what} is expected on standard input, and there is nothing")).into());
    }
    Ok(SecretText::new(text.to_owned()))
}

/// The largest file that is imported, in bytes: some hundred thousand keys.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// Reads a file that may hold secrets, or standard input where `path` is `-`. It is wiped when dropped.
pub(super) fn secret_file(path: &std::path::Path) -> anyhow::Result<SecretText> {
    let context = || format!("{} can't be read", path.display());
    let (source, room): (Box<dyn std::io::Read>, u64) = if path == std::path::Path::new("-") {
        (Box::new(std::io::stdin()), LARGEST_FILE)
    } else {
        let file = File::open(path).with_context(context)?;
        let metadata = file.metadata().with_context(context)?;
        // A pipe's length is not known.
        let length = if metadata.is_file() { metadata.len().min(LARGEST_FILE) } else { LARGEST_FILE };
        (Box::new(file), length)
    };
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(usize::try_from(room)? + 64));
    source.take(LARGEST_FILE + 1).read_to_string(&mut text).with_context(context)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(Ended::Usage(format!("{} is longer than {LARGEST_FILE} bytes", path.display())).into());
    }
    Ok(SecretText::new(std::mem::take(&mut text)))
}

/// Asks in the terminal for what is not to be seen there. It stops showing what is typed before it asks, so that nobody
/// is faster.
pub(super) fn hidden(prompt: &str) -> std::io::Result<String> {
    let _unseen = Unseen::begin();
    rpassword::prompt_password(prompt)
}

/// The terminal shows nothing that is typed until this is dropped.
struct Unseen {
    terminal: File,
    before: Termios,
}

impl Unseen {
    /// `None` where there is no terminal, or it can't be set: then `rpassword` says so.
    fn begin() -> Option<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut unseen = before.clone();
        // Ctrl-C, too, waits for `rpassword`, which reads it: a process that it ended here would leave the terminal mute.
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Now, &unseen).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads a secret from standard input where that is asked for, and from a prompt where a person is there.
pub(super) fn secret(from_stdin: bool, what: &str, flag: &str) -> anyhow::Result<SecretText> {
    if from_stdin {
        return secret_from_stdin(what);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Ended::Usage(format!("{what} is needed: give it on standard input with {flag}")).into());
    }
    let first = hidden(&format!("{what}: ")).context("the prompt can't be read")?;
    let again = hidden(&format!("{what}, again: ")).context("the prompt can't be read")?;
    let (first, again) = (SecretText::new(first), SecretText::new(again));
    if first.expose() != again.expose() {
        return Err(Ended::Usage("the two are not the same".to_owned()).into());
    }
    Ok(first)
}
