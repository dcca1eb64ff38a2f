//! What has expired is forgotten, after it was kept for a while.

use std::sync::LazyLock;
use std::time::Duration;

use super::chain;
use super::engine::{Connection, Result, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::writer::Writer;
use signet_jose::clock::Timestamp;
use signet_store::StoreError;

/// What is deleted, the oldest first, where nobody has it in hand. Refresh tokens go with their grants, by their foreign key.
pub(super) static EACH: LazyLock<[Text; 5]> = LazyLock::new(|| {
    [
        ("grants", "id", "expires_at"),
        ("revocations", "jti", "expires_at"),
        ("sessions", "id", "expires_at"),
        ("spent_challenges", "challenge", "until"),
        ("idempotency_keys", "key_hash", "kept_until"),
    ]
    .map(|(table, id, until)| {
        Text::passing_over(&format!(
            "DELETE FROM {table} WHERE (tenant, {id}) IN (
                SELECT tenant, {id} FROM {table} WHERE {until} < $1 ORDER BY {until} LIMIT $2 {{unlocked}})"
        ))
    })
});

/// For how long what has expired is kept: the longest lifetime of an access token, and a day.
const KEPT: Duration = Duration::from_hours(48);

/// How many rows of a table one transaction prunes, so that others need not wait for long.
const PRUNED_AT_ONCE: u32 = 500;

/// Forgets what has expired; returns how many rows that were. `believed` is the latest that it can be.
pub(super) async fn expired(writer: &Writer, now: Timestamp, believed: Timestamp) -> Result<u64, StoreError> {
    let mut total = 0_u64;
    loop {
        let pruned = writer.change("prune", Scope::alone(Name::Pruning), (now, believed), vec![], prune).await?;
        total = total.saturating_add(pruned);
        if pruned < u64::from(PRUNED_AT_ONCE) {
            return Ok(total);
        }
    }
}

async fn prune((now, believed): &(Timestamp, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<u64>> {
    // Behind its own records, the clock was wrong then or is wrong now.
    if chain::latest(connection).await?.is_some_and(|latest| *now < latest) {
        return Ok(WriteOutcome::nothing(0));
    }
    let before = believed.minus(KEPT).unix_millis();
    let mut total = 0_u64;
    for text in &*EACH {
        let pruned = query(text.clone()).bind(before).bind(PRUNED_AT_ONCE).execute(&mut *connection).await?;
        total = total.saturating_add(pruned.rows_affected());
    }
    Ok(WriteOutcome::nothing(total))
}
