//! Which HSM tokens a deployment has: adding one to a deployment that works, and taking one out. Both can be interrupted
//! at any point and go on where they ended.

pub mod initialise;
pub mod intake;
pub mod joining;
pub mod members;
pub mod online_renewal;
pub mod renewal;
pub mod reseal;
pub(crate) mod transports;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Signatures;
use crate::error::{InitialiseError, MembershipError};
use crate::hsm_logins::TroubledLogins;
use crate::hsm_membership::initialise::{Entry, Initialisation, InitialisedKey};
use crate::hsm_membership::reseal::{COMMAND_PAUSE, Resealed, Resealing, keeps_secrets};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{HsmKey, HsmName, KeyPurpose, KeyState, TokenIdentity, TokenInfo, TokenReport};
use signet_jose::Algorithm;
use signet_jose::clock::Timestamp;
use signet_store::{HsmMember, SealCount, SecretCursor, StoredLogins};

/// Seals that are removed at once.
const REMOVED_AT_ONCE: u32 = 500;

/// How long sealing goes on before it says how far it is.
const SEALING_AT_ONCE: Duration = Duration::from_secs(2);

/// Where an HSM token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// The deployment is bound to it.
    Member,
    /// It is configured, and the deployment does not know it.
    NotAdded,
    /// The deployment is bound to it, and it is not configured.
    NotConfigured,
    /// It was taken out.
    Retired,
}

/// An HSM token of the deployment or of the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct HsmStatus {
    /// Its configured name.
    pub name: HsmName,
    /// Where it stands.
    pub membership: Membership,
    /// The token that the deployment is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenInfo>,
    /// The stage of its newest key that signs tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<&'static str>,
    /// Whether it keeps secrets for the deployment now; a member that does not only signs, and lacks no seals.
    pub keeps_secrets: bool,
    /// What is sealed for it.
    pub seals: SealCount,
    /// What is wrong with logins there, where anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<TroubledLogins>,
    /// How many of its keys that signed tokens are still to be destroyed, where it was retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undestroyed: Option<usize>,
    /// Until when its keys are published, where it was retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_until: Option<String>,
}

/// What `add` did.
#[derive(Debug, Clone, Serialize)]
pub struct AddedHsm {
    /// The token's name.
    pub name: HsmName,
    /// Its keys, those that were there already among them.
    pub keys: Vec<InitialisedKey>,
    /// Whether it keeps secrets. One that does not only signs: nothing is sealed for it.
    pub keeps_secrets: bool,
    /// What is sealed for it now.
    pub seals: SealCount,
}

/// How far sealing for a token came.
#[derive(Debug, Clone)]
pub struct SealedMore {
    /// Secrets that were sealed for it just now, and those that no token opens.
    pub resealed: Resealed,
    /// What is sealed for it now.
    pub seals: SealCount,
    /// Where it goes on; nothing is lacking where it is absent.
    pub next: Option<SecretCursor>,
}

/// What `retire` did.
#[derive(Debug, Clone, Serialize)]
pub struct RetiredHsm {
    /// The token's name.
    pub name: HsmName,
    /// Seals that were removed just now.
    pub removed_seals: u64,
    /// Until when its keys stay published; then its `[[hsm]]` can be removed.
    pub published_until: String,
}

module! {
    /// Adds HSM tokens to the deployment and retires them.
    pub struct HsmMembership {
        takes clock, directory, key_admin, settings, keys, logins, membership, secrets_at_rest, secret, transports;
        calls initialisation: Initialisation, resealing: Resealing, signatures: Signatures;
    }
}

impl HsmMembership {
    /// Every HSM token of the deployment and of the configuration.
    pub async fn hsm_status(&self, configured: &[HsmName]) -> Result<Vec<HsmStatus>, MembershipError> {
        let members = self.membership.hsm_members().await?;
        let keys = self.keys.keys().await?;
        let is_known = |name: &&HsmName| members.iter().any(|member| member.name == **name);
        let mut all = Vec::new();
        for member in &members {
            let membership = match member.retired_at {
                Some(_) => Membership::Retired,
                None if configured.contains(&member.name) => Membership::Member,
                None => Membership::NotConfigured,
            };
            all.push(self.status_of(&member.name, membership, Some(member), &keys).await?);
        }
        for name in configured.iter().filter(|name| !is_known(name)) {
            all.push(self.status_of(name, Membership::NotAdded, None, &keys).await?);
        }
        Ok(all)
    }

