//! The deployment's secret is renewed while servers run: for whoever fears that somebody has read it. The next generation is made and
//! opened by every node that serves; then all write by it; then every row that verifies is written under it, page by page; then the
//! one before goes, and what it authenticated grants nothing. One node at a time goes on with it, and whoever comes next takes it
//! over where it stands. See `docs/decisions/0037-*`.

use std::sync::OnceLock;
use std::time::Duration;

pub use crate::deployment_secret::Following;
use crate::error::{ChangeError, JoinError};
use crate::hsm_membership::renewal::SecretRenewal;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_store::{Renewal, RenewedRows};

/// What one node at a time holds.
const LEASE: &str = "renewal of the secret";
/// For how long: longer than a step takes.
const LEASED: Duration = Duration::from_secs(15);
/// For how long a step works on rows.
const STEP: Duration = Duration::from_secs(2);
/// How long after all write by the new generation what another process had in hand may still carry a MAC of the one before. Every node
/// looks each second.
const SETTLED: Duration = Duration::from_secs(3);

/// How a renewal stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenewalStanding {
    /// The newest generation of the secret.
    pub generation: u8,
    /// Whether a renewal is under way.
    pub is_under_way: bool,
    /// Whether another process goes on with it at this moment.
    pub is_elsewhere: bool,
    /// The nodes that serve and have not opened the new generation: nothing goes on before they have.
    pub waits_for: Vec<String>,
    /// How far the pass over the rows is, as this process knows.
    pub rows: RenewedRows,
}

module! {
    /// Renews the deployment's secret while servers run.
    pub struct OnlineRenewal {
        takes clock, settings, secret, renewals, leases, ids, transports, secrets_at_rest;
        calls renewal: SecretRenewal;
        keeps
            /// Who this process is, beside others.
            holder: OnceLock<String>;
    }
}

impl OnlineRenewal {
    /// How it stands, as far as the store says.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn show(&self) -> Result<RenewalStanding, ChangeError> {
        let renewal = self.renewals.renewal().await?;
        let mut standing = self.standing(renewal).await?;
        if let Some(Renewal { generation, writes_since: None, .. }) = renewal {
            let waits_for = self.renewals.nodes_without(generation, self.clock.now()).await?;
            standing.waits_for = waits_for.iter().map(ToString::to_string).collect();
        }
        Ok(standing)
    }

    /// Makes this generation, on the record with the operator's word, and goes on with it for about two seconds. Where it was made before,
    /// it goes on: asked again and again, one renewal is done, and no second one begun.
    /// Errors: [`ChangeError::Input`] where the secret is of another generation than the one before; [`JoinError`] where it can't be
    /// sealed, or what another node gets can't be signed.
    pub async fn renew(
        &self,
        generation: u8,
        why: &str,
        context: &RequestContext,
    ) -> Result<RenewalStanding, JoinError> {
        let present = self.show().await?.generation;
        if present.checked_add(1) == Some(generation) {
            let told = |generation: u8| {
                let told = self.told(Event::SecretRenewalBegun, context);
                told.detail(format!("generation {generation} of the deployment's secret; {why}"))
            };
            self.secret.announce(told).await?;
        } else if present != generation {
            return Err(JoinError::Change(ChangeError::Input(format!(
                "the deployment's secret is of generation {present}: the next one is made, or the newest gone on with"
            ))));
        }
        self.go_on(context).await
    }

    /// Goes on with a renewal for about two seconds, where one is under way and no other process does.
    /// Errors: [`JoinError`]: what was done stays, and the next call goes on.
    pub async fn go_on(&self, context: &RequestContext) -> Result<RenewalStanding, JoinError> {
        let Following::UnderWay(renewal) = self.secret.follow().await? else { return Ok(self.show().await?) };
        let holder = self.holder.get_or_init(|| self.ids.next());
        if !self.leases.take_lease(LEASE, holder, self.clock.now(), LEASED).await? {
            return Ok(RenewalStanding { is_elsewhere: true, ..self.show().await? });
        }
        let gone_on = self.step(renewal, context).await;
        self.leases.end_lease(LEASE, holder).await?;
        gone_on
    }

    async fn step(&self, mut renewal: Renewal, context: &RequestContext) -> Result<RenewalStanding, JoinError> {
        let generation = renewal.generation;
        let since = match renewal.writes_since {
            Some(since) => since,
            None => {
                self.renewal.leave_for_others(generation, context).await?;
                let waits_for = self.renewals.nodes_without(generation, self.clock.now()).await?;
                if !waits_for.is_empty() {
                    let waits_for = waits_for.iter().map(ToString::to_string).collect();
                    return Ok(RenewalStanding { waits_for, ..self.standing(Some(renewal)).await? });
                }
                let now = self.clock.now();
                self.renewals.write_by(generation, now).await?;
                renewal.writes_since = Some(now);
                self.secret.follow().await?;
                now
            }
        };
        let rows = self.renewals.renew_some(generation, STEP).await?;
        let is_settled = self.clock.now() >= since.plus(SETTLED);
        if !(rows.complete && is_settled) {
            return Ok(RenewalStanding { rows, ..self.standing(Some(renewal)).await? });
        }
        let generations = self.secret.generations().await?;
        self.transports.renew_vouchings(&generations).await?;
        self.transports.renew_envelopes(&generations).await?;
        let told = self.told(Event::SecretRenewed, context);
        let told = told.detail(format!(
            "generation {generation} of the deployment's secret alone holds; {} rows do not verify and stay void",
            rows.refused
        ));
        self.renewals.end_renewal(generation, vec![told]).await?;
        self.secret.reopen().await?;
        Ok(RenewalStanding { rows, ..self.standing(None).await? })
    }

    /// Opens a generation that was made elsewhere, and says so, so that whoever renews can go on. Called every second.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn follow(&self) -> Result<Following, ChangeError> {
        Ok(self.secret.follow().await?)
    }

    async fn standing(&self, renewal: Option<Renewal>) -> Result<RenewalStanding, ChangeError> {
        let stored = self.secrets_at_rest.deployment_secrets().await?;
        let generation = stored.last_key_value().map_or(0, |(generation, _)| *generation);
        Ok(RenewalStanding { generation, is_under_way: renewal.is_some(), ..RenewalStanding::default() })
    }

    fn told(&self, event: Event, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(event, Outcome::Done, self.settings.tenant.as_str(), context)
    }
}
