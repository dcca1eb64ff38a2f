//! `signet node`

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::{Output, deployment, operator, table};
use crate::server::Need;
use signet_service::nodes::{HsmDemand, NodeState, NodeStatus};

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List the nodes of the deployment: every machine whose server, or command, has written to the store.
    List,
    /// Take a node out for good, for example a machine that is gone. Nothing that it writes is committed from then on, and the
    /// chain of its audit records is closed. Run it on another node.
    Retire {
        /// Its id, or the name of its machine.
        node: String,
    },
}

impl NodeCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::List => list(config, output).await,
            Self::Retire { node } => retire(config, output, &node).await,
        }
    }
}

async fn list(config: &Path, output: &Output) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let nodes = deployment.signet.nodes.list().await?;
    let demand = deployment.signet.nodes.demand(None).await?;
    let value = json!({ "nodes": nodes, "hsm": demand });
    output.value(&value, |_| {
        let nodes = table(["id", "machine", "state", "records", "since"], nodes.iter().map(row));
        let hsms = table(["HSM token", "nodes that serve", "signatures/s", "capacity"], demand.iter().map(demand_row));
        format!("{nodes}\n\n{hsms}")
    })?;
    deployment.close().await
}

fn demand_row(demand: &HsmDemand) -> [String; 4] {
    let most = demand.most_per_second.map_or_else(|| "no bound".to_owned(), |most| format!("at most {most}"));
    let capacity = demand.capacity.map_or_else(|| "not said".to_owned(), |capacity| capacity.to_string());
    let too_much = if demand.is_too_much() { " (less than it may be asked for)" } else { "" };
    [demand.hsm.clone(), demand.nodes.to_string(), most, format!("{capacity}{too_much}")]
}

fn row(node: &NodeStatus) -> [String; 5] {
    let state = match node.state {
        NodeState::Serving => "serving",
        NodeState::Stopped => "stopped",
        NodeState::Retired => "retired",
    };
    let this = if node.is_this { " (this one)" } else { "" };
    [node.id.clone(), node.name.clone(), format!("{state}{this}"), node.records.to_string(), node.joined_at.clone()]
}

async fn retire(config: &Path, output: &Output, name: &str) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let retired = deployment.signet.nodes.retire(name, &operator()).await;
    deployment.close().await?;
    let node = retired?;
    let value = json!({ "id": node.id.as_str(), "name": node.name, "records": node.head.sequence });
    output.value(&value, |_| {
        format!(
            "node {} is retired: its chain ends at record {}, and this node's next checkpoint closes it.\nRemove its line from \
             the balancer, and its PIN and state folder from its machine.",
            node.id, node.head.sequence
        )
    })
}
