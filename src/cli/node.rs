//! `signet node`

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::admin::{self, Admin};
use super::confirm::Agreement;
use super::{Output, deployment, operator, table};
use crate::server::Need;
use signet_admin_api::nodes::{AdmittedNode, HsmDemand, NewAdmission, Node, NodeState, Nodes, RetiredNode};
use signet_core::keys::HsmName;
use signet_state_file::LockedFile;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List the nodes of the deployment: every machine whose server, or command, has written to the store.
    List,
    /// Ask to be let in with this machine's own HSM token, which no other node reaches: makes its transport key and shows a code. Type
    /// that code on a node that is in (`signet node admit`), and come in with --admitted.
    Join {
        /// The name of its [[hsm]].
        name: String,
        /// The HSM token of the node that vouches, where there are several.
        #[arg(long, value_name = "NAME")]
        vouched_by: Option<String>,
        /// Come in: the other node said that it admitted this one by this code.
        #[arg(long, value_name = "CODE", conflicts_with = "vouched_by")]
        admitted: Option<String>,
    },
    /// Let a node in that shows this code (`signet node join`): gives it the deployment's secret, encrypted to its HSM token.
    Admit {
        /// The code, as the new machine shows it.
        #[arg(required = true, num_args = 1..)]
        code: Vec<String>,
    },
    /// Take a node out for good, for example a machine that is gone. Nothing that it writes is committed from then on, and the
    /// chain of its audit records is closed. Run it on another node.
    Retire {
        /// Its id, or the name of its machine.
        node: String,
        #[command(flatten)]
        agreement: Agreement,
    },
}

impl NodeCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::List => list(config, output).await,
            Self::Join { name, vouched_by, admitted: None } => {
                ask(config, output, &HsmName::new(name), vouched_by.map(HsmName::new)).await
            }
            Self::Join { name, admitted: Some(code), .. } => come_in(config, output, &HsmName::new(name), &code).await,
            Self::Admit { code } => admit(config, output, code.join(" ")).await,
            Self::Retire { node, agreement } => retire(config, output, &node, agreement).await,
        }
    }
}

async fn list(config: &Path, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Store, output).await?;
    let listed = admin.get::<Nodes>(&["nodes"]).await;
    admin.close().await?;
    output.value(&listed?, |Nodes { nodes, hsm }| {
        let nodes = table(["id", "machine", "state", "records", "since"], nodes.iter().map(row));
        let hsms = table(["HSM token", "nodes that serve", "signatures/s", "capacity"], hsm.iter().map(demand_row));
        format!("{nodes}\n\n{hsms}")
    })
}

fn demand_row(demand: &HsmDemand) -> [String; 4] {
    let most = demand.most_per_second.map_or_else(|| "no bound".to_owned(), |most| format!("at most {most}"));
    let capacity = demand.capacity.map_or_else(|| "not said".to_owned(), |capacity| capacity.to_string());
    let too_much = if demand.is_too_much { " (less than it may be asked for)" } else { "" };
    [demand.hsm.clone(), demand.nodes.to_string(), most, format!("{capacity}{too_much}")]
}

fn row(node: &Node) -> [String; 5] {
    let state = match node.state {
        NodeState::Serving => "serving",
        NodeState::Stopped => "stopped",
        NodeState::Retired => "retired",
    };
    let this = if node.is_this { " (this one)" } else { "" };
    [node.id.clone(), node.name.clone(), format!("{state}{this}"), node.records.to_string(), node.joined_at.clone()]
}

async fn ask(config: &Path, output: &Output, name: &HsmName, vouched_by: Option<HsmName>) -> anyhow::Result<()> {
    let _no_server = stopped(config, output).await?;
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let asked = deployment.signet.joining.ask(name, vouched_by.as_ref(), &operator()).await;
    deployment.close().await?;
    output.value(&asked?, |asked| {
        format!(
            "This machine asks to be let in with its HSM token {hsm}. Its code is\n\n    {code}\n\n1. On a node that reaches the \
             HSM token {vouched_by}, type: signet node admit {code}\n2. Where that says that it is admitted, type here: signet \
             node join {hsm} --admitted {code}\nWhere it refuses the code, do not go on: somebody may have put another key in \
             between.",
            hsm = asked.hsm,
            code = asked.code,
            vouched_by = asked.vouched_by,
        )
    })
}

/// Keeps this machine's server, which has no secret yet or an old one, from running meanwhile.
async fn stopped(config: &Path, output: &Output) -> anyhow::Result<LockedFile> {
    admin::lock_without_server(&deployment::here(config)?, output).await
}

async fn admit(config: &Path, output: &Output, code: String) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let admitted = admin.post::<AdmittedNode>(&["admissions"], &NewAdmission { code }).await;
    admin.close().await?;
    output.value(&admitted?, |admitted| {
        format!(
            "The node {node} with the HSM token {hsm} is admitted.\nNext, on that machine: signet node join {hsm} --admitted {code}",
            node = admitted.node,
            hsm = admitted.hsm,
            code = admitted.code,
        )
    })
}

async fn come_in(config: &Path, output: &Output, name: &HsmName, code: &str) -> anyhow::Result<()> {
    let _no_server = stopped(config, output).await?;
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let progress = |text: &str| output.progress(text);
    let joined = match deployment.signet.joining.complete(name, code, &operator(), &progress).await {
        Ok(joined) => joined,
        Err(error) => {
            deployment.close().await?;
            return Err(error.into());
        }
    };
    deployment.audit_keys().pin(&joined.pinned)?;
    let made: Vec<String> = joined.keys.iter().filter(|key| key.created).map(|key| key.kid.clone()).collect();
    let audit_keys = deployment.audit_keys().add(&made).await?;
    let value = json!({ "hsm": name, "keys": joined.keys, "pinned": joined.pinned.key_id.as_str() });
    output.value(&value, |_| {
        let rows = joined.keys.iter().map(|key| {
            let made = if key.created { "generated" } else { "there already" };
            [key.purpose.name().replace('_', " "), made.to_owned(), key.kid.clone()]
        });
        format!(
            "{keys}\n\nThis node is in, and has the deployment's secret. The audit key that vouched is pinned in {audit}.\nNext: \
             `signet serve`. The deployment's secrets come to its HSM token by and by; until all are there, `/readyz` says how many \
             are missing, and sign-ins are answered 503.",
            keys = table(["purpose", "", "kid"], rows),
            audit = audit_keys.display(),
        )
    })?;
    deployment.close().await
}

async fn retire(config: &Path, output: &Output, name: &str, agreement: Agreement) -> anyhow::Result<()> {
    let breaks = [
        "refuse whatever it writes from then on, for good: its server stops".to_owned(),
        "close the chain of its audit records".to_owned(),
    ];
    agreement.asked(output, &format!("Retiring node {name}"), &breaks)?;
    let admin = Admin::open(config, Need::Store, output).await?;
    let retired = admin.post::<RetiredNode>(&["nodes", name, "retirement"], &json!({})).await;
    admin.close().await?;
    output.value(&retired?, |node| {
        format!(
            "node {} is retired: its chain ends at record {}, and this node's next checkpoint closes it.\nRemove its line from \
             the balancer, and its PIN and state folder from its machine.",
            node.id, node.records
        )
    })
}
