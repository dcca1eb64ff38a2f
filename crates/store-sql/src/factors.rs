//! Factors, and the conditional writes that spend a one-time code.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{StoredRow, change, each_of, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, fold, number};
use super::texts::texts;
use super::{seals, tries, users};
use signet_core::audit::AuditEvent;
use signet_core::keys::{OtpHash, OtpSecretKind, SealedCopies, TenantId};
use signet_core::mfa::{FactorKind, Spending};
use signet_jose::clock::Timestamp;
use signet_store::{
    AuditOnOutcome, Factor, FactorDetail, FactorId, FactorState, Factors, ProofSpending, Session, StoreError,
    StoreFailure, TotpState, UserId, YubicoState,
};

/// Reads factors, each in one row for every seal.
macro_rules! select_factors {
    () => {
        select_factors!("{factors f}")
    };
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", s.hsm, s.blob FROM factors f
            LEFT JOIN seals s ON s.tenant = f.tenant AND s.kind = 'factors.secret' AND s.row_id = f.id"
        )
    };
}
pub(super) use select_factors;

insertions! {
    ADD = "factors" "WHERE EXISTS (SELECT 1 FROM users WHERE tenant = {tenant} AND id = {user_id})
            AND NOT EXISTS (SELECT 1 FROM otp_keys WHERE tenant = {tenant} AND public_id = {handle})
            AND NOT EXISTS (SELECT 1 FROM factors
                WHERE tenant = {tenant} AND kind IN ('yubico_otp', 'yubico_remote') AND handle = {handle})
        ON CONFLICT DO NOTHING";
}

selections! {
    OF_USER = concat!(
        select_factors!(),
        " WHERE f.tenant = $1 AND f.user_id = $2 ORDER BY f.created_at, f.id, s.hsm"
    );
    BY_ID = concat!(select_factors!(), " WHERE f.tenant = $1 AND f.id = $2 ORDER BY s.hsm");
    BY_HANDLE = concat!(
        select_factors!(),
        " WHERE f.tenant = $1 AND f.kind = $2 AND f.handle = $3 ORDER BY s.hsm"
    );
}

texts! {
    REMOVE = "DELETE FROM factors WHERE tenant = $1 AND id = $2 RETURNING user_id";
    SPEND_NONCE = "INSERT INTO piv_nonces (tenant, id, spent_at)
        SELECT $1, $3, $4 WHERE EXISTS (SELECT 1 FROM factors WHERE tenant = $1 AND id = $2 AND kind = 'piv')
        ON CONFLICT DO NOTHING";
    OWNER = "SELECT user_id FROM factors WHERE tenant = $1 AND id = $2";
    USED = "UPDATE factors SET last_used_at = $3 WHERE tenant = $1 AND id = $2";
}

/// Passes over those that another node forgets just now.
pub(super) static FORGET_NONCES: LazyLock<Text> = LazyLock::new(|| {
    Text::passing_over(
        "DELETE FROM piv_nonces WHERE (tenant, id) IN (
            SELECT tenant, id FROM piv_nonces WHERE spent_at < $1 ORDER BY spent_at LIMIT 100 {unlocked})",
    )
});

