//! Revokes a signing key in an emergency: it leaves the JWKS at once, and what it signed counts for nothing. What that
//! breaks is told before it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::key_ring::key_maker::KeyRequest;
use crate::key_ring::rotation::{LOOK_EVERY, OTHERS_PATIENCE, rsa_bits};
use crate::{ChangeError, KeyChanges, KeyMaker, Members};
use signet_core::audit::{Head, NodeId, RequestContext};
use signet_core::keys::{HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState};
use signet_jose::clock::Timestamp;
use signet_store::{Beside, StoreError};

/// What the revocation of a key breaks.
#[derive(Debug, Clone, Serialize)]
pub struct Consequences {
    /// The key.
    pub kid: String,
    /// Where it is.
    pub hsm: HsmName,
    /// Its stage.
    pub state: &'static str,
    /// How many tokens by it have not expired, as the audit log says; some may have been revoked one by one.
    pub unexpired_tokens: u64,
    /// Who they were meant for: the resource servers to tell.
    pub audiences: BTreeSet<String>,
    /// Who asked for them.
    pub clients: BTreeSet<String>,
    /// For how long verifiers may go on with the JWKS that they have, in seconds.
    pub jwks_max_age: u64,
    /// When the last of the tokens would have expired.
    pub last_expiry: String,
    /// Whether another key signs already, so that issuance is not interrupted.
    pub others_sign: bool,
}

/// How many records are read at once.
const PAGE: u32 = 1000;
module! {
    /// Revokes signing keys.
    pub struct KeyRevocation {
        takes clock, key_admin, settings, audit_log, keys;
        calls key_changes: KeyChanges, key_maker: KeyMaker, members: Members;
    }
}

impl KeyRevocation {
    /// What revoking a key would break.
    /// Errors: [`ChangeError::Missing`] for an unknown key, [`ChangeError::Conflict`] for one that can't be revoked.
    pub async fn foresee_revocation(&self, kid: &str) -> Result<Consequences, ChangeError> {
        let keys = self.keys.keys().await?;
        let key = self.revocable(&keys, kid)?;
        let lifetime = self.keys.token_lifetime(&key.key_id).await?.max(self.settings.current().access_lifetime);
        let now = self.clock.now();
        let mut consequences = Consequences {
            kid: key.key_id.to_string(),
            hsm: key.hsm.clone(),
            state: key.state.name(),
            unexpired_tokens: 0,
            audiences: BTreeSet::new(),
            clients: BTreeSet::new(),
            jwks_max_age: self.settings.current().keys.jwks_max_age.as_secs(),
            last_expiry: last_expiry(&key.state, now, lifetime).to_string(),
            others_sign: keys.iter().any(|other| other.key_id != key.key_id && self.signs_like(other, key)),
        };
        self.count_tokens(now.minus(lifetime), &mut consequences).await?;
        Ok(consequences)
    }

    /// Takes the key out of the JWKS, for good. It needs no HSM token to answer.
    pub async fn revoke_key(&self, kid: &str, context: &RequestContext) -> Result<(), ChangeError> {
        // The ring may change under it, and a vendor's clones are in stages of their own.
        loop {
            let keys = self.keys.keys().await?;
            let key = match self.revocable(&keys, kid) {
                Ok(key) => key,
                Err(_) if keys.iter().any(|key| is_revoked(key, kid)) => return Ok(()),
                Err(refused) => return Err(refused),
            };
            self.key_changes.withdraw(key, KeyEnd::Revoked, context).await?;
        }
    }

    /// Has another key sign where the revoked one left none, and destroys the revoked one in its HSM token. A running
    /// server does the same by itself, as soon as the HSM token answers, and may be faster. Gives a key that signs now.
    /// Errors: [`ChangeError`]: what was not done is done by the server.
    pub async fn replace_revoked(&self, kid: &str, context: &RequestContext) -> Result<Option<HsmKey>, ChangeError> {
        let keys = self.keys.keys().await?;
        let revoked = keys.iter().find(|key| is_revoked(key, kid));
        let revoked = revoked.ok_or_else(|| ChangeError::missing("key", kid))?;
        self.fill_gap(revoked, context).await?;
        let keys = self.keys.keys().await?;
        // A running server may have been faster with either.
        if let Some(left) = keys.iter().find(|key| is_revoked(key, kid) && key.state.name() == "withdrawn") {
            self.key_changes.destroy_withdrawn(left, context).await?;
        }
        Ok(keys.into_iter().find(|key| self.signs_like(key, revoked)))
    }

