//! Leases: what one process of the deployment does at a time.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{Leases, StoreError};

texts! {
    END = "DELETE FROM leases WHERE name = $1 AND holder = $2";
}

pub(super) static TAKE: LazyLock<Text> = LazyLock::new(|| {
    let text = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, {now} + $4)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
        WHERE leases.holder = $2 OR leases.expires_at <= {now}";
    Text::by_clock(text, "$3")
});

type Asked = (String, String, Timestamp, Duration);

async fn take((name, holder, at, lasts): &Asked, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let taken = query(TAKE.clone())
        .bind(name)
        .bind(holder)
        .bind(at)
        .bind(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(WriteOutcome::nothing(taken.rows_affected() == 1))
}

async fn end((name, holder): &(String, String), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(END).bind(name).bind(holder).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

fn leasing(name: &str) -> Scope {
    Scope::alone(Name::Once(&TenantId::default_tenant(), "lease", name.as_bytes()))
}

#[async_trait]
impl Leases for SqlStore {
    async fn take_lease(&self, name: &str, holder: &str, at: Timestamp, lasts: Duration) -> Result<bool, StoreError> {
        let asked = (name.to_owned(), holder.to_owned(), at, lasts);
        self.writer.change("take a lease", leasing(name), asked, vec![], take).await
    }

    async fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let asked = (name.to_owned(), holder.to_owned());
        self.writer.change("end a lease", leasing(name), asked, vec![], end).await
    }
}
