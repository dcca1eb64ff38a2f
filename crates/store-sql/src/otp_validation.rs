//! What verifies Yubico OTPs for others: clients, keys of no user's, and the one write that spends an OTP.

use async_trait::async_trait;

use super::authority::{Fields, StoredRow, change, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, ToValue as _, query};
use super::factors::Rising;
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, fold};
use super::texts::texts;
use super::{SqlStore, factors, seals};
use signet_core::audit::AuditEvent;
use signet_core::keys::{SealedCopies, TenantId};
use signet_core::mfa::FactorKind;
use signet_store::{
    ClientNumber, Factor, FactorId, OtpClient, OtpKey, OtpSpending, OtpValidation, ShownOtp, StoreError, StoreFailure,
};

insertions! {
    ADD_CLIENT = "otp_clients" "ON CONFLICT DO NOTHING";
    ADD_KEY = "otp_keys" "WHERE NOT EXISTS (SELECT 1 FROM factors
            WHERE tenant = {tenant} AND kind IN ('yubico_otp', 'yubico_remote') AND handle = {public_id})
        ON CONFLICT DO NOTHING";
}

selections! {
    CLIENT = "SELECT {otp_clients c c_}, CAST(c.id AS TEXT) AS id, s.hsm, s.blob
        FROM otp_clients c LEFT JOIN seals s
            ON s.tenant = c.tenant AND s.kind = 'otp_clients.key' AND s.row_id = CAST(c.id AS TEXT)
        WHERE c.tenant = $1 AND c.id = $2 ORDER BY s.hsm";
    CLIENTS = "SELECT {otp_clients c c_}, CAST(c.id AS TEXT) AS id, s.hsm, s.blob
        FROM (SELECT * FROM otp_clients WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3) c LEFT JOIN seals s
            ON s.tenant = c.tenant AND s.kind = 'otp_clients.key' AND s.row_id = CAST(c.id AS TEXT)
        ORDER BY c.id, s.hsm";
    KEY = "SELECT {otp_keys k}, k.public_id AS id, s.hsm, s.blob
        FROM otp_keys k LEFT JOIN seals s
            ON s.tenant = k.tenant AND s.kind = 'otp_keys.secret' AND s.row_id = k.public_id
        WHERE k.tenant = $1 AND k.public_id = $2 ORDER BY s.hsm";
    KEYS = "SELECT {otp_keys k}, k.public_id AS id, NULL AS hsm, NULL AS blob
        FROM otp_keys k WHERE k.tenant = $1 AND k.public_id > $2 ORDER BY k.public_id LIMIT $3";
    NAMED_FACTOR = "SELECT {factors} FROM factors WHERE tenant = $1 AND kind = 'yubico_otp' AND handle = $2";
    USABLE_FACTOR = "SELECT {factors f} FROM factors f JOIN users u ON u.tenant = f.tenant AND u.id = f.user_id
        WHERE f.tenant = $1 AND f.kind = 'yubico_otp' AND f.handle = $2
            AND f.state = 'enabled' AND (f.valid_until IS NULL OR f.valid_until > $3) AND u.enabled = 1";
}

texts! {
    REMOVE_CLIENT = "DELETE FROM otp_clients WHERE tenant = $1 AND id = $2";
    REMOVE_KEY = "DELETE FROM otp_keys WHERE tenant = $1 AND public_id = $2";
    NAMED = "SELECT id FROM factors WHERE tenant = $1 AND yubico_public_id = $2";
    KEEP_REQUEST = "INSERT INTO otp_requests (tenant, public_id, counter, nonce) VALUES ($1, $2, $3, $4)
        ON CONFLICT (tenant, public_id) DO UPDATE SET counter = excluded.counter, nonce = excluded.nonce";
    SAME_REQUEST = "SELECT 1 FROM otp_requests WHERE tenant = $1 AND public_id = $2 AND counter = $3 AND nonce = $4";
}

