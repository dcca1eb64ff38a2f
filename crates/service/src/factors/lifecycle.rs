//! What becomes of factors: listed, named, disabled, and approved by a second pair of eyes (`docs/decisions/0022-*`).

use crate::{Accounts, ChangeError, OperatorRights, check_name, factor_changed};
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
            return Err(ChangeError::Input(format!(
                "the factor waits for another operator's `signet factor approve {id}`"
            )));
        }
        let told = factor_changed(&factor, Change::enabled(enabled), context);
        if self.factor_life.set_factor_enabled(&factor.tenant, id, enabled, self.clock.now(), vec![told]).await? {
            return Ok(());
        }
        Err(ChangeError::Input(format!("the factor is {} already", factor.state.name())))
    }

    /// Replaces what the user calls a factor.
    pub async fn rename_factor(&self, id: &FactorId, label: &str, context: &RequestContext) -> Result<(), ChangeError> {
        check_name("factor", label)?;
        let factor = self.touched(id, context).await?;
        let told = factor_changed(&factor, Change::Renamed, context);
        let renamed = self.factor_life.rename_factor(&factor.tenant, id, label, vec![told]).await?;
        if renamed { Ok(()) } else { Err(missing(id)) }
    }

    /// Approves a factor that another operator added.
    /// Errors: [`ChangeError`]; also where the operator is the one who asked for it, which is audited.
    pub async fn approve_factor(&self, id: &FactorId, context: &RequestContext) -> Result<(), ChangeError> {
        let factor = self.touched(id, context).await?;
        let FactorState::Pending { requested_by } = &factor.state else {
            return Err(ChangeError::Input(format!(
                "the factor is {}: nothing waits for approval",
                factor.state.name()
            )));
        };
        let approver = context.operator.as_deref().unwrap_or_default();
        let mut refused =
            factor_changed(&factor, Change::Approved, context).detail("approval").because(Reason::SameOperator);
        refused.outcome = Outcome::Refused;
        if !are_two_people(requested_by, approver, self.settings.server_uid) {
            self.audit.append(vec![refused]).await?;
            let text = format!(
                "the four-eyes rule: {requested_by} asked for this factor, so another one must approve it, from \
                 another system account; root and the server's own account are one"
            );
            return Err(ChangeError::Input(text));
        }
        let done = factor_changed(&factor, Change::Approved, context);
        let done = done.detail(format!("approved; {requested_by} had asked for it"));
        let told = AuditOnOutcome { applied: vec![done], rejected: vec![refused] };
        if self.factor_life.approve_factor(&factor.tenant, id, approver, told).await? {
            return Ok(());
        }
        Err(ChangeError::Input("the factor waits for approval no more".to_owned()))
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

/// Whether two operators, as they are written down (`ann (uid 1000)`, `bob by ann (uid 1000)`), are two people: two system accounts
/// are. A name that somebody gave is a claim, and decides nothing. Root and the account that the server runs by are one: root is
/// every account, and what runs as the server can write what it likes.
fn are_two_people(one: &str, other: &str, server_uid: u32) -> bool {
    let account = |operator: &str| {
        let uid = operator.strip_suffix(')')?.rsplit_once(" (uid ")?.1.parse::<u32>().ok()?;
        Some(if uid == server_uid { 0 } else { uid })
    };
    matches!((account(one), account(other)), (Some(one), Some(other)) if one != other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_people_have_two_accounts_whatever_they_call_themselves() {
        for (one, other, two) in [
            ("ann (uid 1)", "bob (uid 2)", true),
            ("ann (uid 1)", "root (uid 0)", true),
            ("ann (uid 1)", "ann (uid 1)", false),
            ("x by ann (uid 1)", "y by ann (uid 1)", false),
            ("x by ann (uid 1)", "x by bob (uid 2)", true),
            ("signet (uid 7)", "root (uid 0)", false),
            ("signet (uid 7)", "ann (uid 1)", true),
            ("", "bob (uid 2)", false),
            ("uid 1", "uid 2", false),
        ] {
            assert_eq!(are_two_people(one, other, 7), two, "{one} and {other}");
            assert_eq!(are_two_people(other, one, 7), two, "{other} and {one}");
        }
    }
}
