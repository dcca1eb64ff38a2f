//! Challenges that were answered.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{change, fields, find};
use super::engine::{Connection, Result, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::keys::TenantId;
use signet_core::mfa::FactorKind;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{Ceremonies, ProofSpending, StoreError};

texts! {
    SPEND = "INSERT INTO spent_challenges (tenant, challenge, until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
}

/// What a challenge is locked by.
pub(super) const CHALLENGE: &str = "challenge";

async fn spend(
    (tenant, challenge, until): &(TenantId, SecretHash, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let query = query(SPEND).bind(tenant).bind(challenge);
    let spent = query.bind(until).execute(connection).await?;
    Ok(WriteOutcome::spent_if(spent.rows_affected() > 0))
}

/// Spends what a security key answered: its challenge, and its counter.
pub(super) async fn spend_assertion(
    spending: &ProofSpending,
    (challenge, until): (&SecretHash, Timestamp),
    counter: i64,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let spent = spend(&(spending.tenant.clone(), *challenge, until), &mut *connection).await?;
    if !spent.answer {
        return Ok(spent);
    }
    let Some(factor) = find("factors", &[&spending.tenant, &spending.factor], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let stands: Option<i64> = factor.value("counter")?;
    // A security key that does not count shows 0 each time.
    let rises = stands.is_some_and(|last| last < counter || (last == 0 && counter == 0));
    let is_security_key = factor.value::<&str>("kind")? == FactorKind::WebAuthn.name();
    let used = fields().set("counter", counter).set("last_used_at", spending.at);
    // The challenge stays spent also where another one raised the counter first.
    Ok(WriteOutcome::spent_if(is_security_key && rises && change(factor, used, connection).await?))
}

#[async_trait]
impl Ceremonies for SqlStore {
    async fn spend_challenge(
        &self,
        tenant: &TenantId,
        challenge: &SecretHash,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let input = (tenant.clone(), *challenge, until);
        let scope = Scope::alone(Name::Once(tenant, CHALLENGE, challenge.as_bytes()));
        self.writer.change("spend challenge", scope, input, vec![], spend).await
    }
}
