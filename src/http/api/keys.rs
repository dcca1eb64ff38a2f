//! `/api/v1/keys`: the keys that the deployment depends on, their rotation and their revocation.

use axum::Json;
use axum::extract::State;

use super::body::Named;
use super::{ApiState, Body, Caller, Created, Faults, Refused};
use signet_admin_api::Page;
use signet_admin_api::keys::{BegunRotation, BegunRotations, Consequences, Key, NewKey, Replacement};
use signet_core::keys::{AnnouncedKey, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, hexadecimal};
use signet_jose::Algorithm;
use signet_jose::clock::Timestamp;
use signet_service::hsm_membership::initialise::DEFAULT_RSA_BITS;
use signet_service::key_ring::revocation;
use signet_service::key_ring::rotation::stage_ends;
use signet_service::{ChangeError, InitialiseError, Settings};

/// A key as the API shows it.
fn view(key: &HsmKey, api: &ApiState) -> Key {
    let (settings, now) = (&api.issuer().settings, api.signet.now());
    Key {
        kid: key.key_id.to_string(),
        purpose: key.purpose.name().to_owned(),
        algorithm: key.public.as_ref().map(|jwk| jwk.algorithm.name().to_owned()),
        hsm: key.hsm.to_string(),
        state: key.state.name().to_owned(),
        since: key.state.since().to_string(),
        until: key.state.until().map(|until| until.to_string()),
        created_at: key.created_at.to_string(),
        end: key.state.end().map(|end| end.name().to_owned()),
        ends_at: stage_ends(key, &settings.current().keys, settings.current().algorithm)
            .filter(|_| key.purpose == KeyPurpose::TokenSigning)
            .map(|ends| ends.to_string()),
        what_follows: what_follows(key, settings, now),
    }
}

/// A pair whose making was cut short.
fn unfinished(key: &AnnouncedKey) -> Key {
    Key {
        kid: String::new(),
        purpose: key.purpose.name().to_owned(),
        algorithm: Some(key.algorithm.name().to_owned()),
        hsm: key.hsm.to_string(),
        state: "unfinished".to_owned(),
        since: key.at.to_string(),
        until: None,
        created_at: key.at.to_string(),
        end: None,
        ends_at: None,
        what_follows: format!(
            "is being made, or its making was cut short: the server removes what is left of it (CKA_ID {})",
            hexadecimal(&key.cka_id)
        ),
    }
}

/// The stage in words.
fn what_follows(key: &HsmKey, settings: &Settings, now: Timestamp) -> String {
    if let (KeyState::Retiring { since, .. }, false) = (key.state, key.purpose == KeyPurpose::TokenSigning) {
        let why = match key.purpose {
            KeyPurpose::AuditSigning => ": older checkpoints are verified by it",
            _ => "",
        };
        return format!("was taken out of use at {since}, and stays in the HSM token for good{why}");
    }
    let ends = stage_ends(key, &settings.current().keys, settings.current().algorithm);
    match (key.state, ends) {
        (KeyState::Next { published_at }, Some(from)) if from > now => {
            format!("has been published since {published_at}, and signs from {from} on, by the running server")
        }
        (KeyState::Next { published_at }, _) => format!(
            "has been published since {published_at}, and signs as soon as a running server has seen it for long enough"
        ),
        (KeyState::Active { since }, Some(ends)) => format!("in use since {since}, and rotated at {ends}"),
        (KeyState::Active { since }, None) => format!("in use since {since}"),
        (KeyState::Retiring { since, until }, _) => {
            format!("stopped signing at {since}, stays published until {until}, and is destroyed then")
        }
        (KeyState::Withdrawn { since, end }, _) => {
            format!("{} at {since}, and is being destroyed in the HSM token", in_words(end))
        }
        (KeyState::Destroyed { at, end }, _) => format!("{}; destroyed in the HSM token at {at}", in_words(end)),
    }
}

