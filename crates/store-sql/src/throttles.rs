//! Tries at an account.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, number};
use super::texts::texts;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::mfa::lockout::{Counter, LockedAccount};
use signet_jose::clock::Timestamp;
use signet_store::{StoreError, StoreFailure, Throttles, UserId};

texts! {
    COUNT = "UPDATE throttles SET
            word = $6, user_id = $7,
            since = CASE WHEN free_at <= $3 THEN $3 ELSE since END,
            tries = CASE WHEN free_at <= $3 THEN 1 ELSE tries + 1 END,
            free_at = $4
        WHERE tenant = $1 AND account = $2 AND (tries < $5 OR free_at <= $3)";
    ADD = "INSERT INTO throttles (tenant, account, tries, free_at, since, word, user_id)
        VALUES ($1, $2, 1, $4, $3, $5, $6)";
    FREE_AT = "SELECT free_at FROM throttles WHERE tenant = $1 AND account = $2";
    GIVE_BACK = "UPDATE throttles SET tries = tries - 1
        WHERE tenant = $1 AND account = $2 AND tries > 0 AND since <= $3";
    FORGET = "DELETE FROM throttles WHERE tenant = $1 AND account = $2 RETURNING tries";
    TAKE = "UPDATE throttles SET tries = CASE WHEN tries > $3 THEN tries - $3 ELSE 0 END
        WHERE tenant = $1 AND account = $2";
    LOCKED = "SELECT user_id, word, COUNT(*) AS counts, MAX(free_at) AS free_at FROM throttles
        WHERE tenant = $1 AND free_at > $2 AND tries >= $3 GROUP BY user_id, word
        ORDER BY user_id NULLS FIRST, word";
    FORGET_OF = "DELETE FROM throttles WHERE tenant = $1 AND user_id = $2";
    HOW_MANY = "SELECT COUNT(*) AS accounts FROM throttles WHERE tenant = $1";
    OF_USER = "SELECT account FROM throttles WHERE tenant = $1 AND user_id = $2";
}

/// What passes over accounts that somebody is trying at just now: the oldest that are free, and those with the fewest tries.
pub(super) static EACH: LazyLock<[Text; 2]> = LazyLock::new(|| {
    [
        "DELETE FROM throttles WHERE (tenant, account) IN (SELECT tenant, account FROM throttles
            WHERE tenant = $1 AND free_at <= $2 ORDER BY free_at LIMIT 100 {unlocked})",
        "DELETE FROM throttles WHERE (tenant, account) IN (SELECT tenant, account FROM throttles
            WHERE tenant = $1 AND tries < $2 ORDER BY tries, free_at LIMIT 100 {unlocked})",
    ]
    .map(Text::passing_over)
});

/// What an account's row is locked by.
const ACCOUNT: &str = "account";

fn counting(tenant: &TenantId, account: &[u8; 32]) -> Scope {
    Scope::alone(Name::Once(tenant, ACCOUNT, account))
}

/// The most accounts of one tenant that are remembered.
const MAX_ACCOUNTS: i64 = 100_000;

/// Every how many tries of a process the accounts are counted; between, there may be that many more.
const BOUNDED_EVERY: u32 = 64;

/// What this process knows of the room for further accounts.
#[derive(Debug, Default)]
pub(super) struct Room {
    tries: AtomicU32,
    is_full: AtomicBool,
}

impl Room {
    /// Whether the accounts are to be counted at this try, which costs a walk over them.
    fn is_due(&self) -> bool {
        self.tries.fetch_add(1, Ordering::Relaxed).is_multiple_of(BOUNDED_EVERY) || self.is_full.load(Ordering::Relaxed)
    }
}

/// A try that is counted.
struct Try {
    tenant: TenantId,
    counter: Counter,
    at: Timestamp,
    most: u32,
    free_at: Timestamp,
    /// Whether this one also looks whether there is room for another account.
    bounds: bool,
}

/// How a try was counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// One more at an account that was known.
    Again,
    /// The first at an account.
    First,
    /// Not at all: the account's tries are exhausted until then.
    Exhausted(Timestamp),
    /// Not at all: the account is not known, and there is no room for another one.
    Full,
}

async fn count(counted: &Try, connection: &mut Connection) -> Result<WriteOutcome<Counted>> {
    let again = query(COUNT)
        .bind(&counted.tenant)
        .bind(counted.counter.name)
        .bind(counted.at)
        .bind(counted.free_at)
        .bind(counted.most)
        .bind(counted.counter.word)
        .bind(&counted.counter.user)
        .execute(&mut *connection)
        .await?;
    if again.rows_affected() > 0 {
        return Ok(WriteOutcome::nothing(Counted::Again));
    }
    let known = query(FREE_AT).bind(&counted.tenant).bind(counted.counter.name);
    if let Some(row) = known.fetch_optional(&mut *connection).await? {
        return Ok(WriteOutcome::nothing(Counted::Exhausted(row.try_get("free_at")?)));
    }
    forget_free(connection, &counted.tenant, counted.at).await?;
    if counted.bounds && !make_room(connection, counted).await? {
        return Ok(WriteOutcome::nothing(Counted::Full));
    }
    query(ADD)
        .bind(&counted.tenant)
        .bind(counted.counter.name)
        .bind(counted.at)
        .bind(counted.free_at)
        .bind(counted.counter.word)
        .bind(&counted.counter.user)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::nothing(Counted::First))
}

