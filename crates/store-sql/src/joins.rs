//! Nodes that ask to be let in.

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, query};
use super::locks::{Name, Scope};
use super::membership::token_info;
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::keys::{HsmName, TenantId};
use signet_jose::{Jwk, KeyId};
use signet_store::{JoinRequest, Joins, StoreError, StoreFailure};

texts! {
    REQUESTS = "SELECT hsm, node, label, manufacturer, model, serial, firmware, cka_id, public_jwk, requested_at, admission
        FROM joins ORDER BY hsm";
    ASK = "INSERT INTO joins (hsm, node, label, manufacturer, model, serial, firmware, cka_id, public_jwk, requested_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (hsm) DO UPDATE SET node = excluded.node, label = excluded.label, manufacturer = excluded.manufacturer,
            model = excluded.model, serial = excluded.serial, firmware = excluded.firmware, cka_id = excluded.cka_id,
            public_jwk = excluded.public_jwk, requested_at = excluded.requested_at, admission = NULL";
    ADMIT = "UPDATE joins SET admission = $3 WHERE hsm = $1 AND public_jwk = $2";
    END = "DELETE FROM joins WHERE hsm = $1";
}

fn request_of(row: &Row) -> Result<JoinRequest> {
    Ok(JoinRequest {
        hsm: row.try_get("hsm")?,
        node: row.try_get("node")?,
        token: token_info(row)?,
        cka_id: row.try_get("cka_id")?,
        transport: Jwk::from_json(row.try_get("public_jwk")?).map_err(|_| StoreFailure::Corrupt("joins"))?,
        requested_at: row.try_get("requested_at")?,
        admission: row.try_get("admission")?,
    })
}

async fn ask(request: &JoinRequest, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(ASK)
        .bind(&request.hsm)
        .bind(&request.node)
        .bind(&request.token.label)
        .bind(&request.token.manufacturer)
        .bind(&request.token.model)
        .bind(&request.token.serial)
        .bind(&request.token.firmware)
        .bind(&request.cka_id)
        .bind(request.transport.to_json().to_string())
        .bind(request.requested_at)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::nothing(()))
}

async fn admit(
    (request, admission): &(JoinRequest, String),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let transport = request.transport.to_json().to_string();
    let admitted = query(ADMIT).bind(&request.hsm).bind(&transport).bind(admission).execute(connection).await?;
    Ok(WriteOutcome::nothing(admitted.rows_affected() > 0))
}

async fn end(hsm: &HsmName, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(END).bind(hsm).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

fn joining(hsm: &HsmName) -> Scope {
    Scope::alone(Name::Once(&TenantId::default_tenant(), "join", hsm.as_str().as_bytes()))
}

#[async_trait]
impl Joins for SqlStore {
    async fn ask_to_join(&self, request: &JoinRequest) -> std::result::Result<(), StoreError> {
        self.writer.change("ask to join", joining(&request.hsm), request.clone(), vec![], ask).await
    }

    async fn join_requests(&self) -> std::result::Result<Vec<JoinRequest>, StoreError> {
        self.read_each("list nodes that ask to join", query(REQUESTS), request_of).await
    }

    async fn admit(&self, hsm: &HsmName, transport: &KeyId, admission: &str) -> std::result::Result<bool, StoreError> {
        let requests = self.join_requests().await?;
        let is_it = |request: &JoinRequest| request.hsm == *hsm && request.transport.key_id == *transport;
        let Some(request) = requests.into_iter().find(is_it) else { return Ok(false) };
        self.writer.change("admit a node", joining(hsm), (request, admission.to_owned()), vec![], admit).await
    }

    async fn end_join(&self, hsm: &HsmName) -> std::result::Result<(), StoreError> {
        self.writer.change("end a join", joining(hsm), hsm.clone(), vec![], end).await
    }
}
