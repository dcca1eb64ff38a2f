//! Secrets on their way to HSM tokens that the node which sealed them does not reach, and the transport keys that they are
//! encrypted to.

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::array;
use super::secrets_at_rest::{cursor_of, owning, place, secret_of};
use super::texts::texts;
use signet_core::keys::{HsmName, TenantId};
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_store::{Envelopes, SecretAtRest, SecretCursor, StoreError, VouchedTransport, WaitingEnvelope};

texts! {
    WAITING = "SELECT s.tenant, s.kind, s.row_id, s.envelope, CAST(1 AS BIGINT) AS waits, f.user_id, f.kind AS factor_kind, f.totp_hash, f.detail,
            t.detail AS stock_detail
        FROM envelopes s
        LEFT JOIN factors f ON s.kind = 'factors.secret' AND f.tenant = s.tenant AND f.id = s.row_id
        LEFT JOIN stock t ON s.kind = 'stock.secret' AND t.tenant = s.tenant AND t.id = s.row_id
        WHERE s.hsm = $1 AND (s.tenant, s.kind, s.row_id) > ($2, $3, $4)
        ORDER BY s.tenant, s.kind, s.row_id LIMIT $5";
    TAKE = "DELETE FROM envelopes WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $4 AND envelope = $5";
    REPLACE = "UPDATE envelopes SET envelope = $6
        WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $4 AND envelope = $5";
    // Only beside a seal that is there: what has none was removed.
    SEAL = "INSERT INTO seals (tenant, kind, row_id, hsm, blob) SELECT $1, $2, $3, $4, $5
        WHERE EXISTS (SELECT 1 FROM seals WHERE tenant = $1 AND kind = $2 AND row_id = $3) ON CONFLICT DO NOTHING";
    TRANSPORTS = "SELECT hsm, key_id, mac, complete_at FROM transports ORDER BY hsm";
    VOUCH = "INSERT INTO transports (hsm, key_id, mac) VALUES ($1, $2, $3)
        ON CONFLICT (hsm) DO UPDATE SET key_id = excluded.key_id, mac = excluded.mac
        WHERE transports.key_id <> excluded.key_id OR transports.mac <> excluded.mac";
    COMPLETE = "UPDATE transports SET complete_at = $2 WHERE hsm = $1 AND complete_at IS NULL";
}

fn waiting_of(row: &Row) -> Result<WaitingEnvelope> {
    Ok(WaitingEnvelope { at: cursor_of(row)?, secret: secret_of(row)?, envelope: row.try_get("envelope")? })
}

fn transport_of(row: &Row) -> Result<VouchedTransport> {
    let key_id: String = row.try_get("key_id")?;
    let complete_at = row.try_get("complete_at")?;
    Ok(VouchedTransport { hsm: row.try_get("hsm")?, key_id: KeyId::new(key_id), mac: array(row, "mac")?, complete_at })
}

/// What becomes of an envelope: it is removed, and where it opened the seal is there instead.
struct Taking {
    hsm: HsmName,
    at: SecretCursor,
    envelope: Vec<u8>,
    seal: Option<Vec<u8>>,
}

async fn take(taking: &Taking, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let SecretCursor { tenant, kind, row } = &taking.at;
    let of_row = |text| query(text).bind(tenant).bind(kind).bind(row).bind(&taking.hsm);
    let removed = of_row(TAKE).bind(&taking.envelope).execute(&mut *connection).await?;
    if removed.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    let Some(seal) = &taking.seal else {
        // Whoever can make another one looks where the number has risen.
        return Ok(WriteOutcome::renewed(true));
    };
    of_row(SEAL).bind(seal).execute(connection).await?;
    Ok(WriteOutcome::applied(true))
}

