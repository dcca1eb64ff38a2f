//! `/api/v1/factors`, and those of a user: what people sign in with beside the password.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::Named;
use super::lists::{limit, page};
use super::{ApiState, Asked, Body, Caller, Created, Faults, Refused};
use signet_admin_api::factors::{
    Enrolled, Factor, FactorChange, NewFactor, NewHotp, NewPiv, NewReplacement, NewTotp, TwoCodes,
};
use signet_admin_api::{Page, PageQuery};
use signet_core::audit::RequestContext;
use signet_core::keys::OtpHash;
use signet_core::mfa::enrolment::{ClockProfile, TotpParameters, from_base32};
use signet_core::mfa::piv_offer::{self, PivOffer};
use signet_core::secret::{SecretBytes, SecretText};
use signet_service::factors::enrolment::{Device, NewOtp, YubicoKey};
use signet_service::factors::recovery::MadeCodes;
use signet_service::sign_in::piv::PivKey;
use signet_store::{FactorEdit, FactorId, FactorState, ListedFactor};

/// A factor as the API shows it.
pub(super) fn view(factor: &signet_store::Factor) -> Factor {
    let facts = factor.detail.facts();
    let requested_by = match &factor.state {
        FactorState::Pending { requested_by } => Some(requested_by.clone()),
        _ => None,
    };
    Factor {
        id: factor.id.to_string(),
        user: None,
        kind: factor.detail.kind().name().to_owned(),
        label: factor.label.clone(),
        serial: factor.serial.clone(),
        public_id: facts.public_id.map(str::to_owned),
        key_thumbprint: facts.key_thumbprint.map(str::to_owned),
        attested: facts.attested,
        model: facts.model.map(str::to_owned),
        state: factor.state.name().to_owned(),
        requested_by,
        valid_until: factor.valid_until.map(|at| at.to_string()),
        created_at: factor.created_at.to_string(),
        last_used_at: factor.last_used_at.map(|at| at.to_string()),
    }
}

fn listed(listed: &ListedFactor) -> Factor {
    Factor { user: Some(listed.user_name.clone()), ..view(&listed.factor) }
}

fn enrolled(factor: &signet_store::Factor) -> Enrolled {
    Enrolled { factor: view(factor), secret_base32: None, otpauth_uri: None, codes: None, needs_touch: None }
}

/// List everybody's factors
#[utoipa::path(get, path = "/factors", tag = "factors", operation_id = "listAllFactors", params(PageQuery),
    responses((status = 200, body = Page<Factor>), Faults))]
pub(super) async fn all(
    State(api): State<ApiState>,
    Asked(asked): Asked<PageQuery>,
) -> Result<Json<Page<Factor>>, Refused> {
    let lifecycle = &api.issuer().factors.lifecycle;
    let read = |after: Option<String>, most| async move {
        lifecycle.factors_after(after.map(FactorId::new).as_ref(), most).await
    };
    let cursor = |listed: &ListedFactor| listed.factor.id.to_string();
    page(asked.after, limit(asked.limit)?, read, cursor, |_| true, listed).await.map(Json)
}

/// List a user's factors
#[utoipa::path(get, path = "/users/{name}/factors", tag = "factors", operation_id = "listFactors",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, body = Vec<Factor>), Faults))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Named(name): Named<String>,
) -> Result<Json<Vec<Factor>>, Refused> {
    let factors = api.issuer().factors.lifecycle.list_factors(&name).await?;
    Ok(Json(factors.iter().map(view).collect()))
}

/// Enrol a factor for a user; what is secret of it is shown this once
#[utoipa::path(post, path = "/users/{name}/factors", tag = "factors", operation_id = "addFactor", request_body = NewFactor,
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 201, body = Enrolled), Faults))]
pub(super) async fn add(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(new): Body<NewFactor>,
) -> Result<Created<Enrolled>, Refused> {
    let factors = &api.issuer().factors;
    let enrolment = &factors.enrolment;
    Ok(Created(match new {
        NewFactor::Totp(new) => add_otp(&api, &name, totp(new)?, &caller).await?,
        NewFactor::Hotp(new) => add_otp(&api, &name, hotp(new)?, &caller).await?,
        NewFactor::Recovery(_) => with_codes(&factors.recovery.make_recovery_codes(&name, &caller).await?),
        NewFactor::YubicoOtp(new) => {
            let label = new.label.clone().unwrap_or_else(|| "yubikey".to_owned());
            let key = yubico_key(&new.public_id, &new.private_id, &new.secret_key)?;
            enrolled(&enrolment.enrol_yubico_otp(&name, &label, &key, &caller).await?)
        }
        NewFactor::YubicoRemote(new) => {
            let label = new.label.unwrap_or_else(|| "yubikey".to_owned());
            enrolled(&enrolment.enrol_yubico_remote(&name, &label, &new.public_id, &caller).await?)
        }
        NewFactor::Piv(new) => add_piv(&api, &name, new, &caller).await?,
    }))
}

