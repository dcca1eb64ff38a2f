//! What destroys says first what it breaks, and asks.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::json;

use super::{Ended, Output};

/// Whether whoever calls has agreed already.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Agreement {
    /// Do it without being asked. Without it a person at a terminal is asked, and anybody else is refused.
    #[arg(long)]
    yes: bool,
}

impl Agreement {
    /// Goes on where whoever calls agrees to what it breaks. `what` is the act, e.g. `Removing user ann`; each line of `breaks` follows
    /// `would`.
    /// Errors: [`Ended::Refused`] where nobody agreed; what would have been done is printed.
    pub(super) fn asked(self, output: &Output, what: &str, breaks: &[String]) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let told = format!("{what} would:\n{}", breaks.iter().map(|line| format!("- {line}\n")).collect::<String>());
        if !output.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            output.note(&told);
            return if agrees()? { Ok(()) } else { Err(refused(output)) };
        }
        let value = json!({ "done": null, "act": what, "would": breaks, "needs": "--yes" });
        output.value(&value, |_| format!("{told}\nNothing was done. To do it, add --yes."))?;
        Err(Ended::Refused.into())
    }
}

fn refused(output: &Output) -> anyhow::Error {
    output.note("Nothing was done.");
    Ended::Refused.into()
}

/// Asks on the terminal; anything but a clear yes is a no.
fn agrees() -> anyhow::Result<bool> {
    let mut asked = std::io::stderr().lock();
    write!(asked, "Do it? [y/N] ")?;
    asked.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
