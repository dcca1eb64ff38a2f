//! Whether the four-eyes rule holds, and how it ends: a node's configuration asks for it, it begins when two persons could approve, and
//! from then on it holds for every node until two persons have agreed that it does not (`docs/decisions/0022-*`).

use crate::{ChangeError, still_there};
use signet_core::admin::{self, AdminScope, Authority, Noun, OperatorKind};
use signet_core::audit::{AuditEvent, Event, Facts, Outcome, RequestContext};
use signet_core::mfa::FactorKind;
use signet_store::{Factor, FactorState, Rule, User};

/// What the store calls the rule.
const NAME: &str = "four_eyes";
/// Why no account approves.
pub(crate) const PERSONS_APPROVE: &str = "the four-eyes rule: a person approves, with a token of `signet login`; a system account can ask, and never approves";
/// How many persons it takes.
const PERSONS: usize = 2;
/// Users that are looked at at once.
const PAGE: u32 = 500;

/// What is to be said of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FourEyesState {
    /// Whether it holds.
    pub holds: bool,
    /// Whether this node's configuration asks for it.
    pub is_configured: bool,
    /// Who asked that it hold no more, and waits for another person.
    pub lowering_asked_by: Option<String>,
}

module! {
    /// The four-eyes rule.
    pub struct FourEyes {
        takes settings, rules, users, factors;
    }
}

/// Whether a factor proves its user from now on, and is no stand-in for one.
fn is_for_good(factor: &Factor) -> bool {
    factor.state == FactorState::Enabled && factor.detail.kind() != FactorKind::Recovery
}

/// What an approval is, by who asked and who approves. A request by a system account is nobody's: root is every account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Who approves is no person by a token.
    NoPerson,
    /// The person who asked.
    Own,
    /// The first person's, of what an account asked for: this one stands for it from then on.
    First,
    /// Another person's.
    Last,
}

impl Approval {
    pub(crate) fn of(requested_by: &str, context: &RequestContext) -> Self {
        let Authority::Operator { kind: OperatorKind::Person(approver), .. } = &context.authority else {
            return Self::NoPerson;
        };
        match admin::person_of(requested_by) {
            None => Self::First,
            Some(asked) if asked == approver => Self::Own,
            Some(_) => Self::Last,
        }
    }
}

/// What the record says of the rule.
fn facts(rule: &Rule) -> Facts {
    Facts { holds: Some(rule.holds), requested_by: rule.lowering_asked_by.clone(), ..Facts::default() }
}

impl FourEyes {
    /// Whether the rule holds. Where this node's configuration asks for it, it begins as soon as two persons could approve: their
    /// roles grant `admin:factors`, and they have a factor.
    pub async fn four_eyes_hold(&self) -> Result<bool, ChangeError> {
        let seen = self.rules.rule(NAME).await?;
        if seen.as_ref().is_some_and(|rule| rule.holds) {
            return Ok(true);
        }
        if !self.settings.process.four_eyes {
            return Ok(false);
        }
        if !self.two_could_approve().await? {
            tracing::error!(
                "`admin.four_eyes` is asked for and does not hold: it takes two persons whose roles grant admin:factors and who have a factor"
            );
            return Ok(false);
        }
        let told = self.told("holds from now on: the configuration asks for it", &RequestContext::NONE);
        let rule = Rule { holds: true, lowering_asked_by: None };
        let told = told.from_to(facts(&seen.clone().unwrap_or_default()), facts(&rule));
        // Where another node was faster, it holds as well.
        self.rules.decide_rule(NAME, seen.as_ref(), &rule, vec![told]).await?;
        Ok(true)
    }

    /// Who asks for what waits for another person; none where it does not wait: the rule does not hold, or no operator asks.
    /// Errors: [`ChangeError::Forbidden`] for software.
    pub(crate) async fn asked_for_by(&self, context: &RequestContext) -> Result<Option<String>, ChangeError> {
        let Some(operator) = &context.operator else { return Ok(None) };
        if !self.four_eyes_hold().await? {
            return Ok(None);
        }
        if let Authority::Operator { kind: OperatorKind::Software, .. } = &context.authority {
            let text = "under the four-eyes rule no software does this: a person asks, and another one approves";
            return Err(ChangeError::Forbidden(text.to_owned()));
        }
        Ok(Some(operator.clone()))
    }

    /// What is to be said of the rule.
    pub async fn four_eyes(&self) -> Result<FourEyesState, ChangeError> {
        let holds = self.four_eyes_hold().await?;
        let rule = self.rules.rule(NAME).await?;
        let lowering_asked_by = rule.and_then(|rule| rule.lowering_asked_by);
        Ok(FourEyesState { holds, is_configured: self.settings.process.four_eyes, lowering_asked_by })
    }

    /// Has a person ask that the rule hold no more; the second one who does ends it.
    /// Errors: [`ChangeError::Forbidden`] for an account or software, and for the one who asked already; [`ChangeError::Conflict`] where
    /// it does not hold, or this node's configuration asks for it.
    pub async fn lower_four_eyes(&self, context: &RequestContext) -> Result<FourEyesState, ChangeError> {
        let Authority::Operator { kind: OperatorKind::Person(person), .. } = &context.authority else {
            let text = "the four-eyes rule is lowered by two persons with tokens of their own, and by no account";
            return Err(ChangeError::Forbidden(text.to_owned()));
        };
        if self.settings.process.four_eyes {
            let text = "this node's configuration asks for it: take `admin.four_eyes` out there first, and start the server again";
            return Err(ChangeError::Conflict(text.to_owned()));
        }
        let seen = self.rules.rule(NAME).await?.filter(|rule| rule.holds);
        let seen = seen.ok_or_else(|| ChangeError::Conflict("the four-eyes rule does not hold".to_owned()))?;
        let (rule, what) = match seen.lowering_asked_by.as_deref() {
            None => (
                Rule { lowering_asked_by: context.operator.clone(), ..seen.clone() },
                "is to hold no more, if another person agrees",
            ),
            Some(asked_by) if admin::person_of(asked_by) == Some(person) => {
                return Err(ChangeError::Forbidden("you asked for it: another person must agree now".to_owned()));
            }
            Some(_) => (Rule::default(), "holds no more: two persons agreed"),
        };
        let told = self.told(what, context).from_to(facts(&seen), facts(&rule));
        let decided = self.rules.decide_rule(NAME, Some(&seen), &rule, vec![told]).await?;
        still_there(decided, "rule", NAME)?;
        self.four_eyes().await
    }

    async fn two_could_approve(&self) -> Result<bool, ChangeError> {
        let (tenant, mut after, mut found) = (&self.settings.tenant, None::<String>, 0);
        loop {
            let page = self.users.users(tenant, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(last.name.clone());
            for user in &page {
                found += usize::from(self.could_approve(user).await?);
                if found >= PERSONS {
                    return Ok(true);
                }
            }
        }
    }

    async fn could_approve(&self, user: &User) -> Result<bool, ChangeError> {
        let has = self.settings.current().role_scopes.admin_scopes(&user.roles);
        if !user.enabled || !has.includes(AdminScope { noun: Noun::Factors, changes: true }) {
            return Ok(false);
        }
        let factors = self.factors.factors(&user.tenant, &user.id).await?;
        Ok(factors.iter().any(is_for_good))
    }

    fn told(&self, what: &str, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::RuleDecided, Outcome::Done, self.settings.tenant.as_str(), context)
            .detail(format!("{NAME}: {what}"))
    }
}
