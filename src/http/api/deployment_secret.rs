//! `/api/v1/deployment-secret`: the secret by which rows that give rights are authenticated, and its renewal.

use axum::Json;
use axum::extract::State;

use super::{ApiState, Body, Caller, Faults, Refused};
use signet_admin_api::deployment_secret::{DeploymentSecret, SecretRenewal};
use signet_service::hsm_membership::online_renewal::RenewalStanding;

fn view(standing: RenewalStanding) -> DeploymentSecret {
    let RenewalStanding { generation, is_under_way, is_elsewhere, waits_for, rows } = standing;
    DeploymentSecret {
        generation,
        under_way: is_under_way,
        elsewhere: is_elsewhere,
        waits_for,
        rows_done: rows.done,
        rows: rows.of,
        rewritten: rows.rewritten,
        void_rows: rows.refused,
    }
}

/// Say of which generation the deployment's secret is, and whether it is being renewed
#[utoipa::path(get, path = "/deployment-secret", tag = "hsm", operation_id = "showDeploymentSecret",
    responses((status = 200, body = DeploymentSecret), Faults))]
pub(super) async fn show(State(api): State<ApiState>) -> Result<Json<DeploymentSecret>, Refused> {
    Ok(Json(view(api.signet.online_renewal.show().await?)))
}

/// Renew the deployment's secret while servers run, for about two seconds
///
/// Asked again with the same generation it goes on, until `under_way` is false. Running servers do so by themselves.
#[utoipa::path(post, path = "/deployment-secret/renewal", tag = "hsm", operation_id = "renewDeploymentSecret",
    request_body = SecretRenewal, responses((status = 200, body = DeploymentSecret), Faults))]
pub(super) async fn renew(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(SecretRenewal { generation, why }): Body<SecretRenewal>,
) -> Result<Json<DeploymentSecret>, Refused> {
    if why.trim().is_empty() {
        return Err(Refused::input("`why` must say why the secret is renewed"));
    }
    Ok(Json(view(api.signet.online_renewal.renew(generation, &why, &caller).await?)))
}
