//! Imports a file into the stock: judged whole before anything is kept, then batch by batch, each in one commit. What is
//! there already is skipped, so that an import that was interrupted is simply run again.

use std::collections::{BTreeSet, HashMap};

use tokio::task::JoinSet;

use crate::ChangeError;
use crate::rows::stock_row;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{HsmError, SealedCopies};
use signet_core::token_files::{ImportOptions, LineFault, ReadToken, tokens};
use signet_store::{StockId, StockToken};

/// Tokens in one commit.
const BATCH: usize = 500;
/// Secrets that the HSM is asked to wrap at once.
const AT_ONCE: usize = 48;
/// Tokens between two calls of whatever watches the judging.
const JUDGED_EVERY: u64 = 5_000;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many tokens were judged.
    Judged(u64),
    /// So many of all were gone through, and are kept.
    Kept {
        /// Gone through.
        done: u64,
        /// All.
        of: u64,
    },
}

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineOutcome {
    /// It is in the stock now.
    Imported,
    /// The stock or a factor has its serial number already.
    Skipped,
    /// It can't be used.
    Refused(String),
}

/// What became of each token of a file.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// The line, the serial number where there is one, and what became of it, in the file's order.
    pub lines: Vec<(u64, Option<String>, LineOutcome)>,
}

impl ImportReport {
    /// How many were imported, skipped and refused.
    pub fn counts(&self) -> [usize; 3] {
        self.lines.iter().fold([0; 3], |[imported, skipped, refused], (_, _, outcome)| match outcome {
            LineOutcome::Imported => [imported + 1, skipped, refused],
            LineOutcome::Skipped => [imported, skipped + 1, refused],
            LineOutcome::Refused(_) => [imported, skipped, refused + 1],
        })
    }
}

module! {
    /// Takes files of tokens into the stock.
    pub struct StockImport {
        takes settings, clock, vault, stock, ids;
    }
}

