//! Secrets from files or a prompt.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;

use super::Ended;
use signet_core::secret::SecretText;

pub(super) use super::stdin::secret_from_stdin;

/// The largest file that is imported, in bytes: some hundred thousand keys.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Reads a file that may hold secrets, or standard input where `path` is `-`. It is wiped when dropped.
pub(super) fn secret_file(path: &std::path::Path) -> anyhow::Result<SecretText> {
    let context = || format!("{} can't be read", path.display());
    let (source, room): (Box<dyn std::io::Read>, u64) = if path == std::path::Path::new("-") {
        (Box::new(std::io::stdin()), MAX_FILE)
    } else {
        let file = File::open(path).with_context(context)?;
        let metadata = file.metadata().with_context(context)?;
        // A pipe's length is not known.
        let length = if metadata.is_file() { metadata.len().min(MAX_FILE) } else { MAX_FILE };
        (Box::new(file), length)
    };
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(usize::try_from(room)? + 64));
    source.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Ended::Usage(format!("{} is longer than {MAX_FILE} bytes", path.display())).into());
    }
    let mut text = signet_text_file::text(bytes).with_context(context)?;
    Ok(SecretText::new(std::mem::take(&mut text)))
}

/// Makes a report, which nobody but its owner reads: it names people and tokens. One that is there is emptied.
pub(super) fn report_file(path: &std::path::Path) -> anyhow::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let make = || {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        if file.metadata()?.is_file() {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        Ok::<_, std::io::Error>(file)
    };
    make().with_context(|| format!("can't write {}", path.display()))
}

/// Reads a secret from standard input where that is asked for, and from a prompt where a person is there.
pub(super) fn secret(from_stdin: bool, what: &str, flag: &str) -> anyhow::Result<SecretText> {
    if from_stdin {
        return secret_from_stdin(what);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Ended::Usage(format!("{what} is needed: give it on standard input with {flag}")).into());
    }
    let first = signet_prompt::hidden(&format!("{what}: ")).context("the prompt can't be read")?;
    let again = signet_prompt::hidden(&format!("{what}, again: ")).context("the prompt can't be read")?;
    if first.expose() != again.expose() {
        return Err(Ended::Usage("the two entries differ".to_owned()).into());
    }
    Ok(first)
}
