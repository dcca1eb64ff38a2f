//! `/api/v1/audit`: the records, their export, and whether all of it is there.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::lists::limit;
use super::streamed::{self, NobodyReads, Parts};
use super::{ApiState, Asked, Caller, Faults, Refused};
use signet_admin_api::audit::{
    AuditRecord, ChainEnd, CheckedRows, CheckedTable, RecordQuery, Verification, VerificationQuery, VerifiedChain,
};
use signet_admin_api::{Page, ProblemKind};
use signet_core::audit::chain::{ChainSummary, moment};
use signet_core::audit::export::ExportLine;
use signet_core::audit::{Checkpoint, Event, NodeId, Record};
use signet_jose::clock::Timestamp;
use signet_jose::{Jwk, JwkSet, VerifyingKey};
use signet_service::ChangeError;
use signet_service::audit::export::{Export, ExportRefused, RecordFilter};
use signet_service::audit::verification::{ChainsRefused, verify_chains};
use signet_store::anchor::Anchor;

/// In the answer to an export that ends at an older checkpoint, since no new one could be signed: why not.
pub const UNSIGNED_HEADER: HeaderName = HeaderName::from_static("signet-unsigned");

/// The audit keys in the text of a JWK or JWKS; `None` where it holds none.
pub fn keys_in(text: &str) -> Option<Vec<VerifyingKey>> {
    let keys = match JwkSet::from_json(text) {
        Ok(set) => set.keys,
        Err(_) => vec![Jwk::from_json(text).ok()?],
    };
    Some(keys.into_iter().map(VerifyingKey::new).collect()).filter(|keys: &Vec<_>| !keys.is_empty())
}

fn configured_keys(path: &Path) -> Result<Vec<VerifyingKey>, Refused> {
    let text = signet_text_file::read_to_string(path).ok();
    text.as_deref().and_then(keys_in).ok_or_else(|| {
        let file = path.display();
        Refused::conflict(format!("the audit public key can't be read from {file}: `signet init` writes it again"))
    })
}

/// What a check of chains found, as it is shown.
pub fn verification(chains: &[ChainSummary], anchored: Option<&Checkpoint>) -> Verification {
    let sum = |of: fn(&ChainSummary) -> i64| chains.iter().map(of).fold(0, i64::saturating_add);
    let nodes = chains.iter().map(|chain| VerifiedChain {
        node: chain.node.as_str().to_owned(),
        records: chain.head.sequence,
        signed_up_to: chain.signed,
        signed_at: chain.signed_at.map(|at| at.to_string()),
        anchored_up_to: anchored.filter(|kept| kept.node == chain.node).map(|kept| kept.sequence),
    });
    Verification {
        intact: true,
        fault: None,
        records: sum(|chain| chain.head.sequence),
        checkpoints: chains.iter().map(|chain| chain.checkpoints).sum(),
        signed_up_to: sum(|chain| chain.signed),
        signed_at: chains.iter().filter_map(|chain| chain.signed_at).max().map(|at| at.to_string()),
        anchored_up_to: anchored.map(|checkpoint| checkpoint.sequence),
        nodes: nodes.collect(),
    }
}

/// Verify the chain of records and its signed checkpoints in the store
#[utoipa::path(get, path = "/audit/verification", tag = "audit", operation_id = "verifyAudit", params(VerificationQuery),
    responses((status = 200, body = Verification), Faults))]
pub(super) async fn verify(
    State(api): State<ApiState>,
    Asked(asked): Asked<VerificationQuery>,
) -> Result<Json<Verification>, Refused> {
    let keys = match &asked.keys {
        Some(text) => keys_in(text)
            .ok_or_else(|| Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, "`keys` holds no public key"))?,
        None => configured_keys(&api.process.audit_keys)?,
    };
    let _one_at_a_time = api.thorough.lock().await;
    // What is signed is read before the heads, which running servers move on meanwhile.
    let anchored = Anchor::new(&api.process.anchor).furthest().map_err(|error| Refused::conflict(error.to_string()))?;
    match verify_chains(api.signet.ports().store.as_ref(), &keys, anchored.as_ref()).await {
        Ok(chains) => Ok(Json(verification(&chains, anchored.as_ref()))),
        Err(ChainsRefused::Store(error)) => Err(ChangeError::from(error).into()),
        Err(fault) => Ok(Json(Verification { fault: Some(fault.to_string()), ..Verification::default() })),
    }
}

/// Verify the rows of the store that rights stand in: each carries a MAC by the deployment's secret
#[utoipa::path(get, path = "/audit/rows", tag = "audit", operation_id = "verifyRows",
    responses((status = 200, body = CheckedRows), Faults))]
pub(super) async fn rows(State(api): State<ApiState>) -> Result<Json<CheckedRows>, Refused> {
    let _one_at_a_time = api.thorough.lock().await;
    let checked = api.process.store.check_rows().await.map_err(ChangeError::from)?;
    let intact = checked.iter().all(|table| table.forged == 0);
    let tables = checked.into_iter().map(|of| CheckedTable {
        table: of.table.to_owned(),
        rows: of.rows,
        forged: of.forged,
        named: of.named,
    });
    Ok(Json(CheckedRows { intact, tables: tables.collect() }))
}