impl StockImport {
    /// Imports a file of tokens into the stock. Where any token of it can't be used nothing is imported, unless
    /// `without_faulty`.
    /// Errors: [`ChangeError`] where the file can't be read at all, or HSM or store fail; what was committed by then
    /// stays.
    pub async fn import_stock(
        &self,
        bytes: &[u8],
        options: &ImportOptions,
        without_faulty: bool,
        context: &RequestContext,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ImportReport, ChangeError> {
        let (count, faults) = judge(bytes, options, progress)?;
        let mut report = ImportReport::default();
        report.lines.extend(faults.iter().map(|(_, fault)| refused(fault.clone())));
        if !faults.is_empty() && !without_faulty {
            return Ok(report);
        }
        // By place: a file may have many tokens in one line.
        let faulty: BTreeSet<usize> = faults.into_iter().map(|(place, _)| place).collect();
        let read = tokens(bytes, options).map_err(|fault| ChangeError::Input(fault.0))?;
        let mut good =
            read.enumerate().filter(|(place, _)| !faulty.contains(place)).filter_map(|(_, token)| token.ok());
        let mut done = 0;
        loop {
            let batch: Vec<ReadToken> = good.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            done += u64::try_from(batch.len()).unwrap_or(0);
            report.lines.extend(self.keep_batch(batch, context).await?);
            progress(Progress::Kept { done, of: count });
        }
        report.lines.sort_by_key(|(line, ..)| *line);
        Ok(report)
    }

    /// Encloses and keeps those of a batch that are not there yet.
    async fn keep_batch(
        &self,
        batch: Vec<ReadToken>,
        context: &RequestContext,
    ) -> Result<Vec<(u64, Option<String>, LineOutcome)>, ChangeError> {
        let tenant = &self.settings.tenant;
        let serials: Vec<String> = batch.iter().map(|token| token.serial.clone()).collect();
        let known: BTreeSet<String> = self.stock.known_serials(tenant, &serials).await?.into_iter().collect();
        let order: Vec<(u64, String)> = batch.iter().map(|token| (token.line, token.serial.clone())).collect();
        let new = batch.into_iter().filter(|token| !known.contains(&token.serial)).collect();
        let wrapped = self.wrap_batch(new).await?;
        let mut added = BTreeSet::new();
        if !wrapped.is_empty() {
            let told = AuditEvent::new(Event::StockChanged, Outcome::Done, tenant.as_str(), context)
                .detail(format!("imported up to {} tokens", wrapped.len()));
            added.extend(self.stock.add_stock(wrapped, vec![told]).await?);
        }
        let outcome = |serial: &str| if added.contains(serial) { LineOutcome::Imported } else { LineOutcome::Skipped };
        Ok(order
            .into_iter()
            .map(|(line, serial)| {
                let outcome = outcome(&serial);
                (line, Some(serial), outcome)
            })
            .collect())
    }

    async fn wrap_batch(&self, batch: Vec<ReadToken>) -> Result<Vec<StockToken>, ChangeError> {
        let (mut waiting, mut asked) = (batch.into_iter().enumerate(), JoinSet::new());
        let mut wrapped: HashMap<usize, StockToken> = HashMap::new();
        loop {
            while asked.len() < AT_ONCE
                && let Some((place, token)) = waiting.next()
            {
                let (kept, vault) = (self.stock_token_of(&token), self.vault.clone());
                asked.spawn(async move {
                    let Some(kind) = kept.secret_kind() else { return Ok((place, kept)) };
                    let secret: Result<SealedCopies, HsmError> =
                        vault.wrap(&stock_row(&kept.tenant, &kept.id), kind, &token.secret).await;
                    secret.map(|secret| (place, StockToken { secret, ..kept }))
                });
            }
            match asked.join_next().await {
                None => break,
                Some(Ok(Ok((place, token)))) => {
                    wrapped.insert(place, token);
                }
                Some(Ok(Err(error))) => return Err(error.into()),
                Some(Err(_)) => return Err(ChangeError::Input("the import was ended".to_owned())),
            }
        }
        let mut tokens: Vec<_> = wrapped.into_iter().collect();
        tokens.sort_by_key(|(place, _)| *place);
        Ok(tokens.into_iter().map(|(_, token)| token).collect())
    }

    fn stock_token_of(&self, token: &ReadToken) -> StockToken {
        StockToken {
            tenant: self.settings.tenant.clone(),
            id: StockId::new(self.ids.next()),
            serial: token.serial.clone(),
            detail: token.detail.clone(),
            model: token.model.clone(),
            secret: SealedCopies::default(),
            imported_at: self.clock.now(),
        }
    }
}

/// Judges every token of a file: how many are good, and what is wrong with the others, by their place among all.
fn judge(
    bytes: &[u8],
    options: &ImportOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(u64, Vec<(usize, LineFault)>), ChangeError> {
    let (mut count, mut faults, mut lines) = (0, Vec::new(), HashMap::new());
    let read = tokens(bytes, options).map_err(|fault| ChangeError::Input(fault.0))?;
    for (place, token) in read.enumerate() {
        match token {
            Ok(ReadToken { line, serial, .. }) => match lines.insert(serial.clone(), line) {
                None => count += 1,
                Some(first) => {
                    let reason = format!("its serial number stands in line {first} already");
                    faults.push((place, LineFault { line, serial: Some(serial), reason }));
                }
            },
            Err(fault) => faults.push((place, fault)),
        }
        if count % JUDGED_EVERY == 0 {
            progress(Progress::Judged(count));
        }
    }
    if count == 0 && faults.is_empty() {
        return Err(ChangeError::Input("there is no token in the file".to_owned()));
    }
    Ok((count, faults))
}

fn refused(fault: LineFault) -> (u64, Option<String>, LineOutcome) {
    (fault.line, fault.serial, LineOutcome::Refused(fault.reason))
}
