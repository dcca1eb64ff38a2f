//! What a file's statement would change of what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::file::{DeploymentFile, StatedClient, StatedUser};
use signet_admin_api::clients::{Client, ClientChange, NewClient};
use signet_admin_api::users::{NewUser, User, UserChange};

/// What is there.
pub(super) struct There {
    pub(super) clients: Vec<Client>,
    pub(super) users: Vec<User>,
    /// The ids of what earlier statements made; none where nothing is to be removed.
    pub(super) declared: BTreeSet<String>,
}

/// What is to be done to a client or a user.
#[derive(Debug, Clone)]
pub(super) enum Act {
    AddClient(NewClient, Option<bool>),
    ChangeClient(String, ClientChange),
    RemoveClient(String),
    AddUser(NewUser, Option<bool>),
    ChangeUser(String, UserChange),
    RemoveUser(String),
}

/// What is to be done, in words.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) act: &'static str,
    pub(super) what: &'static str,
    pub(super) name: String,
    /// What is otherwise, each as `setting: before → after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) changes: Vec<String>,
}

impl std::fmt::Display for Told {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { act, what, name, changes } = self;
        let sign = match *act {
            "add" => '+',
            "remove" => '-',
            _ => '~',
        };
        write!(formatter, "{sign} {what} {name}")?;
        if changes.is_empty() { Ok(()) } else { write!(formatter, ": {}", changes.join("; ")) }
    }
}

/// What is to be done: roles and clients before those who have them.
pub(super) fn plan(file: &DeploymentFile, there: &There) -> Vec<(Act, Told)> {
    let mut acts = Vec::new();
    let clients: BTreeMap<&str, &Client> = there.clients.iter().map(|client| (client.name.as_str(), client)).collect();
    for stated in &file.clients {
        acts.extend(match clients.get(stated.name.as_str()) {
            None => Some(new_client(stated)),
            Some(client) => changed_client(stated, client),
        });
    }
    // Names of users are one in whatever spelling: what differs in that alone is told by the server when it is added.
    let users: BTreeMap<&str, &User> = there.users.iter().map(|user| (user.name.as_str(), user)).collect();
    for stated in &file.users {
        acts.extend(match users.get(stated.name.as_str()) {
            None => Some(new_user(stated)),
            Some(user) => changed_user(stated, user),
        });
    }
    let stated: BTreeSet<&str> = file.users.iter().map(|user| user.name.as_str()).collect();
    let gone =
        there.users.iter().filter(|user| there.declared.contains(&user.id) && !stated.contains(user.name.as_str()));
    acts.extend(gone.map(|user| (Act::RemoveUser(user.name.clone()), told("remove", "user", &user.name, vec![]))));
    let stated: BTreeSet<&str> = file.clients.iter().map(|client| client.name.as_str()).collect();
    let is_gone =
        |client: &&Client| there.declared.contains(&client.client_id) && !stated.contains(client.name.as_str());
    let gone = there.clients.iter().filter(is_gone);
    acts.extend(gone.map(|it| (Act::RemoveClient(it.name.clone()), told("remove", "client", &it.name, vec![]))));
    acts
}

fn told(act: &'static str, what: &'static str, name: &str, changes: Vec<String>) -> Told {
    Told { act, what, name: name.to_owned(), changes }
}

fn new_client(stated: &StatedClient) -> (Act, Told) {
    let new = NewClient {
        name: stated.name.clone(),
        grants: stated.grants.clone(),
        scope: joined(&stated.scopes),
        audiences: stated.audiences.clone(),
        allow_from: stated.allow_from.clone().unwrap_or_default(),
        origins: stated.origins.clone().unwrap_or_default(),
        declared: true,
    };
    (Act::AddClient(new, stated.enabled.filter(|enabled| !enabled)), told("add", "client", &stated.name, vec![]))
}

