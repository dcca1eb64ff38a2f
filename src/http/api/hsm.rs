//! `/api/v1/hsm`: the HSM tokens of the deployment.

use axum::Json;
use axum::extract::State;

use super::body::Named;
use super::{ApiState, Body, Caller, Faults, Refused};
use signet_admin_api::Page;
use signet_admin_api::hsm::{
    AddedHsm, AllowedLogin, Health, Hsm, LoginAllowance, MadeKey, Membership, RetiredHsm, SealCount, Sealed, Sealing,
    SealingPlace, TokenInfo, TroubledLogins,
};
use signet_core::keys::{HsmName, TokenHealth};
use signet_service::hsm_logins::{self, AllowedNodes};
use signet_service::hsm_membership::{self, HsmStatus};
use signet_store::SecretCursor;

fn view(hsm: HsmStatus, health: Option<(Health, Option<String>)>) -> Hsm {
    let (health, fault) = health.map_or((None, None), |(health, fault)| (Some(health), fault));
    Hsm {
        name: hsm.name.to_string(),
        membership: match hsm.membership {
            hsm_membership::Membership::Member => Membership::Member,
            hsm_membership::Membership::NotAdded => Membership::NotAdded,
            hsm_membership::Membership::NotConfigured => Membership::NotConfigured,
            hsm_membership::Membership::Retired => Membership::Retired,
        },
        health,
        fault,
        token: hsm.token.map(|token| TokenInfo {
            label: token.label,
            manufacturer: token.manufacturer,
            model: token.model,
            serial: token.serial,
            firmware: token.firmware,
        }),
        signing_key: hsm.signing_key.map(str::to_owned),
        keeps_secrets: hsm.keeps_secrets,
        seals: counted(hsm.seals),
        logins: hsm.logins.map(troubled),
        undestroyed: hsm.undestroyed,
        published_until: hsm.published_until,
    }
}

const fn counted(seals: signet_store::SealCount) -> SealCount {
    SealCount { secrets: seals.secrets, sealed: seals.sealed, alone: seals.alone, waiting: seals.waiting }
}

fn troubled(logins: hsm_logins::TroubledLogins) -> TroubledLogins {
    TroubledLogins {
        stopped: logins.stopped,
        allowed: logins.allowed,
        unknown: logins.unknown,
        others_wait: logins.others_wait,
        last: logins.last,
    }
}

/// How this node's workers of a token do; nothing where there are none.
fn health_of(api: &ApiState, hsm: &HsmName) -> Option<(Health, Option<String>)> {
    let ports = api.signet.ports();
    ports.key_admin.tokens().contains(hsm).then(|| match ports.hsm_health.health(hsm) {
        TokenHealth::Serving => (Health::Serving, None),
        TokenHealth::Suspended { reason } => (Health::Suspended, Some(reason.to_string())),
        TokenHealth::Away(failure) => (Health::Away, Some(failure.to_string())),
    })
}

/// List the HSM tokens of the deployment and of this node's configuration
#[utoipa::path(get, path = "/hsm", tag = "hsm", operation_id = "listHsms", responses((status = 200, body = Page<Hsm>), Faults))]
pub(super) async fn list(State(api): State<ApiState>) -> Result<Json<Page<Hsm>>, Refused> {
    let configured = api.host.configured_hsms().await.map_err(Refused::conflict)?;
    let listed = api.signet.hsm_membership.hsm_status(&configured).await?;
    let items = listed
        .into_iter()
        .map(|hsm| {
            let health = health_of(&api, &hsm.name);
            view(hsm, health)
        })
        .collect();
    Ok(Json(Page { items, next: None }))
}

/// Add a configured HSM token to the deployment: bind it and make its keys
///
/// The server reads its configuration again for it, as after SIGHUP. Done again, it makes what is lacking.
#[utoipa::path(post, path = "/hsm/{name}/membership", tag = "hsm", operation_id = "addHsm",
    params(("name" = String, Path, description = "The name of its [[hsm]]")), responses((status = 200, body = AddedHsm), Faults))]
