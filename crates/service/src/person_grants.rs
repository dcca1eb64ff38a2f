//! What clients may have of a person, as an operator sees and ends it: each grant is one sign-in by a client, with the tokens that came
//! of it.

use crate::{Accounts, ChangeError, OperatorRights};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_store::{AuditOnOutcome, EndReason, GrantId, ListedGrant};

module! {
    /// The grants of people.
    pub struct PersonGrants {
        takes clock, settings, grants;
        calls accounts: Accounts, rights: OperatorRights;
    }
}

impl PersonGrants {
    /// So many grants of a user that hold, the oldest first, after this one; the first ones without an id.
    /// Errors: [`ChangeError::Missing`] where there is no such user.
    pub async fn grants_after(
        &self,
        user: &str,
        id: Option<&GrantId>,
        most: u32,
    ) -> Result<Vec<ListedGrant>, ChangeError> {
        let user = self.accounts.find_user(user).await?;
        Ok(self.grants.grants_of_user(&user.tenant, &user.id, id, self.clock.now(), most).await?)
    }

    /// Ends one grant of a user: its refresh tokens get nothing any more, and introspection says of its access tokens that they have
    /// ended.
    /// Errors: [`ChangeError::Absent`] where it has ended, or is another user's.
    pub async fn end_grant(&self, user: &str, id: &GrantId, context: &RequestContext) -> Result<(), ChangeError> {
        let user = self.accounts.find_user(user).await?;
        self.rights.over_user(&user, context).await?;
        let found = self.grants.grant(&user.tenant, id).await?.filter(|grant| grant.user == user.id);
        let absent = || {
            ChangeError::Absent(format!(
                "{} has no grant `{id}` that holds; `signet user grants` shows them",
                user.name
            ))
        };
        let grant = found.ok_or_else(absent)?;
        let mut told = AuditEvent::new(Event::TokenRevoked, Outcome::Done, self.settings.tenant.as_str(), context)
            .user(user.id.as_str())
            .client(grant.client.as_str())
            .detail("refresh family, by an operator");
        told.grant = Some(id.to_string());
        let told = AuditOnOutcome::applied(told);
        let ended = self.grants.end_grant(&user.tenant, id, EndReason::Revoked, self.clock.now(), told).await?;
        if ended { Ok(()) } else { Err(absent()) }
    }
}
