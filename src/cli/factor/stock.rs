//! `signet factor import`, `stock` and `assign`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::tell_pending;
use crate::cli::admin::Admin;
use crate::cli::{Ended, Output, deployment, input, operator};
use crate::server::Need;
use signet_admin_api::factors::Factor;
use signet_admin_api::stock::{Assignment, StockToken};
use signet_core::secret::SecretBytes;
use signet_core::token_files::{Format, ImportOptions, Unlock};
use signet_service::factors::stock_import::{ImportReport, LineOutcome, Progress};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;
/// The most that is read from a pipe, in bytes.
const MAX_PIPED: u64 = 64 << 20;
/// Refused tokens that are printed; the report has all of them.
const PRINTED: usize = 20;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StockCommand {
    /// Import a file of tokens into the stock: PSKC (RFC 6030), OATH or Yubico CSV, the personalization tool's log, or
    /// otpauth URIs. Run it again after an interruption: what is there already is skipped.
    Import(Import),
    /// List the tokens that belong to nobody yet.
    Stock {
        /// Remove the token of this serial number.
        #[arg(long, value_name = "SERIAL")]
        remove: Option<String>,
    },
    /// Give a token of the stock to a user.
    Assign {
        /// The token's serial number.
        #[arg(long)]
        serial: String,
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it; its model where nothing is given.
        #[arg(long)]
        label: Option<String>,
        /// Read a code that the token shows from standard input: proof that the user holds it.
        #[arg(long)]
        code_stdin: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file, or a pipe, e.g. `<(gpg --decrypt tokens.gpg)`.
    file: PathBuf,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    format: FormatName,
    /// Read the key that opens an encrypted file from standard input, in hex.
    #[arg(long, conflicts_with = "password_stdin")]
    key_stdin: bool,
    /// Read the password that opens an encrypted file from standard input.
    #[arg(long)]
    password_stdin: bool,
    /// What the clocks of TOTP tokens are.
    #[arg(long, value_enum, default_value_t = super::add::Profile::Hardware)]
    profile: super::add::Profile,
    /// Import the good tokens of a file that has faulty ones too.
    #[arg(long)]
    skip_faulty: bool,
    /// Write what became of each token to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum FormatName {
    Auto,
    Pskc,
    OathCsv,
    YubicoCsv,
    YkpersLog,
    Otpauth,
}

impl FormatName {
    const fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Pskc => Some(Format::Pskc),
            Self::OathCsv => Some(Format::OathCsv),
            Self::YubicoCsv => Some(Format::YubicoCsv),
            Self::YkpersLog => Some(Format::YkpersLog),
            Self::Otpauth => Some(Format::Otpauth),
        }
    }
}

impl StockCommand {
    pub(in crate::cli) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Import(import) => import.run(config, output).await,
            Self::Stock { remove: Some(serial) } => {
                let admin = Admin::open(config, Need::Store, output).await?;
                let removed = admin.delete(&["stock", &serial]).await;
                admin.close().await?;
                removed?;
                output.done(&format!("removed token {serial} from the stock"))
            }
            Self::Stock { remove: None } => list(config, output).await,
            Self::Assign { serial, user, label, code_stdin } => {
                let code = code_stdin.then(|| input::secret_from_stdin("the code")).transpose()?;
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let to = Assignment { user, label, code };
                let factor = admin.post::<Factor>(&["stock", &serial, "assignment"], &to).await;
                admin.close().await?;
                let factor = factor?;
                output.value(&factor, |factor| format!("{} has {serial} as factor {}", to.user, factor.id))?;
                tell_pending(output, &factor);
                Ok(())
            }
        }
    }
}