pub(super) async fn add(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Json<AddedHsm>, Refused> {
    let name = HsmName::new(name);
    if !api.signet.ports().key_admin.tokens().contains(&name) {
        api.host.take_in(&name).await.map_err(Refused::conflict)?;
    }
    let progress = |text: &str| tracing::info!(hsm = %name, "{text}");
    let added = api.signet.hsm_membership.add_hsm(&name, &caller, &progress).await?;
    let made: Vec<String> = added.keys.iter().filter(|key| key.created).map(|key| key.kid.clone()).collect();
    let audit_keys = api.host.keep_audit_keys(&made).await.map_err(Refused::conflict)?;
    let keys = added.keys.into_iter().map(|key| MadeKey {
        hsm: key.hsm.to_string(),
        purpose: key.purpose.name().to_owned(),
        kid: key.kid,
        created: key.created,
    });
    Ok(Json(AddedHsm {
        name: added.name.to_string(),
        keys: keys.collect(),
        keeps_secrets: added.keeps_secrets,
        seals: counted(added.seals),
        audit_keys,
    }))
}

/// Seal for an HSM token what it lacks, for about two seconds
///
/// The running server does the same by itself, more slowly. Nothing is sealed for a token that only signs.
#[utoipa::path(post, path = "/hsm/{name}/seals", tag = "hsm", operation_id = "sealForHsm", request_body = Sealing,
    params(("name" = String, Path, description = "The name of its [[hsm]]")), responses((status = 200, body = Sealed), Faults))]
pub(super) async fn seal(
    State(api): State<ApiState>,
    Named(name): Named<String>,
    Body(from): Body<Sealing>,
) -> Result<Json<Sealed>, Refused> {
    let after = from.after.map(|place| SecretCursor { tenant: place.tenant, kind: place.kind, row: place.row });
    let sealed = api.signet.hsm_membership.seal_more(&HsmName::new(name), after).await?;
    let next = sealed.next.map(|place| SealingPlace { tenant: place.tenant, kind: place.kind, row: place.row });
    let (resealed, unopened) = (sealed.resealed.extended, sealed.resealed.unopened);
    Ok(Json(Sealed { resealed, unopened, seals: counted(sealed.seals), next }))
}

/// Take an HSM token out: its keys sign and seal no more, its seals are removed
///
/// It need not answer. Done again, it goes on from where it ended.
#[utoipa::path(post, path = "/hsm/{name}/retirement", tag = "hsm", operation_id = "retireHsm",
    params(("name" = String, Path, description = "The name of its [[hsm]]")), responses((status = 200, body = RetiredHsm), Faults))]
pub(super) async fn retire(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
) -> Result<Json<RetiredHsm>, Refused> {
    let progress = |text: &str| tracing::info!("{text}");
    let retired = api.signet.hsm_membership.retire_hsm(&HsmName::new(name), &caller, &progress).await?;
    let name = retired.name.to_string();
    Ok(Json(RetiredHsm { name, removed_seals: retired.removed_seals, published_until: retired.published_until }))
}

/// Allow a login at an HSM token after its PIN was refused, or a login ended in a way that nobody knows
///
/// A running server of a node that is allowed one presents its PIN within seconds.
#[utoipa::path(post, path = "/hsm/{name}/login-allowances", tag = "hsm", operation_id = "allowHsmLogin",
    request_body = LoginAllowance, params(("name" = String, Path, description = "The name of its [[hsm]]")),
    responses((status = 200, body = AllowedLogin), Faults))]
pub(super) async fn allow_login(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(name): Named<String>,
    Body(allowance): Body<LoginAllowance>,
) -> Result<Json<AllowedLogin>, Refused> {
    let nodes = match (allowance.every_node, allowance.nodes.is_empty()) {
        (true, true) => AllowedNodes::Every,
        (true, false) => return Err(Refused::input("`every_node` names all nodes: leave `nodes` out")),
        (false, false) => AllowedNodes::These(allowance.nodes),
        (false, true) => AllowedNodes::These(vec![api.signet.ports().store.node().to_string()]),
    };
    let allowed = api.signet.login_allowances.allow(&HsmName::new(name), &nodes, &caller).await?;
    Ok(Json(AllowedLogin {
        name: allowed.name.to_string(),
        allowed: allowed.allowed,
        stopped: allowed.stopped,
        others_wait: allowed.others_wait,
    }))
}
