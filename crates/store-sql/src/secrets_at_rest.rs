//! Secrets at rest, of whatever they are: which tokens open them, and which can't yet.

use async_trait::async_trait;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::authority::RowMacs;
use super::engine::{Connection, Result, Row, Text, query};
use super::factors::enclosed_of;
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{add_seal, number};
use super::seals::{self, DEPLOYMENT, FACTOR, OTP_CLIENT, OTP_KEY, PASSWORD, STOCK};
use super::texts::texts;
use super::{SqlStore, stock};
use signet_core::keys::{Envelope, HsmName, OtpHash, OtpSecretKind, SealedCopies, TenantId};
use signet_core::mfa::FactorKind;
use signet_core::row_keys::RowKeys;
use signet_store::{
    FactorId, RefusedRow, SealCount, SecretAtRest, SecretCursor, SecretOwner, SecretsAtRest, StockId, StoreError,
    StoreFailure, UserId,
};

texts! {
    OF_DEPLOYMENT = "SELECT row_id, hsm, blob FROM seals WHERE tenant = $1 AND kind = $2 ORDER BY row_id, hsm";
    NEWEST_OF_DEPLOYMENT = "SELECT MAX(row_id) AS row_id FROM seals WHERE tenant = $1 AND kind = $2";
    FORGET_RENEWAL = "DELETE FROM secret_renewals";
    HAS_ROWS = "SELECT 1 FROM users UNION ALL SELECT 1 FROM clients LIMIT 1";
    LACKING = "SELECT s.tenant, s.kind, s.row_id, s.hsm, s.blob, CAST(CASE WHEN EXISTS (
                SELECT 1 FROM envelopes e
                WHERE e.tenant = s.tenant AND e.kind = s.kind AND e.row_id = s.row_id AND e.hsm = $1) THEN 1 ELSE 0 END AS BIGINT) AS waits,
            f.user_id, f.kind AS factor_kind, f.totp_hash, f.detail,
            t.detail AS stock_detail
        FROM (SELECT DISTINCT a.tenant, a.kind, a.row_id FROM seals a
            WHERE (a.tenant, a.kind, a.row_id) > ($2, $3, $4) AND NOT EXISTS (
                SELECT 1 FROM seals b
                WHERE b.tenant = a.tenant AND b.kind = a.kind AND b.row_id = a.row_id AND b.hsm = $1)
            ORDER BY a.tenant, a.kind, a.row_id LIMIT $5) r
        JOIN seals s ON s.tenant = r.tenant AND s.kind = r.kind AND s.row_id = r.row_id
        LEFT JOIN factors f ON s.kind = 'factors.secret' AND f.tenant = s.tenant AND f.id = s.row_id
        LEFT JOIN stock t ON s.kind = 'stock.secret' AND t.tenant = s.tenant AND t.id = s.row_id
        ORDER BY s.tenant, s.kind, s.row_id, s.hsm";
    EXTEND = "INSERT INTO seals (tenant, kind, row_id, hsm, blob) SELECT $1, $2, $3, $4, $5
        WHERE EXISTS (SELECT 1 FROM seals WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $6 AND blob = $7)
        ON CONFLICT DO NOTHING";
    EXTEND_ENVELOPE = "INSERT INTO envelopes (tenant, kind, row_id, hsm, envelope) SELECT $1, $2, $3, $4, $5
        WHERE EXISTS (SELECT 1 FROM seals WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $6 AND blob = $7)
            AND NOT EXISTS (SELECT 1 FROM seals WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $4)
        ON CONFLICT DO NOTHING";
    NEEDLESS = "DELETE FROM envelopes WHERE tenant = $1 AND kind = $2 AND row_id = $3 AND hsm = $4";
    ENVELOPES_OF_TOKEN = "DELETE FROM envelopes WHERE hsm = $1";
    COUNT = "SELECT (SELECT COUNT(*) FROM (SELECT DISTINCT tenant, kind, row_id FROM seals) each) AS secrets,
        (SELECT COUNT(*) FROM seals WHERE hsm = $1) AS sealed,
        (SELECT COUNT(*) FROM seals a WHERE a.hsm = $1 AND NOT EXISTS (
            SELECT 1 FROM seals b
            WHERE b.tenant = a.tenant AND b.kind = a.kind AND b.row_id = a.row_id AND b.hsm <> $1)) AS alone,
        (SELECT COUNT(*) FROM envelopes WHERE hsm = $1) AS waiting";
}

