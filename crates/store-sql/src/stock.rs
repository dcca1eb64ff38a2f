//! Tokens that belong to nobody yet.

use std::sync::LazyLock;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::authority::{fields, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, Text, ToValue as _, query};
use super::factor_life::add_for;
use super::factors::adding;
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{fold, joined};
use super::texts::texts;
use super::{SqlStore, factors, seals};
use signet_core::audit::AuditEvent;
use signet_core::keys::{OtpHash, OtpSecretKind, SealedCopies, TenantId};
use signet_core::mfa::{FactorKind, HotpState, Validity};
use signet_store::{
    AssignOutcome, Factor, FactorDetail, Session, Stock, StockId, StockToken, StoreError, StoreFailure, TotpState,
    YubicoState,
};

insertions! {
    ADD = "stock" "WHERE NOT EXISTS (SELECT 1 FROM factors WHERE tenant = {tenant} AND serial = {serial} AND kind <> 'piv')
            AND NOT EXISTS (SELECT 1 FROM factors WHERE tenant = {tenant} AND kind = {kind} AND handle = {handle})
        ON CONFLICT DO NOTHING";
}

selections! {
    BY_SERIAL = "SELECT {stock t}, s.hsm, s.blob
        FROM stock t LEFT JOIN seals s ON s.tenant = t.tenant AND s.kind = 'stock.secret' AND s.row_id = t.id
        WHERE t.tenant = $1 AND t.serial = $2 ORDER BY s.hsm";
    BY_HANDLE = "SELECT {stock t}, s.hsm, s.blob
        FROM stock t LEFT JOIN seals s ON s.tenant = t.tenant AND s.kind = 'stock.secret' AND s.row_id = t.id
        WHERE t.tenant = $1 AND t.kind = $2 AND t.handle = $3 ORDER BY s.hsm";
    LIST = "SELECT {stock} FROM stock WHERE tenant = $1 AND serial > $2 ORDER BY serial LIMIT $3";
}

texts! {
    TAKE = "DELETE FROM stock WHERE tenant = $1 AND id = $2";
    REMOVE = "DELETE FROM stock WHERE tenant = $1 AND serial = $2 RETURNING id";
}

/// Which of some serial numbers are known. How a JSON array becomes rows differs between the engines.
pub(super) static KNOWN: LazyLock<Text> = LazyLock::new(|| {
    let known = |listed: &str| {
        format!(
            "SELECT serial FROM stock WHERE tenant = $1 AND serial IN ({listed})
            UNION SELECT serial FROM factors WHERE tenant = $1 AND kind <> 'piv' AND serial IN ({listed})"
        )
    };
    Text::Each {
        sqlite: known("SELECT value FROM json_each($2)").into(),
        postgres: known("SELECT json_array_elements_text(CAST($2 AS JSON))").into(),
    }
});

/// What is kept of a token besides its secret, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kept {
    Totp { hash: OtpHash, digits: u8, step_seconds: u32, drift: i32, window: u8 },
    Hotp { hash: OtpHash, digits: u8, next_counter: i64 },
    YubicoOtp { public_id: String, private_id: [u8; 6] },
}

/// The whole of what is kept so.
#[derive(Serialize, Deserialize)]
struct KeptToken {
    #[serde(flatten)]
    kept: Kept,
    #[serde(flatten)]
    validity: Validity,
}

impl KeptToken {
    fn of(token: &StockToken) -> Result<String> {
        let whole = Self { kept: Kept::of(&token.detail)?, validity: token.validity };
        serde_json::to_string(&whole).map_err(|_| StoreFailure::Corrupt("detail of stock token"))
    }

    fn read(detail: &str) -> Result<Self> {
        serde_json::from_str(detail).map_err(|_| StoreFailure::Corrupt("detail of stock token"))
    }
}

impl Kept {
    fn of(detail: &FactorDetail) -> Result<Self> {
        Ok(match detail {
            FactorDetail::Totp(state) => Self::Totp {
                hash: state.hash,
                digits: state.digits,
                step_seconds: state.step_seconds,
                drift: state.drift,
                window: state.window,
            },
            FactorDetail::Hotp(state) => {
                Self::Hotp { hash: state.hash, digits: state.digits, next_counter: state.next_counter }
            }
            FactorDetail::YubicoOtp(state) => {
                Self::YubicoOtp { public_id: state.public_id.clone(), private_id: state.private_id }
            }
            _ => return Err(StoreFailure::Corrupt("kind of stock token")),
        })
    }

    fn detail(self) -> FactorDetail {
        match self {
            Self::Totp { hash, digits, step_seconds, drift, window } => {
                FactorDetail::Totp(TotpState { hash, digits, step_seconds, drift, window, last_step: -1 })
            }
            Self::Hotp { hash, digits, next_counter } => FactorDetail::Hotp(HotpState { hash, digits, next_counter }),
            Self::YubicoOtp { public_id, private_id } => {
                FactorDetail::YubicoOtp(YubicoState { public_id, private_id, last_counter: -1 })
            }
        }
    }
}