const fn in_words(end: KeyEnd) -> &'static str {
    match end {
        KeyEnd::Expired => "left the JWKS after its last token had expired",
        KeyEnd::Revoked => "was revoked",
        KeyEnd::Lost => "was not in the HSM token when it was to sign",
    }
}

fn told(consequences: revocation::Consequences) -> Consequences {
    Consequences {
        kid: consequences.kid,
        hsm: consequences.hsm.to_string(),
        state: consequences.state.to_owned(),
        unexpired_tokens: consequences.unexpired_tokens,
        audiences: consequences.audiences,
        clients: consequences.clients,
        jwks_max_age: consequences.jwks_max_age,
        last_expiry: consequences.last_expiry,
        others_sign: consequences.others_sign,
    }
}

/// What a key should be, as the request says.
struct Wanted {
    algorithm: Algorithm,
    bits: u32,
    hsm: Option<HsmName>,
}

impl Wanted {
    fn read(asked: NewKey, api: &ApiState) -> Result<Self, Refused> {
        let algorithm = match &asked.algorithm {
            Some(name) => name.parse().map_err(|error| Refused::input(format!("`algorithm`: {error}")))?,
            None => api.issuer().settings.current().algorithm,
        };
        let bits = asked.bits.unwrap_or(DEFAULT_RSA_BITS);
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(Refused::input("`bits` must be 2048, 3072 or 4096"));
        }
        Ok(Self { algorithm, bits, hsm: asked.hsm.map(HsmName::new) })
    }

    /// The named HSM token, or all that are configured and belong to the deployment. One that was retired and has its
    /// [[hsm]] still gets no key any more.
    async fn hsms(&self, api: &ApiState) -> Result<Vec<HsmName>, Refused> {
        let configured = api.signet.ports().key_admin.tokens();
        let members = api.signet.key_ring.members.live_members().await?;
        if members.is_empty() {
            return Err(Refused::conflict("this deployment has no keys yet; run `signet init` first"));
        }
        let Some(name) = &self.hsm else {
            return Ok(configured.into_iter().filter(|name| members.contains(name)).collect());
        };
        if !configured.contains(name) {
            let known = configured.iter().map(HsmName::as_str).collect::<Vec<_>>().join(", ");
            return Err(Refused::not_found(format!("there is no HSM token `{name}`; configured: {known}")));
        }
        match members.contains(name) {
            true => Ok(vec![name.clone()]),
            false => Err(Refused::conflict(InitialiseError::NotAMember(name.clone()).to_string())),
        }
    }
}

/// List the keys that the deployment depends on, the oldest first, with their stages
#[utoipa::path(get, path = "/keys", tag = "keys", operation_id = "listKeys", responses((status = 200, body = Page<Key>), Faults))]
pub(super) async fn list(State(api): State<ApiState>) -> Result<Json<Page<Key>>, Refused> {
    let store = &api.signet.ports().store;
    let mut items: Vec<Key> = store.keys().await?.iter().map(|key| view(key, &api)).collect();
    items.extend(store.announced_keys().await?.iter().map(unfinished));
    Ok(Json(Page { items, next: None }))
}

/// Show a key
#[utoipa::path(get, path = "/keys/{kid}", tag = "keys", operation_id = "showKey",
    params(("kid" = String, Path, description = "The key's name")), responses((status = 200, body = Key), Faults))]
pub(super) async fn show(State(api): State<ApiState>, Named(kid): Named<String>) -> Result<Json<Key>, Refused> {
    let keys = api.signet.ports().store.keys().await?;
    let key = keys.iter().find(|key| key.key_id.as_str() == kid);
    key.map(|key| Json(view(key, &api))).ok_or_else(|| Refused::not_found(format!("there is no key `{kid}`")))
}

/// Generate a token-signing key inside an HSM token
///
/// The first of its algorithm is active: it signs where `tokens.algorithm` names that algorithm. A further one is published, and signs
/// after `keys.publish_ahead`.
#[utoipa::path(post, path = "/keys", tag = "keys", operation_id = "generateKey", request_body = NewKey,
    responses((status = 201, body = Key), Faults))]
