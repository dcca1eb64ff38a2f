//! `/api/v1/otp-clients` and `/api/v1/otp-keys`: who has Yubico OTPs verified here, and the keys that are no user's factor.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::factors::yubico_key;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused};
use signet_admin_api::otp_validation::{Enabled, NewOtpClient, NewOtpKey, OtpClient, OtpKey, Raised, SeenElsewhere};
use signet_admin_api::{Page, PageQuery};
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::secret::SecretText;
use signet_service::otp_validation::clients;

fn client_view(client: &signet_store::OtpClient, key: Option<SecretText>) -> OtpClient {
    OtpClient {
        id: client.id.get(),
        api_key: key,
        name: client.name.clone(),
        requires_signature: client.needs_signature,
        enabled: client.enabled,
        created_at: client.created_at.to_string(),
    }
}

fn key_view(key: &signet_store::OtpKey) -> OtpKey {
    OtpKey {
        public_id: key.public_id.clone(),
        serial: key.serial.clone(),
        enabled: key.enabled,
        created_at: key.created_at.to_string(),
        last_used_at: key.last_used_at.map(|at| at.to_string()),
    }
}

fn number(text: &str) -> Result<ClientNumber, Refused> {
    ClientNumber::parse(text).ok_or_else(|| Refused::input("the number must be 1 to 9999999999"))
}

/// List the clients of the Yubico validation protocol, by number
#[utoipa::path(get, path = "/otp-clients", tag = "otp-validation", operation_id = "listOtpClients", params(PageQuery),
    responses((status = 200, body = Page<OtpClient>), Faults))]
pub(super) async fn list_clients(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<OtpClient>>, Refused> {
    asked.after.as_deref().map(number).transpose()?;
    let clients = &api.issuer().otp_validation.clients;
    let read = |after: Option<String>, most| async move {
        clients.otp_clients_after(after.as_deref().and_then(ClientNumber::parse), most).await
    };
    let view = |client: &signet_store::OtpClient| client_view(client, None);
    page(asked.after, limit(asked.limit)?, read, |client| client.id.to_string(), |_| true, view).await.map(Json)
}

/// Add a client of the Yubico validation protocol; its API key is shown this once
#[utoipa::path(post, path = "/otp-clients", tag = "otp-validation", operation_id = "addOtpClient",
    request_body = NewOtpClient, responses((status = 201, body = OtpClient), Faults))]
pub(super) async fn add_client(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewOtpClient>,
) -> Result<Created<OtpClient>, Refused> {
    let new = clients::NewOtpClient {
        id: new.id.map(|id| number(&id.to_string())).transpose()?,
        name: new.name,
        key: new.api_key,
        needs_signature: new.requires_signature,
        enabled: new.enabled,
    };
    let (client, key) = api.issuer().otp_validation.clients.add_otp_client(new, &caller).await?;
    Ok(Created(client_view(&client, Some(key))))
}

/// Show a client of the Yubico validation protocol
#[utoipa::path(get, path = "/otp-clients/{client}", tag = "otp-validation", operation_id = "showOtpClient",
    params(("client" = String, Path, description = "The client's number or name")),
    responses((status = 200, body = OtpClient), Faults))]
pub(super) async fn show_client(
    State(api): State<ApiState>,
    Named(name): Named<String>,
) -> Result<Json<OtpClient>, Refused> {
    Ok(Json(client_view(&api.issuer().otp_validation.clients.find_otp_client(&name).await?, None)))
}

/// Say whether a client may have OTPs verified
#[utoipa::path(patch, path = "/otp-clients/{client}", tag = "otp-validation", operation_id = "changeOtpClient",
    request_body = Enabled, params(("client" = String, Path, description = "The client's number or name")),
    responses((status = 200, body = OtpClient), Faults))]
pub(super) async fn change_client(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(change): Body<Enabled>,
) -> Result<Json<OtpClient>, Refused> {
    let clients = &api.issuer().otp_validation.clients;
    clients.enable_otp_client(&name, change.enabled, &caller).await?;
    Ok(Json(client_view(&clients.find_otp_client(&name).await?, None)))
}