/// Whoever adds a row removes more than that.
async fn forget_free(connection: &mut Connection, tenant: &TenantId, at: Timestamp) -> Result<()> {
    query(EACH[0].clone()).bind(tenant).bind(at).execute(connection).await?;
    Ok(())
}

/// Whether there is room for another account, after those with the fewest tries were forgotten where there was none.
/// An account whose tries are exhausted stays: forgetting it would give them back.
async fn make_room(connection: &mut Connection, counted: &Try) -> Result<bool> {
    let row = query(HOW_MANY).bind(&counted.tenant).fetch_one(&mut *connection).await?;
    if row.try_get::<i64, _>("accounts")? < MAX_ACCOUNTS {
        return Ok(true);
    }
    let evicted = query(EACH[1].clone()).bind(&counted.tenant).bind(counted.most).execute(connection).await?;
    Ok(evicted.rows_affected() > 0)
}

async fn give_back(
    (tenant, account, counted_at): &(TenantId, [u8; 32], Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    query(GIVE_BACK).bind(tenant).bind(account).bind(counted_at).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn forget_of((tenant, user): &(TenantId, UserId), connection: &mut Connection) -> Result<WriteOutcome<u64>> {
    let forgotten = query(FORGET_OF).bind(tenant).bind(user).execute(connection).await?.rows_affected();
    Ok(if forgotten == 0 { WriteOutcome::nothing(0) } else { WriteOutcome::applied(forgotten) })
}

fn locked_of(row: &Row) -> Result<LockedAccount> {
    Ok(LockedAccount {
        user: row.try_get("user_id")?,
        word: row.try_get("word")?,
        counts: number(row, "counts")?,
        until: row.try_get("free_at")?,
    })
}

async fn forget(
    (tenant, account, whole): &(TenantId, [u8; 32], Option<[u8; 32]>),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    let forgotten = query(FORGET).bind(tenant).bind(account);
    let forgotten = forgotten.fetch_optional(&mut *connection).await?;
    if let (Some(row), Some(whole)) = (forgotten, whole) {
        let tries: i64 = row.try_get("tries")?;
        query(TAKE).bind(tenant).bind(whole).bind(tries).execute(connection).await?;
    }
    Ok(WriteOutcome::nothing(()))
}

#[async_trait]
impl Throttles for SqlStore {
    async fn count_try(
        &self,
        tenant: &TenantId,
        counter: &Counter,
        at: Timestamp,
        most: u32,
        pause_seconds: u32,
    ) -> Result<Option<Timestamp>, StoreError> {
        let counted = Try {
            tenant: tenant.clone(),
            counter: counter.clone(),
            at,
            most,
            free_at: at.plus(std::time::Duration::from_secs(u64::from(pause_seconds))),
            bounds: self.room.is_due(),
        };
        let (operation, bounds) = ("count try", counted.bounds);
        let counted = self.writer.change(operation, counting(tenant, &counter.name), counted, vec![], count).await?;
        match counted {
            Counted::Again => Ok(None),
            Counted::First => {
                if bounds {
                    self.room.is_full.store(false, Ordering::Relaxed);
                }
                Ok(None)
            }
            Counted::Exhausted(until) => Ok(Some(until)),
            Counted::Full => {
                self.room.is_full.store(true, Ordering::Relaxed);
                let text = "too many accounts have exhausted their tries: there is no room to count at another one";
                Err(StoreError { operation, failure: StoreFailure::Unavailable(text.to_owned()) })
            }
        }
    }

    async fn give_back_try(
        &self,
        tenant: &TenantId,
        account: &[u8; 32],
        counted_at: Timestamp,
    ) -> Result<(), StoreError> {
        let input = (tenant.clone(), *account, counted_at);
        self.writer.change("give back try", counting(tenant, account), input, vec![], give_back).await
    }

    async fn forget_tries(
        &self,
        tenant: &TenantId,
        account: &[u8; 32],
        whole: Option<&[u8; 32]>,
    ) -> Result<(), StoreError> {
        let scope = counting(tenant, account);
        let scope = whole.map_or(scope.clone(), |whole| scope.and_alone(Name::Once(tenant, ACCOUNT, whole)));
        self.writer.change("forget tries", scope, (tenant.clone(), *account, whole.copied()), vec![], forget).await
    }

    async fn locked_accounts(
        &self,
        tenant: &TenantId,
        at: Timestamp,
        most: u32,
    ) -> Result<Vec<LockedAccount>, StoreError> {
        let query = query(LOCKED).bind(tenant).bind(at).bind(most);
        self.read_each("list locked accounts", query, locked_of).await
    }

    async fn forget_tries_of(
        &self,
        tenant: &TenantId,
        user: &UserId,
        audit: Vec<AuditEvent>,
    ) -> Result<u64, StoreError> {
        let accounts = query(OF_USER).bind(tenant).bind(user);
        let accounts = self.read_each("list tries", accounts, |row| array::<32>(row, "account")).await?;
        let with = |scope: Scope, account: &[u8; 32]| scope.and_alone(Name::Once(tenant, ACCOUNT, account));
        let scope = accounts.iter().fold(Scope::free(), with);
        self.writer.change("forget tries", scope, (tenant.clone(), user.clone()), audit, forget_of).await
    }
}
