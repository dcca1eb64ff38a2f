//! What has expired is forgotten, after it was kept for a while.

use std::time::Duration;

use super::chain;
use super::engine::{Connection, Result, query};
use super::outcome::WriteOutcome;
use super::texts::texts;
use super::writer::Writer;
use signet_jose::clock::Timestamp;
use signet_store::StoreError;

// Refresh tokens go with their grants, by their foreign key.
texts! {
    GRANTS = "DELETE FROM grants WHERE (tenant, id) IN (
        SELECT tenant, id FROM grants WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    REVOCATIONS = "DELETE FROM revocations WHERE (tenant, jti) IN (
        SELECT tenant, jti FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    SESSIONS = "DELETE FROM sessions WHERE (tenant, id) IN (
        SELECT tenant, id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    CHALLENGES = "DELETE FROM spent_challenges WHERE (tenant, challenge) IN (
        SELECT tenant, challenge FROM spent_challenges WHERE until < $1 ORDER BY until LIMIT $2)";
}

/// For how long what has expired is kept: the longest lifetime of an access token, and a day.
const KEPT: Duration = Duration::from_hours(48);

/// How many rows of a table one transaction prunes, so that others need not wait for long.
const PRUNED_AT_ONCE: u32 = 500;

/// Forgets what has expired; returns how many rows that were. `believed` is the latest that it can be.
pub(super) async fn expired(writer: &Writer, now: Timestamp, believed: Timestamp) -> Result<u64, StoreError> {
    let mut total = 0_u64;
    loop {
        let pruned = writer.change("prune", (now, believed), vec![], prune).await?;
        total = total.saturating_add(pruned);
        if pruned < u64::from(PRUNED_AT_ONCE) {
            return Ok(total);
        }
    }
}

async fn prune((now, believed): &(Timestamp, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<u64>> {
    // Behind its own records, the clock was wrong then or is wrong now.
    if *now < chain::tail(connection).await?.at {
        return Ok(WriteOutcome::nothing(0));
    }
    let before = believed.minus(KEPT).unix_millis();
    let mut total = 0_u64;
    for text in TEXTS {
        let pruned = query(*text).bind(before).bind(PRUNED_AT_ONCE).execute(&mut *connection).await?;
        total = total.saturating_add(pruned.rows_affected());
    }
    Ok(WriteOutcome::nothing(total))
}
