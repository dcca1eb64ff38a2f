//! Clients.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{Fields, change, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, ToValue as _, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, joined, list, set as texts_of};
use super::texts::texts;
use super::{declared, grants};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::networks::Network;
use signet_core::oauth::{ClientAuthentication, Reach};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{Client, ClientId, Clients, DeclaredNoun, GrantType, StoreError, StoreFailure};

selections! {
    BY_ID = "SELECT {clients} FROM clients WHERE tenant = $1 AND id = $2";
    LIST = "SELECT {clients} FROM clients WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3";
}

insertions! {
    ADD = "clients" "ON CONFLICT DO NOTHING";
}

texts! {
    REMOVE_GRANTS = "DELETE FROM grants WHERE tenant = $1 AND client_id = $2";
    REMOVE_SOME_GRANTS = "DELETE FROM grants WHERE tenant = $1 AND id IN (
        SELECT id FROM grants WHERE tenant = $1 AND client_id = $2 ORDER BY id LIMIT $3)";
    REMOVE = "DELETE FROM clients WHERE tenant = $1 AND id = $2";
}

async fn add(client: &Client, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let ClientAuthentication::Secret(secret) = &client.authentication;
    let row = fields()
        .set("tenant", &client.tenant)
        .set("id", &client.id)
        .set("name", &client.name)
        .set("secret_hash", secret)
        .set("grant_types", grant_names(&client.grants))
        .set("scopes", joined(&client.scopes))
        .set("audiences", joined(&client.audiences))
        .set("allow_from", joined(&client.reach.allow_from))
        .set("origins", joined(&client.reach.origins))
        .set("enabled", client.enabled)
        .set("created_at", client.created_at);
    Ok(WriteOutcome::renewed_if(insert(&ADD, row, vec![], connection).await?))
}

async fn declare(client: &Client, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let added = add(client, &mut *connection).await?;
    if added.answer {
        declared::mark(connection, &client.tenant, DeclaredNoun::Clients, client.id.as_str()).await?;
    }
    Ok(added)
}

async fn set_enabled(
    (tenant, id, enabled): &(TenantId, ClientId, bool),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    Ok(WriteOutcome::renewed_if(set((tenant, id), fields().set("enabled", *enabled), connection).await?))
}