async fn add_client(client: &OtpClient, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let row = fields()
        .set("tenant", &client.tenant)
        .set("id", stored(client.id)?)
        .set("name", &client.name)
        .set("needs_signature", client.needs_signature)
        .set("enabled", client.enabled)
        .set("created_at", client.created_at);
    if !insert(&ADD_CLIENT, row, vec![], &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    seals::add(connection, &client.tenant, seals::OTP_CLIENT, &client.id.to_string(), &client.key).await?;
    Ok(WriteOutcome::renewed(true))
}

async fn enable_client(
    (tenant, id, enabled): &(TenantId, ClientNumber, bool),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    match find("otp_clients", &[tenant, &stored(*id)?], &mut *connection).await? {
        Some(client) => set(client, fields().set("enabled", *enabled), connection).await,
        None => Ok(WriteOutcome::nothing(false)),
    }
}

async fn remove_client(
    (tenant, id): &(TenantId, ClientNumber),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let removed = query(REMOVE_CLIENT).bind(tenant).bind(stored(*id)?);
    let removed = removed.execute(&mut *connection).await?.rows_affected();
    seals::remove(connection, tenant, seals::OTP_CLIENT, &id.to_string()).await?;
    Ok(changed(removed))
}

async fn add_key(key: &OtpKey, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let row = fields()
        .set("tenant", &key.tenant)
        .set("public_id", &key.public_id)
        .set("private_id", key.private_id)
        .set("serial", &key.serial)
        .set("last_counter", key.last_counter)
        .set("enabled", key.enabled)
        .set("created_at", key.created_at)
        .set("last_used_at", key.last_used_at);
    if !insert(&ADD_KEY, row, vec![], &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    seals::add(connection, &key.tenant, seals::OTP_KEY, &key.public_id, &key.secret).await?;
    Ok(WriteOutcome::renewed(true))
}

async fn enable_key(
    (tenant, public_id, enabled): &(TenantId, String, bool),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    match find("otp_keys", &[tenant, public_id], &mut *connection).await? {
        Some(key) => set(key, fields().set("enabled", *enabled), connection).await,
        None => Ok(WriteOutcome::nothing(false)),
    }
}

async fn remove_key(
    (tenant, public_id): &(TenantId, String),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let removed = query(REMOVE_KEY).bind(tenant).bind(public_id);
    let removed = removed.execute(&mut *connection).await?.rows_affected();
    seals::remove(connection, tenant, seals::OTP_KEY, public_id).await?;
    Ok(changed(removed))
}

async fn set(row: StoredRow, fields: Fields, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    Ok(WriteOutcome::applied_if(change(row, fields, connection).await?))
}

/// The public id names a key or a factor, never both.
async fn raise(
    (tenant, public_id, counter): &(TenantId, String, i64),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let is_raised = match find("otp_keys", &[tenant, public_id], &mut *connection).await? {
        Some(key) => raise_key(key, fields(), *counter, connection).await?,
        None => {
            let named = rows(&NAMED_FACTOR).bind(tenant).bind(public_id);
            match named.stored_one(&mut *connection).await? {
                Some(factor) => factors::raise(factor, Rising::YubicoCounter, *counter, None, connection).await?,
                None => false,
            }
        }
    };
    Ok(WriteOutcome::applied_if(is_raised))
}

/// Raises a key's counter where it is lower, and sets what is set with it.
async fn raise_key(key: StoredRow, with: Fields, counter: i64, connection: &mut Connection) -> Result<bool> {
    let last: i64 = key.value("last_counter")?;
    Ok(last < counter && change(key, with.set("last_counter", counter), connection).await?)
}

/// The public id names a key or a factor, never both.
async fn spend(shown: &ShownOtp, connection: &mut Connection) -> Result<WriteOutcome<OtpSpending>> {
    let ShownOtp { tenant, public_id, counter, nonce, at } = shown;
    let usable = rows(&USABLE_FACTOR).bind(tenant).bind(public_id).bind(at);
    let is_spent = match usable.stored_one(&mut *connection).await? {
        Some(factor) => factors::raise(factor, Rising::YubicoCounter, *counter, Some(*at), &mut *connection).await?,
        None => match find("otp_keys", &[tenant, public_id], &mut *connection).await? {
            Some(key) if key.value("enabled")? => {
                raise_key(key, fields().set("last_used_at", *at), *counter, &mut *connection).await?
            }
            _ => false,
        },
    };
    if is_spent {
        query(KEEP_REQUEST).bind(tenant).bind(public_id).bind(counter).bind(nonce).execute(connection).await?;
        return Ok(WriteOutcome::applied(OtpSpending::Spent));
    }
    let same = query(SAME_REQUEST).bind(tenant).bind(public_id).bind(counter).bind(nonce);
    let is_same = same.fetch_optional(connection).await?.is_some();
    Ok(WriteOutcome::nothing(if is_same { OtpSpending::SameRequest } else { OtpSpending::Replayed }))
}

/// What locks a public id, whose ever it is: a key's, a factor's or a token's in stock.
pub(super) fn of_public_id<'a>(tenant: &'a TenantId, public_id: &'a str) -> Name<'a> {
    Name::Once(tenant, FactorKind::YubicoOtp.name(), public_id.as_bytes())
}

impl SqlStore {
    /// What the rise of a counter locks: the public id, and the factor that it names.
    async fn spending(&self, tenant: &TenantId, public_id: &str) -> Result<Scope, StoreError> {
        let scope = Scope::alone(of_public_id(tenant, public_id));
        let named = query(NAMED).bind(tenant).bind(public_id);
        let factor: Option<FactorId> = self.read_one("find factor by handle", named, |row| row.try_get("id")).await?;
        Ok(match factor {
            Some(factor) => scope.and_alone(Name::Factor(tenant, &factor)),
            None => scope,
        })
    }
}

fn changed(rows: u64) -> WriteOutcome<bool> {
    if rows == 0 { WriteOutcome::nothing(false) } else { WriteOutcome::applied(true) }
}

fn stored(id: ClientNumber) -> Result<i64> {
    i64::try_from(id.get()).map_err(|_| StoreFailure::Corrupt("id of an OTP client"))
}

fn client_of(row: &Row) -> Result<OtpClient> {
    let id: String = row.try_get("id")?;
    Ok(OtpClient {
        tenant: row.try_get("c_tenant")?,
        id: ClientNumber::parse(&id).ok_or(StoreFailure::Corrupt("id of an OTP client"))?,
        name: row.try_get("c_name")?,
        key: SealedCopies::default(),
        needs_signature: row.try_get("c_needs_signature")?,
        enabled: row.try_get("c_enabled")?,
        created_at: row.try_get("c_created_at")?,
    })
}

fn clients_of(rows: &[Row]) -> Result<Vec<OtpClient>> {
    fold(rows, client_of, |client| &mut client.key)
}

fn key_of(row: &Row) -> Result<OtpKey> {
    Ok(OtpKey {
        tenant: row.try_get("tenant")?,
        public_id: row.try_get("id")?,
        private_id: array(row, "private_id")?,
        serial: row.try_get("serial")?,
        last_counter: row.try_get("last_counter")?,
        secret: SealedCopies::default(),
        enabled: row.try_get("enabled")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

fn keys_of(rows: &[Row]) -> Result<Vec<OtpKey>> {
    fold(rows, key_of, |key| &mut key.secret)
}

#[async_trait]
impl OtpValidation for SqlStore {
    async fn add_otp_client(&self, client: &OtpClient, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let id = client.id.to_string();
        let scope = Scope::alone(Name::Once(&client.tenant, seals::OTP_CLIENT, id.as_bytes()))
            .and_alone(Name::Once(&client.tenant, "OTP client name", client.name.as_bytes()))
            .raising(&client.tenant, Noun::Secrets);
        self.writer.change("add OTP client", scope, client.clone(), audit, add_client).await
    }

    async fn otp_client(&self, tenant: &TenantId, id: ClientNumber) -> Result<Option<OtpClient>, StoreError> {
        let operation = "find OTP client";
        let number = stored(id).map_err(|fault| fault.during(operation))?;
        Ok(self.read(operation, rows(&CLIENT).bind(tenant).bind(number), clients_of).await?.pop())
    }

    async fn otp_clients(
        &self,
        tenant: &TenantId,
        after: Option<ClientNumber>,
        limit: u32,
    ) -> Result<Vec<OtpClient>, StoreError> {
        // No number is 0, so every number stands after it.
        let operation = "list OTP clients";
        let after = after.map_or(Ok(0), stored).map_err(|fault| fault.during(operation))?;
        self.read_page(operation, rows(&CLIENTS).bind(tenant), ("c_id", after.to_value()), limit, clients_of).await
    }

    async fn set_otp_client_enabled(
        &self,
        tenant: &TenantId,
        id: ClientNumber,
        enabled: bool,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::Once(tenant, seals::OTP_CLIENT, id.to_string().as_bytes()));
        self.writer.change("enable OTP client", scope, (tenant.clone(), id, enabled), audit, enable_client).await
    }

    async fn remove_otp_client(
        &self,
        tenant: &TenantId,
        id: ClientNumber,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::Once(tenant, seals::OTP_CLIENT, id.to_string().as_bytes()));
        self.writer.change("remove OTP client", scope, (tenant.clone(), id), audit, remove_client).await
    }

    async fn add_otp_key(&self, key: &OtpKey, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let mut scope = Scope::shared(Name::Stock(&key.tenant))
            .and_alone(of_public_id(&key.tenant, &key.public_id))
            .raising(&key.tenant, Noun::Secrets);
        if let Some(serial) = &key.serial {
            scope = scope.and_alone(Name::Once(&key.tenant, "serial", serial.as_bytes()));
        }
        self.writer.change("add OTP key", scope, key.clone(), audit, add_key).await
    }

    async fn otp_key(&self, tenant: &TenantId, public_id: &str) -> Result<Option<OtpKey>, StoreError> {
        Ok(self.read("find OTP key", rows(&KEY).bind(tenant).bind(public_id), keys_of).await?.pop())
    }

    async fn otp_keys(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<OtpKey>, StoreError> {
        let after = ("public_id", after.unwrap_or_default().to_value());
        self.read_page("list OTP keys", rows(&KEYS).bind(tenant), after, limit, keys_of).await
    }

    async fn set_otp_key_enabled(
        &self,
        tenant: &TenantId,
        public_id: &str,
        enabled: bool,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (tenant.clone(), public_id.to_owned(), enabled);
        self.writer
            .change("enable OTP key", Scope::alone(of_public_id(tenant, public_id)), input, audit, enable_key)
            .await
    }

    async fn remove_otp_key(
        &self,
        tenant: &TenantId,
        public_id: &str,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(of_public_id(tenant, public_id));
        self.writer.change("remove OTP key", scope, (tenant.clone(), public_id.to_owned()), audit, remove_key).await
    }

    async fn raise_yubico_counter(
        &self,
        tenant: &TenantId,
        public_id: &str,
        counter: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (tenant.clone(), public_id.to_owned(), counter);
        let scope = self.spending(tenant, public_id).await?;
        self.writer.change("raise Yubico counter", scope, input, audit, raise).await
    }

    async fn factor_by_handle(
        &self,
        tenant: &TenantId,
        kind: FactorKind,
        handle: &str,
    ) -> Result<Option<Factor>, StoreError> {
        factors::by_handle(self, tenant, kind, handle).await
    }

    async fn spend_validated_otp(&self, shown: &ShownOtp, audit: Vec<AuditEvent>) -> Result<OtpSpending, StoreError> {
        let scope = self.spending(&shown.tenant, &shown.public_id).await?;
        self.writer.change("spend validated OTP", scope, shown.clone(), audit, spend).await
    }
}
