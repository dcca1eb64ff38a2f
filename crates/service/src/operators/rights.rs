//! Nobody gives more than they have, and nobody touches a person or a client who has more: what such a one signs in with, may do or is
//! called would be a way to the rest. What is refused is on the record.

use std::collections::BTreeSet;

use crate::ChangeError;
use signet_core::admin::AdminScopes;
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::oauth::{Client, Scopes};
use signet_store::{Factor, User, UserId};

module! {
    /// Judges whom and what an operator may touch.
    pub struct OperatorRights {
        takes settings, audit, users;
    }
}

impl OperatorRights {
    /// Judges a change of a person: password, factors, roles, sessions, whether there is one.
    /// Errors: [`ChangeError::Forbidden`] where the person may do what the operator may not.
    pub(crate) async fn over_user(&self, user: &User, context: &RequestContext) -> Result<(), ChangeError> {
        let has = self.settings.current().role_scopes.admin_scopes(&user.roles);
        let refused = self.event(Event::UserChanged, context).user(user.id.as_str());
        self.judge(&has, &format!("the user {}", user.name), refused, context).await
    }

    /// Judges a change of what is a person's.
    /// Errors: [`ChangeError::Forbidden`] where the person may do what the operator may not.
    pub(crate) async fn over_user_of(&self, id: &UserId, context: &RequestContext) -> Result<(), ChangeError> {
        match self.users.user(&self.settings.tenant, id).await? {
            Some(user) => self.over_user(&user, context).await,
            // Nobody is touched.
            None => Ok(()),
        }
    }

    /// Judges a change of a factor.
    /// Errors: [`ChangeError::Forbidden`] where its user may do what the operator may not.
    pub(crate) async fn over_factor(&self, factor: &Factor, context: &RequestContext) -> Result<(), ChangeError> {
        self.over_user_of(&factor.user, context).await
    }

    /// Judges a change of a client: its secret, its rights, whether there is one.
    /// Errors: [`ChangeError::Forbidden`] where it may ask for what the operator may not do.
    pub(crate) async fn over_client(&self, client: &Client, context: &RequestContext) -> Result<(), ChangeError> {
        let refused = self.event(Event::ClientChanged, context).client(client.id.as_str());
        let has = AdminScopes::among(&client.scopes);
        self.judge(&has, &format!("the client {}", client.name), refused, context).await
    }

    /// Judges roles that a person is given.
    /// Errors: [`ChangeError::Forbidden`] where they grant what the operator may not do.
    pub(crate) async fn to_give_roles(
        &self,
        roles: &BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let given = self.settings.current().role_scopes.admin_scopes(roles);
        self.judge(&given, "whoever has these roles", self.event(Event::UserChanged, context), context).await
    }

    /// Judges settings that touch these scopes.
    /// Errors: [`ChangeError::Forbidden`] where the operator may not do all of it.
    pub(crate) async fn judge_settings(
        &self,
        touched: &AdminScopes,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let refused = self.event(Event::SettingsStated, context);
        self.judge(touched, "whoever these settings are about", refused, context).await
    }

    /// Judges scopes that a client is given.
    /// Errors: [`ChangeError::Forbidden`] where they are more than the operator's.
    pub(crate) async fn to_give_scopes(&self, scopes: &Scopes, context: &RequestContext) -> Result<(), ChangeError> {
        let given = AdminScopes::among(scopes);
        self.judge(&given, "a client with these scopes", self.event(Event::ClientChanged, context), context).await
    }

    async fn judge(
        &self,
        scopes: &AdminScopes,
        whom: &str,
        refused: AuditEvent,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let Err(lacking) = context.authority.reaches(scopes) else { return Ok(()) };
        let text = format!("{whom} may do what you may not: {lacking}");
        let refused = refused.because(Reason::MoreThanOperator).detail(text.clone());
        self.audit.append(vec![refused]).await?;
        Err(ChangeError::Forbidden(text))
    }

    fn event(&self, event: Event, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(event, Outcome::Refused, self.settings.tenant.as_str(), context)
    }
}
