//! The policy: what it names is there. A name that is typed wrong asks nobody for anything.

use std::collections::BTreeSet;

use super::ApiState;
use signet_admin_api::diagnosis::Findings;

pub(super) async fn examine(api: &ApiState, findings: &mut Findings) {
    let policy = &api.issuer().settings.current().assurance;
    if policy.clients.is_empty() && policy.scopes.is_empty() {
        return;
    }
    let clients = match api.issuer().clients.list_clients().await {
        Ok(clients) => clients,
        Err(error) => return findings.error("policy", error),
    };
    let names: BTreeSet<&str> = clients.iter().map(|client| client.name.as_str()).collect();
    let scopes: BTreeSet<&str> = clients.iter().flat_map(|client| &client.scopes).map(String::as_str).collect();
    for (table, asked, known) in [("clients", policy.clients.keys(), &names), ("scopes", policy.scopes.keys(), &scopes)]
    {
        for name in asked.filter(|name| !known.contains(name.as_str())) {
            findings.warn(
                "policy",
                format!("`policy.{table}` asks for something for {name}, which no client is or has"),
                "check how the name is spelled: as it stands, nobody is asked for more",
            );
        }
    }
}
