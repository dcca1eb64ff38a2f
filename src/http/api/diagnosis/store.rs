//! The store and the audit log: durable, signed, and not written in the future.

use std::time::Duration;

use super::ApiState;
use signet_admin_api::diagnosis::Findings;
use signet_core::audit::checkpoint::open_checkpoint;
use signet_jose::clock::Timestamp;
use signet_jose::{JwkSet, VerifyingKey};
use signet_service::nodes::HsmDemand;
use signet_service::readiness::{MAX_APART, apart};
use signet_store::{AuditLog as _, Membership as _, Nodes as _, StoreError};

/// Clocks of two machines that took turns differ by this much and no more.
const SKEW: Duration = Duration::from_secs(10);
/// A server that did not write for so long was off, or its clock has jumped.
const LONG_AGO: Duration = Duration::from_secs(400 * 86_400);

pub(super) async fn examine(api: &ApiState, findings: &mut Findings) {
    let now = api.signet.now();
    match api.process.store.probe(now).await {
        Ok(at) => {
            findings.well("store", "a durable write was made");
            let apart = apart(now, at, api.signet.now());
            if apart > MAX_APART {
                let text = format!("the clock says {now}, and the database's {at}");
                findings.fault(
                    "clock",
                    text,
                    "set the one that is wrong: a node that is more than 5 s off issues nothing",
                );
            }
        }
        Err(error) => {
            findings.fault("store", error.to_string(), "check that the disk is not full and can be written to")
        }
    }
    match api.process.store.weakness().await {
        Ok(Some(text)) => {
            findings.warn("store", text, "add a standby and name it there; docs/guides/postgresql.md says why")
        }
        Ok(None) => {}
        Err(error) => findings.error("store", error),
    }
    examine_rows(api, findings).await;
    examine_logins(api, findings).await;
    examine_demand(api, findings).await;
    examine_time(api, now, findings).await;
    examine_checkpoint(api, findings).await;
}

/// How many rows that do not verify are named.
const NAMED: usize = 10;

/// Rows that somebody wrote past Signet: those that were refused since the server started, and those of tables that are quickly read.
async fn examine_rows(api: &ApiState, findings: &mut Findings) {
    if !api.process.store.has_row_keys() {
        return;
    }
    if let Err(error) = api.process.store.check_few_rows().await {
        return findings.error("rows", error);
    }
    let refused = match api.signet.refused_rows.list().await {
        Ok(refused) => refused,
        Err(error) => return findings.error("rows", error),
    };
    if refused.is_empty() {
        return findings.well("rows", "no row was refused; `signet audit verify --store` checks every one");
    }
    let named: Vec<String> = refused.iter().take(NAMED).map(|row| format!("{} {}", row.table, row.id)).collect();
    let text = format!("{} rows do not verify, and are left out: {}", refused.len(), named.join(", "));
    let advice = "somebody wrote them to the store past Signet: find out who, and remove them; `signet audit verify --store` looks for \
                  others";
    findings.fault("rows", text, advice);
}

/// What the nodes know of each other's logins at the HSM tokens.
async fn examine_logins(api: &ApiState, findings: &mut Findings) {
    let status = match api.signet.hsm_membership.hsm_status(&[]).await {
        Ok(status) => status,
        Err(error) => return findings.error("logins", error),
    };
    for (hsm, logins) in status.iter().filter_map(|hsm| Some((&hsm.name, hsm.logins.as_ref()?))) {
        let last = logins.last.as_deref().unwrap_or("none");
        let advice = "`signet hsm list` says what to do";
        if logins.others_wait {
            let text = format!("at HSM token {hsm} no node presents its PIN any more; what went wrong last: {last}");
            findings.warn("logins", text, advice);
        } else if !logins.stopped.is_empty() {
            let nodes = logins.stopped.join(", ");
            findings.warn("logins", format!("at HSM token {hsm} the PIN of node {nodes} was refused: {last}"), advice);
        }
    }
}

/// What all nodes together may ask of each HSM token, where somebody said what it can do.
async fn examine_demand(api: &ApiState, findings: &mut Findings) {
    let demand = match api.signet.nodes.demand(api.process.own_rates.as_deref()).await {
        Ok(demand) => demand,
        Err(error) => return findings.error("nodes", error),
    };
    for HsmDemand { hsm, nodes, most_per_second, capacity } in demand.iter().filter(|demand| demand.is_too_much()) {
        let can = capacity.unwrap_or_default();
        let text = match most_per_second {
            Some(most) => format!(
                "HSM token {hsm} can sign {can} a second, and the nodes that serve ({nodes}) may ask it for {most}"
            ),
            None => format!(
                "HSM token {hsm} can sign {can} a second, and one of the nodes that serve ({nodes}) sets no bound"
            ),
        };
        findings.warn("nodes", text, "set hsm.max_signatures_per_second on each node to its share of hsm.capacity");
    }
}

/// The clock against the last audit record: the chain's time never goes back.
async fn examine_time(api: &ApiState, now: Timestamp, findings: &mut Findings) {
    let last = async {
        let mut newest = Vec::new();
        for (node, head) in api.process.store.heads().await? {
            newest.extend(api.process.store.records(&node, head.sequence, 1).await?);
        }
        Ok::<_, StoreError>(newest)
    };
    let last = match last.await {
        Ok(newest) => newest.iter().map(|record| record.at).max(),
        Err(error) => return findings.error("audit", error),
    };
    let Some(last) = last else { return };
    if last > now.plus(SKEW) {
        let text = format!("the clock says {now}, and the last audit record was written at {last}");
        let advice = "set the clock; if it was the earlier one that was wrong, wait: nothing is deleted and no code is \
                      accepted twice meanwhile";
        findings.fault("clock", text, advice);
    } else if now.since(last) > LONG_AGO {
        let text = format!("the last audit record was written at {last}, more than a year ago");
        findings.warn("clock", text, "check the clock if Signet ran since");
    } else {
        findings.well("audit", format!("the last record was written at {last}"));
    }
}

async fn examine_checkpoint(api: &ApiState, findings: &mut Findings) {
    let last = match api.process.store.last_checkpoint(api.process.store.node()).await {
        Ok(Some(last)) => last,
        Ok(None) => return,
        Err(error) => return findings.error("audit", error),
    };
    if !api.process.anchor.exists() {
        findings.fault(
            "audit",
            format!(
                "the anchor {} is gone: an old copy of the store can't be told from the right one",
                api.process.anchor.display()
            ),
            "put it back from where it was moved; the next checkpoint makes a new one",
        );
    }
    let known =
        signet_text_file::read_to_string(&api.process.audit_keys).ok().and_then(|text| JwkSet::from_json(&text).ok());
    let Some(known) = known else {
        let text = format!("the audit keys' public half can't be read from {}", api.process.audit_keys.display());
        return findings.warn("audit", text, "`signet init` writes it again; keep a copy on another machine");
    };
    let keys: Vec<VerifyingKey> = known.keys.into_iter().map(VerifyingKey::new).collect();
    match open_checkpoint(&last, &keys) {
        Ok(_) => findings.well("audit", format!("signed up to record {}", last.sequence)),
        Err(fault) => {
            findings.fault("audit", fault.to_string(), "run `signet audit verify`, and find out who wrote it")
        }
    }
}
