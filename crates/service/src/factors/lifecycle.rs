//! What becomes of factors: listed, named, disabled, and approved by a second pair of eyes (`docs/decisions/0022-*`).

use crate::{Accounts, ChangeError, OperatorRights, check_name, factor_changed};
use signet_core::admin::{self, Authority, OperatorKind};
use signet_core::audit::{Change, Outcome, Reason, RequestContext};
use signet_store::{AuditOnOutcome, Factor, FactorId, FactorState, ListedFactor};

module! {
    /// What operators do with factors that are there.
    pub struct FactorLifecycle {
        takes clock, settings, audit, factor_life, factors;
        calls accounts: Accounts, rights: OperatorRights;
    }
}

impl FactorLifecycle {
    /// So many factors of all users after this one, by id, without their secrets; the first ones without an id.
    pub async fn factors_after(&self, id: Option<&FactorId>, most: u32) -> Result<Vec<ListedFactor>, ChangeError> {
        Ok(self.factor_life.all_factors(&self.settings.tenant, id, most).await?)
    }

    /// Lets a factor prove its user again, or no more. Disabling ends the user's refresh families.
    pub async fn enable_factor(
        &self,
        id: &FactorId,
        enabled: bool,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let factor = self.touched(id, context).await?;
        if enabled && let FactorState::Pending { .. } = factor.state {
            return Err(ChangeError::Conflict(format!(
                "the factor waits for another person's `signet factor approve {id}`"
            )));
        }
        let told = factor_changed(&factor, Change::enabled(enabled), context);
        if self.factor_life.set_factor_enabled(&factor.tenant, id, enabled, self.clock.now(), vec![told]).await? {
            return Ok(());
        }
        Err(ChangeError::Conflict(format!("the factor is {} already", factor.state.name())))
    }

    /// Replaces what the user calls a factor.
    pub async fn rename_factor(&self, id: &FactorId, label: &str, context: &RequestContext) -> Result<(), ChangeError> {
        check_name("factor", label)?;
        let factor = self.touched(id, context).await?;
        let told = factor_changed(&factor, Change::Renamed, context);
        let renamed = self.factor_life.rename_factor(&factor.tenant, id, label, vec![told]).await?;
        if renamed { Ok(()) } else { Err(missing(id)) }
    }

    /// Approves a factor that another person asked for. A request by a system account is nobody's: root is every account. The first
    /// person who approves it stands for it from then on, and another one must approve.
    /// Errors: [`ChangeError`]; also where who approves is no person by a token, or the one who asked, which is audited.
    pub async fn approve_factor(&self, id: &FactorId, context: &RequestContext) -> Result<(), ChangeError> {
        let factor = self.touched(id, context).await?;
        let FactorState::Pending { requested_by } = &factor.state else {
            return Err(ChangeError::Conflict(format!(
                "the factor is {}: nothing waits for approval",
                factor.state.name()
            )));
        };
        let mut refused =
            factor_changed(&factor, Change::Approved, context).detail("approval").because(Reason::SameOperator);
        refused.outcome = Outcome::Refused;
        let Some(approver) = person(context) else {
            self.audit.append(vec![refused]).await?;
            let text = "the four-eyes rule: a person approves, with a token of `signet login`; a system account can ask, and never approves";
            return Err(ChangeError::Forbidden(text.to_owned()));
        };
        let by = context.operator.as_deref().unwrap_or_default();
        match admin::person_of(requested_by) {
            Some(asked) if asked == approver => {
                self.audit.append(vec![refused]).await?;
                let text = format!(
                    "the four-eyes rule: {requested_by} asked for this factor, so another person must approve it"
                );
                Err(ChangeError::Forbidden(text))
            }
            Some(_) => {
                let done = factor_changed(&factor, Change::Approved, context);
                let done = done.detail(format!("approved; {requested_by} had asked for it"));
                let told = AuditOnOutcome { applied: vec![done], rejected: vec![refused] };
                waits(self.factor_life.approve_factor(&factor.tenant, id, by, told).await?)
            }
            None => {
                let told = factor_changed(&factor, Change::Approved, context);
                let told = told
                    .detail(format!("approved once; {requested_by} had asked for it, and another person must approve"));
                waits(self.factor_life.take_over_request(&factor.tenant, id, requested_by, by, vec![told]).await?)
            }
        }
    }

    /// The factor of this id.
    /// Errors: [`ChangeError::Missing`] where there is none.
    pub async fn find_factor(&self, id: &FactorId) -> Result<Factor, ChangeError> {
        self.factors.factor(&self.settings.tenant, id).await?.ok_or_else(|| missing(id))
    }

    /// The factor of this id, which the operator may change.
    async fn touched(&self, id: &FactorId, context: &RequestContext) -> Result<Factor, ChangeError> {
        let factor = self.find_factor(id).await?;
        self.rights.over_factor(&factor, context).await?;
        Ok(factor)
    }

    /// A user's factors.
    pub async fn list_factors(&self, user: &str) -> Result<Vec<Factor>, ChangeError> {
        let user = self.accounts.find_user(user).await?;
        Ok(self.factors.factors(&user.tenant, &user.id).await?)
    }

    /// Removes a factor. Its user's refresh families end: who had the factor may have begun them.
    pub async fn remove_factor(&self, id: &FactorId, context: &RequestContext) -> Result<(), ChangeError> {
        let factor = self.touched(id, context).await?;
        let told = factor_changed(&factor, Change::Removed, context);
        let removed = self.factors.remove_factor(&factor.tenant, id, self.clock.now(), vec![told]).await?;
        if removed { Ok(()) } else { Err(missing(id)) }
    }
}

fn missing(id: &FactorId) -> ChangeError {
    ChangeError::missing("factor", id)
}

/// The person who asks by a token.
fn person(context: &RequestContext) -> Option<&str> {
    match &context.authority {
        Authority::Operator { kind: OperatorKind::Person(id), .. } => Some(id),
        _ => None,
    }
}

fn waits(is_done: bool) -> Result<(), ChangeError> {
    let over =
        || ChangeError::Conflict("the factor does not wait for this approval any more: look at it again".to_owned());
    if is_done { Ok(()) } else { Err(over()) }
}
