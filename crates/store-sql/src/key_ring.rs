//! The places of active keys, the change of the signing key in one commit, and pairs that were announced beforehand.

use std::time::Duration;

use super::authority::{self, fields, find, rows, selections};
use super::engine::{Connection, Query, Result, Row, query};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::keys::{AnnouncedKey, HandOver, HsmKey, HsmName, KeyPurpose, TenantId};
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_store::{Beside, StoreFailure};

selections! {
    IN_STATE = "SELECT {keys} FROM keys
        WHERE tenant = $1 AND hsm = $2 AND purpose = $3 AND algorithm = $4 AND state = $5";
}

texts! {
    COUNT_ANNOUNCED = "SELECT COUNT(*) FROM announced_keys
        WHERE tenant = $1 AND hsm = $2 AND purpose = $3 AND algorithm = $4 AND given_up = 0 AND announced_at > $5";
    IS_MEMBER = "SELECT COUNT(*) FROM hsm_tokens WHERE name = $1 AND retired_at IS NULL";
    IN_STAGE = "SELECT COUNT(*) FROM keys WHERE key_id = $1 AND hsm = $2 AND state = $3 AND state_since = $4";
    RAISE = "UPDATE keys SET token_lifetime = $2
        WHERE tenant = $1 AND purpose = 'token_signing' AND state = 'active' AND token_lifetime < $2";
    LIFETIME = "SELECT MAX(token_lifetime) AS token_lifetime FROM keys WHERE key_id = $1";
    ANNOUNCE = "INSERT INTO announced_keys (cka_id, tenant, hsm, purpose, algorithm, announced_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    ANNOUNCED = "SELECT cka_id, tenant, hsm, purpose, algorithm, announced_at, given_up FROM announced_keys
        ORDER BY announced_at, cka_id";
    GIVE_UP = "UPDATE announced_keys SET given_up = 1 WHERE cka_id = $1";
    FORGET = "DELETE FROM announced_keys WHERE cka_id = $1";
}

pub(super) fn purpose_of(name: &str) -> Result<KeyPurpose> {
    KeyPurpose::named(name).ok_or(StoreFailure::Corrupt("purpose of a key"))
}

/// What a pair signs with; empty for a secret key.
pub(super) fn algorithm_of(key: &HsmKey) -> &'static str {
    key.public.as_ref().map_or("", |jwk| jwk.algorithm.name())
}

/// What only one active key has.
pub(super) struct Place<'k> {
    tenant: &'k TenantId,
    hsm: &'k HsmName,
    purpose: KeyPurpose,
    algorithm: &'static str,
}

impl<'k> Place<'k> {
    pub(super) fn of(key: &'k HsmKey) -> Self {
        Self { tenant: &key.tenant, hsm: &key.hsm, purpose: key.purpose, algorithm: algorithm_of(key) }
    }

    fn of_announced(key: &'k AnnouncedKey) -> Self {
        Self { tenant: &key.tenant, hsm: &key.hsm, purpose: key.purpose, algorithm: key.algorithm.name() }
    }

    /// A query about this place.
    fn asked(&self, query: Query) -> Query {
        query.bind(self.tenant).bind(self.hsm).bind(self.purpose.name()).bind(self.algorithm)
    }

    /// How many keys in a state have this place.
    async fn keys(&self, state: &str, connection: &mut Connection) -> Result<usize> {
        Ok(self.asked(rows(&IN_STATE)).bind(state).fetch_all(connection).await?.len())
    }
}

async fn count(query: Query, connection: &mut Connection) -> Result<i64> {
    query.fetch_one(connection).await?.try_get(0)
}

/// How many active keys have the place of this key.
/// Errors: [`StoreFailure::Forged`] where one of them does not verify: until somebody removes it, that place alone has no other.
pub(super) async fn count_active(key: &HsmKey, connection: &mut Connection) -> Result<usize> {
    Place::of(key).keys("active", connection).await
}

/// Whether a place has a key beside which another one may not stand.
pub(super) async fn is_taken(place: &Place<'_>, beside: Beside, connection: &mut Connection) -> Result<bool> {
    let has_next = beside != Beside::Any && place.keys("next", connection).await? > 0;
    Ok(has_next || (beside == Beside::Nobody && place.keys("active", connection).await? > 0))
}