pub(super) async fn add(factor: &Factor, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    // Two kinds have columns of their own; every other one keeps what does not change as JSON, and the counter that rises.
    let (mut totp, mut yubico, mut kept, mut counter) = (None, None, None, None);
    match &factor.detail {
        FactorDetail::Totp(state) => totp = Some(state),
        FactorDetail::YubicoOtp(state) => yubico = Some(state),
        other => {
            kept = Some(other.kept().map_err(|_| StoreFailure::Corrupt("detail of factor"))?);
            counter = other.counter();
        }
    }
    let requested_by = match &factor.state {
        FactorState::Pending { requested_by } => Some(requested_by.as_str()),
        FactorState::Enabled | FactorState::Disabled | FactorState::WantsTwo | FactorState::WantsNext => None,
    };
    let row = fields()
        .set("tenant", &factor.tenant)
        .set("id", &factor.id)
        .set("user_id", &factor.user)
        .set("label", &factor.label)
        .set("kind", factor.detail.kind().name())
        .set("created_at", factor.created_at)
        .set("last_used_at", factor.last_used_at)
        .set("totp_hash", totp.map(|totp| totp.hash.name()))
        .set("totp_digits", totp.map(|totp| i64::from(totp.digits)))
        .set("totp_step_seconds", totp.map(|totp| i64::from(totp.step_seconds)))
        .set("totp_drift", totp.map(|totp| i64::from(totp.drift)))
        .set("totp_last_step", totp.map(|totp| totp.last_step))
        .set("totp_window", totp.map(|totp| i64::from(totp.window)))
        .set("yubico_public_id", yubico.map(|yubico| yubico.public_id.as_str()))
        .set("yubico_private_id", yubico.map(|yubico| yubico.private_id.to_vec()))
        .set("yubico_last_counter", yubico.map(|yubico| yubico.last_counter))
        .set("handle", factor.detail.handle())
        .set("detail", kept)
        .set("counter", counter)
        .set("serial", &factor.serial)
        .set("state", factor.state.name())
        .set("requested_by", requested_by)
        .set("valid_until", factor.valid_until);
    if !insert(&ADD, row, vec![], &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    seals::add(connection, &factor.tenant, seals::FACTOR, factor.id.as_str(), &factor.secret).await?;
    Ok(WriteOutcome::renewed(true))
}

pub(super) async fn remove(
    (tenant, id, at): &(TenantId, FactorId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let removed = query(REMOVE).bind(tenant).bind(id).fetch_optional(&mut *connection).await?;
    let Some(row) = removed else { return Ok(WriteOutcome::nothing(false)) };
    seals::remove(connection, tenant, seals::FACTOR, id.as_str()).await?;
    let user = row.try_get("user_id")?;
    users::renew_credentials(connection, tenant, &user, *at).await?;
    Ok(WriteOutcome::renewed(true))
}

/// Takes back a factor that was added in this very transaction.
pub(super) async fn take_back(factor: &Factor, connection: &mut Connection) -> Result<()> {
    query(REMOVE).bind(&factor.tenant).bind(&factor.id).execute(&mut *connection).await?;
    seals::remove(connection, &factor.tenant, seals::FACTOR, factor.id.as_str()).await
}

/// What of a factor rises with each use, and never falls back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rising {
    /// A TOTP's step, and the drift that is kept with it.
    TotpStep(i32),
    /// A Yubico OTP's counter.
    YubicoCounter,
    /// The counter of any other kind.
    Counter,
}

impl Rising {
    const fn of(by: &Spending) -> Self {
        match by {
            Spending::TotpStep { drift, .. } => Self::TotpStep(*drift),
            Spending::YubicoCounter(_) => Self::YubicoCounter,
            Spending::Counter(_) | Spending::PivNonce(_) | Spending::RecoveryCode(_) | Spending::Assertion { .. } => {
                Self::Counter
            }
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::TotpStep(_) => "totp_last_step",
            Self::YubicoCounter => "yubico_last_counter",
            Self::Counter => "counter",
        }
    }
}

/// Spends a step or counter of a factor.
pub(super) async fn spend_rising(spending: &ProofSpending, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let ProofSpending { tenant, factor: id, by, unsure, at } = spending;
    let (rising, Some(place)) = (Rising::of(by), by.counter()) else { return Ok(WriteOutcome::rejected(false)) };
    let Some(factor) = find("factors", &[tenant, id], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let won = match unsure {
        None => raise(factor, rising, place, Some(*at), connection).await?,
        Some((read, to)) => raise_unsure(factor, rising, place, (read, to, *at), connection).await?,
    };
    Ok(WriteOutcome::spent_if(won))
}

/// Raises what rises of a factor, where it is lower. Returns whether it was, and this write is the one that raised it.
pub(super) async fn raise(
    factor: StoredRow,
    rising: Rising,
    place: i64,
    used_at: Option<Timestamp>,
    connection: &mut Connection,
) -> Result<bool> {
    // A factor of another kind has nothing in that column.
    if factor.value::<Option<i64>>(rising.column())?.is_none_or(|last| last >= place) {
        return Ok(false);
    }
    let mut raised = fields().set(rising.column(), place);
    if let Rising::TotpStep(drift) = rising {
        raised = raised.set("totp_drift", drift);
    }
    if used_at.is_some() {
        raised = raised.set("last_used_at", used_at);
    }
    change(factor, raised, connection).await
}

/// Raises the counter of a factor that wants two codes in a row, and moves it to another stage, where it is as it was read.
async fn raise_unsure(
    factor: StoredRow,
    rising: Rising,
    place: i64,
    (read, to, at): (&Factor, &FactorState, Timestamp),
    connection: &mut Connection,
) -> Result<bool> {
    let (stands, known) = (factor.value::<Option<i64>>(rising.column())?, read.detail.counter());
    let is_as_read = known.is_some() && stands == known && factor.value::<&str>("state")? == read.state.name();
    if !is_as_read || known >= Some(place) {
        return Ok(false);
    }
    let set = fields().set(rising.column(), place).set("state", to.name()).set("last_used_at", at);
    change(factor, set, connection).await
}

/// How long a spent nonce is kept.
const NONCE_KEPT: Duration = Duration::from_hours(48);

/// Spends a nonce that a card signed.
pub(super) async fn spend_nonce(
    spending: &ProofSpending,
    nonce: &[u8; 32],
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (tenant, id, at) = (&spending.tenant, &spending.factor, spending.at);
    let spent = query(SPEND_NONCE).bind(tenant).bind(id).bind(*nonce).bind(at).execute(&mut *connection).await?;
    if spent.rows_affected() == 0 {
        return Ok(WriteOutcome::rejected(false));
    }
    query(USED).bind(tenant).bind(id).bind(at).execute(&mut *connection).await?;
    query(FORGET_NONCES.clone()).bind(at.minus(NONCE_KEPT)).execute(connection).await?;
    Ok(WriteOutcome::applied(true))
}

/// What kind of secret a factor has, by its columns.
pub(super) fn enclosed_of(kind: &str, totp_hash: Option<&str>, detail: Option<&str>) -> Result<OtpSecretKind> {
    let secret = match (kind_of(kind)?, totp_hash, detail) {
        (FactorKind::Totp, Some(name), _) => Some(OtpSecretKind::Hmac(hash_of(name)?)),
        (FactorKind::YubicoOtp, None, _) => Some(OtpSecretKind::Aes128),
        // No secret depends on the counter.
        (kind, None, Some(detail)) => from_kept(kind, detail, Some(0))?.secret_kind(),
        _ => None,
    };
    secret.ok_or(StoreFailure::Corrupt("kind of a factor"))
}

fn hash_of(name: &str) -> Result<OtpHash> {
    OtpHash::named(name).ok_or(StoreFailure::Corrupt("totp_hash"))
}

fn from_kept(kind: FactorKind, kept: &str, counter: Option<i64>) -> Result<FactorDetail> {
    FactorDetail::from_kept(kind, kept, counter).map_err(|_| StoreFailure::Corrupt("detail of factor"))
}

fn kind_of(name: &str) -> Result<FactorKind> {
    name.parse().map_err(|_| StoreFailure::Corrupt("kind of factor"))
}

fn detail_of(row: &Row) -> Result<FactorDetail> {
    match kind_of(row.try_get("kind")?)? {
        FactorKind::Totp => Ok(FactorDetail::Totp(TotpState {
            hash: hash_of(row.try_get("totp_hash")?)?,
            digits: number(row, "totp_digits")?,
            step_seconds: number(row, "totp_step_seconds")?,
            drift: number(row, "totp_drift")?,
            window: number(row, "totp_window")?,
            last_step: row.try_get("totp_last_step")?,
        })),
        FactorKind::YubicoOtp => Ok(FactorDetail::YubicoOtp(YubicoState {
            public_id: row.try_get("yubico_public_id")?,
            private_id: array(row, "yubico_private_id")?,
            last_counter: row.try_get("yubico_last_counter")?,
        })),
        kind => from_kept(kind, row.try_get("detail")?, row.try_get("counter")?),
    }
}

fn state_of(row: &Row) -> Result<FactorState> {
    match row.try_get("state")? {
        "enabled" => Ok(FactorState::Enabled),
        "disabled" => Ok(FactorState::Disabled),
        "wants_two_codes" => Ok(FactorState::WantsTwo),
        "wants_next_code" => Ok(FactorState::WantsNext),
        "pending" => Ok(FactorState::Pending { requested_by: row.try_get("requested_by")? }),
        _ => Err(StoreFailure::Corrupt("state of factor")),
    }
}

pub(super) fn factor_of(row: &Row) -> Result<Factor> {
    Ok(Factor {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        user: row.try_get("user_id")?,
        label: row.try_get("label")?,
        serial: row.try_get("serial")?,
        detail: detail_of(row)?,
        state: state_of(row)?,
        valid_until: row.try_get("valid_until")?,
        secret: SealedCopies::default(),
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

/// What the addition of a factor locks: its user, and the session that it is asked for in, are there until it is; what names it
/// from outside, or numbers it, is nobody else's.
pub(super) fn adding(session: Option<&Session>, factor: &Factor) -> Scope {
    let tenant = &factor.tenant;
    let mut scope = Scope::shared(Name::Stock(tenant))
        .and_alone(Name::User(tenant, &factor.user))
        .and_alone(Name::Factor(tenant, &factor.id))
        .raising(tenant, Noun::Secrets);
    if let Some(session) = session {
        scope = scope.and_shared(Name::Session(tenant, &session.id));
    }
    if let Some(handle) = factor.detail.handle() {
        scope = scope.and_alone(Name::Once(tenant, factor.detail.kind().name(), handle.as_bytes()));
    }
    match &factor.serial {
        Some(serial) => scope.and_alone(Name::Once(tenant, "serial", serial.as_bytes())),
        None => scope,
    }
}

impl SqlStore {
    /// What a change of a factor locks: the factor, and the user whose it is.
    pub(super) async fn changing(&self, tenant: &TenantId, id: &FactorId) -> Result<Scope, StoreError> {
        let owner = query(OWNER).bind(tenant).bind(id);
        let owner: Option<UserId> = self.read_one("find factor", owner, |row| row.try_get("user_id")).await?;
        let scope = Scope::alone(Name::Factor(tenant, id)).and_alone(Name::ManyGrants(tenant));
        Ok(match owner {
            Some(user) => scope.and_alone(Name::User(tenant, &user)),
            None => scope,
        })
    }
}

/// The factor of a kind that is named so from outside.
pub(super) async fn by_handle(
    store: &SqlStore,
    tenant: &TenantId,
    kind: FactorKind,
    handle: &str,
) -> Result<Option<Factor>, StoreError> {
    let query = rows(&BY_HANDLE).bind(tenant).bind(kind.name()).bind(handle);
    Ok(store.read("find factor by handle", query, factors_of).await?.pop())
}

pub(super) fn factors_of(rows: &[Row]) -> Result<Vec<Factor>> {
    fold(rows, factor_of, |factor| &mut factor.secret)
}

#[async_trait]
impl Factors for SqlStore {
    async fn add_factor(&self, factor: &Factor, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        self.writer.change("add factor", adding(None, factor), factor.clone(), audit, add).await
    }

    async fn factors(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<Factor>, StoreError> {
        self.read("list factors", each_of(&OF_USER).bind(tenant).bind(user), factors_of).await
    }

    async fn factor(&self, tenant: &TenantId, id: &FactorId) -> Result<Option<Factor>, StoreError> {
        Ok(self.read("find factor", rows(&BY_ID).bind(tenant).bind(id), factors_of).await?.pop())
    }

    async fn remove_factor(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = self.changing(tenant, id).await?.raising(tenant, Noun::Secrets);
        self.writer.change("remove factor", scope, (tenant.clone(), id.clone(), at), audit, remove).await
    }

    async fn spend_proof(&self, spending: &ProofSpending, audit: AuditOnOutcome) -> Result<bool, StoreError> {
        self.writer.change("spend proof", tries::spending(spending), spending.clone(), audit, tries::spend).await
    }
}
