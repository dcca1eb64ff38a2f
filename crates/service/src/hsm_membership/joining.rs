//! How a node comes in that has an HSM token of its own, which no other node reaches: it asks, an operator compares a code on both
//! machines, a node that is in gives it the deployment's secret in an envelope, and it takes that from nobody else. See
//! `docs/decisions/0035-*`.

use std::sync::Arc;

use serde::Serialize;

use crate::error::{InitialiseError, JoinError};
use crate::hsm_membership::HsmMembership;
use crate::hsm_membership::initialise::{Entry, Initialisation, InitialisedKey, KEEPING, SIGNING};
use crate::rows::deployment_row;
use crate::{MembershipError, RingKey, Signatures};
use signet_core::admission::{Admission, JoinCode};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{
    AnnouncedKey, HsmKey, HsmName, KeyPurpose, KeyState, RowBinding, SealedCopies, SignedKind, TokenReport, envelope,
};
use signet_core::random;
use signet_jose::{Algorithm, Header, Jwk, KeyId, VerifyingKey};
use signet_store::{Beside, JoinRequest, KeyAddition, SecretAtRest, SecretOwner};

/// What a node shows that asks to be let in.
#[derive(Debug, Clone, Serialize)]
pub struct AskedToJoin {
    /// Its HSM token.
    pub hsm: HsmName,
    /// The code to compare.
    pub code: String,
    /// The HSM token whose audit key vouches; the code is typed on a node that reaches it.
    pub vouched_by: HsmName,
}

/// A node that was let in.
#[derive(Debug, Clone)]
pub struct AdmittedNode {
    /// Its HSM token.
    pub hsm: HsmName,
    /// The node.
    pub node: String,
    /// The code that it showed.
    pub code: String,
}

/// A node that has joined.
#[derive(Debug, Clone)]
pub struct JoinedNode {
    /// The keys of its HSM token.
    pub keys: Vec<InitialisedKey>,
    /// The audit key that vouched.
    pub pinned: Jwk,
}

module! {
    /// Lets nodes in, and comes in.
    pub struct NodeJoining {
        takes
            clock, random, directory, key_admin, vault, settings, keys, membership, nodes, joins, secrets_at_rest,
            secret, transports, audit;
        calls initialisation: Initialisation, hsm_membership: HsmMembership, signatures: Signatures;
    }
}

impl NodeJoining {
    /// Makes the transport key of an HSM token that the deployment does not have, and asks to be let in. Again: asks with the same key.
    /// `vouched_by` names the HSM token whose audit key vouches, where there are several.
    /// Errors: [`JoinError`].
    pub async fn ask(
        &self,
        hsm: &HsmName,
        vouched_by: Option<&HsmName>,
        context: &RequestContext,
    ) -> Result<AskedToJoin, JoinError> {
        let report = self.check_candidate(hsm).await?;
        let audit = self.vouching_key(hsm, vouched_by).await?;
        let transport = match self.asked_before(hsm, &report).await? {
            Some(request) => request.transport.key_id,
            None => self.ask_anew(hsm, report).await?,
        };
        let code = JoinCode::of(hsm, &transport, &audit.key_id).to_string();
        tracing::info!(%hsm, operator = ?context.operator, "this node asks to be let in");
        Ok(AskedToJoin { hsm: hsm.clone(), code, vouched_by: audit.hsm })
    }

    async fn check_candidate(&self, hsm: &HsmName) -> Result<TokenReport, JoinError> {
        if !self.key_admin.tokens().contains(hsm) {
            return Err(MembershipError::NotConfigured(hsm.clone()).into());
        }
        let members = self.membership.hsm_members().await?;
        if members.is_empty() {
            return Err(JoinError::NothingToJoin);
        }
        if members.iter().any(|member| member.name == *hsm) {
            return Err(JoinError::NameTaken(hsm.clone()));
        }
        let report = self.key_admin.describe(hsm).await?;
        self.hsm_membership.check_candidate(hsm, &report, &members)?;
        if !report.keeps_secrets() || !report.takes_envelopes {
            return Err(JoinError::TakesNoEnvelopes(hsm.clone()));
        }
        Ok(report)
    }

