//! Rules of the deployment that hold whatever a node's configuration says.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{change, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_store::{Rule, Rules, StoreError};

selections! {
    FIND = "SELECT {rules} FROM rules WHERE name = $1";
}

insertions! {
    ADD = "rules" "ON CONFLICT DO NOTHING";
}

/// A decision, and what it was made of.
struct Decision {
    name: String,
    seen: Option<Rule>,
    rule: Rule,
}

fn rule_of(row: &Row) -> Result<Rule> {
    let holds: i64 = row.try_get("holds")?;
    Ok(Rule { holds: holds == 1, lowering_asked_by: row.try_get("lowering_asked_by")? })
}

async fn decide(decision: &Decision, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let Decision { name, seen, rule } = decision;
    let set = fields()
        .set("name", name)
        .set("holds", i64::from(rule.holds))
        .set("lowering_asked_by", rule.lowering_asked_by.as_deref());
    let Some(row) = find("rules", &[name], &mut *connection).await? else {
        let is_first = seen.is_none() && insert(&ADD, set, vec![], connection).await?;
        return Ok(WriteOutcome::applied_if(is_first));
    };
    let there = Rule {
        holds: row.value::<i64>("holds")? == 1,
        lowering_asked_by: row.value::<Option<&str>>("lowering_asked_by")?.map(str::to_owned),
    };
    let is_as_seen = seen.as_ref() == Some(&there);
    Ok(WriteOutcome::applied_if(is_as_seen && change(row, set, connection).await?))
}

#[async_trait]
impl Rules for SqlStore {
    async fn rule(&self, name: &str) -> Result<Option<Rule>, StoreError> {
        self.read_one("look up rule", rows(&FIND).bind(name.to_owned()), rule_of).await
    }

    async fn decide_rule(
        &self,
        name: &str,
        seen: Option<&Rule>,
        rule: &Rule,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let decision = Decision { name: name.to_owned(), seen: seen.cloned(), rule: rule.clone() };
        let deployment = TenantId::default_tenant();
        let scope = Scope::alone(Name::Once(&deployment, "rule", name.as_bytes()));
        self.writer.change("decide rule", scope, decision, audit, decide).await
    }
}
