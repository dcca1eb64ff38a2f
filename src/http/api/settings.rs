//! `/api/v1/settings`: what is set of the tenant, and what files have stated.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Faults, Refused};
use signet_admin_api::Page;
use signet_admin_api::settings::{
    Approval, Declared, DeclaredKind, DeclaredQuery, Proposal, SettingChange, Stated, StatingQuery,
};
use signet_core::settings::{self, SettingsDocument};
use signet_service::settings::registry;
use signet_store::DeclaredNoun;

fn change(change: settings::SettingChange) -> SettingChange {
    let settings::SettingChange { setting, before, after } = change;
    SettingChange { setting, before, after }
}

fn stated(stated: registry::Stated) -> Json<Stated> {
    let changes = stated.changes.into_iter().map(change).collect();
    Json(Stated { changes, waits_for_approval: stated.waits })
}

/// Show what is set, what is by default too
#[utoipa::path(get, path = "/settings", tag = "settings", operation_id = "showSettings",
    responses((status = 200, body = SettingsDocument), Faults))]
pub(super) async fn show(State(api): State<ApiState>) -> Result<Json<SettingsDocument>, Refused> {
    Ok(Json(api.issuer().settings_registry.show_settings().await?))
}

/// State settings: a section that is there replaces the one before whole, the others stay
#[utoipa::path(patch, path = "/settings", tag = "settings", operation_id = "stateSettings", params(StatingQuery),
    request_body = SettingsDocument, responses((status = 200, body = Stated), Faults))]
pub(super) async fn state(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Asked(asked): Asked<StatingQuery>,
    Body(document): Body<SettingsDocument>,
) -> Result<Json<Stated>, Refused> {
    let settings = &api.issuer().settings_registry;
    Ok(stated(match asked.dry_run {
        true => settings.preview_settings(document, &caller).await?,
        false => settings.state_settings(document, &caller).await?,
    }))
}

/// Show the settings that wait for another person's approval
#[utoipa::path(get, path = "/settings/proposal", tag = "settings", operation_id = "showProposal",
    responses((status = 200, body = Proposal), Faults))]
pub(super) async fn proposal(State(api): State<ApiState>) -> Result<Json<Proposal>, Refused> {
    let proposal = api.issuer().settings_registry.proposed_settings().await?;
    let proposal = proposal.ok_or_else(|| Refused::not_found("no settings wait for approval"))?;
    Ok(Json(Proposal {
        stated_by: proposal.stated_by,
        stated_at: proposal.stated_at.to_string(),
        changes: proposal.changes.into_iter().map(change).collect(),
    }))
}

/// Approve the settings that wait; whoever approves an account's stands for them, and one more must approve
#[utoipa::path(post, path = "/settings/proposal/approval", tag = "settings", operation_id = "approveProposal",
    request_body = Approval, responses((status = 200, body = Stated), Faults))]
pub(super) async fn approve(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(seen): Body<Approval>,
) -> Result<Json<Stated>, Refused> {
    Ok(stated(api.issuer().settings_registry.approve_settings(&seen.stated_at, &caller).await?))
}

/// Take back the settings that wait for approval
#[utoipa::path(delete, path = "/settings/proposal", tag = "settings", operation_id = "discardProposal",
    responses((status = 204), Faults))]
pub(super) async fn discard(State(api): State<ApiState>, Caller(caller): Caller) -> Result<StatusCode, Refused> {
    api.issuer().settings_registry.discard_settings(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List what files have stated and is still there, by id
#[utoipa::path(get, path = "/settings/declared", tag = "settings", operation_id = "listDeclared", params(DeclaredQuery),
    responses((status = 200, body = Page<Declared>), Faults))]
pub(super) async fn declared(
    State(api): State<ApiState>,
    Asked(asked): Asked<DeclaredQuery>,
) -> Result<Json<Page<Declared>>, Refused> {
    let settings = &api.issuer().settings_registry;
    let noun = match asked.kind {
        DeclaredKind::Users => DeclaredNoun::Users,
        DeclaredKind::Clients => DeclaredNoun::Clients,
    };
    let read = |after: Option<String>, most| async move { settings.declared(noun, after.as_deref(), most).await };
    page(asked.after, limit(asked.limit)?, read, String::clone, |_| true, |id| Declared { id: id.clone() })
        .await
        .map(Json)
}
