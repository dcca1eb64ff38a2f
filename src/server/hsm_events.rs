//! Writes what happens to HSM tokens into the log and the audit log.

use std::sync::Arc;

use tokio::sync::mpsc;

use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_hsm::HsmEvent;
use signet_service::Deployment;

/// Records each event, for as long as the HSM workers have any.
pub(super) async fn record_each(signet: Arc<Deployment>, mut events: mpsc::UnboundedReceiver<HsmEvent>) {
    while let Some(event) = events.recv().await {
        record_hsm_event(&signet, event).await;
    }
}

async fn record_hsm_event(signet: &Deployment, event: HsmEvent) {
    let recorded = match event {
        HsmEvent::Up { hsm, .. } => {
            tracing::info!(%hsm, "the HSM token answers");
            record(signet, Event::HsmUp, Outcome::Done, Some(hsm.to_string())).await
        }
        HsmEvent::Down { hsm, failure } => {
            tracing::error!(%hsm, error = %failure, "the HSM token does not answer");
            record(signet, Event::HsmDown, Outcome::Failed, Some(format!("{hsm}: {failure}"))).await
        }
        HsmEvent::Suspended { hsm, failure } => {
            tracing::error!(%hsm, error = %failure, "the HSM token is suspended until a test signature verifies");
            record(signet, Event::HsmDown, Outcome::Failed, Some(format!("{hsm}: suspended: {failure}"))).await
        }
        HsmEvent::Resumed { hsm } => {
            tracing::info!(%hsm, "a test signature of the HSM token verified: it serves again");
            record(signet, Event::HsmUp, Outcome::Done, Some(format!("{hsm}: a test signature verified"))).await
        }
        // Recorded by the use case that saw it.
        HsmEvent::WrongSignature { .. } => Ok(()),
    };
    if let Err(error) = recorded {
        tracing::error!(%error, "the HSM token's state could not be written to the audit log");
    }
}

/// Appends one record on the server's own behalf.
pub(super) async fn record(
    signet: &Deployment,
    event: Event,
    outcome: Outcome,
    detail: Option<String>,
) -> anyhow::Result<()> {
    let mut draft =
        AuditEvent::new(event, outcome, signet.issuer().settings.tenant.as_str(), &RequestContext::default());
    draft.detail = detail;
    signet.ports().store.append(vec![draft]).await?;
    Ok(())
}
