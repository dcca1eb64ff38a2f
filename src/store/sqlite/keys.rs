//! Keys that the deployment depends on.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::fault::{Fault, Result};
use super::row::{moment, moment_if};
use super::texts::texts;
use super::writer::Effect;
use super::{SqliteStore, done};
use crate::audit::Draft;
use crate::clock::Timestamp;
use crate::jose::{Jwk, KeyId};
use crate::keys::{HsmKey, HsmName, KeyPurpose, KeyState, TenantId};
use crate::store::{Keys, StoreError};

texts! {
    ADD = "INSERT INTO keys (tenant, key_id, hsm, purpose, cka_id, public_jwk, state, state_since, state_until, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    LIST = "SELECT tenant, key_id, hsm, purpose, cka_id, public_jwk, state, state_since, state_until, created_at
        FROM keys ORDER BY created_at, key_id, hsm";
    MOVE = "UPDATE keys SET state = $5, state_since = $6, state_until = $7
        WHERE key_id = $1 AND state = $2 AND state_since = $3 AND state_until IS NOT DISTINCT FROM $4";
}

/// A stage as three columns: its name, its moment, and until when it lasts.
const fn columns(state: &KeyState) -> (&'static str, Timestamp, Option<Timestamp>) {
    match *state {
        KeyState::Next { published_at } => ("next", published_at, None),
        KeyState::Active { since } => ("active", since, None),
        KeyState::Retiring { since, until } => ("retiring", since, Some(until)),
        KeyState::Destroyed { at } => ("destroyed", at, None),
    }
}

fn state_of(row: &SqliteRow) -> Result<KeyState> {
    let since = moment(row, "state_since")?;
    match (row.try_get("state")?, moment_if(row, "state_until")?) {
        ("next", None) => Ok(KeyState::Next { published_at: since }),
        ("active", None) => Ok(KeyState::Active { since }),
        ("retiring", Some(until)) => Ok(KeyState::Retiring { since, until }),
        ("destroyed", None) => Ok(KeyState::Destroyed { at: since }),
        _ => Err(Fault::corrupt("state of a key")),
    }
}

fn purpose_of(name: &str) -> Result<KeyPurpose> {
    KeyPurpose::ALL.into_iter().find(|purpose| purpose.name() == name).ok_or(Fault::corrupt("purpose of a key"))
}

fn public_of(row: &SqliteRow) -> Result<Option<Jwk>> {
    let json: Option<&str> = row.try_get("public_jwk")?;
    json.map(Jwk::from_json).transpose().map_err(|_| Fault::corrupt("public key"))
}

fn key_of(row: &SqliteRow) -> Result<HsmKey> {
    Ok(HsmKey {
        tenant: TenantId::new(row.try_get::<String, _>("tenant")?),
        hsm: HsmName::new(row.try_get::<String, _>("hsm")?),
        purpose: purpose_of(row.try_get("purpose")?)?,
        key_id: KeyId::new(row.try_get::<String, _>("key_id")?),
        cka_id: row.try_get("cka_id")?,
        public: public_of(row)?,
        state: state_of(row)?,
        created_at: moment(row, "created_at")?,
    })
}

async fn add(key: &HsmKey, connection: &mut SqliteConnection) -> Result<Effect<()>> {
    let (state, since, until) = columns(&key.state);
    sqlx::query(ADD)
        .bind(key.tenant.as_str())
        .bind(key.key_id.as_str())
        .bind(key.hsm.as_str())
        .bind(key.purpose.name())
        .bind(key.cka_id.as_slice())
        .bind(key.public.as_ref().map(|jwk| jwk.to_json().to_string()))
        .bind(state)
        .bind(since.unix_millis())
        .bind(until.map(Timestamp::unix_millis))
        .bind(key.created_at.unix_millis())
        .execute(connection)
        .await?;
    Ok(Effect::renewed(()))
}

async fn move_stage(
    (key, from, to): &(KeyId, KeyState, KeyState),
    connection: &mut SqliteConnection,
) -> Result<Effect<bool>> {
    let (from, from_since, from_until) = columns(from);
    let (to, to_since, to_until) = columns(to);
    let moved = sqlx::query(MOVE)
        .bind(key.as_str())
        .bind(from)
        .bind(from_since.unix_millis())
        .bind(from_until.map(Timestamp::unix_millis))
        .bind(to)
        .bind(to_since.unix_millis())
        .bind(to_until.map(Timestamp::unix_millis))
        .execute(connection)
        .await?;
    Ok(if moved.rows_affected() == 0 { Effect::nothing(false) } else { Effect::renewed(true) })
}

#[async_trait]
impl Keys for SqliteStore {
    async fn add_key(&self, key: &HsmKey, told: Vec<Draft>) -> std::result::Result<(), StoreError> {
        self.writer.change("add key", key.clone(), done(told), |key, connection| Box::pin(add(key, connection))).await
    }

    async fn keys(&self) -> std::result::Result<Vec<HsmKey>, StoreError> {
        let rows = self.read_all("list keys", sqlx::query(LIST)).await?;
        rows.iter().map(key_of).collect::<Result<_>>().map_err(|fault| fault.during("list keys"))
    }

    async fn move_key(
        &self,
        key: &KeyId,
        from: &KeyState,
        to: &KeyState,
        told: Vec<Draft>,
    ) -> std::result::Result<bool, StoreError> {
        self.writer
            .change("move key", (key.clone(), *from, *to), done(told), |input, connection| {
                Box::pin(move_stage(input, connection))
            })
            .await
    }
}