/// Export all records as JSON lines, closed by a signed checkpoint: an answer without that line was cut off
#[utoipa::path(get, path = "/audit/export", tag = "audit", operation_id = "exportAudit",
    responses((status = 200, body = String, content_type = "application/jsonl"), Faults))]
pub(super) async fn export(State(api): State<ApiState>, Caller(caller): Caller) -> Result<Response, Refused> {
    let keys = configured_keys(&api.process.audit_keys)?;
    let mut export = api.signet.audit_reader.export(&keys, &caller).await.map_err(|refused| match refused {
        ExportRefused::Store(error) => ChangeError::from(error).into(),
        refused => Refused::conflict(refused.to_string()),
    })?;
    let unsigned = export.unsigned.take();
    let (mut parts, mut response) = streamed::json_lines();
    tokio::spawn(async move {
        let outcome = send(&mut export, &mut parts).await;
        parts.end("an export of the audit log", outcome);
    });
    if let Some(error) = unsigned {
        let why: String =
            error.to_string().chars().map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' }).collect();
        response.headers_mut().extend(HeaderValue::from_str(&why).ok().map(|why| (UNSIGNED_HEADER, why)));
    }
    Ok(response)
}

/// Why an export ended too early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Export(#[from] ExportRefused),
    #[error(transparent)]
    Reader(#[from] NobodyReads),
}

async fn send(export: &mut Export, parts: &mut Parts) -> Result<(), Ended> {
    while let Some(lines) = export.next_lines().await? {
        parts.send(lines).await?;
    }
    Ok(())
}

/// Say where each node's chain of records ends
#[utoipa::path(get, path = "/audit/ends", tag = "audit", operation_id = "listAuditEnds",
    responses((status = 200, body = Vec<ChainEnd>), Faults))]
pub(super) async fn ends(State(api): State<ApiState>) -> Result<Json<Vec<ChainEnd>>, Refused> {
    let nodes = api.signet.nodes.list().await?;
    Ok(Json(nodes.into_iter().map(|node| ChainEnd { node: node.id, records: node.records }).collect()))
}

/// List records, chain by chain, the oldest first
#[utoipa::path(get, path = "/audit/records", tag = "audit", operation_id = "listAuditRecords", params(RecordQuery),
    responses((status = 200, body = Page<AuditRecord>), Faults))]
pub(super) async fn records(
    State(api): State<ApiState>,
    Asked(asked): Asked<RecordQuery>,
) -> Result<Json<Page<AuditRecord>>, Refused> {
    let limit = usize::try_from(limit(asked.limit)?).unwrap_or(usize::MAX);
    let after = asked.after.as_deref().map(place).transpose()?;
    let filter = RecordFilter {
        node: asked.node.map(NodeId::new),
        since: asked.since.as_deref().map(|text| time("since", text)).transpose()?,
        until: asked.until.as_deref().map(|text| time("until", text)).transpose()?,
        event: asked.event.as_deref().map(event).transpose()?,
        user: match asked.user {
            Some(name) => Some(user(&api, name).await?),
            None => None,
        },
        client: match asked.client {
            Some(name) => Some(client(&api, name).await?),
            None => None,
        },
    };
    let page = api.signet.audit_reader.records(&filter, after.as_ref(), limit).await?;
    let items = page.records.into_iter().map(view).collect::<Result<_, _>>()?;
    let next = page.next.map(|(node, sequence)| format!("{}.{sequence}", node.as_str()));
    Ok(Json(Page { items, next }))
}

fn view(record: Record) -> Result<AuditRecord, Refused> {
    serde_json::from_str(&ExportLine::Record(record).to_json())
        .map_err(|_| Refused::conflict("a record can't be read: `signet audit verify` says which"))
}

fn unreadable(detail: String) -> Refused {
    Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail)
}

fn place(text: &str) -> Result<(NodeId, i64), Refused> {
    let place = text.rsplit_once('.').and_then(|(node, sequence)| Some((NodeId::new(node), sequence.parse().ok()?)));
    let place = place.filter(|(_, sequence)| *sequence >= 0);
    place.ok_or_else(|| unreadable("`after` must be the `next` of the page before, or NODE.NUMBER".to_owned()))
}

fn time(name: &str, text: &str) -> Result<Timestamp, Refused> {
    moment(text).ok_or_else(|| unreadable(format!("`{name}` must be a time as RFC 3339 writes it")))
}

fn event(text: &str) -> Result<Event, Refused> {
    Event::named(text).ok_or_else(|| unreadable("`event` is none that Signet records".to_owned()))
}

/// A user's id: a name is looked up, and what is nobody's name now may be the id of one who was removed.
async fn user(api: &ApiState, name: String) -> Result<String, Refused> {
    match api.issuer().accounts.find_user(&name).await {
        Ok(user) => Ok(user.id.to_string()),
        Err(ChangeError::Missing { .. }) => Ok(name),
        Err(error) => Err(error.into()),
    }
}

/// A client's id, likewise.
async fn client(api: &ApiState, name: String) -> Result<String, Refused> {
    match api.issuer().clients.find_client(&name).await {
        Ok(client) => Ok(client.id.to_string()),
        Err(ChangeError::Missing { .. }) => Ok(name),
        Err(error) => Err(error.into()),
    }
}
