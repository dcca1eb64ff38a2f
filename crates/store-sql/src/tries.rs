//! Sign-ins as they are settled, and what was tried in vain.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{StoredRow, change, each_of, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, ToValue as _};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::{ceremonies, factors, recovery_codes};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::mfa::Spending;
use signet_core::mfa::lockout::{Failure, UserTries};
use signet_store::{
    AuditOnOutcome, Judged, ProofSpending, Settled, Settling, StoreError, StoreFailure, Tries, TriesOf, UserId,
    UserWithTries,
};

insertions! {
    ADD = "tries" "ON CONFLICT DO NOTHING";
}

selections! {
    ONE = "SELECT {tries} FROM tries WHERE tenant = $1 AND place = $2";
    // Places of nobody have nothing unanswered.
    UNANSWERED = "SELECT {tries} FROM tries WHERE tenant = $1 AND unanswered > 0 AND place > $2 ORDER BY place LIMIT $3";
}

/// Whatever refers to a user's tries.
pub(super) const TRIES: &str = "tries";

fn place_of(of: &TriesOf) -> String {
    match of {
        TriesOf::User(id) => id.to_string(),
        TriesOf::Nobody(number) => place_of_nobody(*number),
    }
}

/// No user's id begins so.
fn place_of_nobody(number: u16) -> String {
    format!("nobody-{number:04}")
}

/// What a place's tries are locked by.
pub(super) fn of_place<'a>(tenant: &'a TenantId, place: &'a str) -> Name<'a> {
    Name::Once(tenant, TRIES, place.as_bytes())
}

/// Adds to a scope what the spending of a proof locks.
fn and_spending(scope: Scope, spending: &ProofSpending) -> Scope {
    let ProofSpending { tenant, factor, by, .. } = spending;
    let scope = scope.and_alone(Name::Factor(tenant, factor));
    match by {
        // Two cards can sign one nonce: each has a row of its own, and the nonce has one for both.
        Spending::PivNonce(nonce) => scope.and_alone(Name::Once(tenant, "PIV nonce", nonce)),
        Spending::Assertion { challenge, .. } => {
            scope.and_alone(Name::Once(tenant, ceremonies::CHALLENGE, challenge.as_bytes()))
        }
        Spending::TotpStep { .. } | Spending::YubicoCounter(_) | Spending::Counter(_) | Spending::RecoveryCode(_) => {
            scope
        }
    }
}

/// What the spending of a proof locks.
pub(super) fn spending(of: &ProofSpending) -> Scope {
    and_spending(Scope::free(), of)
}

/// Spends a proof, each kind by its own condition.
pub(super) async fn spend(spending: &ProofSpending, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    match &spending.by {
        Spending::PivNonce(nonce) => factors::spend_nonce(spending, nonce, connection).await,
        Spending::RecoveryCode(kept) => recovery_codes::spend(spending, kept, connection).await,
        Spending::Assertion { challenge, until, counter } => {
            ceremonies::spend_assertion(spending, (challenge, *until), *counter, connection).await
        }
        Spending::TotpStep { .. } | Spending::YubicoCounter(_) | Spending::Counter(_) => {
            factors::spend_rising(spending, connection).await
        }
    }
}

/// The tries of a place, with their row where there is one.
struct Kept {
    row: Option<StoredRow>,
    tries: UserTries,
    place: String,
}

async fn kept(tenant: &TenantId, place: String, connection: &mut Connection) -> Result<Kept> {
    let row = find(TRIES, &[tenant, &place], connection).await?;
    let tries = row.as_ref().map(|row| read(row.value("tries")?)).transpose()?.unwrap_or_default();
    Ok(Kept { row, tries, place })
}

fn read(text: &str) -> Result<UserTries> {
    serde_json::from_str(text).map_err(|_| StoreFailure::Corrupt("tries"))
}

/// Writes tries in the place of those that were read in this transaction.
async fn keep(tenant: &TenantId, kept: Kept, connection: &mut Connection) -> Result<bool> {
    let text = serde_json::to_string(&kept.tries).map_err(|_| StoreFailure::Corrupt("tries"))?;
    let set = fields().set("tries", text).set("unanswered", i64::from(kept.tries.unanswered()));
    match kept.row {
        Some(row) => change(row, set, connection).await,
        None => insert(&ADD, set.set("tenant", tenant).set("place", &kept.place), vec![], connection).await,
    }
}

