//! Roles under the four-eyes rule: what lets somebody do what operators do is given by two persons.
//!
//! Whoever may change roles could make approvers of persons whose factors he has, and would be two by himself. So a role that grants any
//! scope of the deployment waits for another person, as a factor does, whoever gets it; and so do those of a person who was disabled and
//! is enabled again. What grants none, and whatever is taken away, waits for nobody (`docs/decisions/0022-*`).

use std::collections::BTreeSet;

use crate::four_eyes::{Approval, PERSONS_APPROVE};
use crate::{Accounts, ChangeError, FourEyes, OperatorRights};
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, Reason, RequestContext};
use signet_store::{RoleRequest, User, UserEdit};

module! {
    /// Tells which roles wait for another person.
    pub struct GivenRoles {
        takes clock, settings;
        calls four_eyes: FourEyes;
    }
}

impl GivenRoles {
    /// What waits of the roles that a user is to have beside those that the user has in use, and who asked for it; none where nothing
    /// does.
    /// Errors: [`ChangeError::Forbidden`] where software gives what another person must approve.
    pub(crate) async fn waiting(
        &self,
        in_use: &BTreeSet<String>,
        roles: &BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<Option<RoleRequest>, ChangeError> {
        let grants_power = |role: &&String| {
            !self.settings.current().role_scopes.admin_scopes(&BTreeSet::from([(*role).clone()])).is_empty()
        };
        let roles: BTreeSet<String> = roles.difference(in_use).filter(grants_power).cloned().collect();
        if roles.is_empty() {
            return Ok(None);
        }
        let requested_at = self.clock.now();
        let asked_for_by = self.four_eyes.asked_for_by(context).await?;
        Ok(asked_for_by.map(|requested_by| RoleRequest { roles, requested_by, requested_at }))
    }

    /// A change of a user as far as it takes effect at once, with what waits.
    /// Errors: as for [`waiting`](Self::waiting).
    pub(crate) async fn edit(
        &self,
        user: &User,
        edit: &UserEdit,
        context: &RequestContext,
    ) -> Result<UserEdit, ChangeError> {
        let is_enabled_again = edit.enabled == Some(true) && !user.enabled;
        let edit = UserEdit { waiting: None, ..edit.clone() };
        if edit.roles.is_none() && !is_enabled_again {
            return Ok(edit);
        }
        let nothing = BTreeSet::new();
        let in_use = if is_enabled_again { &nothing } else { &user.roles };
        let asked = edit.roles.as_ref().unwrap_or(&user.roles);
        let waiting = self.waiting(in_use, asked, context).await?;
        Ok(match waiting {
            Some(request) => UserEdit { roles: Some(asked - &request.roles), waiting: Some(Some(request)), ..edit },
            // Who states all roles takes back what was asked for and is not among them.
            None if edit.roles.is_some() => UserEdit { waiting: Some(None), ..edit },
            None => edit,
        })
    }
}

module! {
    /// Lists and approves roles that wait.
    pub struct RoleApproval {
        takes settings, audit, role_requests;
        calls accounts: Accounts, rights: OperatorRights;
    }
}

impl RoleApproval {
    /// What waits for anybody, the oldest first, with the user's name.
    pub async fn role_requests(&self) -> Result<Vec<(String, RoleRequest)>, ChangeError> {
        Ok(self.role_requests.role_requests(&self.settings.tenant).await?)
    }

    /// What waits for a user.
    pub async fn role_request(&self, user: &User) -> Result<Option<RoleRequest>, ChangeError> {
        Ok(self.role_requests.role_request(&user.tenant, &user.id).await?)
    }

    /// Approves roles that another person asked for. The first person who approves what an account asked for stands for it from then
    /// on, and another one must approve.
    /// Errors: [`ChangeError::Conflict`] where nothing waits; [`ChangeError::Forbidden`] where who approves is no person by a token, the
    /// one who asked, or has less than the roles grant.
    pub async fn approve_roles(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let user = self.accounts.find_user(name).await?;
        self.rights.over_user(&user, context).await?;
        let request = self.role_request(&user).await?;
        let request = request.ok_or_else(|| ChangeError::Conflict(format!("no role of {name} waits for approval")))?;
        self.rights.to_give_roles(&request.roles, context).await?;
        let RoleRequest { requested_by, .. } = &request;
        let by = context.operator.as_deref().unwrap_or_default();
        let is_done = match Approval::of(requested_by, context) {
            Approval::NoPerson => return self.refuse(&user, PERSONS_APPROVE.to_owned(), context).await,
            Approval::Own => {
                let text = format!(
                    "the four-eyes rule: {requested_by} asked for these roles, so another person must approve them"
                );
                return self.refuse(&user, text, context).await;
            }
            Approval::Last => {
                let roles = &user.roles | &request.roles;
                let told = self.told(&user, Outcome::Done, context);
                let told = told.detail(format!("approved; {requested_by} had asked for it"));
                let after = Facts { roles: Some(roles.clone()), ..Facts::default() };
                let told = AuditEvent { roles: Some(roles), ..told.from_to(facts(&user, &request), after) };
                self.role_requests.approve_roles(&user, &request, vec![told]).await?
            }
            Approval::First => {
                let told = self
                    .told(&user, Outcome::Done, context)
                    .detail(format!("approved once; {requested_by} had asked for it, and another person must approve"));
                let before = facts(&user, &request);
                let after = Facts { requested_by: Some(by.to_owned()), ..before.clone() };
                let told = told.from_to(before, after);
                self.role_requests.take_over_role_request(&user, &request, by, vec![told]).await?
            }
        };
        if is_done { Ok(()) } else { Err(ChangeError::changes_meanwhile()) }
    }

    async fn refuse(&self, user: &User, text: String, context: &RequestContext) -> Result<(), ChangeError> {
        let refused = self.told(user, Outcome::Refused, context).detail("approval of roles");
        self.audit.append(vec![refused.because(Reason::SameOperator)]).await?;
        Err(ChangeError::Forbidden(text))
    }

    fn told(&self, user: &User, outcome: Outcome, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::UserChanged, outcome, self.settings.tenant.as_str(), context)
            .user(user.id.as_str())
            .change(Change::Approved)
    }
}

/// What the record says of roles that wait.
fn facts(user: &User, request: &RoleRequest) -> Facts {
    Facts {
        roles: Some(user.roles.clone()),
        waiting: Some(request.roles.clone()),
        requested_by: Some(request.requested_by.clone()),
        ..Facts::default()
    }
}