/// Remove a client of the Yubico validation protocol with its API key
#[utoipa::path(delete, path = "/otp-clients/{client}", tag = "otp-validation", operation_id = "removeOtpClient",
    params(("client" = String, Path, description = "The client's number or name")), responses((status = 204), Faults))]
pub(super) async fn remove_client(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().otp_validation.clients.remove_otp_client(&name, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the Yubico OTP keys that are no user's factor, by public id
#[utoipa::path(get, path = "/otp-keys", tag = "otp-validation", operation_id = "listOtpKeys", params(PageQuery),
    responses((status = 200, body = Page<OtpKey>), Faults))]
pub(super) async fn list_keys(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<OtpKey>>, Refused> {
    let keys = &api.issuer().otp_validation.keys;
    let read = |after: Option<String>, most| async move { keys.otp_keys_after(after.as_deref(), most).await };
    page(asked.after, limit(asked.limit)?, read, |key| key.public_id.clone(), |_| true, key_view).await.map(Json)
}

/// Add a Yubico OTP key that is no user's factor
#[utoipa::path(post, path = "/otp-keys", tag = "otp-validation", operation_id = "addOtpKey", request_body = NewOtpKey,
    responses((status = 201, body = OtpKey), Faults))]
pub(super) async fn add_key(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewOtpKey>,
) -> Result<Created<OtpKey>, Refused> {
    let key = yubico_key(&new.public_id, &new.private_id, &new.secret_key)?;
    Ok(Created(key_view(&api.issuer().otp_validation.keys.add_otp_key(&key, new.serial, &caller).await?)))
}

/// Show a Yubico OTP key that is no user's factor
#[utoipa::path(get, path = "/otp-keys/{public_id}", tag = "otp-validation", operation_id = "showOtpKey",
    params(("public_id" = String, Path, description = "What the key types first, in modhex")),
    responses((status = 200, body = OtpKey), Faults))]
pub(super) async fn show_key(
    State(api): State<ApiState>,
    Named(public_id): Named<String>,
) -> Result<Json<OtpKey>, Refused> {
    Ok(Json(key_view(&api.issuer().otp_validation.keys.find_otp_key(&public_id).await?)))
}

/// Say whether a key's OTPs are verified
#[utoipa::path(patch, path = "/otp-keys/{public_id}", tag = "otp-validation", operation_id = "changeOtpKey",
    request_body = Enabled, params(("public_id" = String, Path, description = "What the key types first, in modhex")),
    responses((status = 200, body = OtpKey), Faults))]
pub(super) async fn change_key(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(public_id): Named<String>,
    Body(change): Body<Enabled>,
) -> Result<Json<OtpKey>, Refused> {
    let keys = &api.issuer().otp_validation.keys;
    keys.enable_otp_key(&public_id, change.enabled, &caller).await?;
    Ok(Json(key_view(&keys.find_otp_key(&public_id).await?)))
}

/// Remove a Yubico OTP key that is no user's factor
#[utoipa::path(delete, path = "/otp-keys/{public_id}", tag = "otp-validation", operation_id = "removeOtpKey",
    params(("public_id" = String, Path, description = "What the key types first, in modhex")),
    responses((status = 204), Faults))]
pub(super) async fn remove_key(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(public_id): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().otp_validation.keys.remove_otp_key(&public_id, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take over how far another server had seen a key's counters, a user's factor or not
#[utoipa::path(post, path = "/otp-keys/{public_id}/counter", tag = "otp-validation", operation_id = "raiseOtpCounter",
    request_body = SeenElsewhere,
    params(("public_id" = String, Path, description = "What the key types first, in modhex")),
    responses((status = 200, body = Raised), Faults))]
pub(super) async fn raise_counter(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(public_id): Named<String>,
    Body(seen): Body<SeenElsewhere>,
) -> Result<Json<Raised>, Refused> {
    let keys = &api.issuer().otp_validation.keys;
    let raised = keys.raise_yubico_counter(&public_id, seen.counter, &caller).await?;
    if !seen.active {
        keys.disable_yubico_key(&public_id, &caller).await?;
    }
    Ok(Json(Raised { raised }))
}
