//! What had ended since the copy that a store was restored from is ended again, as an export of the audit log says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{ChangeError, KeyChanges};
use signet_core::audit::since::{Fate, Noun, RevokedToken, Since, Thing};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, RequestContext};
use signet_core::keys::{HsmFailure, HsmKey, HsmName, KeyEnd, KeyPurpose, TenantId};
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::mfa::{FactorId, Spending, UsedFactor};
use signet_jose::clock::Timestamp;
use signet_store::{AuditOnOutcome, ClientId, Factor, ProofSpending, StoreError, StoreFailure, UserId};

module! {
    /// Ends again what had ended.
    pub struct Restoring {
        takes clock, settings, users, factors, factor_life, clients, otp_validation, keys, key_admin, revocations;
        calls changes: KeyChanges;
    }
}

/// How many things of each kind were ended again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedAgain {
    /// Removed, by what they are.
    pub removed: BTreeMap<Noun, u64>,
    /// Disabled, by what they are.
    pub disabled: BTreeMap<Noun, u64>,
    /// Users who lost roles.
    pub roles: u64,
    /// Counters that were moved on.
    pub counters: u64,
    /// Keys that were revoked.
    pub keys: BTreeSet<String>,
    /// Access tokens that were revoked.
    pub tokens: u64,
    /// What was left as it is, because its row does not verify: it grants nothing. Each with its table.
    pub refused: BTreeSet<String>,
}

/// What is told of each change.
const AGAIN: &str = "ended again after a restore, as the export of the audit log says";

impl Restoring {
    /// Ends again what an export says had ended, as far as the store has it; doing it twice does it once. What stands in a row that
    /// does not verify is removed where it had been, and otherwise left: it grants nothing.
    /// Errors: [`ChangeError`]: some of it may be ended then, and the same call goes on.
    pub async fn end_again(&self, since: &Since, context: &RequestContext) -> Result<EndedAgain, ChangeError> {
        let mut ended = EndedAgain::default();
        for (thing, fate) in &since.fates {
            if let Err(error) = self.end_thing(thing, fate, context, &mut ended).await {
                ended.refused.insert(refused_row(error)?);
            }
        }
        let keys = self.keys.keys().await?;
        for key in keys.iter().filter(|key| since.revoked_keys.contains(key.key_id.as_str())) {
            if key.state.is_published() {
                self.changes.withdraw(key, KeyEnd::Revoked, context).await?;
                ended.keys.insert(key.key_id.to_string());
            }
        }
        let longest = self.longest_lifetime(&keys).await?;
        for token in &since.revoked_tokens {
            match self.revoke(token, token.at.plus(longest), context).await {
                Ok(is_revoked) => ended.tokens = ended.tokens.saturating_add(u64::from(is_revoked)),
                Err(error) => drop(ended.refused.insert(refused_row(error)?)),
            }
        }
        Ok(ended)
    }

    /// Revokes an access token; `false` where it has expired, or is revoked.
    async fn revoke(
        &self,
        token: &RevokedToken,
        expires_at: Timestamp,
        context: &RequestContext,
    ) -> Result<bool, ChangeError> {
        let (tenant, at) = (TenantId::new(&token.tenant), self.clock.now());
        if expires_at <= at || self.revocations.is_revoked(&tenant, &token.jti).await? {
            return Ok(false);
        }
        let mut told = self.told(Event::TokenRevoked, &token.tenant, context).detail(AGAIN);
        told.jti = Some(token.jti.clone());
        self.revocations.revoke_token(&tenant, &token.jti, expires_at, at, vec![told]).await?;
        Ok(true)
    }

