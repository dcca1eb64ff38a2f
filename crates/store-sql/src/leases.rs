//! Leases: what one process of the deployment does at a time.

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, query};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_jose::clock::Timestamp;
use signet_store::{Leases, StoreError};

texts! {
    TAKE = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $4)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
        WHERE leases.holder = $2 OR leases.expires_at <= $3";
    END = "DELETE FROM leases WHERE name = $1 AND holder = $2";
}

type Asked = (&'static str, String, Timestamp, Timestamp);

async fn take((name, holder, at, until): &Asked, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let taken = query(TAKE)
        .bind(*name)
        .bind(holder.as_str())
        .bind(at.unix_millis())
        .bind(until.unix_millis())
        .execute(connection)
        .await?;
    Ok(WriteOutcome::nothing(taken.rows_affected() == 1))
}

async fn end((name, holder): &(&'static str, String), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(END).bind(*name).bind(holder.as_str()).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

#[async_trait]
impl Leases for SqlStore {
    async fn take_lease(
        &self,
        name: &'static str,
        holder: &str,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let asked = (name, holder.to_owned(), at, until);
        self.writer.change("take a lease", asked, vec![], take).await
    }

    async fn end_lease(&self, name: &'static str, holder: &str) -> Result<(), StoreError> {
        let asked = (name, holder.to_owned());
        self.writer.change("end a lease", asked, vec![], end).await
    }
}
