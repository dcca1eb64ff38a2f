//! Rows that somebody wrote to the store past Signet: each is left out and grants nothing, and is an alarm until it is gone.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::ChangeError;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_store::RefusedRow;

module! {
    /// Tells of rows that do not verify.
    pub struct RefusedRows {
        takes settings, secrets_at_rest, audit_log;
        keeps
            /// Those that this process recorded, while they are there.
            recorded: Mutex<BTreeSet<RefusedRow>>;
    }
}

impl RefusedRows {
    /// Rows that this process refused and that are still there, the first thousand.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn list(&self) -> Result<Vec<RefusedRow>, ChangeError> {
        Ok(self.secrets_at_rest.refused_rows().await?)
    }

    /// Records each row that was refused since, once for as long as it is there. Called now and then.
    /// Errors: [`ChangeError`] where the store fails; the next call records them.
    pub async fn record(&self) -> Result<(), ChangeError> {
        let refused: BTreeSet<RefusedRow> = self.list().await?.into_iter().collect();
        let new: Vec<RefusedRow> = refused.difference(&*self.recorded.lock()).cloned().collect();
        if !new.is_empty() {
            let told = |row: &RefusedRow| {
                let context = RequestContext::default();
                let told =
                    AuditEvent::new(Event::RowRefused, Outcome::Refused, self.settings.tenant.as_str(), &context);
                told.detail(format!("the row {} of the table {} does not verify", row.id, row.table))
            };
            self.audit_log.append(new.iter().map(told).collect()).await?;
        }
        *self.recorded.lock() = refused;
        Ok(())
    }
}