    async fn status_of(
        &self,
        name: &HsmName,
        membership: Membership,
        member: Option<&HsmMember>,
        keys: &[HsmKey],
    ) -> Result<HsmStatus, MembershipError> {
        let signing = |key: &&HsmKey| key.hsm == *name && key.purpose == KeyPurpose::TokenSigning;
        let is_retired = membership == Membership::Retired;
        let until = published_until(keys, name).filter(|_| is_retired);
        let is_left = |key: &&HsmKey| signing(key) && key.state.name() != "destroyed";
        let undestroyed = keys.iter().filter(is_left).count();
        // Whether another one waits beside it, `key list` says.
        let active = keys.iter().filter(signing).find(|key| key.state.is_active());
        Ok(HsmStatus {
            name: name.clone(),
            membership,
            token: member.map(|member| member.token.clone()),
            signing_key: active.or_else(|| keys.iter().rfind(signing)).map(|key| key.state.name()),
            keeps_secrets: keeps_secrets(keys, name),
            seals: self.secrets_at_rest.count_seals(name).await?,
            logins: self.troubled_logins(name, member).await?,
            undestroyed: is_retired.then_some(undestroyed),
            published_until: until.map(|until| until.to_string()),
        })
    }

    /// One that is no member may have been logged in to by its name.
    async fn troubled_logins(
        &self,
        name: &HsmName,
        member: Option<&HsmMember>,
    ) -> Result<Option<TroubledLogins>, MembershipError> {
        let token = member.map(|member| TokenIdentity::from(&member.token));
        let logins = self.logins.logins(self.clock.now()).await?;
        let is_its = |it: &&StoredLogins| token.as_ref().map_or(it.hsm == *name, |token| it.token == *token);
        Ok(logins.iter().find(is_its).and_then(|logins| TroubledLogins::of(&logins.record)))
    }