/// Passes over those whose secret is being replaced just now.
pub(super) static REMOVE_OF_TOKEN: LazyLock<Text> = LazyLock::new(|| {
    Text::passing_over(
        "DELETE FROM seals WHERE hsm = $1 AND (tenant, kind, row_id) IN (
            SELECT a.tenant, a.kind, a.row_id FROM seals a WHERE a.hsm = $1 AND EXISTS (
                SELECT 1 FROM seals b
                WHERE b.tenant = a.tenant AND b.kind = a.kind AND b.row_id = a.row_id AND b.hsm <> $1)
            LIMIT $2 {unlocked})",
    )
});

/// The columns that a secret stands in.
pub(super) fn place(owner: &SecretOwner) -> (&'static str, Cow<'_, str>) {
    match owner {
        SecretOwner::Deployment(generation) => (DEPLOYMENT, seals::deployment_row(*generation).into()),
        SecretOwner::Password(user) => (PASSWORD, user.as_str().into()),
        SecretOwner::Factor(factor, _) => (FACTOR, factor.as_str().into()),
        SecretOwner::Stock(id) => (STOCK, id.as_str().into()),
        SecretOwner::OtpClient(id) => (OTP_CLIENT, id.into()),
        SecretOwner::OtpKey(public_id) => (OTP_KEY, public_id.into()),
    }
}

/// A secret that was read with its seals; `None` where nothing owns it any more.
pub(super) fn secret_of(row: &Row) -> Result<Option<SecretAtRest>> {
    let row_id: String = row.try_get("row_id")?;
    let (owner, wrapped) = match row.try_get("kind")? {
        DEPLOYMENT => (SecretOwner::Deployment(generation_of(&row_id)?), None),
        PASSWORD => (SecretOwner::Password(UserId::new(row_id)), None),
        FACTOR => match row.try_get::<Option<String>, _>("user_id")? {
            Some(user) => {
                let wrapped =
                    enclosed_of(row.try_get("factor_kind")?, row.try_get("totp_hash")?, row.try_get("detail")?)?;
                (SecretOwner::Factor(FactorId::new(row_id), UserId::new(user)), Some(wrapped))
            }
            None => return Ok(None),
        },
        OTP_CLIENT => (SecretOwner::OtpClient(row_id), Some(OtpSecretKind::Hmac(OtpHash::Sha1))),
        OTP_KEY => (SecretOwner::OtpKey(row_id), Some(OtpSecretKind::Aes128)),
        STOCK => match row.try_get::<Option<&str>, _>("stock_detail")? {
            Some(detail) => (SecretOwner::Stock(StockId::new(row_id)), Some(stock::enclosed_of(detail)?)),
            None => return Ok(None),
        },
        _ => return Err(StoreFailure::Corrupt("kind of a secret")),
    };
    let tenant = row.try_get("tenant")?;
    let waits = row.try_get::<i64, _>("waits")? != 0;
    Ok(Some(SecretAtRest { tenant, owner, wrapped, seals: SealedCopies::default(), waits }))
}

pub(super) fn generation_of(row_id: &str) -> Result<u8> {
    row_id.parse().map_err(|_| StoreFailure::Corrupt("generation of the deployment's secret"))
}

pub(super) fn cursor_of(row: &Row) -> Result<SecretCursor> {
    Ok(SecretCursor { tenant: row.try_get("tenant")?, kind: row.try_get("kind")?, row: row.try_get("row_id")? })
}