async fn replace(
    (hsm, at, envelope, replacement): &(HsmName, SecretCursor, Vec<u8>, Vec<u8>),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let SecretCursor { tenant, kind, row } = at;
    let of_row = query(REPLACE).bind(tenant).bind(kind).bind(row).bind(hsm).bind(envelope).bind(replacement);
    Ok(WriteOutcome::applied_if(of_row.execute(connection).await?.rows_affected() > 0))
}

async fn vouch(
    VouchedTransport { hsm, key_id, mac, .. }: &VouchedTransport,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let vouched = query(VOUCH).bind(hsm).bind(key_id).bind(mac.as_slice()).execute(connection).await?;
    Ok(WriteOutcome::renewed_if(vouched.rows_affected() > 0))
}

async fn complete((hsm, at): &(HsmName, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(COMPLETE).bind(hsm).bind(at).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

impl SqlStore {
    async fn remove_envelope(
        &self,
        operation: &'static str,
        scope: Scope,
        (hsm, at, envelope): (&HsmName, SecretCursor, &[u8]),
        seal: Option<&[u8]>,
    ) -> std::result::Result<bool, StoreError> {
        let (envelope, seal) = (envelope.to_vec(), seal.map(<[u8]>::to_vec));
        self.writer.change(operation, scope, Taking { hsm: hsm.clone(), at, envelope, seal }, vec![], take).await
    }
}

#[async_trait]
impl Envelopes for SqlStore {
    async fn waiting_envelopes(
        &self,
        hsm: &HsmName,
        after: Option<&SecretCursor>,
        limit: u32,
    ) -> std::result::Result<Vec<WaitingEnvelope>, StoreError> {
        let (tenant, kind, row) = after.map_or(("", "", ""), |at| (&at.tenant, &at.kind, &at.row));
        let query = query(WAITING).bind(hsm).bind(tenant).bind(kind).bind(row).bind(limit);
        self.read_each("list envelopes", query, waiting_of).await
    }

    async fn seal_for_envelope(
        &self,
        hsm: &HsmName,
        secret: &SecretAtRest,
        envelope: &[u8],
        seal: &[u8],
    ) -> std::result::Result<bool, StoreError> {
        let (kind, row) = place(&secret.owner);
        let at = SecretCursor { tenant: secret.tenant.to_string(), kind: kind.to_owned(), row: row.into_owned() };
        self.remove_envelope("take an envelope", owning(secret), (hsm, at, envelope), Some(seal)).await
    }

    async fn refuse_envelope(
        &self,
        hsm: &HsmName,
        at: &SecretCursor,
        envelope: &[u8],
    ) -> std::result::Result<bool, StoreError> {
        let scope = Scope::shared(Name::KeyRing).raising(&TenantId::default_tenant(), Noun::Secrets);
        self.remove_envelope("refuse an envelope", scope, (hsm, at.clone(), envelope), None).await
    }

    async fn replace_envelope(
        &self,
        hsm: &HsmName,
        at: &SecretCursor,
        envelope: &[u8],
        replacement: &[u8],
    ) -> std::result::Result<bool, StoreError> {
        let input = (hsm.clone(), at.clone(), envelope.to_vec(), replacement.to_vec());
        self.writer.change("replace an envelope", Scope::shared(Name::KeyRing), input, vec![], replace).await
    }

    async fn vouched_transports(&self) -> std::result::Result<Vec<VouchedTransport>, StoreError> {
        self.read_each("list transport keys", query(TRANSPORTS), transport_of).await
    }

    async fn vouch_transport(&self, transport: &VouchedTransport) -> std::result::Result<bool, StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&TenantId::default_tenant(), Noun::Members);
        self.writer.change("vouch for a transport key", scope, transport.clone(), vec![], vouch).await
    }

    async fn complete_transport(&self, hsm: &HsmName, at: Timestamp) -> std::result::Result<(), StoreError> {
        self.writer
            .change("complete an HSM token", Scope::alone(Name::KeyRing), (hsm.clone(), at), vec![], complete)
            .await
    }
}
