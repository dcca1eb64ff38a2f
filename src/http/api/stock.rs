//! `/api/v1/stock`: hardware tokens that nobody has yet.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Named;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused, factors};
use signet_admin_api::factors::Factor;
use signet_admin_api::stock::{Assignment, NewStock, NewStockToken, StockToken, TakenStock};
use signet_admin_api::{Page, PageQuery};
use signet_core::mfa::enrolment::ClockProfile;
use signet_core::mfa::totp::DRIFT_CAP;
use signet_core::mfa::yubico_otp::public_id;
use signet_core::mfa::{FactorDetail, HotpState, Validity, YubicoState};
use signet_core::secret::{SecretBytes, SecretText};
use signet_core::token_files::{ReadToken, unused_totp};
use signet_jose::clock::Timestamp;

fn view(token: &signet_store::StockToken) -> StockToken {
    StockToken {
        serial: token.serial.clone(),
        kind: token.detail.kind().name().to_owned(),
        model: token.model.clone(),
        valid_from: token.validity.from.map(|at| at.to_string()),
        valid_until: token.validity.until.map(|at| at.to_string()),
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

/// Take tokens into the stock
///
/// Those that the stock or a factor has already are left as they are, so that a list that was cut short is sent again.
#[utoipa::path(post, path = "/stock", tag = "stock", operation_id = "addStock", request_body = NewStock,
    responses((status = 200, body = TakenStock), Faults))]
pub(super) async fn add(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewStock>,
) -> Result<Json<TakenStock>, Refused> {
    if new.tokens.is_empty() || new.tokens.len() > NewStock::MOST {
        return Err(Refused::input(format!("`tokens` must be 1 to {} tokens", NewStock::MOST)));
    }
    let numbered = new.tokens.into_iter().zip(1..);
    let tokens = numbered.map(|(token, place)| read(token, place)).collect::<Result<Vec<_>, _>>()?;
    let serials: BTreeSet<String> = tokens.iter().map(|token| token.serial.clone()).collect();
    let imported = api.issuer().factors.stock_import.import_tokens(tokens, &caller).await?;
    Ok(Json(TakenStock { skipped: serials.difference(&imported).cloned().collect(), imported }))
}

/// A token as it would have been read from a file.
fn read(token: NewStockToken, line: u64) -> Result<ReadToken, Refused> {
    let hash = |name: Option<&str>| factors::hash(name).map_err(|why| in_place(line, why));
    let secret = |digits: &SecretText| {
        SecretBytes::from_hex(digits.expose().trim()).ok_or_else(|| in_place(line, "its secret is no hex digits"))
    };
    Ok(match token {
        NewStockToken::Totp(new) => {
            let profile = if new.hardware { ClockProfile::Hardware } else { ClockProfile::Synchronised };
            let (step, digits) = (i64::from(new.period.unwrap_or(30)), new.digits.unwrap_or(6));
            let drift = new.drift.unwrap_or(0);
            if !(-DRIFT_CAP..=DRIFT_CAP).contains(&drift) {
                return Err(in_place(line, format!("its drift must be -{DRIFT_CAP} to {DRIFT_CAP}")));
            }
            let mut detail = unused_totp(hash(new.hash.as_deref())?, digits, step, profile);
            if let FactorDetail::Totp(state) = &mut detail {
                state.drift = drift;
            }
            let validity = validity(line, new.valid_from.as_deref(), new.valid_until.as_deref())?;
            ReadToken { line, serial: new.serial, detail, model: new.model, validity, secret: secret(&new.secret_hex)? }
        }
        NewStockToken::Hotp(new) => {
            let next_counter = new.counter.unwrap_or(0);
            if !(0..1 << 53).contains(&next_counter) {
                return Err(in_place(line, "its counter must be 0 to 9007199254740991"));
            }
            let (hash, digits) = (hash(new.hash.as_deref())?, new.digits.unwrap_or(6));
            let detail = FactorDetail::Hotp(HotpState { hash, digits, next_counter });
            let validity = validity(line, new.valid_from.as_deref(), new.valid_until.as_deref())?;
            ReadToken { line, serial: new.serial, detail, model: new.model, validity, secret: secret(&new.secret_hex)? }
        }
        NewStockToken::YubicoOtp(new) => {
            let key = factors::yubico_key(&new.public_id, &new.private_id, &new.secret_key)?;
            let public_id = public_id(&key.public_id).ok_or_else(|| in_place(line, "its public id is no modhex"))?;
            let state = YubicoState { public_id, private_id: key.private_id, last_counter: -1 };
            let detail = FactorDetail::YubicoOtp(state);
            let validity = Validity::default();
            ReadToken { line, serial: new.serial, detail, model: new.model, validity, secret: key.secret }
        }
    })
}

fn validity(line: u64, from: Option<&str>, until: Option<&str>) -> Result<Validity, Refused> {
    let moment = |name: &str, text: Option<&str>| {
        let read = |text: &str| {
            text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_unix_millis(at.as_millisecond()))
        };
        let fault = || in_place(line, format!("`{name}` is no date and time of RFC 3339"));
        text.map(|text| read(text).ok_or_else(fault)).transpose()
    };
    Ok(Validity { from: moment("valid_from", from)?, until: moment("valid_until", until)? })
}

fn in_place(place: u64, why: impl std::fmt::Display) -> Refused {
    Refused::input(format!("the token in place {place} can't be used: {why}"))
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