fn changed_client(stated: &StatedClient, client: &Client) -> Option<(Act, Told)> {
    let mut changes = Vec::new();
    let mut change = ClientChange::default();
    if stated.grants != client.grants {
        changes.push(differs("grants", &joined(&client.grants), &joined(&stated.grants)));
        change.grants = Some(stated.grants.clone());
    }
    let scopes: BTreeSet<String> = client.scope.split_whitespace().map(str::to_owned).collect();
    if stated.scopes != scopes {
        changes.push(differs("scopes", &client.scope, &joined(&stated.scopes)));
        change.scope = Some(joined(&stated.scopes));
    }
    if !stated.audiences.is_empty() && stated.audiences != client.audiences {
        changes.push(differs("audiences", &joined(&client.audiences), &joined(&stated.audiences)));
        change.audiences = Some(stated.audiences.clone());
    }
    change.allow_from = list("allow_from", stated.allow_from.as_ref(), &client.allow_from, &mut changes);
    change.origins = list("origins", stated.origins.as_ref(), &client.origins, &mut changes);
    change.enabled = enabled(stated.enabled, client.enabled, &mut changes);
    let act = Act::ChangeClient(client.name.clone(), change);
    (!changes.is_empty()).then(|| (act, told("change", "client", &client.name, changes)))
}

fn new_user(stated: &StatedUser) -> (Act, Told) {
    let new = NewUser { name: stated.name.clone(), roles: stated.roles.clone(), password: None, declared: true };
    (Act::AddUser(new, stated.enabled.filter(|enabled| !enabled)), told("add", "user", &stated.name, vec![]))
}

fn changed_user(stated: &StatedUser, user: &User) -> Option<(Act, Told)> {
    let mut changes = Vec::new();
    let mut change = UserChange::default();
    if stated.roles != user.roles {
        changes.push(differs("roles", &joined(&user.roles), &joined(&stated.roles)));
        change.roles = Some(stated.roles.clone());
    }
    change.enabled = enabled(stated.enabled, user.enabled, &mut changes);
    let act = Act::ChangeUser(user.name.clone(), change);
    (!changes.is_empty()).then(|| (act, told("change", "user", &user.name, changes)))
}

fn list(
    name: &str,
    stated: Option<&BTreeSet<String>>,
    is: &BTreeSet<String>,
    changes: &mut Vec<String>,
) -> Option<BTreeSet<String>> {
    let stated = stated.filter(|stated| *stated != is)?;
    changes.push(differs(name, &joined(is), &joined(stated)));
    Some(stated.clone())
}

fn enabled(stated: Option<bool>, is: bool, changes: &mut Vec<String>) -> Option<bool> {
    let stated = stated.filter(|stated| *stated != is)?;
    changes.push(differs("enabled", &is.to_string(), &stated.to_string()));
    Some(stated)
}

fn differs(what: &str, before: &str, after: &str) -> String {
    format!("{what}: [{before}] \u{2192} [{after}]")
}

fn joined(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, roles: &[&str]) -> User {
        User {
            id: format!("id-{name}"),
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            enabled: true,
            created_at: String::new(),
            factors: None,
            waiting: None,
            notes: vec![],
        }
    }

    fn planned(text: &str, there: &There) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deployment.toml");
        std::fs::write(&file, text).unwrap();
        plan(&DeploymentFile::read(&file).unwrap(), there).iter().map(|(_, told)| told.to_string()).collect()
    }

    #[test]
    fn what_differs_is_changed_and_what_is_not_stated_stays() {
        let there = There {
            clients: vec![],
            users: vec![user("ann", &["a"]), user("bob", &["a"]), user("eve", &[])],
            declared: BTreeSet::new(),
        };
        let text = "[[users]]\nname = \"ann\"\nroles = [\"a\"]\n[[users]]\nname = \"bob\"\nroles = [\"b\", \"c\"]\nenabled = false\n\
                    [[users]]\nname = \"zoe\"";
        assert_eq!(
            planned(text, &there),
            ["~ user bob: roles: [a] \u{2192} [b c]; enabled: [true] \u{2192} [false]", "+ user zoe"]
        );
    }

    #[test]
    fn what_a_statement_made_alone_is_removed() {
        let users = || vec![user("ann", &[]), user("bob", &[])];
        let there = There { clients: vec![], users: users(), declared: BTreeSet::from(["id-bob".to_owned()]) };
        assert_eq!(planned("", &there), ["- user bob"]);
        assert_eq!(planned("[[users]]\nname = \"bob\"", &there), Vec::<String>::new());
        assert_eq!(
            planned("", &There { clients: vec![], users: users(), declared: BTreeSet::new() }),
            Vec::<String>::new()
        );
    }
}
