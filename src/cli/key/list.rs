//! `signet key list`: the keys with their stages, in words.

use std::path::Path;

use serde::Serialize;

use crate::cli::{Output, deployment};
use crate::server::{Need, Runtime};
use signet_core::keys::{AnnouncedKey, HsmKey, KeyEnd, KeyState, hexadecimal};
use signet_jose::Algorithm;
use signet_service::key_ring::rotation::stage_ends;

/// A key as printed.
#[derive(Serialize)]
pub(super) struct KeyView {
    pub(super) kid: String,
    purpose: &'static str,
    algorithm: Option<Algorithm>,
    pub(super) hsm: String,
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    created_at: String,
    /// Why it left the JWKS, once it has: `expired`, `revoked` or `lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    /// What its stage means, and what comes after it.
    pub(super) what_follows: String,
}

impl KeyView {
    pub(super) fn new(key: &HsmKey, deployment: &Runtime) -> Self {
        Self {
            kid: key.key_id.to_string(),
            purpose: key.purpose.name(),
            algorithm: key.public.as_ref().map(|jwk| jwk.algorithm),
            hsm: key.hsm.to_string(),
            state: key.state.name(),
            since: key.state.since().to_string(),
            until: key.state.until().map(|until| until.to_string()),
            created_at: key.created_at.to_string(),
            end: key.state.end().map(KeyEnd::name),
            what_follows: what_follows(key, deployment),
        }
    }

    /// A pair whose making was cut short.
    fn unfinished(key: &AnnouncedKey) -> Self {
        Self {
            kid: String::new(),
            purpose: key.purpose.name(),
            algorithm: Some(key.algorithm),
            hsm: key.hsm.to_string(),
            state: "unfinished",
            since: key.at.to_string(),
            until: None,
            created_at: key.at.to_string(),
            end: None,
            what_follows: format!(
                "is being made, or its making was cut short: the server removes what is left of it (CKA_ID {})",
                hexadecimal(&key.cka_id)
            ),
        }
    }

    fn row(&self) -> [String; 6] {
        let algorithm = self.algorithm.map_or("", Algorithm::name).to_owned();
        let state = self.state.to_owned();
        [self.purpose.to_owned(), algorithm, state, self.hsm.clone(), self.kid.clone(), self.what_follows.clone()]
    }
}

/// The stage in words.
fn what_follows(key: &HsmKey, deployment: &Runtime) -> String {
    let settings = &deployment.signet.issuer().settings;
    let ends = stage_ends(key, &settings.keys, settings.algorithm);
    match (key.state, ends) {
        (KeyState::Next { published_at }, ends) => {
            let from = ends.unwrap_or(published_at);
            format!("has been published since {published_at}, and signs from {from} on, by the running server")
        }
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

pub(super) async fn run(config: &Path, output: &Output) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let store = &deployment.signet.ports().store;
    let mut views: Vec<_> = store.keys().await?.iter().map(|key| KeyView::new(key, &deployment)).collect();
    views.extend(store.announced_keys().await?.iter().map(KeyView::unfinished));
    output.list(&views, ["purpose", "algorithm", "state", "hsm", "kid", ""], KeyView::row)?;
    deployment.close().await
}