/// Reads and writes a place of nobody as it is.
async fn touch(tenant: &TenantId, number: u16, connection: &mut Connection) -> Result<()> {
    let nobody = kept(tenant, place_of_nobody(number), &mut *connection).await?;
    keep(tenant, nobody, connection).await.map(|_| ())
}

async fn settle(settling: &Settling, connection: &mut Connection) -> Result<WriteOutcome<Settled>> {
    let Settling { tenant, of, beside, judged, rule, at } = settling;
    let mut own = match kept(tenant, place_of(of), &mut *connection).await {
        Ok(own) => own,
        Err(StoreFailure::Forged { .. }) => {
            // The log has that row, and whoever wrote it is given nothing.
            touch(tenant, *beside, &mut *connection).await?;
            return Ok(WriteOutcome::nothing(Settled::Locked));
        }
        Err(failure) => return Err(failure),
    };
    match judged {
        Judged::Wrong(failure) => {
            own.tries.count(failure, rule, *at);
            keep(tenant, own, &mut *connection).await?;
            touch(tenant, *beside, connection).await?;
            Ok(WriteOutcome::nothing(Settled::Refused))
        }
        Judged::Right { spending, is_digits } => {
            let is_locked = own.tries.lock(&spending.factor, *is_digits, rule, *at).is_some();
            let spent = spend(spending, &mut *connection).await?;
            if spent.answer && !is_locked {
                return Ok(WriteOutcome::applied(Settled::Spent));
            }
            if !spent.answer && *is_digits {
                own.tries.count(&Failure::Code, rule, *at);
            }
            keep(tenant, own, connection).await?;
            let replayed = WriteOutcome::rejected(Settled::Replayed);
            Ok(if spent.answer { WriteOutcome::nothing(Settled::Locked) } else { replayed })
        }
    }
}

/// Tries as they were read, and what stands in their place.
struct TriesChange {
    tenant: TenantId,
    user: UserId,
    from: UserTries,
    to: UserTries,
}

async fn replace(of: &TriesChange, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let mut own = kept(&of.tenant, of.user.to_string(), &mut *connection).await?;
    if own.tries != of.from {
        return Ok(WriteOutcome::nothing(false));
    }
    own.tries = of.to.clone();
    Ok(WriteOutcome::applied_if(keep(&of.tenant, own, connection).await?))
}

fn of_row(row: &Row) -> Result<UserWithTries> {
    Ok(UserWithTries { user: row.try_get("place")?, tries: read(row.try_get("tries")?)? })
}

#[async_trait]
impl Tries for SqlStore {
    async fn settle(&self, settling: &Settling, audit: AuditOnOutcome) -> Result<Settled, StoreError> {
        let (tenant, own, beside) = (&settling.tenant, place_of(&settling.of), place_of_nobody(settling.beside));
        let scope = Scope::alone(of_place(tenant, &own));
        let scope = match &settling.judged {
            Judged::Wrong(_) => scope.and_alone(of_place(tenant, &beside)),
            Judged::Right { spending, .. } => and_spending(scope.and_alone(of_place(tenant, &beside)), spending),
        };
        self.writer.change("settle sign-in", scope, settling.clone(), audit, settle).await
    }

    async fn tries(&self, tenant: &TenantId, user: &UserId) -> Result<UserTries, StoreError> {
        let query = rows(&ONE).bind(tenant).bind(user.as_str());
        let found = self.read_one("find tries", query, of_row).await?;
        Ok(found.map(|found| found.tries).unwrap_or_default())
    }

    async fn unanswered_tries(
        &self,
        tenant: &TenantId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<UserWithTries>, StoreError> {
        let query = each_of(&UNANSWERED).bind(tenant);
        let after = after.map_or("", UserId::as_str).to_value();
        let of = |rows: &[Row]| rows.iter().map(of_row).collect();
        self.read_page("list unanswered tries", query, ("place", after), limit, of).await
    }

    async fn change_tries(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: &UserTries,
        to: &UserTries,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(of_place(tenant, user.as_str()));
        let (tenant, user, from, to) = (tenant.clone(), user.clone(), from.clone(), to.clone());
        self.writer.change("change tries", scope, TriesChange { tenant, user, from, to }, audit, replace).await
    }
}
