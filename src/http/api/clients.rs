//! `/api/v1/clients`: the software that asks for tokens.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused, notes};
use signet_admin_api::clients::{Client, ClientChange, NewClient};
use signet_admin_api::{Page, PageQuery};
use signet_core::networks::{BadNetwork, Network};
use signet_core::oauth::{self, GrantType, Reach, Scopes, scope};
use signet_core::secret::SecretText;
use signet_service::clients::registry::{self, ClientEdit};

/// A client as the API shows it.
fn view(client: &oauth::Client, secret: Option<SecretText>) -> Client {
    Client {
        client_id: client.id.to_string(),
        client_secret: secret,
        name: client.name.clone(),
        grants: client.grants.iter().map(|grant| grant.name().to_owned()).collect(),
        scope: scope::join(&client.scopes),
        audiences: client.audiences.clone(),
        allow_from: client.reach.allow_from.iter().map(ToString::to_string).collect(),
        origins: client.reach.origins.clone(),
        enabled: client.enabled,
        created_at: client.created_at.to_string(),
        notes: Vec::new(),
    }
}

/// With what may be misspelt of the scopes that people should get.
fn noted(client: Client, api: &ApiState) -> Client {
    let known = &api.issuer().settings.current().role_scopes;
    let is_for_people = client.grants.iter().any(|grant| grant == GrantType::Password.name());
    let notes = if is_for_people { notes::on_scopes(client.scope.split(' '), known) } else { Vec::new() };
    Client { notes, ..client }
}

fn grants(names: &BTreeSet<String>) -> Result<BTreeSet<GrantType>, Refused> {
    let grant = |name: &String| name.parse().map_err(|error| Refused::input(format!("`{name}`: {error}")));
    names.iter().map(grant).collect()
}

fn networks(texts: &BTreeSet<String>) -> Result<BTreeSet<Network>, Refused> {
    texts.iter().map(|text| text.parse().map_err(|error: BadNetwork| Refused::input(error.to_string()))).collect()
}

fn scopes(text: &str) -> Scopes {
    text.split_whitespace().map(str::to_owned).collect()
}

/// List clients, by name
#[utoipa::path(get, path = "/clients", tag = "clients", operation_id = "listClients", params(PageQuery),
    responses((status = 200, body = Page<Client>), Faults))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<Client>>, Refused> {
    let clients = &api.issuer().clients;
    let read = |after: Option<String>, most| async move { clients.clients_after(after.as_deref(), most).await };
    let limit = limit(asked.limit)?;
    page(asked.after, limit, read, |client| client.name.clone(), |_| true, |client| view(client, None)).await.map(Json)
}

/// Add a client; its secret is shown this once
#[utoipa::path(post, path = "/clients", tag = "clients", operation_id = "addClient", request_body = NewClient,
    responses((status = 201, body = Client), Faults))]
pub(super) async fn add(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewClient>,
) -> Result<Created<Client>, Refused> {
    let is_declared = new.declared;
    let new = registry::NewClient {
        name: new.name,
        grants: grants(&new.grants)?,
        scopes: scopes(&new.scope),
        audiences: new.audiences,
        reach: Reach { allow_from: networks(&new.allow_from)?, origins: new.origins },
    };
    let clients = &api.issuer().clients;
    if is_declared {
        return Ok(Created(noted(view(&clients.declare_client(new, &caller).await?, None), &api)));
    }
    let (client, secret) = clients.add_client(new, &caller).await?;
    Ok(Created(noted(view(&client, Some(secret)), &api)))
}

/// Show a client
#[utoipa::path(get, path = "/clients/{name}", tag = "clients", operation_id = "showClient",
    params(("name" = String, Path, description = "The client's name or id")),
    responses((status = 200, body = Client), Faults))]
pub(super) async fn show(State(api): State<ApiState>, Named(name): Named<String>) -> Result<Json<Client>, Refused> {
    Ok(Json(view(&api.issuer().clients.find_client(&name).await?, None)))
}

/// Change what a client may ask for, or whether it may ask
#[utoipa::path(patch, path = "/clients/{name}", tag = "clients", operation_id = "changeClient", request_body = ClientChange,
    params(("name" = String, Path, description = "The client's name or id")),
    responses((status = 200, body = Client), Faults))]
pub(super) async fn change(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(change): Body<ClientChange>,
) -> Result<Json<Client>, Refused> {
    let has_new_scopes = change.scope.is_some();
    let edit = ClientEdit {
        grants: change.grants.as_ref().map(grants).transpose()?,
        scopes: change.scope.as_deref().map(scopes),
        audiences: change.audiences,
        allow_from: change.allow_from.as_ref().map(networks).transpose()?,
        origins: change.origins,
        enabled: change.enabled,
    };
    let changed = view(&api.issuer().clients.change_client(&name, edit, &caller).await?, None);
    Ok(Json(if has_new_scopes { noted(changed, &api) } else { changed }))
}

/// Give a client a new secret, shown this once; the old one holds no more
#[utoipa::path(post, path = "/clients/{name}/secret", tag = "clients", operation_id = "renewClientSecret",
    params(("name" = String, Path, description = "The client's name or id")),
    responses((status = 201, body = Client), Faults))]
pub(super) async fn renew_secret(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Created<Client>, Refused> {
    let clients = &api.issuer().clients;
    let secret = clients.renew_client_secret(&name, &caller).await?;
    Ok(Created(view(&clients.find_client(&name).await?, Some(secret))))
}

/// Remove a client with its refresh tokens
#[utoipa::path(delete, path = "/clients/{name}", tag = "clients", operation_id = "removeClient",
    params(("name" = String, Path, description = "The client's name or id")), responses((status = 204), Faults))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().clients.remove_client(&name, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
