//! What becomes of factors: listed, named, disabled, and approved by a second pair of eyes (`docs/decisions/0022-*`).

use crate::factors::enrolment::facts;
use crate::four_eyes::{Approval, PERSONS_APPROVE};
use crate::{Accounts, ChangeError, FourEyes, OperatorRights, TRIES, Tries, check_name, factor_changed};
use signet_core::audit::{AuditEvent, Change, Facts, Outcome, Reason, RequestContext};
use signet_store::{AuditOnOutcome, Factor, FactorEdit, FactorId, FactorState, ListedFactor};

module! {
    /// What operators do with factors that are there.
    pub struct FactorLifecycle {
        takes clock, settings, audit, factor_life, factors;
        calls accounts: Accounts, four_eyes: FourEyes, rights: OperatorRights, tries: Tries;
    }
}

impl FactorLifecycle {
    /// So many factors of all users after this one, by id, without their secrets; the first ones without an id.
    pub async fn factors_after(&self, id: Option<&FactorId>, most: u32) -> Result<Vec<ListedFactor>, ChangeError> {
        Ok(self.factor_life.all_factors(&self.settings.tenant, id, most).await?)
    }

    /// Lets a factor prove its user again, or no more. Disabling ends the user's refresh families. Under the four-eyes rule what is
    /// enabled again waits for another person, as what is added does.
    pub async fn enable_factor(
        &self,
        id: &FactorId,
        enabled: bool,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        self.change_factor(id, FactorEdit { enabled: Some(enabled), ..FactorEdit::default() }, context).await
    }

    /// Replaces what the user calls a factor.
    pub async fn rename_factor(&self, id: &FactorId, label: &str, context: &RequestContext) -> Result<(), ChangeError> {
        self.change_factor(id, FactorEdit { label: Some(label.to_owned()), ..FactorEdit::default() }, context).await
    }

    /// Renames a factor, or lets it prove its user or no more, or both: all or nothing, with one record.
    pub async fn change_factor(
        &self,
        id: &FactorId,
        edit: FactorEdit,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        if let Some(label) = &edit.label {
            check_name("factor", label)?;
        }
        // What one operator enables again would be what one operator adds.
        let waits = edit.enabled == Some(true);
        let requested_by = if waits { self.four_eyes.asked_for_by(context).await? } else { None };
        let edit = FactorEdit { requested_by, ..edit };
        for _ in 0..TRIES {
            let factor = self.touched(id, context).await?;
            let Some(told) = edited(&factor, &edit, context)? else { return Ok(()) };
            if self.factor_life.change_factor(&factor, &edit, self.clock.now(), vec![told]).await? {
                return Ok(());
            }
        }
        Err(ChangeError::changes_meanwhile())
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
        let by = context.operator.as_deref().unwrap_or_default();
        match Approval::of(requested_by, context) {
            Approval::NoPerson => {
                self.audit.append(vec![refused]).await?;
                Err(ChangeError::Forbidden(PERSONS_APPROVE.to_owned()))
            }
            Approval::Own => {
                self.audit.append(vec![refused]).await?;
                let text = format!(
                    "the four-eyes rule: {requested_by} asked for this factor, so another person must approve it"
                );
                Err(ChangeError::Forbidden(text))
            }
            Approval::Last => {
                let done = factor_changed(&factor, Change::Approved, context);
                let done = done.detail(format!("approved; {requested_by} had asked for it"));
                let enabled = Facts { state: Some(FactorState::Enabled.name().to_owned()), ..Facts::default() };
                let done = done.from_to(facts(&factor), enabled);
                let told = AuditOnOutcome { applied: vec![done], rejected: vec![refused] };
                waits(self.factor_life.approve_factor(&factor.tenant, id, by, told).await?)
            }
            Approval::First => {
                let told = factor_changed(&factor, Change::Approved, context);
                let told = told
                    .detail(format!("approved once; {requested_by} had asked for it, and another person must approve"))
                    .from_to(facts(&factor), Facts { requested_by: Some(by.to_owned()), ..facts(&factor) });
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
        if !removed {
            return Err(missing(id));
        }
        self.tries.factor_removed(&factor.user, id).await;
        Ok(())
    }
}

/// What is recorded of a change of a factor; none where nothing is to change.
/// Errors: [`ChangeError::Conflict`] where its state does not allow it.
fn edited(factor: &Factor, edit: &FactorEdit, context: &RequestContext) -> Result<Option<AuditEvent>, ChangeError> {
    let change = match (&edit.label, edit.enabled) {
        (None, None) => return Ok(None),
        (Some(_), None) => Change::Renamed,
        (None, Some(enabled)) => Change::enabled(enabled),
        (Some(_), Some(_)) => Change::Changed,
    };
    let refused = match (edit.enabled, &factor.state) {
        (Some(true), FactorState::Pending { .. }) => {
            Some(format!("the factor waits for another person's `signet factor approve {}`", factor.id))
        }
        (Some(true), FactorState::Disabled) | (None, _) => None,
        (Some(false), state) if state.is_in_use() => None,
        (Some(_), state) => Some(format!("the factor is {} already", state.name())),
    };
    if let Some(refused) = refused {
        return Err(ChangeError::Conflict(refused));
    }
    let state = edit.enabled.map(|enabled| match (enabled, &edit.requested_by) {
        (true, Some(by)) => FactorState::Pending { requested_by: by.clone() },
        (true, None) => FactorState::Enabled,
        (false, _) => FactorState::Disabled,
    });
    let before = Facts {
        label: edit.label.as_ref().map(|_| factor.label.clone()),
        state: state.as_ref().map(|_| factor.state.name().to_owned()),
        ..Facts::default()
    };
    let state = state.map(|state| state.name().to_owned());
    let told = factor_changed(factor, change, context);
    let (label, requested_by) = (edit.label.clone(), edit.requested_by.clone());
    Ok(Some(told.from_to(before, Facts { label, state, requested_by, ..Facts::default() })))
}

fn missing(id: &FactorId) -> ChangeError {
    ChangeError::missing("factor", id)
}

fn waits(is_done: bool) -> Result<(), ChangeError> {
    let over =
        || ChangeError::Conflict("the factor does not wait for this approval any more: look at it again".to_owned());
    if is_done { Ok(()) } else { Err(over()) }
}
