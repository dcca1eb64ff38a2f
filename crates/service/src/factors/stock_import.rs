//! Takes tokens into the stock, batch by batch, each in one commit. What is there already is skipped, so that an import that was
//! interrupted is simply run again. Files are read by `signet_core::token_files`.

use std::collections::{BTreeSet, HashMap};

use tokio::task::JoinSet;

use crate::ChangeError;
use crate::rows::stock_row;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{HsmError, SealedCopies};
use signet_core::token_files::{LineFault, ReadToken, check_token};
use signet_store::{StockId, StockToken};

/// Tokens in one commit.
pub const MAX_TOKENS_AT_ONCE: usize = 500;
/// Secrets that the HSM is asked to wrap at once.
const AT_ONCE: usize = 48;

module! {
    /// Takes tokens into the stock.
    pub struct StockImport {
        takes settings, clock, vault, stock, ids;
    }
}

impl StockImport {
    /// Takes a batch of tokens into the stock, but for those that it or a factor has already; gives the serial numbers of those that
    /// were taken.
    /// Errors: [`ChangeError::Input`] where one can't be used, or there are too many; nothing is kept.
    pub async fn import_tokens(
        &self,
        batch: Vec<ReadToken>,
        context: &RequestContext,
    ) -> Result<BTreeSet<String>, ChangeError> {
        if batch.len() > MAX_TOKENS_AT_ONCE {
            return Err(ChangeError::Input(format!("at most {MAX_TOKENS_AT_ONCE} tokens are taken at once")));
        }
        let now = Some(self.clock.now());
        let batch =
            batch.into_iter().map(|token| check_token(token, now).map_err(unusable)).collect::<Result<Vec<_>, _>>()?;
        let serials: Vec<String> = batch.iter().map(|token| token.serial.clone()).collect();
        if serials.iter().collect::<BTreeSet<_>>().len() < serials.len() {
            return Err(ChangeError::Input("two of the tokens have the same serial number".to_owned()));
        }
        let tenant = &self.settings.tenant;
        let known: BTreeSet<String> = self.stock.known_serials(tenant, &serials).await?.into_iter().collect();
        let new = batch.into_iter().filter(|token| !known.contains(&token.serial)).collect();
        let wrapped = self.wrap_batch(new).await?;
        if wrapped.is_empty() {
            return Ok(BTreeSet::new());
        }
        let told = AuditEvent::new(Event::StockChanged, Outcome::Done, tenant.as_str(), context)
            .detail(format!("imported up to {} tokens", wrapped.len()));
        Ok(self.stock.add_stock(wrapped, vec![told]).await?.into_iter().collect())
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
            validity: token.validity,
            secret: SealedCopies::default(),
            imported_at: self.clock.now(),
        }
    }
}

/// By its place alone, as whoever sent it counts: what it has for a serial number may be anything.
fn unusable(fault: LineFault) -> ChangeError {
    ChangeError::Input(format!("the token in place {} can't be used: {}", fault.line, fault.reason))
}