/// The secrets of a page, and the place of the last of them.
fn page_of(rows: &[Row]) -> Result<(Vec<SecretAtRest>, Option<SecretCursor>)> {
    let (mut secrets, mut last): (Vec<SecretAtRest>, Option<SecretCursor>) = (Vec::new(), None);
    let mut is_owned = false;
    for row in rows {
        let here = cursor_of(row)?;
        if last.as_ref() != Some(&here) {
            let secret = secret_of(row)?;
            is_owned = secret.is_some();
            secrets.extend(secret);
            last = Some(here);
        }
        if let (true, Some(secret)) = (is_owned, secrets.last_mut()) {
            add_seal(row, &mut secret.seals.0)?;
        }
    }
    Ok((secrets, last))
}

/// The newest generation of the deployment's secret that is stored.
pub(super) async fn newest_of_deployment(connection: &mut Connection) -> Result<Option<u8>> {
    let newest = query(NEWEST_OF_DEPLOYMENT).bind(TenantId::default_tenant()).bind(DEPLOYMENT);
    let newest = newest.fetch_one(connection).await?;
    newest.try_get::<Option<&str>, _>("row_id")?.map(generation_of).transpose()
}

async fn keep_deployment_secret(
    (generation, seals): &(u8, SealedCopies),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let tenant = TenantId::default_tenant();
    let newest = newest_of_deployment(&mut *connection).await?;
    if newest.unwrap_or_default().checked_add(1) != Some(*generation) {
        return Ok(WriteOutcome::nothing(false));
    }
    // Its rows would verify no more.
    if newest.is_none() && query(HAS_ROWS).fetch_optional(&mut *connection).await?.is_some() {
        return Err(StoreFailure::Refused(
            "the store has users or clients and no deployment's secret, so that somebody removed it: put back a backup"
                .to_owned(),
        ));
    }
    // Rows are written by it at once: a renewal that was under way when the store was put back goes on by this one.
    query(FORGET_RENEWAL).execute(&mut *connection).await?;
    seals::add(connection, &tenant, DEPLOYMENT, &seals::deployment_row(*generation), seals).await?;
    Ok(WriteOutcome::renewed(true))
}

/// The seals are added as long as any of those that were read is still there: they seal the same secret then.
async fn extend(
    (secret, added): &(SecretAtRest, SealedCopies),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (kind, row_id) = place(&secret.owner);
    let row_id = row_id.as_ref();
    let (mut has_extended, mut has_envelope) = (false, false);
    for (hsm, blob) in &added.0 {
        let is_envelope = Envelope::is_one(blob);
        for (known, known_blob) in &secret.seals.0 {
            let extended = query(if is_envelope { EXTEND_ENVELOPE } else { EXTEND })
                .bind(&secret.tenant)
                .bind(kind)
                .bind(row_id)
                .bind(hsm)
                .bind(blob)
                .bind(known)
                .bind(known_blob)
                .execute(&mut *connection)
                .await?;
            has_extended |= extended.rows_affected() > 0;
            has_envelope |= is_envelope && extended.rows_affected() > 0;
        }
        if !is_envelope {
            query(NEEDLESS).bind(&secret.tenant).bind(kind).bind(row_id).bind(hsm).execute(&mut *connection).await?;
        }
    }
    // An envelope is looked for where the number has risen.
    Ok(if has_envelope { WriteOutcome::renewed(true) } else { WriteOutcome::applied_if(has_extended) })
}

async fn remove_of_token((hsm, limit): &(HsmName, u32), connection: &mut Connection) -> Result<WriteOutcome<u64>> {
    query(ENVELOPES_OF_TOKEN).bind(hsm).execute(&mut *connection).await?;
    let removed = query(REMOVE_OF_TOKEN.clone()).bind(hsm).bind(limit).execute(connection).await?;
    Ok(WriteOutcome::applied(removed.rows_affected()))
}

