//! `signet completions` and `signet man`: what a shell and `man` know of the commands, made from the commands themselves.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use super::{Output, examples};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell: `signet completions bash > /etc/bash_completion.d/signet`.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, output: &Output) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut examples::commands(), "signet", &mut script);
        output.text(&String::from_utf8(script)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder that the pages are written to, a page a command: `signet man /usr/local/share/man/man1`.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self, output: &Output) -> anyhow::Result<()> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let mut command = examples::commands();
        // Names of commands of commands, as they stand in the pages: `signet-user-add`.
        command.build();
        let count = write_pages(&command, folder)?;
        output.done(&format!("wrote {count} pages to {}", folder.display()))
    }
}

/// Writes the page of a command and those of its own commands; gives how many.
fn write_pages(command: &clap::Command, folder: &Path) -> anyhow::Result<usize> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page).with_context(|| format!("{} can't be written", file.display()))?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        count += write_pages(inner, folder)?;
    }
    Ok(count)
}