async fn add(tokens: &Vec<StockToken>, connection: &mut Connection) -> Result<WriteOutcome<Vec<String>>> {
    let mut added = Vec::with_capacity(tokens.len());
    for token in tokens {
        let row = fields()
            .set("tenant", &token.tenant)
            .set("id", &token.id)
            .set("serial", &token.serial)
            .set("kind", token.detail.kind().name())
            .set("handle", token.detail.handle())
            .set("detail", KeptToken::of(token)?)
            .set("model", &token.model)
            .set("imported_at", token.imported_at);
        if insert(&ADD, row, vec![], &mut *connection).await? {
            seals::add(connection, &token.tenant, seals::STOCK, token.id.as_str(), &token.secret).await?;
            added.push(token.serial.clone());
        }
    }
    Ok(if added.is_empty() { WriteOutcome::nothing(added) } else { WriteOutcome::renewed(added) })
}

async fn assign(
    (session, id, factor): &(Option<Session>, StockId, Factor),
    connection: &mut Connection,
) -> Result<WriteOutcome<AssignOutcome>> {
    let tenant = &factor.tenant;
    // The factor first: where it can't be added, the token stays.
    let added = add_for(session.as_ref(), factor, connection).await?;
    if !added.answer {
        return Ok(WriteOutcome::nothing(AssignOutcome::Refused));
    }
    let taken = query(TAKE).bind(tenant).bind(id).execute(&mut *connection).await?;
    if taken.rows_affected() == 0 {
        factors::take_back(factor, connection).await?;
        return Ok(WriteOutcome::nothing(AssignOutcome::Gone));
    }
    seals::remove(connection, tenant, seals::STOCK, id.as_str()).await?;
    Ok(WriteOutcome::renewed(AssignOutcome::Assigned))
}

async fn remove((tenant, serial): &(TenantId, String), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let query = query(REMOVE).bind(tenant).bind(serial);
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(WriteOutcome::nothing(false)) };
    let id: String = row.try_get("id")?;
    seals::remove(connection, tenant, seals::STOCK, &id).await?;
    Ok(WriteOutcome::applied(true))
}

/// What kind of secret a token of the stock has.
pub(super) fn enclosed_of(detail: &str) -> Result<OtpSecretKind> {
    KeptToken::read(detail)?.kept.detail().secret_kind().ok_or(StoreFailure::Corrupt("kind of stock token"))
}

fn token_of(row: &Row) -> Result<StockToken> {
    let KeptToken { kept, validity } = KeptToken::read(row.try_get("detail")?)?;
    Ok(StockToken {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        serial: row.try_get("serial")?,
        detail: kept.detail(),
        model: row.try_get("model")?,
        validity,
        secret: SealedCopies::default(),
        imported_at: row.try_get("imported_at")?,
    })
}

fn tokens_of(rows: &[Row]) -> Result<Vec<StockToken>> {
    fold(rows, token_of, |token| &mut token.secret)
}

#[async_trait]
impl Stock for SqlStore {
    async fn add_stock(&self, tokens: Vec<StockToken>, audit: Vec<AuditEvent>) -> Result<Vec<String>, StoreError> {
        let scope = match tokens.first() {
            Some(token) => Scope::alone(Name::Stock(&token.tenant)).raising(&token.tenant, Noun::Secrets),
            None => return Ok(Vec::new()),
        };
        self.writer.change("add to the stock", scope, tokens, audit, add).await
    }

    async fn known_serials(&self, tenant: &TenantId, serials: &[String]) -> Result<Vec<String>, StoreError> {
        let query = query(KNOWN.clone()).bind(tenant).bind(joined(serials));
        self.read_each("look for serial numbers", query, |row| row.try_get("serial")).await
    }

    async fn stock_token(&self, tenant: &TenantId, serial: &str) -> Result<Option<StockToken>, StoreError> {
        let operation = "find stock token";
        Ok(self.read(operation, rows(&BY_SERIAL).bind(tenant).bind(serial), tokens_of).await?.pop())
    }

    async fn stock_token_by_handle(
        &self,
        tenant: &TenantId,
        kind: FactorKind,
        handle: &str,
    ) -> Result<Option<StockToken>, StoreError> {
        let operation = "find stock token by handle";
        let query = rows(&BY_HANDLE).bind(tenant).bind(kind.name()).bind(handle);
        Ok(self.read(operation, query, tokens_of).await?.pop())
    }

    async fn stock(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<StockToken>, StoreError> {
        let after = ("serial", after.unwrap_or_default().to_value());
        let of = |rows: &[Row]| rows.iter().map(token_of).collect();
        self.read_page("list the stock", rows(&LIST).bind(tenant), after, limit, of).await
    }

    async fn assign_stock(
        &self,
        session: Option<&Session>,
        id: &StockId,
        factor: &Factor,
        audit: Vec<AuditEvent>,
    ) -> Result<AssignOutcome, StoreError> {
        let input = (session.cloned(), id.clone(), factor.clone());
        let scope = adding(session, factor).and_alone(Name::Once(&factor.tenant, "stock", id.as_str().as_bytes()));
        self.writer.change("assign stock token", scope, input, audit, assign).await
    }

    async fn remove_stock(&self, tenant: &TenantId, serial: &str, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let input = (tenant.clone(), serial.to_owned());
        self.writer.change("remove stock token", Scope::alone(Name::Stock(tenant)), input, audit, remove).await
    }
}
