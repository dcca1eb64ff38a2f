//! The nodes of the deployment: which there are, and how one is taken out for good.

use std::collections::BTreeMap;

use crate::ChangeError;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_store::{HsmRate, Node};

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// A server holds the right to be it.
    Serving,
    /// None does: it was stopped, or has not been heard of for longer than its lease.
    Stopped,
    /// It was taken out for good.
    Retired,
}

/// A node with what an operator asks of it.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its id.
    pub id: String,
    /// What its machine calls itself; empty until its server ran.
    pub name: String,
    /// How it is.
    pub state: NodeState,
    /// Whether it is the one that is asked.
    pub is_this: bool,
    /// When it wrote first, RFC 3339.
    pub joined_at: String,
    /// How many records its audit chain has.
    pub records: i64,
    /// When it was retired, RFC 3339.
    pub retired_at: Option<String>,
}

/// What an HSM token may be asked for by all nodes that serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmDemand {
    /// Its name.
    pub hsm: String,
    /// How many nodes that serve have it.
    pub nodes: u32,
    /// The most access tokens a second that they let it sign together; `None` where one of them sets no bound.
    pub most_per_second: Option<u64>,
    /// What it can do, where a node's operator said so: the least that any said.
    pub capacity: Option<u32>,
}

impl HsmDemand {
    /// Whether it may be asked for more than it can do.
    pub fn is_too_much(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.most_per_second.is_none_or(|most| most > u64::from(capacity)))
    }
}

module! {
    /// Lists the deployment's nodes, and retires them.
    pub struct NodeRegistry {
        takes clock, settings, nodes, membership;
    }
}

impl NodeRegistry {
    /// Every node that ever wrote, the oldest first.
    pub async fn list(&self) -> Result<Vec<NodeStatus>, ChangeError> {
        // By the clock that leases go by.
        let now = self.membership.probe(self.clock.now()).await?;
        let this = self.nodes.node();
        let nodes = self.nodes.nodes().await?;
        Ok(nodes
            .into_iter()
            .map(|node| NodeStatus {
                state: match (node.retired_at, node.leased_until) {
                    (Some(_), _) => NodeState::Retired,
                    (None, Some(until)) if until > now => NodeState::Serving,
                    (None, _) => NodeState::Stopped,
                },
                is_this: node.id == *this,
                joined_at: node.joined_at.to_string(),
                records: node.head.sequence,
                retired_at: node.retired_at.map(|at| at.to_string()),
                id: node.id.as_str().to_owned(),
                name: node.name,
            })
            .collect())
    }

    /// What each HSM token may be asked for by the nodes that serve; by this one too, with what it says of its own, where `own` is
    /// given: its server need not run.
    pub async fn demand(&self, own: Option<&[HsmRate]>) -> Result<Vec<HsmDemand>, ChangeError> {
        let this = self.nodes.node();
        let serving = |node: &NodeStatus| node.state == NodeState::Serving && (own.is_none() || !node.is_this);
        let serving: Vec<String> = self.list().await?.into_iter().filter(serving).map(|node| node.id).collect();
        let mut rates = self.nodes.rates().await?;
        rates.retain(|(node, _)| serving.iter().any(|id| id == node.as_str()));
        rates.extend(own.into_iter().flatten().map(|rate| (this.clone(), rate.clone())));
        let mut demands: BTreeMap<String, HsmDemand> = BTreeMap::new();
        for (_, rate) in rates {
            let hsm = rate.hsm.to_string();
            let demand = demands.entry(hsm.clone()).or_insert(HsmDemand {
                hsm,
                nodes: 0,
                most_per_second: Some(0),
                capacity: None,
            });
            demand.nodes = demand.nodes.saturating_add(1);
            let both = demand.most_per_second.zip(rate.most_per_second);
            demand.most_per_second = both.map(|(sum, most)| sum.saturating_add(u64::from(most)));
            demand.capacity = demand.capacity.into_iter().chain(rate.capacity).min();
        }
        Ok(demands.into_values().collect())
    }

    /// Takes a node out for good, by its id or its name: from now on nothing that it writes is committed. Its chain of records
    /// ends where it is, and this node's next checkpoint names that end.
    /// Errors: [`ChangeError::Missing`] where there is no such node; [`ChangeError::Conflict`] where it is this one, was retired
    /// already, or several have the name.
    pub async fn retire(&self, name: &str, context: &RequestContext) -> Result<Node, ChangeError> {
        let nodes = self.nodes.nodes().await?;
        let by_id = nodes.iter().find(|node| node.id.as_str() == name);
        let mut by_name = nodes.iter().filter(|node| node.name == name && node.retired_at.is_none());
        let found = by_id.or_else(|| by_name.next()).ok_or_else(|| ChangeError::missing("node", name))?;
        if by_id.is_none() && by_name.next().is_some() {
            return Err(ChangeError::Conflict(format!("several nodes are named {name}: name the one by its id")));
        }
        if found.id == *self.nodes.node() {
            return Err(ChangeError::Conflict("this is the node itself: run the command on another one".to_owned()));
        }
        let told = AuditEvent::new(Event::NodeRetired, Outcome::Done, self.settings.tenant.as_str(), context)
            .detail(format!("node {}", found.id));
        if !self.nodes.retire_node(&found.id, self.clock.now(), vec![told]).await? {
            return Err(ChangeError::Conflict(format!("node {name} was retired already")));
        }
        // Read again: it may have written until then.
        let nodes = self.nodes.nodes().await?;
        nodes.into_iter().find(|node| node.id == found.id).ok_or_else(|| ChangeError::missing("node", name))
    }
}
