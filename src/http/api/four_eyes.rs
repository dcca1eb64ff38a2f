//! `/api/v1/four-eyes`: whether what one operator adds waits for another person.

use axum::Json;
use axum::extract::State;

use super::{ApiState, Caller, Faults, Refused};
use signet_admin_api::four_eyes::FourEyes;
use signet_service::four_eyes::FourEyesState;

fn view(state: FourEyesState) -> FourEyes {
    let FourEyesState { holds, is_configured, lowering_asked_by } = state;
    FourEyes { holds, configured: is_configured, lowering_asked_by }
}

/// Say whether the four-eyes rule holds
#[utoipa::path(get, path = "/four-eyes", tag = "settings", operation_id = "showFourEyes",
    responses((status = 200, body = FourEyes), Faults))]
pub(super) async fn show(State(api): State<ApiState>) -> Result<Json<FourEyes>, Refused> {
    Ok(Json(view(api.issuer().four_eyes.four_eyes().await?)))
}

/// Ask that the four-eyes rule hold no more; the second person who asks ends it
#[utoipa::path(post, path = "/four-eyes/lowering", tag = "settings", operation_id = "lowerFourEyes",
    responses((status = 200, body = FourEyes), Faults))]
pub(super) async fn lower(State(api): State<ApiState>, Caller(caller): Caller) -> Result<Json<FourEyes>, Refused> {
    Ok(Json(view(api.issuer().four_eyes.lower_four_eyes(&caller).await?)))
}