pub(super) async fn generate(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(asked): Body<NewKey>,
) -> Result<Created<Key>, Refused> {
    let wanted = Wanted::read(asked, &api)?;
    let hsms = wanted.hsms(&api).await?;
    let hsm = match hsms.as_slice() {
        [hsm] => hsm,
        [] => {
            return Err(Refused::conflict(
                "no HSM token of this deployment is configured; `signet hsm list` shows them",
            ));
        }
        _ => return Err(Refused::input("the deployment has several HSM tokens: name one (`hsm`, `--hsm`)")),
    };
    let maker = &api.signet.key_ring.maker;
    let key = maker.generate_signing_key(hsm, wanted.algorithm, wanted.bits, &caller).await?;
    Ok(Created(view(&key, &api)))
}

/// Rotate the signing keys now: generate the next key in each HSM token
///
/// It signs once every verifier knows it; the old one is destroyed after its last token has expired.
#[utoipa::path(post, path = "/keys/rotation", tag = "keys", operation_id = "rotateKeys", request_body = NewKey,
    responses((status = 200, body = BegunRotations), Faults))]
pub(super) async fn rotate(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(asked): Body<NewKey>,
) -> Result<Json<BegunRotations>, Refused> {
    let wanted = Wanted::read(asked, &api)?;
    let rotation = &api.signet.key_ring.rotation;
    let mut hsms = Vec::new();
    for hsm in wanted.hsms(&api).await? {
        let begun = rotation.begin_rotation(&hsm, wanted.algorithm, wanted.bits, &caller).await;
        let (key, created, error) = match begun {
            Ok(begun) => (Some(view(&begun.key, &api)), begun.created, None),
            Err(error) => (None, false, Some(error.to_string())),
        };
        hsms.push(BegunRotation { hsm: hsm.to_string(), key, created, error });
    }
    Ok(Json(BegunRotations { hsms }))
}

/// Say what the revocation of a key would break
#[utoipa::path(get, path = "/keys/{kid}/revocation", tag = "keys", operation_id = "foreseeRevocation",
    params(("kid" = String, Path, description = "The key's name")), responses((status = 200, body = Consequences), Faults))]
pub(super) async fn foresee(
    State(api): State<ApiState>,
    Named(kid): Named<String>,
) -> Result<Json<Consequences>, Refused> {
    Ok(Json(told(api.signet.key_ring.revocation.foresee_revocation(&kid).await?)))
}

/// Revoke a token-signing key at once, and all that it signed
///
/// It is out of the JWKS for good; no HSM token needs to answer. The running server has another key sign, and destroys this one.
#[utoipa::path(post, path = "/keys/{kid}/revocation", tag = "keys", operation_id = "revokeKey",
    params(("kid" = String, Path, description = "The key's name")), responses((status = 200, body = Consequences), Faults))]
pub(super) async fn revoke(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(kid): Named<String>,
) -> Result<Json<Consequences>, Refused> {
    let revocation = &api.signet.key_ring.revocation;
    let consequences = revocation.foresee_revocation(&kid).await?;
    revocation.revoke_key(&kid, &caller).await?;
    Ok(Json(told(consequences)))
}

/// Replace and destroy a revoked key now, as the running server does by itself
#[utoipa::path(post, path = "/keys/{kid}/replacement", tag = "keys", operation_id = "replaceKey",
    params(("kid" = String, Path, description = "The key's name")), responses((status = 200, body = Replacement), Faults))]
pub(super) async fn replace(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Named(kid): Named<String>,
) -> Result<Json<Replacement>, Refused> {
    let replaced = api.signet.key_ring.revocation.replace_revoked(&kid, &caller).await;
    Ok(Json(match replaced {
        Ok(key) => {
            let replacement = key.map(|key| view(&key, &api));
            Replacement { replacement, left_to_the_server: None }
        }
        Err(missing @ ChangeError::Missing { .. }) => return Err(missing.into()),
        Err(error) => Replacement { replacement: None, left_to_the_server: Some(error.to_string()) },
    }))
}
