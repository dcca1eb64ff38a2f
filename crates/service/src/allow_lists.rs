//! From where the tenant may be asked at all, whoever asks.

use crate::Unavailable;
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::networks::among;

module! {
    /// Judges the address that a request comes from.
    pub struct AllowLists {
        takes settings, audit;
    }
}

impl AllowLists {
    /// Whether a request may ask the tenant, by what is set of it (`policy.allow_from`). A refusal is on the record. Of a request whose
    /// address nobody knows it is not known.
    /// Errors: [`Unavailable`]: the refusal could not be written down.
    pub async fn admits(&self, context: &RequestContext) -> Result<bool, Unavailable> {
        let current = self.settings.current();
        let allowed = &current.allow_from;
        if allowed.is_empty() || context.address.is_some_and(|address| among(allowed, address)) {
            return Ok(true);
        }
        self.tell_refused("tenant", context).await.map(|()| false)
    }

    /// Writes down that a request came from where none may: the first at once, and how often it was repeated later.
    /// Errors: [`Unavailable`]: it could not be written down.
    pub async fn tell_refused(&self, asked: &str, context: &RequestContext) -> Result<(), Unavailable> {
        let draft = AuditEvent::new(Event::RequestRefused, Outcome::Refused, self.settings.tenant.as_str(), context);
        let draft = draft.because(Reason::AddressNotAllowed).detail(asked);
        Ok(self.audit.append_throttled(&format!("elsewhere {asked}"), draft).await?)
    }
}
