//! Asks a person in the terminal for a secret.
//!
//! It decides when the terminal stops showing what is typed: before it asks, so that nobody who types fast is seen. It
//! never reads standard input, which is a program's.

#![forbid(unsafe_code)]

use std::fs::File;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signet_secret::SecretText;

/// Asks in the process's terminal, and returns the line that was typed without its end.
/// Errors: Where there is no terminal, or it can't be read.
pub fn hidden(prompt: &str) -> std::io::Result<SecretText> {
    let _unseen = Unseen::begin();
    rpassword::prompt_password(prompt).map(SecretText::new)
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
        // Nobody is left who could be told.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
