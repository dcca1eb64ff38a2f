//! What a server does beside its requests: tests keys, prunes, compares, signs checkpoints, rotates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::hsm_events;
use super::in_hand::InHandFile;
use super::runtime::{Runtime, take_renewed_secret};
use signet_core::audit::RequestContext;
use signet_hsm::{HsmEvent, HsmGroup};
use signet_service::hsm_membership::online_renewal::Following;
use signet_service::key_ring::rotation::Rotator;
use signet_service::nodes::NodeState;
use signet_service::{ChangeError, Deployment, JoinError};

/// How often it is looked whether another node changed what this one remembers, where no request asks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often keys that did not sign lately are tried.
const EXERCISE_EVERY: Duration = Duration::from_secs(2);
/// How often refusals that were kept for later are written to the audit log.
const TELL_REFUSALS_EVERY: Duration = Duration::from_millis(500);
/// How often the HSM's signatures are compared with the records.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether a suspended HSM token is due to be tried.
const TRY_SUSPENDED_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether an HSM token lacks seals.
const RESEAL_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether envelopes wait for this node's HSM tokens.
const TAKE_ENVELOPES_EVERY: Duration = Duration::from_millis(200);
/// How often rows that were refused are recorded.
const TELL_REFUSED_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the deployment's secret is being renewed.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked among how many nodes the records of refusals are shared out.
const SHARE_EVERY: Duration = Duration::from_secs(30);
/// How often what has expired is deleted.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

pub(super) fn start(runtime: &Runtime, events: mpsc::UnboundedReceiver<HsmEvent>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let signet = &runtime.signet;
    every(&mut tasks, LOOK_EVERY, signet, |signet| async move {
        if let Err(error) = signet.issuer().directory.fresh().await {
            tracing::debug!(%error, "what other nodes changed can't be read now");
        }
    });
    every(&mut tasks, EXERCISE_EVERY, signet, |signet| async move {
        signet.readiness.exercise_keys().await;
    });
    tell_refusals(&mut tasks, signet);
    every(
        &mut tasks,
        TRY_SUSPENDED_EVERY,
        signet,
        |signet| async move { signet.key_ring.trials.try_suspended_tokens() },
    );
    every(&mut tasks, RESEAL_EVERY, signet, |signet| async move { signet.resealing.reseal_where_needed().await });
    every(&mut tasks, TAKE_ENVELOPES_EVERY, signet, |signet| async move {
        signet.intake.take_or_tell().await;
    });
    every(&mut tasks, runtime.config.audit.checkpoint_interval, signet, |signet| async move {
        if let Err(error) = signet.checkpoints.checkpoint().await {
            tracing::warn!(%error, "no checkpoint was signed; the next one covers what this one would have");
        }
    });
    let (hsm, in_hand) = (Arc::clone(&runtime.hsm), runtime.in_hand());
    every(&mut tasks, RECONCILE_EVERY, signet, move |signet| {
        let (in_hand, settled_after) = (in_hand.clone(), settled_after(&hsm));
        async move {
            if let Err(error) = balance(&signet, settled_after, in_hand.as_deref()).await {
                tracing::warn!(%error, "signatures and records could not be compared; the next comparison covers it");
            }
        }
    });
    every(&mut tasks, TELL_REFUSED_EVERY, signet, |signet| async move {
        if let Err(error) = signet.refused_rows.record().await {
            tracing::warn!(%error, "rows that were refused could not be recorded; that is tried again");
        }
    });
    let audit_keys = runtime.config.audit.public_key.clone();
    every(&mut tasks, FOLLOW_EVERY, signet, move |signet| {
        let audit_keys = audit_keys.clone();
        async move {
            if let Err(error) = follow_renewal(&signet, &audit_keys).await {
                tracing::warn!(%error, "the renewal of the deployment's secret is followed later");
            }
        }
    });
    every(&mut tasks, PRUNE_EVERY, signet, |signet| async move {
        if let Err(error) = signet.ports().store.prune(signet.now()).await {
            tracing::warn!(%error, "what has expired could not be deleted");
        }
    });
    tasks.spawn(hsm_events::record_each(signet.clone(), events));
    tasks
}

/// Refusals are written some time after they were answered, and all nodes share what may be written of them.
fn tell_refusals(tasks: &mut JoinSet<()>, signet: &Arc<Deployment>) {
    every(tasks, TELL_REFUSALS_EVERY, signet, |signet| async move {
        if let Err(error) = signet.audit.append_repetitions(false).await {
            tracing::warn!(%error, "refusals could not be written to the audit log");
        }
    });
    every(tasks, SHARE_EVERY, signet, |signet| async move {
        match signet.nodes.list().await {
            Ok(nodes) => {
                let serving = nodes.iter().filter(|node| node.state == NodeState::Serving).count();
                signet.audit.share_among(serving.max(1));
            }
            Err(error) => tracing::debug!(%error, "the nodes can't be listed now"),
        }
    });
}

/// Has something done again and again, for as long as the server serves. What takes longer than its time is not caught up
/// with.
fn every<F: Future<Output = ()> + Send>(
    tasks: &mut JoinSet<()>,
    interval: Duration,
    signet: &Arc<Deployment>,
    task: impl Fn(Arc<Deployment>) -> F + Send + 'static,
) {
    let signet = signet.clone();
    tasks.spawn(async move {
        let mut times = tokio::time::interval(interval);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            task(signet.clone()).await;
        }
    });
}

/// Opens a secret that is being renewed, and goes on with the renewal where nobody does.
async fn follow_renewal(signet: &Deployment, audit_keys: &Path) -> Result<(), JoinError> {
    match signet.online_renewal.follow().await? {
        Following::Nothing => {}
        Following::Left => take_renewed_secret(signet, audit_keys).await,
        Following::UnderWay(_) => {
            let standing = signet.online_renewal.go_on(&RequestContext::default()).await?;
            if !standing.waits_for.is_empty() {
                let nodes = standing.waits_for.join(", ");
                tracing::debug!(
                    nodes,
                    "the renewal of the deployment's secret waits for nodes that have not opened it"
                );
            }
        }
    }
    Ok(())
}

/// Compares, and forgets what processes before this one left once that is settled.
async fn balance(
    signet: &Deployment,
    settled_after: Duration,
    in_hand: Option<&InHandFile>,
) -> Result<(), ChangeError> {
    signet.balance.reconcile(settled_after).await?;
    if let Some(file) = in_hand.filter(|_| !signet.balance.has_inherited()) {
        file.settled();
    }
    Ok(())
}

/// How long after it was given up a signature can still be made: its worker took it in time, and finished late.
fn settled_after(hsm: &HsmGroup) -> Duration {
    hsm.longest_deadline() * 2 + Duration::from_secs(1)
}

/// Compares once more at the end, so that the next start finds nothing to explain.
pub(super) async fn reconcile(runtime: &Runtime) {
    let in_hand = runtime.in_hand();
    if let Err(error) = balance(&runtime.signet, settled_after(&runtime.hsm), in_hand.as_deref()).await {
        tracing::warn!(%error, "signatures and records could not be compared at the end");
    }
    if let Err(error) = runtime.signet.balance.keep_counts().await {
        tracing::warn!(%error, "the counts of records could not be kept; the next start reads more of them");
    }
}

/// Looks after the key ring, or waits to take it over from another process.
pub(super) async fn rotate(mut rotator: Rotator) {
    let mut every = tokio::time::interval(rotator.interval());
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = rotator.work().await {
            tracing::warn!(%error, "the key ring could not be looked after");
        }
    }
}
