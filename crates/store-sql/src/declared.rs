//! What a file stated, as it is added and removed beside its thing.

use super::engine::{Connection, Query, Result, query};
use super::texts::texts;
use signet_core::keys::TenantId;
use signet_store::DeclaredNoun;

texts! {
    MARK = "INSERT INTO declared (tenant, noun, id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    FORGET = "DELETE FROM declared WHERE tenant = $1 AND noun = $2 AND id = $3";
    LIST = "SELECT id FROM declared WHERE tenant = $1 AND noun = $2 AND id > $3 ORDER BY id LIMIT $4";
}

/// Notes that a file stated a thing.
pub(super) async fn mark(connection: &mut Connection, tenant: &TenantId, noun: DeclaredNoun, id: &str) -> Result<()> {
    query(MARK).bind(tenant).bind(noun.name()).bind(id).execute(connection).await.map(drop)
}

/// Asks for a page of what files stated.
pub(super) fn list(tenant: &TenantId, noun: DeclaredNoun, after: &str, limit: u32) -> Query {
    query(LIST).bind(tenant).bind(noun.name()).bind(after.to_owned()).bind(limit)
}

/// Forgets a thing that is removed.
pub(super) async fn forget(connection: &mut Connection, tenant: &TenantId, noun: DeclaredNoun, id: &str) -> Result<()> {
    query(FORGET).bind(tenant).bind(noun.name()).bind(id).execute(connection).await.map(drop)
}
