//! Keys that the deployment depends on.

use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{change, each_of, fields, insert, insertions, selections};
use super::engine::{Connection, Result, Row, Value};
use super::key_ring::{self, Place, algorithm_of, count_active, is_member, is_taken, purpose_of};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::tables::Table;
use signet_core::audit::AuditEvent;
use signet_core::keys::{AnnouncedKey, HandOver, HsmKey, KeyEnd, KeyPurpose, KeyState, TenantId};
use signet_jose::clock::Timestamp;
use signet_jose::{Jwk, KeyId};
use signet_store::{Beside, KeyAddition, Keys, StoreError, StoreFailure};

selections! {
    LIST = "SELECT {keys} FROM keys ORDER BY created_at, key_id, hsm";
    TO_MOVE = "SELECT {keys} FROM keys
        WHERE key_id = $1 AND state = $2 AND state_since = $3 AND state_until IS NOT DISTINCT FROM $4";
}

insertions! {
    ADD = "keys" "";
}

/// A stage as four columns: its name, its moment, until when it lasts, and why it ended.
const fn columns(state: &KeyState) -> (&'static str, Timestamp, Option<Timestamp>, Option<KeyEnd>) {
    (state.name(), state.since(), state.until(), state.end())
}

fn state_of(row: &Row) -> Result<KeyState> {
    let since = row.try_get("state_since")?;
    let end = row.try_get::<Option<&str>, _>("end_reason")?.map(end_of).transpose()?;
    match (row.try_get("state")?, row.try_get("state_until")?, end) {
        ("next", None, None) => Ok(KeyState::Next { published_at: since }),
        ("active", None, None) => Ok(KeyState::Active { since }),
        ("retiring", Some(until), None) => Ok(KeyState::Retiring { since, until }),
        ("withdrawn", None, Some(end)) => Ok(KeyState::Withdrawn { since, end }),
        ("destroyed", None, Some(end)) => Ok(KeyState::Destroyed { at: since, end }),
        _ => Err(StoreFailure::Corrupt("state of a key")),
    }
}

fn end_of(name: &str) -> Result<KeyEnd> {
    KeyEnd::named(name).ok_or(StoreFailure::Corrupt("end of a key"))
}

fn public_of(row: &Row) -> Result<Option<Jwk>> {
    let json: Option<&str> = row.try_get("public_jwk")?;
    json.map(Jwk::from_json).transpose().map_err(|_| StoreFailure::Corrupt("public key"))
}

fn key_of(row: &Row) -> Result<HsmKey> {
    Ok(HsmKey {
        tenant: row.try_get("tenant")?,
        hsm: row.try_get("hsm")?,
        purpose: purpose_of(row.try_get("purpose")?)?,
        key_id: row.try_get("key_id")?,
        cka_id: row.try_get("cka_id")?,
        public: public_of(row)?,
        state: state_of(row)?,
        created_at: row.try_get("created_at")?,
    })
}

/// Whether a row of the table, whoever wrote it, is one of a key.
pub(super) fn is_understood(table: &Table, row: &[Value]) -> bool {
    let names = table.columns.iter().map(|column| column.name.to_owned()).collect();
    key_of(&Row::new(names, row.to_vec())).is_ok()
}

async fn add((key, beside): &(HsmKey, Beside), connection: &mut Connection) -> Result<WriteOutcome<KeyAddition>> {
    // Asked in the transaction: the token may be retired while its key is being generated.
    if key.purpose == KeyPurpose::TokenSigning && !is_member(&key.hsm, connection).await? {
        return Ok(WriteOutcome::nothing(KeyAddition::NotAMember));
    }
    let is_second = key.state.is_active() && count_active(key, connection).await? > 0;
    if is_second || is_taken(&Place::of(key), *beside, connection).await? {
        return Ok(WriteOutcome::nothing(KeyAddition::PlaceTaken));
    }
    let (state, since, until, end) = columns(&key.state);
    let row = fields()
        .set("tenant", &key.tenant)
        .set("key_id", &key.key_id)
        .set("hsm", &key.hsm)
        .set("purpose", key.purpose.name())
        .set("algorithm", algorithm_of(key))
        .set("cka_id", &key.cka_id)
        .set("public_jwk", key.public.as_ref().map(|jwk| jwk.to_json().to_string()))
        .set("state", state)
        .set("state_since", since)
        .set("state_until", until)
        .set("end_reason", end.map(KeyEnd::name))
        .set("token_lifetime", 0_i64)
        .set("created_at", key.created_at);
    insert(&ADD, row, vec![], &mut *connection).await?;
    key_ring::forget(&key.cka_id, connection).await?;
    Ok(WriteOutcome::renewed(KeyAddition::Added))
}