impl Import {
    async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let bytes = read_file(&self.file)?;
        let options =
            ImportOptions { format: self.format.format(), unlock: self.unlock()?, profile: self.profile.into() };
        // Before anything is imported, so that what became of each token is not lost.
        let told = self.report.as_deref().map(|path| Ok::<_, anyhow::Error>((path, create(path)?))).transpose()?;
        let deployment = deployment::open(config, Need::Hsm, output).await?;
        let (stock_import, operator) = (&deployment.signet.issuer().factors.stock_import, operator());
        let mut line = ProgressLine::new();
        let mut progress = |at| line.show(at);
        let imported = stock_import.import_stock(&bytes, &options, self.skip_faulty, &operator, &mut progress).await;
        line.end();
        // The file's text is gone before anything is printed.
        drop(bytes);
        let report = imported?;
        if let Some((path, mut file)) = told {
            file.write_all(as_csv(&report).as_bytes()).with_context(|| format!("can't write {}", path.display()))?;
        }
        let ended = self.tell(output, &report);
        deployment.close().await?;
        ended
    }

    fn unlock(&self) -> anyhow::Result<Unlock> {
        if self.password_stdin {
            return Ok(Unlock::Password(input::secret_from_stdin("the password")?));
        }
        if !self.key_stdin {
            return Ok(Unlock::Plain);
        }
        let text = input::secret_from_stdin("the key")?;
        let key = SecretBytes::from_hex(text.expose().trim()).filter(|key| matches!(key.expose().len(), 16 | 24 | 32));
        let usage = || Ended::Usage("the key on standard input must be 32, 48 or 64 hex digits".to_owned());
        Ok(Unlock::Key(key.ok_or_else(usage)?))
    }

    fn tell(&self, output: &Output, report: &ImportReport) -> anyhow::Result<()> {
        let [imported, skipped, refused] = report.counts();
        let faulty: Vec<_> = report
            .lines
            .iter()
            .filter_map(|(line, serial, outcome)| match outcome {
                LineOutcome::Refused(reason) => Some(json!({ "line": line, "serial": serial, "reason": reason })),
                LineOutcome::Imported | LineOutcome::Skipped => None,
            })
            .collect();
        let told = json!({ "imported": imported, "skipped": skipped, "refused": refused, "faults": faulty });
        output.value(&told, |_| {
            format!("imported {imported}, skipped {skipped} that are there already, refused {refused}")
        })?;
        for fault in faulty.iter().take(PRINTED) {
            let serial = fault["serial"].as_str().map(|serial| format!(", token {serial}")).unwrap_or_default();
            let reason = fault["reason"].as_str().unwrap_or_default();
            output.problem(&format!("line {}{serial}: {reason}", fault["line"]));
        }
        if refused > PRINTED {
            output.note(&format!("and {} more; `--report FILE` writes all of them", refused - PRINTED));
        }
        if refused == 0 {
            return Ok(());
        }
        if !self.skip_faulty {
            output.note("Nothing was imported: correct the file, or import the good tokens alone with --skip-faulty");
        }
        Err(Ended::Refused.into())
    }
}

fn read_file(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let context = || format!("can't read {}", path.display());
    let file = std::fs::File::open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    // A pipe's length is not known: what decrypts a file may write to one, so that the plain text is on no disk.
    let most = if metadata.is_file() { LARGEST } else { MAX_PIPED };
    let room = if metadata.is_file() { metadata.len().min(LARGEST) } else { MAX_PIPED };
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room)? + 64));
    file.take(most + 1).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > most {
        return Err(Ended::Usage(format!("{} is larger than {} MiB: split it", path.display(), most >> 20)).into());
    }
    Ok(bytes)
}

fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::create(path).with_context(|| format!("can't write {}", path.display()))
}

/// What became of each token, as CSV.
fn as_csv(report: &ImportReport) -> String {
    let mut lines = vec!["line,serial,outcome,reason".to_owned()];
    lines.extend(report.lines.iter().map(|(line, serial, outcome)| {
        let (word, reason) = match outcome {
            LineOutcome::Imported => ("imported", ""),
            LineOutcome::Skipped => ("skipped", "is there already"),
            LineOutcome::Refused(reason) => ("refused", reason.as_str()),
        };
        let serial = super::view::quoted(serial.as_deref().unwrap_or_default());
        format!("{line},{serial},{word},{}", super::view::quoted(reason))
    }));
    lines.join("\n") + "\n"
}

/// One line on a terminal that is written over; nothing where standard error is none.
struct ProgressLine {
    is_shown: bool,
    began: Instant,
    last: Option<Instant>,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), began: Instant::now(), last: None }
    }

    fn show(&mut self, at: Progress) {
        let is_last = matches!(at, Progress::Kept { done, of } if done == of);
        let is_due = self.last.is_none_or(|last| last.elapsed().as_millis() >= 100);
        if !self.is_shown || !(is_due || is_last) {
            return;
        }
        self.last = Some(Instant::now());
        let text = match at {
            Progress::Judged(count) => format!("judging the file: {count} tokens"),
            Progress::Kept { done, of } => bar(done, of, self.began.elapsed().as_secs_f64()),
        };
        // Nothing can be done where standard error is gone.
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
    }

    fn end(&self) {
        if self.is_shown && self.last.is_some() {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for a person")]
fn bar(done: u64, of: u64, seconds: f64) -> String {
    const WIDTH: u64 = 30;
    let full = (done * WIDTH).checked_div(of).unwrap_or(WIDTH).min(WIDTH);
    let bar: String = (0..WIDTH).map(|place| if place < full { '█' } else { '·' }).collect();
    let rate = done as f64 / seconds.max(0.001);
    let left = of.saturating_sub(done) as f64 / rate.max(0.001);
    format!("{bar} {done} of {of}, {rate:.0} a second, {left:.0} s left")
}

async fn list(config: &Path, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Store, output).await?;
    let stock = admin.all::<StockToken>(&["stock"]).await;
    admin.close().await?;
    output.list("tokens in the stock", &stock?, ["serial", "kind", "model", "imported"], |token| {
        let model = token.model.clone().unwrap_or_default();
        [token.serial.clone(), token.kind.clone(), model, token.imported_at.clone()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert!(bar(0, 100, 1.0).starts_with("··"));
        assert!(bar(50, 100, 5.0).ends_with("50 of 100, 10 a second, 5 s left"));
        assert!(bar(100, 100, 5.0).starts_with(&"█".repeat(30)));
        assert!(bar(0, 0, 0.0).starts_with('█'));
    }
}