    /// Revokes active keys that their HSM token does not have any more: the deployment had gone on to others since. Tokens that do
    /// not answer are passed over. Returns the keys' ids.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn revoke_missing_keys(&self, context: &RequestContext) -> Result<BTreeSet<String>, ChangeError> {
        let keys = self.keys.keys().await?;
        let published: Vec<HsmKey> = keys
            .into_iter()
            .filter(|key| key.purpose == KeyPurpose::TokenSigning && key.state.is_published())
            .collect();
        let hsms: BTreeSet<HsmName> = published.iter().map(|key| key.hsm.clone()).collect();
        let known = self.key_admin.tokens();
        let mut revoked = BTreeSet::new();
        for hsm in hsms.iter().filter(|hsm| known.contains(hsm)) {
            let own: Vec<HsmKey> = published.iter().filter(|key| key.hsm == *hsm).cloned().collect();
            let Ok(faults) = self.key_admin.check(hsm, &own).await else { continue };
            let missing = faults.iter().filter(|(_, fault)| matches!(fault.failure, HsmFailure::KeyMissing(_)));
            for (key_id, _) in missing {
                for key in own.iter().filter(|key| key.key_id == *key_id) {
                    self.changes.withdraw(key, KeyEnd::Revoked, context).await?;
                    revoked.insert(key.key_id.to_string());
                }
            }
        }
        Ok(revoked)
    }

    async fn end_thing(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
        ended: &mut EndedAgain,
    ) -> Result<(), ChangeError> {
        let done = match thing.noun {
            Noun::User => self.end_user(thing, fate, context, ended).await?,
            Noun::Factor => self.end_factor(thing, fate, context, ended).await?,
            Noun::Client => self.end_client(thing, fate, context).await?,
            Noun::OtpClient => self.end_otp_client(thing, fate, context).await?,
            Noun::OtpKey => self.end_otp_key(thing, fate, context, ended).await?,
        };
        match done {
            Some(Change::Removed) => count(&mut ended.removed, thing.noun),
            Some(Change::Disabled) => count(&mut ended.disabled, thing.noun),
            _ => {}
        }
        Ok(())
    }

    async fn end_user(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
        ended: &mut EndedAgain,
    ) -> Result<Option<Change>, ChangeError> {
        let (tenant, id) = (TenantId::new(&thing.tenant), UserId::new(&thing.id));
        let told = |change| self.told(Event::UserChanged, &thing.tenant, context).user(&thing.id).change(change);
        if fate.is_removed {
            let told = told(Change::Removed).detail(AGAIN);
            return Ok(self.users.remove_user(&tenant, &id, vec![told]).await?.then_some(Change::Removed));
        }
        let Some(user) = self.users.user(&tenant, &id).await? else { return Ok(None) };
        if let Some(later) = &fate.roles {
            let roles: BTreeSet<String> = user.roles.intersection(later).cloned().collect();
            if roles != user.roles {
                let mut told = told(Change::RolesReplaced).detail(AGAIN);
                told.roles = Some(roles.clone());
                self.users.set_user_roles(&tenant, &id, &roles, vec![told]).await?;
                ended.roles = ended.roles.saturating_add(1);
            }
        }
        if !fate.is_ended() || !user.enabled {
            return Ok(None);
        }
        let told = told(Change::Disabled).detail(AGAIN);
        let at = self.clock.now();
        Ok(self.users.set_user_enabled(&tenant, &id, false, at, vec![told]).await?.then_some(Change::Disabled))
    }

    async fn end_factor(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
        ended: &mut EndedAgain,
    ) -> Result<Option<Change>, ChangeError> {
        let (tenant, id, at) = (TenantId::new(&thing.tenant), FactorId::new(&thing.id), self.clock.now());
        let Some(factor) = self.factors.factor(&tenant, &id).await? else { return Ok(None) };
        let told = |change| {
            let told = self.told(Event::FactorChanged, &thing.tenant, context).user(factor.user.as_str());
            let mut told = told.change(change).detail(AGAIN);
            told.factors = vec![UsedFactor::Factor(factor.reference())];
            told
        };
        if fate.is_removed {
            let told = vec![told(Change::Removed)];
            return Ok(self.factors.remove_factor(&tenant, &id, at, told).await?.then_some(Change::Removed));
        }
        if let Some(counter) = fate.counter {
            let told = told(Change::CounterRaised).counter(counter);
            if self.raise(&factor, counter, told).await? {
                ended.counters = ended.counters.saturating_add(1);
            }
        }
        if !fate.is_ended() || !factor.state.is_in_use() {
            return Ok(None);
        }
        let told = vec![told(Change::Disabled)];
        Ok(self.factor_life.set_factor_enabled(&tenant, &id, false, at, told).await?.then_some(Change::Disabled))
    }

    /// Moves a factor's counter on; `false` where it stands there already.
    async fn raise(&self, factor: &Factor, counter: i64, told: AuditEvent) -> Result<bool, ChangeError> {
        let Some(to @ (Spending::YubicoCounter(_) | Spending::Counter(_))) = factor.detail.raising(counter) else {
            return Ok(false);
        };
        let spending = ProofSpending::of(factor, &to, self.clock.now());
        Ok(self.factors.spend_proof(&spending, AuditOnOutcome::applied(told)).await?)
    }

    async fn end_client(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
    ) -> Result<Option<Change>, ChangeError> {
        let (tenant, id) = (TenantId::new(&thing.tenant), ClientId::new(&thing.id));
        let told = |change| {
            vec![self.told(Event::ClientChanged, &thing.tenant, context).client(&thing.id).change(change).detail(AGAIN)]
        };
        if fate.is_removed {
            let removed = self.clients.remove_client(&tenant, &id, told(Change::Removed)).await?;
            return Ok(removed.then_some(Change::Removed));
        }
        let Some(client) = self.clients.client(&tenant, &id).await? else { return Ok(None) };
        if !fate.is_ended() || !client.enabled {
            return Ok(None);
        }
        let (at, told) = (self.clock.now(), told(Change::Disabled));
        Ok(self.clients.set_client_enabled(&tenant, &id, false, at, told).await?.then_some(Change::Disabled))
    }

    async fn end_otp_client(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
    ) -> Result<Option<Change>, ChangeError> {
        let tenant = TenantId::new(&thing.tenant);
        let Some(number) = ClientNumber::parse(&thing.id) else { return Ok(None) };
        let told = |change| {
            let told = self.told(Event::OtpClientChanged, &thing.tenant, context).client(&thing.id);
            vec![told.change(change).detail(AGAIN)]
        };
        if fate.is_removed {
            let removed = self.otp_validation.remove_otp_client(&tenant, number, told(Change::Removed)).await?;
            return Ok(removed.then_some(Change::Removed));
        }
        let Some(client) = self.otp_validation.otp_client(&tenant, number).await? else { return Ok(None) };
        if !fate.is_ended() || !client.enabled {
            return Ok(None);
        }
        let told = told(Change::Disabled);
        let set = self.otp_validation.set_otp_client_enabled(&tenant, number, false, told).await?;
        Ok(set.then_some(Change::Disabled))
    }

    async fn end_otp_key(
        &self,
        thing: &Thing,
        fate: &Fate,
        context: &RequestContext,
        ended: &mut EndedAgain,
    ) -> Result<Option<Change>, ChangeError> {
        let (tenant, public_id) = (TenantId::new(&thing.tenant), &thing.id);
        let told = |change| {
            let mut told = self.told(Event::OtpKeyChanged, &thing.tenant, context).change(change).detail(AGAIN);
            told.factors = vec![UsedFactor::ValidationKey(public_id.clone())];
            told
        };
        if fate.is_removed
            && self.otp_validation.remove_otp_key(&tenant, public_id, vec![told(Change::Removed)]).await?
        {
            return Ok(Some(Change::Removed));
        }
        let key = self.otp_validation.otp_key(&tenant, public_id).await?;
        // A counter that was raised by the public id may be a factor's.
        if let Some(counter) = fate.counter {
            let told = vec![told(Change::CounterRaised).counter(counter)];
            if self.otp_validation.raise_yubico_counter(&tenant, public_id, counter, told).await? {
                ended.counters = ended.counters.saturating_add(1);
            }
        }
        if !fate.is_ended() || !key.is_some_and(|key| key.enabled) {
            return Ok(None);
        }
        let told = vec![told(Change::Disabled)];
        let set = self.otp_validation.set_otp_key_enabled(&tenant, public_id, false, told).await?;
        Ok(set.then_some(Change::Disabled))
    }

    /// For how long an access token may last that was issued before now.
    async fn longest_lifetime(&self, keys: &[HsmKey]) -> Result<Duration, ChangeError> {
        let mut longest = self.settings.current().access_lifetime;
        for key in keys.iter().filter(|key| key.purpose == KeyPurpose::TokenSigning) {
            longest = longest.max(self.keys.token_lifetime(&key.key_id).await?);
        }
        Ok(longest)
    }

    fn told(&self, event: Event, tenant: &str, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(event, Outcome::Done, tenant, context)
    }
}

/// The row that does not verify, where that is what went wrong.
/// Errors: the error, where it is another one.
fn refused_row(error: ChangeError) -> Result<String, ChangeError> {
    match error {
        ChangeError::Store(StoreError { failure: StoreFailure::Forged { table, id }, .. }) => {
            Ok(format!("{table} {id}"))
        }
        other => Err(other),
    }
}

fn count(counts: &mut BTreeMap<Noun, u64>, noun: Noun) {
    let count = counts.entry(noun).or_default();
    *count = count.saturating_add(1);
}
