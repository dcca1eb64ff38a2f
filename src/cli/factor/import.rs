//! `signet factor import`: the file is read and judged here, and its good tokens are taken into the stock a few at a time.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::import_progress::{Progress, ProgressLine};
use super::import_report::{ImportReport, Line, LineOutcome, as_csv};
use crate::cli::admin::Admin;
use crate::cli::input::report_file;
use crate::cli::{Ended, Output, input};
use crate::server::Need;
use signet_admin_api::stock::{NewStock, NewStockHotp, NewStockToken, NewStockTotp, NewStockYubico, TakenStock};
use signet_core::keys::hexadecimal;
use signet_core::mfa::FactorDetail;
use signet_core::mfa::enrolment::ClockProfile;
use signet_core::secret::{SecretBytes, SecretText};
use signet_core::token_files::{FileFault, Format, ImportOptions, LineFault, ReadToken, Unlock, good_tokens, judge};
use signet_jose::clock::{Clock as _, SystemClock};
use signet_text_file::utf8_bytes;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;
/// The most that is read from a pipe, in bytes.
const MAX_PIPED: u64 = 64 << 20;
/// Refused tokens that are printed; the report has all of them.
const PRINTED: usize = 20;

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
    /// Read a signed PSKC container as one without a signature. Signatures are not verified here: verify it before, or nobody knows whose
    /// serial numbers and counters these are.
    #[arg(long)]
    ignore_signature: bool,
    /// Import the good tokens of a file that has faulty ones too.
    #[arg(long)]
    skip_faulty: bool,
    /// Write what became of each token to this file, as CSV. It is for its owner's eyes alone.
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
    EntraCsv,
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
            Self::EntraCsv => Some(Format::EntraCsv),
        }
    }
}

impl Import {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let bytes = read_file(&self.file)?;
        let options = ImportOptions {
            format: self.format.format(),
            unlock: self.unlock()?,
            profile: self.profile.into(),
            ignore_signature: self.ignore_signature,
            now: Some(SystemClock.now()),
        };
        // Before anything is imported, so that what became of each token is not lost.
        let told = self.report.as_deref().map(|path| Ok::<_, anyhow::Error>((path, report_file(path)?))).transpose()?;
        let mut line = ProgressLine::new();
        let imported = self.import(config, &bytes, &options, &mut line, output).await;
        line.end();
        // The file's text is gone before anything is printed.
        drop(bytes);
        let report = imported?;
        if let Some((path, mut file)) = told {
            file.write_all(as_csv(&report).as_bytes()).with_context(|| format!("can't write {}", path.display()))?;
        }
        if !matches!(options.unlock, Unlock::Plain) || self.ignore_signature {
            output.note("Neither encryption nor MACs protect the serial numbers and counters of the file: compare some with the tokens");
        }
        self.tell(output, &report)
    }

    /// Judges the file here, and has the good tokens taken into the stock a few at a time.
    async fn import(
        &self,
        config: &Path,
        bytes: &[u8],
        options: &ImportOptions,
        line: &mut ProgressLine,
        output: &Output,
    ) -> anyhow::Result<ImportReport> {
        let unreadable = |fault: FileFault| anyhow::anyhow!("{fault}");
        let judged = judge(bytes, options, &mut |count| line.show(Progress::Judged(count))).map_err(unreadable)?;
        let mut report = ImportReport::default();
        report.lines.extend(judged.faults.iter().map(|(_, fault)| refused(fault)));
        if !judged.faults.is_empty() && !self.skip_faulty {
            return Ok(report);
        }
        let admin = Admin::open(config, Need::Hsm, output).await?;
        let done = async {
            let (mut good, mut done) = (good_tokens(bytes, options, &judged).map_err(unreadable)?, 0);
            loop {
                let batch: Vec<ReadToken> = good.by_ref().take(NewStock::MOST).collect();
                if batch.is_empty() {
                    return Ok::<_, anyhow::Error>(());
                }
                done += u64::try_from(batch.len())?;
                report.lines.extend(take(&admin, batch).await?);
                line.show(Progress::Kept { done, of: judged.count });
            }
        };
        let ended = done.await;
        admin.close().await?;
        ended?;
        report.lines.sort_by_key(|(line, ..)| *line);
        Ok(report)
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

/// Has a batch taken into the stock; says what became of each token.
async fn take(admin: &Admin, batch: Vec<ReadToken>) -> anyhow::Result<Vec<Line>> {
    let order: Vec<(u64, String)> = batch.iter().map(|token| (token.line, token.serial.clone())).collect();
    let tokens = batch.into_iter().map(sent).collect::<anyhow::Result<Vec<_>>>()?;
    let taken: TakenStock = admin.post(&["stock"], &NewStock { tokens }).await?;
    let outcome = |(line, serial): (u64, String)| {
        let outcome = if taken.imported.contains(&serial) { LineOutcome::Imported } else { LineOutcome::Skipped };
        (line, Some(serial), outcome)
    };
    Ok(order.into_iter().map(outcome).collect())
}

/// A token as the API takes it.
fn sent(token: ReadToken) -> anyhow::Result<NewStockToken> {
    let ReadToken { serial, model, detail, validity, secret, .. } = token;
    let valid_from = validity.from.map(|at| at.to_string());
    let valid_until = validity.until.map(|at| at.to_string());
    let secret_hex = SecretText::new(hexadecimal(secret.expose()));
    Ok(match detail {
        FactorDetail::Totp(state) => NewStockToken::Totp(NewStockTotp {
            serial,
            model,
            hash: Some(state.hash.name().to_owned()),
            digits: Some(state.digits),
            period: Some(state.step_seconds),
            hardware: state.window == ClockProfile::Hardware.window(),
            drift: Some(state.drift).filter(|drift| *drift != 0),
            valid_from,
            valid_until,
            secret_hex,
        }),
        FactorDetail::Hotp(state) => NewStockToken::Hotp(NewStockHotp {
            serial,
            model,
            hash: Some(state.hash.name().to_owned()),
            digits: Some(state.digits),
            counter: Some(state.next_counter),
            valid_from,
            valid_until,
            secret_hex,
        }),
        FactorDetail::YubicoOtp(state) => NewStockToken::YubicoOtp(NewStockYubico {
            serial,
            model,
            public_id: state.public_id,
            private_id: SecretText::new(hexadecimal(&state.private_id)),
            secret_key: secret_hex,
        }),
        _ => anyhow::bail!("no file holds tokens of the kind {}", detail.kind().name()),
    })
}

fn refused(fault: &LineFault) -> Line {
    (fault.line, fault.serial.clone(), LineOutcome::Refused(fault.reason.clone()))
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
    utf8_bytes(bytes).map_err(|fault| anyhow::anyhow!("{} is no text: {fault}", path.display()))
}
