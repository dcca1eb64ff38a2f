//! `/api/v1/backups`: everything that must last, as of one moment, closed by a statement that the HSM signed.

use async_trait::async_trait;
use axum::extract::State;
use axum::response::Response;

use super::streamed::{self, NobodyReads, Parts};
use super::{ApiState, Caller, Faults, Refused};
use signet_core::audit::RequestContext;
use signet_core::backup::{Closing, line};
use signet_core::keys::hexadecimal;
use signet_core::random::{self, OsRandom};
use signet_service::ChangeError;
use signet_store::StoreError;
use signet_store_sql::backup::{BackupOf, Sink};

#[async_trait]
impl Sink for Parts {
    async fn take(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        self.send(bytes).await.map_err(std::io::Error::other)
    }
}

/// Why a backup ended too early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("the statement can't be written: {0}")]
    Statement(#[from] serde_json::Error),
    #[error(transparent)]
    Reader(#[from] NobodyReads),
}

/// Make a backup: JSON lines as of one moment, closed by the signed statement; an answer without that line was cut off
#[utoipa::path(post, path = "/backups", tag = "backups", operation_id = "makeBackup",
    responses((status = 200, body = String, content_type = "application/jsonl"), Faults))]
pub(super) async fn make(State(api): State<ApiState>, Caller(caller): Caller) -> Result<Response, Refused> {
    let one_at_a_time = api.thorough.clone().lock_owned().await;
    api.signet.backups.can_sign().await?;
    let (mut parts, response) = streamed::json_lines();
    tokio::spawn(async move {
        let outcome = write(&api, &caller, &mut parts).await;
        parts.end("a backup", outcome);
        drop(one_at_a_time);
    });
    Ok(response)
}

async fn write(api: &ApiState, caller: &RequestContext, parts: &mut Parts) -> Result<(), Ended> {
    let signet = &api.signet;
    let of = BackupOf {
        id: hexadecimal(&random::bytes::<16>(&OsRandom)),
        issuer: signet.issuer().settings.issuer.clone(),
        at: signet.now(),
    };
    let (header, written) = api.process.store.back_up(of, parts).await?;
    let statement = signet.backups.sign_backup(&header, written.tables, written.hash, written.heads, caller).await?;
    // Whoever has the file can tell it from what was there later: its own record is signed, and the anchor beyond it.
    if let Err(error) = signet.checkpoints.checkpoint().await {
        tracing::warn!(%error, "no checkpoint was signed after the backup; the next one covers it");
    }
    parts.send(line(&Closing { statement })?).await?;
    Ok(())
}
