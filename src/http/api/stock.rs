//! `/api/v1/stock`: hardware tokens that nobody has yet.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused, factors};
use signet_admin_api::factors::Factor;
use signet_admin_api::stock::{Assignment, StockToken};
use signet_admin_api::{Page, PageQuery};

fn view(token: &signet_store::StockToken) -> StockToken {
    StockToken {
        serial: token.serial.clone(),
        kind: token.detail.kind().name().to_owned(),
        model: token.model.clone(),
        imported_at: token.imported_at.to_string(),
    }
}

/// List the tokens of the stock, by serial number
#[utoipa::path(get, path = "/stock", tag = "stock", operation_id = "listStock", params(PageQuery),
    responses((status = 200, body = Page<StockToken>), Faults))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<StockToken>>, Refused> {
    let stock = &api.issuer().factors.stock;
    let read = |after: Option<String>, most| async move { stock.stock_after(after.as_deref(), most).await };
    page(asked.after, limit(asked.limit)?, read, |token| token.serial.clone(), |_| true, view).await.map(Json)
}

/// Remove a token from the stock
#[utoipa::path(delete, path = "/stock/{serial}", tag = "stock", operation_id = "removeStock",
    params(("serial" = String, Path, description = "The token's serial number")), responses((status = 204), Faults))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(serial): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().factors.stock.remove_stock(&serial, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a token of the stock to a user
#[utoipa::path(post, path = "/stock/{serial}/assignment", tag = "stock", operation_id = "assignStock",
    request_body = Assignment, params(("serial" = String, Path, description = "The token's serial number")),
    responses((status = 201, body = Factor), Faults))]
pub(super) async fn assign(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(serial): Named<String>,
    Body(to): Body<Assignment>,
) -> Result<Created<Factor>, Refused> {
    let issuer = api.issuer();
    let (stock, label) = (&issuer.factors.stock, to.label.as_deref());
    let factor = match &to.code {
        Some(code) => {
            let user = issuer.accounts.find_user(&to.user).await?;
            stock.self_assign(&user, &serial, code, label, &caller).await?
        }
        None => stock.assign_stock(&serial, &to.user, label, &caller).await?,
    };
    Ok(Created(factors::view(&factor)))
}
