//! Several nodes over one PostgreSQL database, behind a balancer that knows nothing of HTTP.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::application::Application;
use super::server::Server;

/// Takes connections and hands each to the next node that takes one.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let nodes = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let (known, next) = (Arc::clone(&nodes), AtomicUsize::new(0));
        // Ends with the tests' process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let nodes = known.lock().unwrap().clone();
                let first = next.fetch_add(1, Ordering::Relaxed);
                let mut in_turn = (0..nodes.len()).map(|place| nodes[(first + place) % nodes.len()]);
                // A client that no node takes is let go.
                if let Some(node) = in_turn.find_map(|node| TcpStream::connect(node).ok()) {
                    join(client, node);
                }
            }
        });
        Self { address, nodes }
    }
}

/// Copies both ways until either side ends.
fn join(client: TcpStream, node: TcpStream) {
    let (mut from_client, mut to_node) = (client.try_clone().unwrap(), node.try_clone().unwrap());
    let (mut from_node, mut to_client) = (node, client);
    std::thread::spawn(move || {
        // Whichever way it ends, the other side learns of it.
        let _ = std::io::copy(&mut from_client, &mut to_node);
        let _ = to_node.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_node, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
}

/// Nodes that serve one deployment.
pub(crate) struct Cluster {
    /// The node that `signet init` was run on.
    pub(crate) first: Arc<Application>,
    pub(crate) servers: Vec<Server>,
    balancer: Balancer,
}

impl Cluster {
    /// So many nodes, which share an HSM token.
    pub(crate) fn of(nodes: usize, sections: &str) -> Self {
        let balancer = Balancer::start();
        let first = Application::on_postgres(sections).behind(balancer.address);
        let mut cluster = Self { servers: vec![first.serve()], first, balancer };
        cluster.balancer.nodes.lock().unwrap().push(cluster.first.address());
        for _ in 1..nodes {
            cluster.join();
        }
        cluster
    }

    /// So many nodes, each with an HSM token that no other one reaches or names.
    pub(crate) fn of_own_tokens(nodes: usize, sections: &str) -> Self {
        let mut cluster = Self::of(1, sections);
        for number in 1..nodes {
            let node = cluster.admit(&format!("token-{number}"));
            cluster.servers.push(node.serve());
            cluster.balancer.nodes.lock().unwrap().push(node.address());
        }
        cluster
    }

    /// Lets a node in that has an HSM token of its own, as two operators do.
    pub(crate) fn admit(&self, name: &str) -> Arc<Application> {
        let node = self.first.node_with_own_token(name);
        let asked = node.json(&["node", "join", name, "--vouched-by", "primary"]);
        let code = asked["code"].as_str().unwrap();
        self.first.json(&["node", "admit", code]);
        node.json(&["node", "join", name, "--admitted", code]);
        node
    }

    /// One more node serves from now on.
    pub(crate) fn join(&mut self) {
        let node = self.first.another_node();
        self.servers.push(node.serve());
        self.balancer.nodes.lock().unwrap().push(node.address());
    }

    /// The way by the balancer, for a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.balancer.address)
    }
}