    /// Adds an HSM token to the deployment: binds it and makes its keys. Where it is a member already, it gets what it lacks of them.
    /// What there is is sealed for it by [`seal_more`](Self::seal_more).
    /// Errors: [`MembershipError`]: what was done stays, and doing it again goes on from there.
    pub async fn add_hsm(
        &self,
        hsm: &HsmName,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<AddedHsm, MembershipError> {
        if !self.key_admin.tokens().contains(hsm) {
            return Err(MembershipError::NotConfigured(hsm.clone()));
        }
        let members = self.membership.hsm_members().await?;
        if members.is_empty() {
            return Err(MembershipError::NotInitialised);
        }
        let report = self.key_admin.describe(hsm).await?;
        self.check_candidate(hsm, &report, &members)?;
        self.initialisation.bind(hsm, &report, Event::HsmAdded, context).await?;
        let keys =
            self.initialisation.ensure_keys(hsm, Entry::Joining, &KeyPurpose::ALL, &report, context, progress).await?;
        self.directory.fresh().await?;
        self.secret.prepare_deployment_secret().await;
        self.transports.vouch(hsm).await.map_err(InitialiseError::from)?;
        let seals = self.secrets_at_rest.count_seals(hsm).await?;
        Ok(AddedHsm { name: hsm.clone(), keys, keeps_secrets: report.keeps_secrets(), seals })
    }

    /// Seals for an HSM token what it lacks, from a place on, for a short time. Nothing is sealed for one that only signs.
    /// Errors: [`MembershipError`]: what was done stays.
    pub async fn seal_more(&self, hsm: &HsmName, after: Option<SecretCursor>) -> Result<SealedMore, MembershipError> {
        let is_member =
            self.membership.hsm_members().await?.iter().any(|it| it.name == *hsm && it.retired_at.is_none());
        if !is_member {
            return Err(MembershipError::NotAMember(hsm.clone()));
        }
        let until = Some(Instant::now() + SEALING_AT_ONCE);
        let (resealed, next) = match keeps_secrets(&self.keys.keys().await?, hsm) {
            true => self.resealing.reseal_from(hsm, after, COMMAND_PAUSE, until).await,
            false => Ok((Resealed::default(), None)),
        }
        .map_err(MembershipError::SealedCopies)?;
        Ok(SealedMore { resealed, seals: self.secrets_at_rest.count_seals(hsm).await?, next })
    }

    /// Whether an HSM token can become a member.
    pub(crate) fn check_candidate(
        &self,
        hsm: &HsmName,
        report: &TokenReport,
        members: &[HsmMember],
    ) -> Result<(), MembershipError> {
        let token = &report.token;
        let is_same = |member: &&HsmMember| {
            let other = &member.token;
            let known = !token.serial.is_empty() && member.name != *hsm && member.retired_at.is_none();
            known
                && (&token.serial, &token.manufacturer, &token.label)
                    == (&other.serial, &other.manufacturer, &other.label)
        };
        if let Some(member) = members.iter().find(is_same) {
            let (other, serial) = (member.name.clone(), token.serial.clone());
            return Err(MembershipError::SameToken { name: hsm.clone(), other, serial });
        }
        let algorithm = self.settings.current().algorithm;
        if !report.algorithms.contains(&algorithm) {
            let offered = report.algorithms.iter().copied().map(Algorithm::name).collect::<Vec<_>>().join(", ");
            return Err(MembershipError::NoAlgorithm { name: hsm.clone(), algorithm: algorithm.name(), offered });
        }
        Ok(())
    }

    /// Takes an HSM token out: its keys sign and seal nothing any more and stay published until the last token that they
    /// signed has expired, and its seals are removed. It need not answer.
    /// Errors: [`MembershipError`] where it is refused, and nothing changed; or where the removal of its seals was
    /// interrupted: doing it again goes on from there.
    pub async fn retire_hsm(
        &self,
        hsm: &HsmName,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<RetiredHsm, MembershipError> {
        let members = self.membership.hsm_members().await?;
        let member = members.iter().find(|member| member.name == *hsm);
        let member = member.ok_or_else(|| MembershipError::NotAMember(hsm.clone()))?;
        let others: Vec<&HsmName> = members
            .iter()
            .filter(|other| other.name != *hsm && other.retired_at.is_none())
            .map(|other| &other.name)
            .collect();
        if member.retired_at.is_none() {
            self.check_dispensable(hsm, &others).await?;
            self.mark_retired(hsm, context).await?;
        }
        let mut removed_seals = 0;
        loop {
            let removed = self.secrets_at_rest.remove_seals(hsm, REMOVED_AT_ONCE).await?;
            if removed == 0 {
                break;
            }
            removed_seals += removed;
            progress(&format!("{removed_seals} seals of HSM token {hsm} are removed"));
        }
        // Something was sealed for it alone at this very moment: what the others lack is made up for by the server.
        self.refuse_sealed_alone(hsm, &others).await?;
        let keys = self.keys.keys().await?;
        let until = published_until(&keys, hsm).unwrap_or_else(|| self.clock.now());
        Ok(RetiredHsm { name: hsm.clone(), removed_seals, published_until: until.to_string() })
    }

    /// Whether the deployment goes on without the token: another one signs, now, and can open every secret.
    async fn check_dispensable(&self, hsm: &HsmName, others: &[&HsmName]) -> Result<(), MembershipError> {
        if others.is_empty() {
            return Err(MembershipError::Last(hsm.clone()));
        }
        self.refuse_sealed_alone(hsm, others).await?;
        let snapshot = self.directory.fresh().await?;
        let mut why = "they have no active signing key".to_owned();
        for key in snapshot.active(self.settings.current().algorithm).filter(|key| others.contains(&&key.key.hsm)) {
            match self.signatures.test_key(key).await {
                Ok(()) => return Ok(()),
                Err(error) => why = format!("{}: {error}", key.key.hsm),
            }
        }
        Err(MembershipError::NothingElseSigns { name: hsm.clone(), why })
    }

    async fn refuse_sealed_alone(&self, hsm: &HsmName, others: &[&HsmName]) -> Result<(), MembershipError> {
        let SealCount { alone: secrets, .. } = self.secrets_at_rest.count_seals(hsm).await?;
        if secrets == 0 || others.is_empty() {
            return Ok(());
        }
        let (name, keys) = (hsm.clone(), self.keys.keys().await?);
        match others.iter().find(|other| keeps_secrets(&keys, other)) {
            Some(other) => Err(MembershipError::SealedAlone { name, secrets, other: (*other).clone() }),
            None => Err(MembershipError::NothingElseKeeps { name, secrets }),
        }
    }

    async fn mark_retired(&self, hsm: &HsmName, context: &RequestContext) -> Result<(), MembershipError> {
        let now = self.clock.now();
        let mut longest = self.settings.current().access_lifetime;
        for key in self.keys.keys().await?.iter().filter(|key| key.hsm == *hsm && key.state.is_active()) {
            // Another process may issue longer ones.
            longest = longest.max(self.keys.token_lifetime(&key.key_id).await?);
        }
        let until = now.plus(longest + self.settings.current().keys.margin());
        let tenant = self.settings.tenant.as_str();
        let told = AuditEvent::new(Event::HsmRetired, Outcome::Done, tenant, context)
            .detail(format!("HSM token {hsm}: its keys are published until {until}"));
        if self.membership.retire_hsm_token(hsm, now, until, vec![told]).await? {
            return Ok(());
        }
        let why = "another one was retired at this moment".to_owned();
        Err(MembershipError::NothingElseSigns { name: hsm.clone(), why })
    }
}

/// Where a configured HSM token stands. Before anything was initialised all of them are to be members.
pub fn membership(members: &[HsmMember], hsm: &HsmName) -> Membership {
    match members.iter().find(|member| member.name == *hsm) {
        Some(member) if member.retired_at.is_some() => Membership::Retired,
        None if !members.is_empty() => Membership::NotAdded,
        _ => Membership::Member,
    }
}

/// Until when keys of a token are published: the last of those that are retiring.
fn published_until(keys: &[HsmKey], hsm: &HsmName) -> Option<Timestamp> {
    let until = |key: &HsmKey| match key.state {
        KeyState::Retiring { until, .. } => Some(until),
        _ => None,
    };
    keys.iter().filter(|key| key.hsm == *hsm).filter_map(until).max()
}
