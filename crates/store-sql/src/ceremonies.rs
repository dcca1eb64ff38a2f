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
use signet_store::{AssertionSpending, AuditOnOutcome, Ceremonies, StoreError};

texts! {
    SPEND = "INSERT INTO spent_challenges (tenant, challenge, until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
}

/// What a challenge is locked by.
const CHALLENGE: &str = "challenge";

async fn spend(
    (tenant, challenge, until): &(TenantId, SecretHash, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let query = query(SPEND).bind(tenant).bind(challenge);
    let spent = query.bind(until).execute(connection).await?;
    Ok(WriteOutcome::spent_if(spent.rows_affected() > 0))
}

async fn spend_assertion(spending: &AssertionSpending, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let challenge = (spending.tenant.clone(), spending.challenge, spending.challenge_until);
    let spent = spend(&challenge, &mut *connection).await?;
    if !spent.answer {
        return Ok(spent);
    }
    let Some(factor) = find("factors", &[&spending.tenant, &spending.factor], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let counter: Option<i64> = factor.value("counter")?;
    // A security key that does not count shows 0 each time.
    let rises = counter.is_some_and(|last| last < spending.counter || (last == 0 && spending.counter == 0));
    let is_security_key = factor.value::<&str>("kind")? == FactorKind::WebAuthn.name();
    let used = fields().set("counter", spending.counter).set("last_used_at", spending.at);
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

    async fn spend_assertion(&self, spending: &AssertionSpending, audit: AuditOnOutcome) -> Result<bool, StoreError> {
        let tenant = &spending.tenant;
        let scope = Scope::alone(Name::Once(tenant, CHALLENGE, spending.challenge.as_bytes()))
            .and_alone(Name::Factor(tenant, &spending.factor));
        self.writer.change("spend assertion", scope, spending.clone(), audit, spend_assertion).await
    }
}