/// Give a user whose token is lost codes that hold for a while; they are shown this once
#[utoipa::path(post, path = "/users/{name}/replacement", tag = "factors", operation_id = "replaceToken",
    request_body = NewReplacement, params(("name" = String, Path, description = "The user's name")),
    responses((status = 201, body = Enrolled), Faults))]
pub(super) async fn replace(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(new): Body<NewReplacement>,
) -> Result<Created<Enrolled>, Refused> {
    let valid = Duration::from_secs(u64::from(new.valid_seconds));
    let made = api.issuer().factors.recovery.replace_token(&name, valid, new.codes, &caller).await?;
    Ok(Created(with_codes(&made)))
}

fn with_codes(made: &MadeCodes) -> Enrolled {
    let codes = made.codes.iter().map(|code| code.expose().to_owned()).collect();
    Enrolled { codes: Some(codes), ..enrolled(&made.factor) }
}

async fn add_otp(api: &ApiState, user: &str, new: NewOtp, caller: &RequestContext) -> Result<Enrolled, Refused> {
    let is_fresh = new.secret.is_none();
    let (factor, enrolment) = api.issuer().factors.enrolment.enrol_otp(user, new, caller).await?;
    let shown = |text: &SecretText| is_fresh.then(|| text.clone());
    Ok(Enrolled {
        secret_base32: shown(&enrolment.secret_base32),
        otpauth_uri: shown(&enrolment.otpauth_uri),
        ..enrolled(&factor)
    })
}

async fn add_piv(api: &ApiState, user: &str, new: NewPiv, caller: &RequestContext) -> Result<Enrolled, Refused> {
    let text = |text: Option<String>| text.map(encoded).transpose();
    let offer = PivOffer {
        certificate: text(new.certificate)?,
        public_key: text(new.public_key)?,
        attestation: text(new.attestation)?,
        intermediates: new.intermediates.into_iter().map(encoded).collect::<Result<_, _>>()?,
    };
    let judged = piv_offer::judge(&offer, &api.issuer().settings.current().piv, api.signet.now());
    let (key, attested) = judged.map_err(|fault| Refused::input(fault.to_string()))?;
    let label = new.label.unwrap_or_else(|| "piv".to_owned());
    let needs_touch = attested.as_ref().map(|attested| attested.needs_touch);
    let key = PivKey { key, attested, serial: new.serial };
    let factor = api.issuer().factors.enrolment.enrol_piv(user, &label, &key, caller).await?;
    Ok(Enrolled { needs_touch, ..enrolled(&factor) })
}

/// PEM as it stands, or what is in base64.
fn encoded(text: String) -> Result<Vec<u8>, Refused> {
    if text.contains("-----BEGIN") {
        return Ok(text.into_bytes());
    }
    let letters: String = text.split_whitespace().collect();
    let neither = |_| Refused::input("a certificate, key or attestation is not a certificate in PEM, or DER in base64");
    STANDARD.decode(letters).map_err(neither)
}

fn totp(new: NewTotp) -> Result<NewOtp, Refused> {
    let profile = if new.hardware { ClockProfile::Hardware } else { ClockProfile::Synchronised };
    Ok(NewOtp {
        label: new.label.unwrap_or_else(|| "totp".to_owned()),
        serial: new.serial,
        parameters: parameters(new.hash.as_deref(), new.digits, new.period)?,
        device: Device::Clock(profile),
        secret: secret(new.secret_base32.as_ref())?,
    })
}

fn hotp(new: NewHotp) -> Result<NewOtp, Refused> {
    let counter = new.counter.unwrap_or(0);
    if !(0..1 << 53).contains(&counter) {
        return Err(Refused::input("the counter must be 0 to 9007199254740991"));
    }
    Ok(NewOtp {
        label: new.label.unwrap_or_else(|| "hotp".to_owned()),
        serial: new.serial,
        parameters: parameters(new.hash.as_deref(), new.digits, None)?,
        device: Device::Counter(counter),
        secret: secret(new.secret_base32.as_ref())?,
    })
}