    /// The audit key of another node's HSM token.
    async fn vouching_key(&self, hsm: &HsmName, vouched_by: Option<&HsmName>) -> Result<HsmKey, JoinError> {
        let here = self.key_admin.tokens();
        let mut others = self.audit_keys().await?;
        others.retain(|key| key.hsm != *hsm && !here.contains(&key.hsm));
        if let Some(name) = vouched_by {
            others.retain(|key| key.hsm == *name);
        }
        let names: Vec<String> = others.iter().map(|key| key.hsm.to_string()).collect();
        match (others.len(), others.pop()) {
            (1, Some(key)) => Ok(key),
            (0, _) => Err(JoinError::NobodyVouches),
            _ => Err(JoinError::SeveralVouch(names.join(", "))),
        }
    }

    async fn audit_keys(&self) -> Result<Vec<HsmKey>, JoinError> {
        let mut keys = self.keys.keys().await?;
        keys.retain(|key| key.purpose == KeyPurpose::AuditSigning && key.state.is_active());
        Ok(keys)
    }

    /// A request of this very token whose transport key is still in it.
    async fn asked_before(&self, hsm: &HsmName, report: &TokenReport) -> Result<Option<JoinRequest>, JoinError> {
        let requests = self.joins.join_requests().await?;
        let is_it = |request: &JoinRequest| request.hsm == *hsm && request.token.serial == report.token.serial;
        let Some(request) = requests.into_iter().find(is_it) else { return Ok(None) };
        let faults = self.key_admin.check(hsm, &[self.transport_of(&request)]).await?;
        Ok(faults.is_empty().then_some(request))
    }

    fn transport_of(&self, request: &JoinRequest) -> HsmKey {
        HsmKey {
            tenant: self.settings.tenant.clone(),
            hsm: request.hsm.clone(),
            purpose: KeyPurpose::Transport,
            key_id: request.transport.key_id.clone(),
            cka_id: request.cka_id.clone(),
            public: Some(request.transport.clone()),
            state: KeyState::Active { since: request.requested_at },
            created_at: request.requested_at,
        }
    }

    async fn ask_anew(&self, hsm: &HsmName, report: TokenReport) -> Result<KeyId, JoinError> {
        let announced = AnnouncedKey {
            tenant: self.settings.tenant.clone(),
            hsm: hsm.clone(),
            purpose: KeyPurpose::Transport,
            algorithm: Algorithm::Es256,
            cka_id: random::bytes::<16>(self.random.as_ref()).to_vec(),
            at: self.clock.now(),
            given_up: false,
        };
        let generated = self.key_admin.generate_announced(&announced, 0).await?;
        let unusable = || InitialiseError::Key("a pair without a public half".to_owned());
        let public = generated.public.ok_or_else(unusable)?;
        let transport = Jwk::new(public, Algorithm::Es256).map_err(|_| unusable())?;
        let key_id = transport.key_id.clone();
        let request = JoinRequest {
            hsm: hsm.clone(),
            node: self.nodes.node().as_str().to_owned(),
            token: report.token,
            cka_id: generated.cka_id,
            transport,
            requested_at: self.clock.now(),
            admission: None,
        };
        self.joins.ask_to_join(&request).await?;
        Ok(key_id)
    }

    /// Lets the node in that shows this code: encrypts the deployment's secret to the transport key of its HSM token, signed by the
    /// audit key of one that this node reaches.
    /// Errors: [`JoinError::OtherCode`] where no node that asks has this code with an audit key of this one; otherwise [`JoinError`].
    pub async fn admit(&self, code: &str, context: &RequestContext) -> Result<AdmittedNode, JoinError> {
        let code = JoinCode::typed(code).ok_or(JoinError::NoCode)?;
        let (snapshot, here) = (self.directory.fresh().await?, self.key_admin.tokens());
        let requests = self.joins.join_requests().await?;
        let vouching: Vec<_> = snapshot
            .audit_keys()
            .iter()
            .filter(|key| key.key.state.is_active() && here.contains(&key.key.hsm))
            .collect();
        let pair = requests.iter().find_map(|request| {
            let is_it =
                |key: &&&Arc<RingKey>| JoinCode::of(&request.hsm, &request.transport.key_id, &key.key.key_id) == code;
            vouching.iter().find(is_it).map(|key| (request, *key))
        });
        let Some((request, key)) = pair else { return Err(JoinError::OtherCode) };
        // The store's word for a key of this node is not taken.
        if let Some((_, error)) =
            self.key_admin.check(&key.key.hsm, std::slice::from_ref(&key.key)).await?.into_iter().next()
        {
            return Err(error.into());
        }
        if !self.hand_secret_over(key, request, context).await? {
            return Err(JoinError::OtherCode);
        }
        Ok(AdmittedNode { hsm: request.hsm.clone(), node: request.node.clone(), code: code.to_string() })
    }