async fn move_stage(
    (key, from, to): &(KeyId, KeyState, KeyState),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (from, from_since, from_until, _) = columns(from);
    let (to, to_since, to_until, to_end) = columns(to);
    let found = each_of(&TO_MOVE).bind(key).bind(from).bind(from_since).bind(from_until);
    let mut has_moved = false;
    for key in found.stored(&mut *connection).await? {
        let moved = fields()
            .set("state", to)
            .set("state_since", to_since)
            .set("state_until", to_until)
            .set("end_reason", to_end.map(KeyEnd::name));
        has_moved |= change(key, moved, &mut *connection).await?;
    }
    Ok(WriteOutcome::renewed_if(has_moved))
}

#[async_trait]
impl Keys for SqlStore {
    async fn add_key(&self, key: &HsmKey, beside: Beside, audit: Vec<AuditEvent>) -> Result<KeyAddition, StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&key.tenant, Noun::Keys);
        self.writer.change("add key", scope, (key.clone(), beside), audit, add).await
    }

    async fn keys(&self) -> Result<Vec<HsmKey>, StoreError> {
        self.read_each("list keys", each_of(&LIST), key_of).await
    }

    async fn move_key(
        &self,
        key: &KeyId,
        from: &KeyState,
        to: &KeyState,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&TenantId::default_tenant(), Noun::Keys);
        self.writer.change("move key", scope, (key.clone(), *from, *to), audit, move_stage).await
    }

    async fn hand_over(&self, change: &HandOver, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&change.successor.tenant, Noun::Keys);
        self.writer.change("hand over", scope, change.clone(), audit, key_ring::hand_over).await
    }

    async fn raise_token_lifetime(&self, tenant: &TenantId, lifetime: Duration) -> Result<(), StoreError> {
        let input = (tenant.clone(), lifetime);
        self.writer
            .change("note the lifetime of tokens", Scope::alone(Name::KeyRing), input, vec![], key_ring::raise_lifetime)
            .await
    }

    async fn token_lifetime(&self, key: &KeyId) -> Result<Duration, StoreError> {
        let lifetime =
            self.read_one("read the lifetime of tokens", key_ring::lifetime_query(key), key_ring::lifetime_of);
        Ok(lifetime.await?.unwrap_or_default())
    }

    async fn announce_key(&self, key: &AnnouncedKey, beside: Beside, since: Timestamp) -> Result<bool, StoreError> {
        let input = (key.clone(), beside, since);
        self.writer.change("announce a key", Scope::alone(Name::KeyRing), input, vec![], key_ring::announce).await
    }

    async fn announced_keys(&self) -> Result<Vec<AnnouncedKey>, StoreError> {
        let operation = "list announced keys";
        self.read_each(operation, key_ring::announced_query(), key_ring::announced_of).await
    }

    async fn give_up_announced(&self, cka_id: &[u8]) -> Result<(), StoreError> {
        self.writer
            .change("give up a key", Scope::alone(Name::KeyRing), cka_id.to_vec(), vec![], key_ring::give_up)
            .await
    }

    async fn forget_announced(&self, cka_id: &[u8], audit: Vec<AuditEvent>) -> Result<(), StoreError> {
        self.writer
            .change("forget a key", Scope::alone(Name::KeyRing), cka_id.to_vec(), audit, key_ring::forget_announced)
            .await
    }
}