/// The hash of a name; SHA-1 where none is given.
/// Errors: it is none of them, in words.
pub(super) fn hash(name: Option<&str>) -> Result<OtpHash, &'static str> {
    match name.unwrap_or("SHA1") {
        "SHA1" => Ok(OtpHash::Sha1),
        "SHA256" => Ok(OtpHash::Sha256),
        "SHA512" => Ok(OtpHash::Sha512),
        _ => Err("hash must be SHA1, SHA256 or SHA512"),
    }
}

fn parameters(hash: Option<&str>, digits: Option<u8>, period: Option<u32>) -> Result<TotpParameters, Refused> {
    let hash = self::hash(hash).map_err(Refused::input)?;
    let parameters = TotpParameters::new(hash, digits.unwrap_or(6), period.unwrap_or(30));
    parameters.map_err(|error| Refused::input(error.to_string()))
}

fn secret(base32: Option<&SecretText>) -> Result<Option<SecretBytes>, Refused> {
    let Some(text) = base32 else { return Ok(None) };
    from_base32(text.expose().trim()).map(Some).ok_or_else(|| Refused::input("the secret is not base32"))
}

/// The two halves of a YubiKey's OTP slot.
pub(super) fn yubico_key(
    public_id: &str,
    private_id: &SecretText,
    secret_key: &SecretText,
) -> Result<YubicoKey, Refused> {
    let private_id = SecretBytes::from_hex(private_id.expose().trim())
        .and_then(|private_id| private_id.expose().try_into().ok())
        .ok_or_else(|| Refused::input("the private id must be 12 hex digits"))?;
    let secret = SecretBytes::from_hex(secret_key.expose().trim())
        .filter(|secret| secret.expose().len() == 16)
        .ok_or_else(|| Refused::input("the AES key must be 32 hex digits"))?;
    Ok(YubicoKey { public_id: public_id.to_owned(), private_id, secret })
}

/// Show a factor
#[utoipa::path(get, path = "/factors/{id}", tag = "factors", operation_id = "showFactor",
    params(("id" = String, Path, description = "The factor's id")), responses((status = 200, body = Factor), Faults))]
pub(super) async fn show(State(api): State<ApiState>, Named(id): Named<String>) -> Result<Json<Factor>, Refused> {
    shown(&api, &id).await.map(Json)
}

async fn shown(api: &ApiState, id: &str) -> Result<Factor, Refused> {
    Ok(view(&api.issuer().factors.lifecycle.find_factor(&FactorId::new(id)).await?))
}

/// Name a factor, or say whether it proves its user
#[utoipa::path(patch, path = "/factors/{id}", tag = "factors", operation_id = "changeFactor", request_body = FactorChange,
    params(("id" = String, Path, description = "The factor's id")), responses((status = 200, body = Factor), Faults))]
pub(super) async fn change(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named<String>,
    Body(change): Body<FactorChange>,
) -> Result<Json<Factor>, Refused> {
    let edit = FactorEdit { label: change.label, enabled: change.enabled, requested_by: None };
    api.issuer().factors.lifecycle.change_factor(&FactorId::new(&id), edit, &caller).await?;
    shown(&api, &id).await.map(Json)
}

/// Remove a factor; its user's sessions and refresh tokens end
#[utoipa::path(delete, path = "/factors/{id}", tag = "factors", operation_id = "removeFactor",
    params(("id" = String, Path, description = "The factor's id")), responses((status = 204), Faults))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Refused> {
    api.issuer().factors.lifecycle.remove_factor(&FactorId::new(id), &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Find a TOTP or HOTP token that is out of step again, by two codes that it shows one after the other
#[utoipa::path(post, path = "/factors/{id}/resynchronisation", tag = "factors", operation_id = "resynchroniseFactor",
    request_body = TwoCodes, params(("id" = String, Path, description = "The factor's id")),
    responses((status = 200, body = Factor), Faults))]
pub(super) async fn resynchronise(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named<String>,
    Body(codes): Body<TwoCodes>,
) -> Result<Json<Factor>, Refused> {
    let resync = &api.issuer().factors.resync;
    resync.resync_factor(&FactorId::new(&id), [&codes.first, &codes.second], &caller).await?;
    shown(&api, &id).await.map(Json)
}

/// Approve a factor that another person asked for; whoever approves an account's request stands for it, and one more must approve
#[utoipa::path(post, path = "/factors/{id}/approval", tag = "factors", operation_id = "approveFactor",
    params(("id" = String, Path, description = "The factor's id")), responses((status = 200, body = Factor), Faults))]
pub(super) async fn approve(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named<String>,
) -> Result<Json<Factor>, Refused> {
    api.issuer().factors.lifecycle.approve_factor(&FactorId::new(&id), &caller).await?;
    shown(&api, &id).await.map(Json)
}