    /// Has a key in the place of the revoked one. Somebody else who is making one is waited for, and has so much time.
    async fn fill_gap(&self, revoked: &HsmKey, context: &RequestContext) -> Result<(), ChangeError> {
        let until = tokio::time::Instant::now() + 2 * OTHERS_PATIENCE;
        while !self.replace(&self.keys.keys().await?, revoked, context).await? && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// `false` where somebody else is making the key.
    async fn replace(&self, keys: &[HsmKey], revoked: &HsmKey, context: &RequestContext) -> Result<bool, ChangeError> {
        let Some(algorithm) = revoked.public.as_ref().map(|jwk| jwk.algorithm) else { return Ok(true) };
        let is_alike = |key: &&HsmKey| key.public.as_ref().map(|jwk| jwk.algorithm) == Some(algorithm);
        let ring = || keys.iter().filter(|key| key.purpose == KeyPurpose::TokenSigning).filter(is_alike);
        // Keys of other nodes' HSM tokens are replaced by those nodes.
        let (mut members, here) = (self.members.live_members().await?, self.key_admin.tokens());
        members.retain(|hsm| here.contains(hsm));
        let is_next = |key: &&HsmKey| matches!(key.state, KeyState::Next { .. }) && members.contains(&key.hsm);
        if !ring().any(|key| key.state.is_active())
            && let Some(next) = ring().find(is_next)
            && self.key_changes.hand_over(next, None, context).await?
        {
            return Ok(true);
        }
        let has_place = |key: &HsmKey| key.hsm == revoked.hsm && (key.state.is_active() || is_next(&key));
        // A token that was taken out gets no other key: it may be the very reason for the revocation.
        if ring().any(has_place) || !members.contains(&revoked.hsm) {
            return Ok(true);
        }
        let bits = rsa_bits(revoked);
        let wanted = KeyRequest::signing(&revoked.hsm, algorithm, bits, Beside::Nobody, OTHERS_PATIENCE);
        Ok(self.key_maker.generate_wanted(&wanted, context).await?.is_some())
    }

    fn revocable<'k>(&self, keys: &'k [HsmKey], kid: &str) -> Result<&'k HsmKey, ChangeError> {
        let of_name = || keys.iter().filter(|key| key.key_id.as_str() == kid && key.tenant == self.settings.tenant);
        let missing = || ChangeError::missing("key", kid);
        let published = of_name().find(|key| key.state.is_published());
        let key = published.or_else(|| of_name().next()).ok_or_else(missing)?;
        if key.purpose != KeyPurpose::TokenSigning {
            let purpose = key.purpose.name().replace('_', " ");
            return Err(ChangeError::Conflict(format!(
                "{kid} is a {purpose} key: only a token signing key can be revoked"
            )));
        }
        if !key.state.is_published() {
            return Err(ChangeError::Conflict(format!("{kid} is {} already: it is out of the JWKS", key.state.name())));
        }
        Ok(key)
    }

    fn signs_like(&self, other: &HsmKey, key: &HsmKey) -> bool {
        let algorithm = |key: &HsmKey| key.public.as_ref().map(|jwk| jwk.algorithm);
        let is_in_ring = other.purpose == KeyPurpose::TokenSigning && other.tenant == key.tenant;
        is_in_ring && other.state.is_active() && algorithm(other) == algorithm(key)
    }

    /// Counts the records of tokens by a key since a moment.
    async fn count_tokens(&self, since: Timestamp, into: &mut Consequences) -> Result<(), StoreError> {
        for (node, head) in self.audit_log.heads().await? {
            self.count_tokens_of(&node, head, since, into).await?;
        }
        Ok(())
    }

    async fn count_tokens_of(
        &self,
        node: &NodeId,
        head: Head,
        since: Timestamp,
        into: &mut Consequences,
    ) -> Result<(), StoreError> {
        let mut next = self.first_record_since(node, head, since).await?;
        loop {
            let page = self.audit_log.records(node, next, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            next = last.sequence.saturating_add(1);
            for record in &page {
                // A quick look first: most records are of other keys.
                if record.text.contains(&into.kid) {
                    count(&record.text, into);
                }
            }
        }
    }

    /// The place of a node's first record since a moment: its records stand in the order of time.
    async fn first_record_since(&self, node: &NodeId, head: Head, since: Timestamp) -> Result<i64, StoreError> {
        let (mut low, mut high) = (1, head.sequence.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.audit_log.records(node, middle, 1).await?;
            if record.first().is_some_and(|record| record.at < since) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

fn is_revoked(key: &HsmKey, kid: &str) -> bool {
    key.key_id.as_str() == kid && key.state.end() == Some(KeyEnd::Revoked)
}

fn last_expiry(state: &KeyState, now: Timestamp, lifetime: Duration) -> Timestamp {
    match state {
        KeyState::Retiring { since, .. } => since.plus(lifetime),
        _ => now.plus(lifetime),
    }
}

fn count(record: &str, into: &mut Consequences) {
    let Ok(record) = serde_json::from_str::<Value>(record) else { return };
    let is_token = record["jti"].is_string() && record["outcome"] == "done" && record["key"] == into.kid.as_str();
    if !is_token {
        return;
    }
    into.unexpired_tokens += 1;
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    into.audiences.extend(texts(&record["audience"]));
    into.clients.extend(record["client"].as_str().map(str::to_owned));
}