    /// Encrypts the newest generation of the deployment's secret to a transport key and states that, signed. `false`, and nothing
    /// stated, where nobody asks by that key any more.
    pub(crate) async fn hand_secret_over(
        &self,
        key: &Arc<RingKey>,
        request: &JoinRequest,
        context: &RequestContext,
    ) -> Result<bool, JoinError> {
        let secret = self.secret.newest().await?;
        let (public, row) = (&request.transport.key, RowBinding::of_deployment_secret());
        let envelope = envelope::seal(self.random.as_ref(), public, &row, None, secret.content.expose())
            .map_err(|error| InitialiseError::Key(error.to_string()))?;
        let admission = Admission {
            issuer: self.settings.issuer.clone(),
            signed_at: self.clock.now(),
            hsm: request.hsm.clone(),
            transport: request.transport.key_id.clone(),
            generation: secret.number,
            envelope,
        };
        let jws = self.sign(key, &admission, request, context).await?;
        Ok(self.joins.admit(&request.hsm, &request.transport.key_id, &jws).await?)
    }

    /// Signs on the record.
    async fn sign(
        &self,
        key: &Arc<RingKey>,
        admission: &Admission,
        request: &JoinRequest,
        context: &RequestContext,
    ) -> Result<String, JoinError> {
        let payload = admission.to_payload().map_err(|error| InitialiseError::Key(error.to_string()))?;
        let token_type = Some(SignedKind::Admission.token_type().to_owned());
        let header = Header { algorithm: key.verifying.algorithm(), key_id: Some(key.key.key_id.clone()), token_type };
        let input = signet_jose::signing_input(&header, &payload);
        let (signature, entry) = self.signatures.sign_accounted(key, SignedKind::Admission, input.as_bytes()).await?;
        let mut told = AuditEvent::new(Event::NodeAdmitted, Outcome::Done, self.settings.tenant.as_str(), context);
        told.key = Some(key.key.key_id.to_string());
        let told = told.detail(format!(
            "node {} with HSM token {} ({} {}), transport key {}",
            request.node, request.hsm, request.token.manufacturer, request.token.serial, admission.transport
        ));
        self.audit.append(vec![told]).await?;
        entry.close();
        Ok(signet_jose::assemble(input, signature.as_bytes()))
    }

