//! Clients.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, query};
use super::grants;
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, joined, list, set};
use super::texts::texts;
use signet_core::audit::Draft;
use signet_core::keys::TenantId;
use signet_core::oauth::ClientAuthentication;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{Client, ClientId, Clients, GrantType, StoreError, StoreFailure};

texts! {
    ADD = "INSERT INTO clients (tenant, id, name, secret_hash, grant_types, scopes, audiences, enabled, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    BY_ID = "SELECT tenant, id, name, secret_hash, grant_types, scopes, audiences, enabled, created_at
        FROM clients WHERE tenant = $1 AND id = $2";
    LIST = "SELECT tenant, id, name, secret_hash, grant_types, scopes, audiences, enabled, created_at
        FROM clients WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3";
    SET_ENABLED = "UPDATE clients SET enabled = $3 WHERE tenant = $1 AND id = $2";
    SET_SECRET = "UPDATE clients SET secret_hash = $3 WHERE tenant = $1 AND id = $2";
    REMOVE_GRANTS = "DELETE FROM grants WHERE tenant = $1 AND client_id = $2";
    REMOVE = "DELETE FROM clients WHERE tenant = $1 AND id = $2";
}

async fn add(client: &Client, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let ClientAuthentication::Secret(secret) = &client.authentication;
    let added = query(ADD)
        .bind(&client.tenant)
        .bind(&client.id)
        .bind(&client.name)
        .bind(secret)
        .bind(grant_names(&client.grants))
        .bind(joined(&client.scopes))
        .bind(joined(&client.audiences))
        .bind(client.enabled)
        .bind(client.created_at)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::renewed_if(added.rows_affected() > 0))
}

async fn set_enabled(
    (tenant, id, enabled, at): &(TenantId, ClientId, bool, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let set = query(SET_ENABLED).bind(tenant).bind(id).bind(enabled).execute(&mut *connection).await?;
    if set.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    if !enabled {
        grants::end_all_of_client(connection, tenant, id, *at).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

async fn set_secret(
    (tenant, id, secret): &(TenantId, ClientId, SecretHash),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let set = query(SET_SECRET).bind(tenant).bind(id).bind(secret).execute(connection).await?;
    Ok(WriteOutcome::renewed_if(set.rows_affected() > 0))
}

/// Refresh tokens go with their grants, by their foreign key.
async fn remove((tenant, id): &(TenantId, ClientId), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    query(REMOVE_GRANTS).bind(tenant).bind(id).execute(&mut *connection).await?;
    let removed = query(REMOVE).bind(tenant).bind(id).execute(connection).await?;
    Ok(WriteOutcome::renewed_if(removed.rows_affected() > 0))
}

/// What a change of a client locks. Every grant and rotation of its rests on it.
fn changing(tenant: &TenantId, id: &ClientId) -> Scope {
    Scope::alone(Name::Client(tenant, id)).raising(tenant, Noun::Clients)
}

fn grant_names(grants: &BTreeSet<GrantType>) -> String {
    let names: Vec<String> = grants.iter().map(|grant| grant.name().to_owned()).collect();
    joined(&names)
}

fn grants_of(row: &Row) -> Result<BTreeSet<GrantType>> {
    let names = list(row, "grant_types")?;
    names.iter().map(|name: &String| name.parse().map_err(|_| StoreFailure::Corrupt("grant_types"))).collect()
}

fn client_of(row: &Row) -> Result<Client> {
    Ok(Client {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        authentication: ClientAuthentication::Secret(SecretHash::from_stored(array(row, "secret_hash")?)),
        grants: grants_of(row)?,
        scopes: set(row, "scopes")?,
        audiences: set(row, "audiences")?,
        enabled: row.try_get("enabled")?,
        created_at: row.try_get("created_at")?,
    })
}

#[async_trait]
impl Clients for SqlStore {
    async fn add_client(&self, client: &Client, audit: Vec<Draft>) -> Result<bool, StoreError> {
        let scope = changing(&client.tenant, &client.id);
        self.writer.change("add client", scope, client.clone(), audit, add).await
    }

    async fn client(&self, tenant: &TenantId, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.read_one("find client", query(BY_ID).bind(tenant).bind(id), client_of).await
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<Client>, StoreError> {
        // No name is empty, so every name stands after the empty one.
        let page = query(LIST).bind(tenant).bind(after.unwrap_or_default()).bind(limit);
        self.read_each("list clients", page, client_of).await
    }

    async fn set_client_enabled(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<Draft>,
    ) -> Result<bool, StoreError> {
        let scope = changing(tenant, id).and_alone(Name::ManyGrants(tenant));
        self.writer.change("enable client", scope, (tenant.clone(), id.clone(), enabled, at), audit, set_enabled).await
    }

    async fn set_client_secret(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        secret: &SecretHash,
        audit: Vec<Draft>,
    ) -> Result<bool, StoreError> {
        self.writer
            .change("set client secret", changing(tenant, id), (tenant.clone(), id.clone(), *secret), audit, set_secret)
            .await
    }

    async fn remove_client(&self, tenant: &TenantId, id: &ClientId, audit: Vec<Draft>) -> Result<bool, StoreError> {
        let scope = changing(tenant, id).and_alone(Name::ManyGrants(tenant));
        self.writer.change("remove client", scope, (tenant.clone(), id.clone()), audit, remove).await
    }
}