/// Ends a page of the families of a client that is disabled. Returns where the next page begins; `None` where none is left, or the
/// client is enabled.
async fn end_grants(
    (tenant, id, after, at): &(TenantId, ClientId, String, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<Option<String>>> {
    let Some(client) = find("clients", &[tenant, id], &mut *connection).await? else {
        return Ok(WriteOutcome::nothing(None));
    };
    if client.value::<bool>("enabled")? {
        return Ok(WriteOutcome::nothing(None));
    }
    Ok(WriteOutcome::nothing(grants::end_page_of_client(connection, (tenant, id), after, *at).await?))
}

async fn set_secret(
    (tenant, id, secret): &(TenantId, ClientId, SecretHash),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    Ok(WriteOutcome::renewed_if(set((tenant, id), fields().set("secret_hash", secret), connection).await?))
}

/// The columns of what may change of a client beside whether it may ask.
const EDITABLE: [&str; 5] = ["grant_types", "scopes", "audiences", "allow_from", "origins"];

/// What stands in them.
fn editable(client: &Client) -> [String; 5] {
    let reach = &client.reach;
    let rights = [grant_names(&client.grants), joined(&client.scopes), joined(&client.audiences)];
    let [grants, scopes, audiences] = rights;
    [grants, scopes, audiences, joined(&reach.allow_from), joined(&reach.origins)]
}

async fn edit((seen, client): &(Client, Client), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let Some(row) = find("clients", &[&client.tenant, &client.id], &mut *connection).await? else {
        return Ok(WriteOutcome::nothing(false));
    };
    let mut is_as_seen = row.value::<bool>("enabled")? == seen.enabled;
    let mut set = fields().set("enabled", client.enabled);
    for (column, (seen, new)) in EDITABLE.into_iter().zip(editable(seen).into_iter().zip(editable(client))) {
        is_as_seen &= row.value::<String>(column)? == seen;
        set = set.set(column, new);
    }
    if !is_as_seen {
        return Ok(WriteOutcome::nothing(false));
    }
    Ok(WriteOutcome::renewed_if(change(row, set, connection).await?))
}

/// Sets something of a client; `false` where there is none.
async fn set((tenant, id): (&TenantId, &ClientId), fields: Fields, connection: &mut Connection) -> Result<bool> {
    match find("clients", &[tenant, id], connection).await? {
        Some(client) => change(client, fields, connection).await,
        None => Ok(false),
    }
}

/// How many families of a client that is removed go in one commit.
const REMOVED_AT_ONCE: u32 = 500;

/// Removes some families of a client. Refresh tokens go with their grants, by their foreign key.
async fn remove_some_grants(
    (tenant, id): &(TenantId, ClientId),
    connection: &mut Connection,
) -> Result<WriteOutcome<u64>> {
    let removed = query(REMOVE_SOME_GRANTS).bind(tenant).bind(id).bind(REMOVED_AT_ONCE).execute(connection).await?;
    Ok(WriteOutcome::nothing(removed.rows_affected()))
}

/// Removes the client with the families that are left.
async fn remove((tenant, id): &(TenantId, ClientId), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    declared::forget(connection, tenant, DeclaredNoun::Clients, id.as_str()).await?;
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

fn networks_of(row: &Row) -> Result<BTreeSet<Network>> {
    let names = list(row, "allow_from")?;
    names.iter().map(|name: &String| name.parse().map_err(|_| StoreFailure::Corrupt("allow_from"))).collect()
}

fn client_of(row: &Row) -> Result<Client> {
    Ok(Client {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        authentication: ClientAuthentication::Secret(SecretHash::from_stored(array(row, "secret_hash")?)),
        grants: grants_of(row)?,
        scopes: texts_of(row, "scopes")?,
        audiences: texts_of(row, "audiences")?,
        reach: Reach { allow_from: networks_of(row)?, origins: texts_of(row, "origins")? },
        enabled: row.try_get("enabled")?,
        created_at: row.try_get("created_at")?,
    })
}

#[async_trait]
impl Clients for SqlStore {
    async fn add_client(&self, client: &Client, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let scope = changing(&client.tenant, &client.id);
        self.writer.change("add client", scope, client.clone(), audit, add).await
    }

    async fn declare_client(&self, client: &Client, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let scope = changing(&client.tenant, &client.id);
        self.writer.change("declare client", scope, client.clone(), audit, declare).await
    }

    async fn client(&self, tenant: &TenantId, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.read_one("find client", rows(&BY_ID).bind(tenant).bind(id), client_of).await
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<Client>, StoreError> {
        // No name is empty, so every name stands after the empty one.
        let after = ("name", after.unwrap_or_default().to_value());
        let of = |rows: &[Row]| rows.iter().map(client_of).collect();
        self.read_page("list clients", rows(&LIST).bind(tenant), after, limit, of).await
    }

    async fn set_client_enabled(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let set = (tenant.clone(), id.clone(), enabled);
        if enabled {
            // What was begun before it was disabled must not live again, also where that was cut short.
            self.end_grants_of_client(tenant, id, at).await?;
            return self.writer.change("enable client", changing(tenant, id), set, audit, set_enabled).await;
        }
        // From this commit on none of its families is good for anything; they are many, and end page by page, so that nobody waits for
        // all of them.
        let is_set = self.writer.change("disable client", changing(tenant, id), set, audit, set_enabled).await?;
        self.end_grants_of_client(tenant, id, at).await?;
        Ok(is_set)
    }

    async fn change_client(
        &self,
        seen: &Client,
        client: &Client,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let (tenant, id) = (&client.tenant, &client.id);
        let input = (seen.clone(), client.clone());
        // As where it is enabled or disabled alone.
        if client.enabled && !seen.enabled {
            self.end_grants_of_client(tenant, id, at).await?;
        }
        let is_changed = self.writer.change("change client", changing(tenant, id), input, audit, edit).await?;
        if is_changed && !client.enabled {
            self.end_grants_of_client(tenant, id, at).await?;
        }
        Ok(is_changed)
    }

    async fn set_client_secret(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        secret: &SecretHash,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.writer
            .change("set client secret", changing(tenant, id), (tenant.clone(), id.clone(), *secret), audit, set_secret)
            .await
    }

    async fn remove_client(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = || changing(tenant, id).and_alone(Name::ManyGrants(tenant));
        // They may be very many: nobody waits for all of them. Where this is cut short, it is done again.
        loop {
            let operation = "remove the client's families";
            let client = (tenant.clone(), id.clone());
            let removed = self.writer.change(operation, scope(), client, vec![], remove_some_grants).await?;
            if removed < u64::from(REMOVED_AT_ONCE) {
                break;
            }
        }
        self.writer.change("remove client", scope(), (tenant.clone(), id.clone()), audit, remove).await
    }
}

impl SqlStore {
    /// Ends the families of a client that is disabled.
    async fn end_grants_of_client(&self, tenant: &TenantId, id: &ClientId, at: Timestamp) -> Result<(), StoreError> {
        let mut after = Some(String::new());
        while let Some(last) = after {
            let scope = changing(tenant, id).and_alone(Name::ManyGrants(tenant));
            let page = (tenant.clone(), id.clone(), last, at);
            after = self.writer.change("end the client's families", scope, page, vec![], end_grants).await?;
        }
        Ok(())
    }
}