/// What locks the row that a secret belongs to, as every change of it does.
pub(super) fn owning(secret: &SecretAtRest) -> Scope {
    let tenant = &secret.tenant;
    Scope::shared(Name::KeyRing).and_shared(Name::Stock(tenant)).and_alone(match &secret.owner {
        SecretOwner::Deployment(_) => Name::Once(tenant, DEPLOYMENT, b""),
        SecretOwner::Password(user) => Name::User(tenant, user),
        SecretOwner::Factor(factor, _) => Name::Factor(tenant, factor),
        SecretOwner::OtpClient(id) => Name::Once(tenant, OTP_CLIENT, id.as_bytes()),
        SecretOwner::OtpKey(public_id) => Name::Once(tenant, FactorKind::YubicoOtp.name(), public_id.as_bytes()),
        SecretOwner::Stock(id) => Name::Once(tenant, "stock", id.as_str().as_bytes()),
    })
}

fn generations_of(rows: &[Row]) -> Result<BTreeMap<u8, SealedCopies>> {
    let mut generations = BTreeMap::<u8, SealedCopies>::new();
    for row in rows {
        add_seal(row, &mut generations.entry(generation_of(row.try_get("row_id")?)?).or_default().0)?;
    }
    Ok(generations)
}

fn count_of(row: &Row) -> Result<SealCount> {
    Ok(SealCount {
        secrets: number(row, "secrets")?,
        sealed: number(row, "sealed")?,
        alone: number(row, "alone")?,
        waiting: number(row, "waiting")?,
    })
}

#[async_trait]
impl SecretsAtRest for SqlStore {
    async fn deployment_secrets(&self) -> Result<BTreeMap<u8, SealedCopies>, StoreError> {
        let query = query(OF_DEPLOYMENT).bind(TenantId::default_tenant()).bind(DEPLOYMENT);
        self.read("read the deployment's secret", query, generations_of).await
    }

    async fn keep_deployment_secret(&self, generation: u8, seals: &SealedCopies) -> Result<bool, StoreError> {
        let tenant = TenantId::default_tenant();
        let scope = Scope::alone(Name::Once(&tenant, DEPLOYMENT, b"")).raising(&tenant, Noun::Secrets);
        let input = (generation, seals.clone());
        self.writer.change("keep the deployment's secret", scope, input, vec![], keep_deployment_secret).await
    }

    fn use_row_keys(&self, keys: RowKeys) {
        let before = self.trust.load_full();
        self.trust.store(Some(Arc::new(RowMacs::of(&keys).after(before.as_deref()))));
    }

    async fn refused_rows(&self) -> Result<Vec<RefusedRow>, StoreError> {
        self.still_refused().await.map_err(|failure| failure.during("look at rows that were refused"))
    }

    async fn lacking(
        &self,
        hsm: &HsmName,
        after: Option<&SecretCursor>,
        limit: u32,
    ) -> Result<(Vec<SecretAtRest>, Option<SecretCursor>), StoreError> {
        let operation = "list secrets at rest";
        // No tenant is empty, so every secret stands after the empty one.
        let (tenant, kind, row) = after.map_or(("", "", ""), |at| (&at.tenant, &at.kind, &at.row));
        let query = query(LACKING).bind(hsm).bind(tenant).bind(kind).bind(row).bind(limit);
        self.read(operation, query, page_of).await
    }

    async fn extend_seals(&self, secret: &SecretAtRest, added: &SealedCopies) -> Result<bool, StoreError> {
        let scope = owning(secret).raising(&secret.tenant, Noun::Secrets);
        self.writer.change("extend seals", scope, (secret.clone(), added.clone()), vec![], extend).await
    }

    async fn count_seals(&self, hsm: &HsmName) -> Result<SealCount, StoreError> {
        Ok(self.read_one("count seals", query(COUNT).bind(hsm), count_of).await?.unwrap_or_default())
    }

    async fn remove_seals(&self, hsm: &HsmName, limit: u32) -> Result<u64, StoreError> {
        self.writer
            .change("remove seals", Scope::alone(Name::KeyRing), (hsm.clone(), limit), vec![], remove_of_token)
            .await
    }
}
