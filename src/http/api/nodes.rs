//! `/api/v1/nodes` and `/api/v1/admissions`: the machines whose servers share the store, and who is let in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::{ApiState, Body, Caller, Faults, Refused};
use signet_admin_api::ProblemKind;
use signet_admin_api::nodes::{AdmittedNode, HsmDemand, NewAdmission, Node, NodeState, Nodes, RetiredNode};
use signet_service::{JoinError, nodes};

fn view(node: nodes::NodeStatus) -> Node {
    Node {
        id: node.id,
        name: node.name,
        state: match node.state {
            nodes::NodeState::Serving => NodeState::Serving,
            nodes::NodeState::Stopped => NodeState::Stopped,
            nodes::NodeState::Retired => NodeState::Retired,
        },
        is_this: node.is_this,
        joined_at: node.joined_at,
        records: node.records,
        retired_at: node.retired_at,
    }
}

fn demand(demand: nodes::HsmDemand) -> HsmDemand {
    let is_too_much = demand.is_too_much();
    HsmDemand {
        hsm: demand.hsm,
        nodes: demand.nodes,
        most_per_second: demand.most_per_second,
        capacity: demand.capacity,
        is_too_much,
    }
}

/// List every node that ever wrote, and what the HSM tokens may be asked for
#[utoipa::path(get, path = "/nodes", tag = "nodes", operation_id = "listNodes",
    responses((status = 200, body = Nodes), Faults))]
pub(super) async fn list(State(api): State<ApiState>) -> Result<Json<Nodes>, Refused> {
    let registry = &api.signet.nodes;
    let nodes = registry.list().await?.into_iter().map(view).collect();
    let hsm = registry.demand(None).await?.into_iter().map(demand).collect();
    Ok(Json(Nodes { nodes, hsm }))
}

/// Take a node out for good, by its id or its machine's name
#[utoipa::path(post, path = "/nodes/{node}/retirement", tag = "nodes", operation_id = "retireNode",
    params(("node" = String, Path, description = "The node's id, or the name of its machine")),
    responses((status = 200, body = RetiredNode), Faults))]
pub(super) async fn retire(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Json<RetiredNode>, Refused> {
    let node = api.signet.nodes.retire(&name, &caller).await?;
    Ok(Json(RetiredNode { id: node.id.as_str().to_owned(), name: node.name, records: node.head.sequence }))
}

/// Let a node in that shows this code: it is given the deployment's secret, encrypted to its HSM token
///
/// Done again, it is given the secret once more.
#[utoipa::path(post, path = "/admissions", tag = "nodes", operation_id = "admitNode", request_body = NewAdmission,
    responses((status = 200, body = AdmittedNode), Faults))]
pub(super) async fn admit(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(NewAdmission { code }): Body<NewAdmission>,
) -> Result<Json<AdmittedNode>, Refused> {
    let admitted = api.signet.joining.admit(&code, &caller).await?;
    Ok(Json(AdmittedNode { hsm: admitted.hsm.to_string(), node: admitted.node, code: admitted.code }))
}

impl From<JoinError> for Refused {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::NoCode => Self::input(error.to_string()),
            JoinError::OtherCode => Self::new(ProblemKind::NotFound, StatusCode::NOT_FOUND, error.to_string()),
            JoinError::Store(error) => signet_service::ChangeError::from(error).into(),
            JoinError::Change(error) => error.into(),
            JoinError::Hsm(_) | JoinError::Unavailable(_) => Self::unavailable(error.to_string()),
            _ => Self::conflict(error.to_string()),
        }
    }
}