    /// Comes in, once an operator saw the node admitted by this code: takes the deployment's secret from the envelope that the
    /// audit key of the code signed, and from no other, binds the deployment to the HSM token and makes its keys. Again: goes on
    /// where it was interrupted.
    /// Errors: [`JoinError::Refused`] for an admission that another key signed, of which nothing was taken; otherwise
    /// [`JoinError`].
    pub async fn complete(
        &self,
        hsm: &HsmName,
        code: &str,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<JoinedNode, JoinError> {
        let code = JoinCode::typed(code).ok_or(JoinError::NoCode)?;
        let requests = self.joins.join_requests().await?;
        let request = requests.into_iter().find(|request| request.hsm == *hsm).ok_or(JoinError::NotAsked)?;
        let transport = self.transport_of(&request);
        // What the store says of the transport key holds once the HSM token shows it.
        if let Some((_, error)) = self.key_admin.check(hsm, std::slice::from_ref(&transport)).await?.into_iter().next()
        {
            return Err(error.into());
        }
        let is_named = |key: &HsmKey| JoinCode::of(hsm, &transport.key_id, &key.key_id) == code;
        let vouching = self.audit_keys().await?.into_iter().filter(is_named).find_map(|key| key.public);
        let pinned = vouching.filter(|jwk| JoinCode::of(hsm, &transport.key_id, &jwk.key.thumbprint()) == code);
        let pinned = pinned.ok_or(JoinError::OtherCode)?;
        let jws = request.admission.as_deref().ok_or(JoinError::NotAdmitted)?;
        let admission = Admission::open(jws, &VerifyingKey::new(pinned.clone())).map_err(|error| {
            tracing::error!(%error, "ALARM: another secret was offered to this node: somebody wrote to the store");
            JoinError::Refused(error)
        })?;
        self.adopt(&admission, &transport).await?;
        let keys = self.settle(hsm, transport, context, progress).await?;
        self.joins.end_join(hsm).await?;
        Ok(JoinedNode { keys, pinned })
    }

    /// Takes a renewed secret from an admission that verified, for a member that this node reaches.
    /// Errors: [`JoinError`] where the HSM token does not have the transport key, or the admission is another one's.
    pub(crate) async fn take_renewed(&self, admission: &Admission, request: &JoinRequest) -> Result<(), JoinError> {
        let transport = self.transport_of(request);
        if let Some((_, error)) =
            self.key_admin.check(&request.hsm, std::slice::from_ref(&transport)).await?.into_iter().next()
        {
            return Err(error.into());
        }
        self.adopt(admission, &transport).await?;
        self.directory.fresh().await?;
        self.seal_secret().await?;
        Ok(self.joins.end_join(&request.hsm).await?)
    }

    /// Works with the secret of an admission that verified, where it is for this transport key.
    async fn adopt(&self, admission: &Admission, transport: &HsmKey) -> Result<(), JoinError> {
        let is_it = admission.hsm == transport.hsm && admission.transport == transport.key_id;
        if !is_it || admission.issuer != self.settings.issuer {
            return Err(JoinError::OfAnother);
        }
        let secret = self.vault.open_deployment_secret(transport, &admission.envelope).await?;
        Ok(self.secret.adopt(admission.generation, secret).await?)
    }

    /// Makes the HSM token a member, with its keys, and seals the deployment's secret by it.
    async fn settle(
        &self,
        hsm: &HsmName,
        transport: HsmKey,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<InitialisedKey>, JoinError> {
        let report = self.key_admin.describe(hsm).await?;
        self.initialisation.bind(hsm, &report, Event::NodeJoined, context).await?;
        let kid = transport.key_id.to_string();
        let mut told = AuditEvent::new(Event::KeyGenerated, Outcome::Done, transport.tenant.as_str(), context);
        told.key = Some(kid.clone());
        let told = told.detail(format!("transport key in HSM token {hsm}"));
        let is_there = self.keys.keys().await?.iter().any(|key| key.key_id == transport.key_id);
        let created = !is_there && self.keys.add_key(&transport, Beside::Any, vec![told]).await? == KeyAddition::Added;
        let mut keys =
            vec![InitialisedKey { hsm: hsm.clone(), purpose: KeyPurpose::Transport, kid: kid.clone(), created }];
        for purposes in [KEEPING, SIGNING] {
            let made =
                self.initialisation.ensure_keys(hsm, Entry::Joining, &purposes, &report, context, progress).await?;
            keys.extend(made.into_iter().filter(|key| key.kid != kid));
        }
        self.directory.fresh().await?;
        self.seal_secret().await?;
        self.transports.vouch(hsm).await.map_err(InitialiseError::from)?;
        Ok(keys)
    }

    /// Seals the newest generation for the HSM tokens of this node.
    async fn seal_secret(&self) -> Result<(), JoinError> {
        let secret = self.secret.newest().await?;
        let mut added: SealedCopies = self.vault.seal(&deployment_row(secret.number), &secret.content).await?;
        let mut stored = self.secrets_at_rest.deployment_secrets().await?;
        let seals = stored.remove(&secret.number).ok_or(JoinError::NothingToJoin)?;
        added.0.retain(|hsm, _| !seals.0.contains_key(hsm));
        let (tenant, owner) = (self.settings.tenant.clone(), SecretOwner::Deployment(secret.number));
        let at_rest = SecretAtRest { tenant, owner, wrapped: None, seals, waits: false };
        self.secrets_at_rest.extend_seals(&at_rest, &added).await?;
        Ok(())
    }
}