/// Whether an HSM token belongs to the deployment, and was not retired.
pub(super) async fn is_member(hsm: &HsmName, connection: &mut Connection) -> Result<bool> {
    let query = query(IS_MEMBER).bind(hsm);
    Ok(query.fetch_one(connection).await?.try_get::<i64, _>(0)? == 1)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn is_in_stage(key: &HsmKey, connection: &mut Connection) -> Result<bool> {
    let query = query(IN_STAGE).bind(&key.key_id).bind(&key.hsm).bind(key.state.name()).bind(key.state.since());
    Ok(query.fetch_one(connection).await?.try_get::<i64, _>(0)? == 1)
}

/// All is looked at before anything is changed: nobody else changes the ring meanwhile, and there is no way back.
pub(super) async fn hand_over(change: &HandOver, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let HandOver { successor, predecessor, at, token_lifetime, margin } = change;
    if !is_in_stage(successor, connection).await? || !is_member(&successor.hsm, connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    if let Some(key) = predecessor
        && !is_in_stage(key, connection).await?
    {
        return Ok(WriteOutcome::nothing(false));
    }
    let allowed = usize::from(predecessor.is_some());
    if count_active(successor, connection).await? != allowed {
        return Ok(WriteOutcome::nothing(false));
    }
    if let Some(key) = predecessor {
        let Some(row) = find("keys", &[&key.key_id, &key.hsm], &mut *connection).await? else {
            return Ok(WriteOutcome::nothing(false));
        };
        let lifetime = row.value::<i64>("token_lifetime")?.max(millis(*token_lifetime));
        let until = at.unix_millis().saturating_add(lifetime).saturating_add(millis(*margin));
        let retiring = fields().set("state", "retiring").set("state_since", *at).set("state_until", until);
        authority::change(row, retiring, &mut *connection).await?;
    }
    let Some(row) = find("keys", &[&successor.key_id, &successor.hsm], &mut *connection).await? else {
        return Err(StoreFailure::Corrupt("row"));
    };
    let active = fields().set("state", "active").set("state_since", *at).set("token_lifetime", millis(*token_lifetime));
    authority::change(row, active, connection).await?;
    Ok(WriteOutcome::renewed(true))
}

/// No snapshot holds a lifetime, so that nothing is renewed.
pub(super) async fn raise_lifetime(
    (tenant, lifetime): &(TenantId, Duration),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    query(RAISE).bind(tenant).bind(millis(*lifetime)).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

pub(super) fn lifetime_query(key: &KeyId) -> Query {
    query(LIFETIME).bind(key)
}

/// The longest lifetime of the key's rows; none where it has none.
pub(super) fn lifetime_of(row: &Row) -> Result<Duration> {
    let millis: Option<i64> = row.try_get("token_lifetime")?;
    Ok(Duration::from_millis(u64::try_from(millis.unwrap_or(0)).map_err(|_| StoreFailure::Corrupt("token_lifetime"))?))
}

pub(super) async fn announce(
    (key, beside, since): &(AnnouncedKey, Beside, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let place = Place::of_announced(key);
    let announced = place.asked(query(COUNT_ANNOUNCED)).bind(*since);
    let is_being_made = *beside != Beside::Any && count(announced, connection).await? > 0;
    if is_being_made || is_taken(&place, *beside, connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    query(ANNOUNCE)
        .bind(&key.cka_id)
        .bind(&key.tenant)
        .bind(&key.hsm)
        .bind(key.purpose.name())
        .bind(key.algorithm.name())
        .bind(key.at)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::applied(true))
}

pub(super) fn announced_query() -> Query {
    query(ANNOUNCED)
}

pub(super) fn announced_of(row: &Row) -> Result<AnnouncedKey> {
    Ok(AnnouncedKey {
        tenant: row.try_get("tenant")?,
        hsm: row.try_get("hsm")?,
        purpose: purpose_of(row.try_get("purpose")?)?,
        algorithm: row
            .try_get::<&str, _>("algorithm")?
            .parse()
            .map_err(|_| StoreFailure::Corrupt("algorithm of a key"))?,
        cka_id: row.try_get("cka_id")?,
        at: row.try_get("announced_at")?,
        given_up: row.try_get("given_up")?,
    })
}

pub(super) async fn give_up(cka_id: &Vec<u8>, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(GIVE_UP).bind(cka_id).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

/// Forgets an announced pair; nothing changes where there was none.
pub(super) async fn forget(cka_id: &[u8], connection: &mut Connection) -> Result<()> {
    query(FORGET).bind(cka_id).execute(connection).await?;
    Ok(())
}

#[expect(clippy::ptr_arg, reason = "the writer keeps what a write is about, and lends that very type")]
pub(super) async fn forget_announced(cka_id: &Vec<u8>, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    forget(cka_id, connection).await?;
    Ok(WriteOutcome::applied(()))
}
