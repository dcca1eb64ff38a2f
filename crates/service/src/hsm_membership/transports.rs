//! The transport keys of HSM tokens: which of them secrets may be encrypted to, and the [`Vault`] that does so beside sealing.
//! See `docs/decisions/0035-*`.
//!
//! A public key that stands in the store proves nothing: whoever writes the store could name one of their own. A node that
//! reaches a token vouches for its transport key by a MAC under the deployment's secret, after the token showed that it holds it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time;
use parking_lot::Mutex;

use crate::deployment_secret::{DeploymentSecret, Generation};
use crate::error::InitialiseError;
use crate::rows::row_of_secret;
use crate::{ChangeError, Ports, Unavailable};
use signet_core::keys::{
    Envelope, HsmError, HsmFailure, HsmKey, HsmName, HsmResult, KeyAdmin, KeyPurpose, OtpHash, OtpSecretKind,
    RowBinding, SealedCopies, TenantId, Vault, envelope,
};
use signet_core::random::Random;
use signet_core::secret::SecretBytes;
use signet_jose::{KeyId, PublicKey};
use signet_store::{HsmMember, Store, VouchedTransport, WaitingEnvelope};

/// What MACs over transport keys and envelopes are derived for.
const VOUCHED: &str = "transport key";
const ENVELOPE: &str = "envelope";

/// Envelopes that are read at once.
const PAGE: u32 = 100;

/// A transport key that a node vouched for.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    /// The key.
    pub(crate) key: HsmKey,
    /// Its public half.
    public: PublicKey,
}

/// What was read last, and the generations that it holds for.
type Known = Option<((i64, i64), Arc<[Recipient]>)>;

/// Which HSM tokens secrets can be encrypted to.
pub(crate) struct Transports {
    tenant: TenantId,
    store: Arc<dyn Store>,
    key_admin: Arc<dyn KeyAdmin>,
    random: Arc<dyn Random>,
    secret: Arc<DeploymentSecret>,
    known: Mutex<Known>,
}

impl Transports {
    pub(crate) fn new(tenant: TenantId, ports: &Ports, secret: &Arc<DeploymentSecret>) -> Self {
        let (store, key_admin, random) = (ports.store.clone(), ports.key_admin.clone(), ports.random.clone());
        Self { tenant, store, key_admin, random, secret: secret.clone(), known: Mutex::default() }
    }

    /// The members with a transport key that this deployment vouched for.
    /// Errors: [`Unavailable`] where the store or the deployment's secret is not at hand.
    pub(crate) async fn all(&self) -> Result<Arc<[Recipient]>, Unavailable> {
        let generations = self.store.generations(&self.tenant).await?;
        let now = (generations.keys, generations.members);
        if let Some((_, known)) = self.known.lock().as_ref().filter(|(of, _)| *of == now) {
            return Ok(known.clone());
        }
        let recipients: Arc<[Recipient]> = self.read().await?.into();
        *self.known.lock() = Some((now, recipients.clone()));
        Ok(recipients)
    }

    async fn read(&self) -> Result<Vec<Recipient>, Unavailable> {
        let vouched = self.store.vouched_transports().await?;
        if vouched.is_empty() {
            return Ok(Vec::new());
        }
        let (members, keys) = (self.store.hsm_members().await?, self.store.keys().await?);
        let mut recipients = Vec::new();
        for VouchedTransport { hsm, key_id, mac, .. } in vouched {
            let is_live = |member: &HsmMember| member.name == hsm && member.retired_at.is_none();
            let is_it = |key: &&HsmKey| key.key_id == key_id && is_transport_of(key, &hsm);
            let Some(key) = keys.iter().find(is_it).filter(|_| members.iter().any(is_live)) else { continue };
            let Some(public) = key.public.as_ref().map(|jwk| jwk.key.clone()) else { continue };
            // The name of a key is its thumbprint in the store's word alone.
            let is_named = public.thumbprint() == key_id;
            let message = vouched_message(&hsm, &key.key_id);
            if !is_named || !is_made_by(&self.secret.generations().await?, VOUCHED, &message, &mac) {
                tracing::error!(%hsm, key = %key_id, "ALARM: nobody of this deployment vouched for a transport key: somebody wrote to \
                    the store. Nothing is encrypted to it");
                continue;
            }
            recipients.push(Recipient { key: key.clone(), public });
        }
        Ok(recipients)
    }

    /// Those of other nodes' HSM tokens.
    /// Errors: as [`all`](Self::all).
    pub(crate) async fn elsewhere(&self) -> Result<Vec<Recipient>, Unavailable> {
        let here = self.key_admin.tokens();
        Ok(self.all().await?.iter().filter(|recipient| !here.contains(&recipient.key.hsm)).cloned().collect())
    }

    async fn vouching(&self, hsm: &HsmName, key: &HsmKey) -> Result<[u8; 32], Unavailable> {
        Ok(self.secret.newest().await?.derive(VOUCHED, &vouched_message(hsm, &key.key_id)))
    }

    /// Vouches under the newest generation of the deployment's secret for what is vouched for under an older one.
    /// Errors: [`Unavailable`] where the store fails.
    pub(crate) async fn renew_vouchings(&self, generations: &[Generation]) -> Result<(), Unavailable> {
        let Some((newest, older)) = generations.split_last() else { return Ok(()) };
        for vouched in self.store.vouched_transports().await? {
            let message = vouched_message(&vouched.hsm, &vouched.key_id);
            if is_made_by(older, VOUCHED, &message, &vouched.mac) {
                let mac = newest.derive(VOUCHED, &message);
                self.store.vouch_transport(&VouchedTransport { mac, ..vouched }).await?;
            }
        }
        Ok(())
    }

    /// Has envelopes verify under the newest generation of the deployment's secret that verify under an older one. What waits is
    /// read page by page.
    /// Errors: [`Unavailable`] where the store fails.
    pub(crate) async fn renew_envelopes(&self, generations: &[Generation]) -> Result<(), Unavailable> {
        for hsm in self.store.hsm_members().await?.into_iter().map(|member| member.name) {
            let mut after = None;
            loop {
                let page = self.store.waiting_envelopes(&hsm, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.at.clone());
                for waiting in &page {
                    self.renew_envelope(&hsm, waiting, generations).await?;
                }
            }
        }
        Ok(())
    }

    async fn renew_envelope(
        &self,
        hsm: &HsmName,
        waiting: &WaitingEnvelope,
        generations: &[Generation],
    ) -> Result<(), Unavailable> {
        let (Some(secret), Some(mut envelope)) = (&waiting.secret, Envelope::parse(&waiting.envelope)) else {
            // The node that it is for refuses it.
            return Ok(());
        };
        let Some((newest, older)) = generations.split_last() else { return Ok(()) };
        let message = envelope.authenticated(hsm, &row_of_secret(secret), secret.wrapped);
        if is_made_by(older, ENVELOPE, &message, &envelope.mac) {
            envelope.mac = newest.derive(ENVELOPE, &message);
            self.store.replace_envelope(hsm, &waiting.at, &waiting.envelope, &envelope.to_bytes()).await?;
        }
        Ok(())
    }

    /// Vouches for the transport key of an HSM token that this node reaches, once the token has shown that it holds it. Nothing is
    /// done where it has none, or stands so already.
    /// Errors: [`ChangeError`] where the HSM token does not answer, or the key is not in it.
    pub(crate) async fn vouch(&self, hsm: &HsmName) -> Result<(), ChangeError> {
        let keys = self.store.keys().await?;
        let Some(key) = keys.iter().find(|key| is_transport_of(key, hsm)) else { return Ok(()) };
        if self.all().await?.iter().any(|recipient| recipient.key.key_id == key.key_id) {
            return Ok(());
        }
        if let Some((_, error)) = self.key_admin.check(hsm, std::slice::from_ref(key)).await?.into_iter().next() {
            return Err(error.into());
        }
        let mac = self.vouching(hsm, key).await?;
        let vouched = VouchedTransport { hsm: hsm.clone(), key_id: key.key_id.clone(), mac, complete_at: None };
        self.store.vouch_transport(&vouched).await?;
        Ok(())
    }

    /// The MAC of an envelope that stands in this row for this HSM token.
    pub(crate) async fn mac(
        &self,
        envelope: &Envelope,
        hsm: &HsmName,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
    ) -> Result<[u8; 32], Unavailable> {
        Ok(self.secret.newest().await?.derive(ENVELOPE, &envelope.authenticated(hsm, row, wrapped)))
    }

    /// Whether this deployment wrote an envelope, into this row for this HSM token.
    pub(crate) async fn is_ours(
        &self,
        envelope: &Envelope,
        hsm: &HsmName,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
    ) -> Result<bool, Unavailable> {
        let message = envelope.authenticated(hsm, row, wrapped);
        Ok(is_made_by(&self.secret.generations().await?, ENVELOPE, &message, &envelope.mac))
    }

    async fn finished(
        &self,
        recipient: &Recipient,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: Vec<u8>,
    ) -> Result<Vec<u8>, Unavailable> {
        let mut envelope = Envelope::new(&recipient.key.key_id, sealed);
        envelope.mac = self.mac(&envelope, &recipient.key.hsm, row, wrapped).await?;
        Ok(envelope.to_bytes())
    }

    /// Adds an envelope for each HSM token that this node does not reach. One that can't be made now is made later, by
    /// [`Resealing`](super::reseal::Resealing).
    async fn add_envelopes(
        &self,
        copies: &mut SealedCopies,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        secret: &[u8],
    ) {
        let added: Result<(), Unavailable> = async {
            for recipient in self.elsewhere().await? {
                let sealed = envelope::seal(self.random.as_ref(), &recipient.public, row, wrapped, secret);
                let sealed = sealed.map_err(|_| Unavailable)?;
                let envelope = self.finished(&recipient, row, wrapped, sealed).await?;
                copies.0.insert(recipient.key.hsm, envelope);
            }
            Ok(())
        }
        .await;
        if added.is_err() {
            tracing::warn!("a secret has no envelopes for other nodes' HSM tokens yet");
        }
    }
}

impl From<ChangeError> for InitialiseError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Hsm(error) => Self::Hsm(error),
            ChangeError::Store(error) => Self::Store(error),
            other => Self::Key(other.to_string()),
        }
    }
}

fn vouched_message(hsm: &HsmName, key_id: &KeyId) -> Vec<u8> {
    envelope::lengthened(&[hsm.as_str().as_bytes(), key_id.as_str().as_bytes()])
}

/// Whether one of these generations made a MAC.
fn is_made_by(generations: &[Generation], label: &str, message: &[u8], mac: &[u8; 32]) -> bool {
    let is_its = |of: &Generation| constant_time::verify_slices_are_equal(&of.derive(label, message), mac).is_ok();
    generations.iter().any(is_its)
}

fn is_transport_of(key: &HsmKey, hsm: &HsmName) -> bool {
    key.hsm == *hsm && key.purpose == KeyPurpose::Transport && key.state.is_active()
}

/// A [`Vault`] that also encrypts what it seals to the HSM tokens of other nodes.
pub(crate) struct EnvelopingVault {
    vault: Arc<dyn Vault>,
    transports: Arc<Transports>,
}

impl EnvelopingVault {
    pub(crate) fn new(vault: Arc<dyn Vault>, transports: &Arc<Transports>) -> Self {
        Self { vault, transports: transports.clone() }
    }

    /// An envelope, by the worker of a token that opens the secret.
    async fn envelope_of(
        &self,
        recipient: &Recipient,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
    ) -> HsmResult<Vec<u8>> {
        let sealed = self.vault.put_in_envelope(row, wrapped, seals, &recipient.public).await?;
        self.transports.finished(recipient, row, wrapped, sealed).await.map_err(unavailable)
    }
}

fn unavailable(why: Unavailable) -> HsmError {
    HsmError::not_asked("put in envelope", HsmFailure::Unavailable(why.to_string()))
}

#[async_trait]
impl Vault for EnvelopingVault {
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> HsmResult<SealedCopies> {
        let mut copies = self.vault.seal(row, secret).await?;
        self.transports.add_envelopes(&mut copies, row, None, secret.expose()).await;
        Ok(copies)
    }

    async fn wrap(&self, row: &RowBinding, cipher: OtpSecretKind, secret: &SecretBytes) -> HsmResult<SealedCopies> {
        let mut copies = self.vault.wrap(row, cipher, secret).await?;
        self.transports.add_envelopes(&mut copies, row, Some(cipher), secret.expose()).await;
        Ok(copies)
    }

    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        cipher: OtpSecretKind,
        seals: &SealedCopies,
    ) -> HsmResult<SealedCopies> {
        let mut copies = self.vault.rebind(from, to, cipher, seals).await?;
        let elsewhere = self.transports.elsewhere().await.unwrap_or_default();
        let bound = copies.clone();
        for recipient in elsewhere {
            match self.envelope_of(&recipient, to, Some(cipher), &bound).await {
                Ok(envelope) => drop(copies.0.insert(recipient.key.hsm, envelope)),
                // The resealing makes it.
                Err(error) => tracing::debug!(%error, "a secret has no envelope for another node's HSM token yet"),
            }
        }
        Ok(copies)
    }

    async fn reseal_for(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        lacking: &[HsmName],
    ) -> HsmResult<SealedCopies> {
        let elsewhere = self.transports.elsewhere().await.map_err(unavailable)?;
        let recipient_of = |hsm: &HsmName| elsewhere.iter().find(|recipient| recipient.key.hsm == *hsm);
        let (away, here): (Vec<_>, Vec<_>) = lacking.iter().cloned().partition(|hsm| recipient_of(hsm).is_some());
        let mut copies = match here.as_slice() {
            [] => SealedCopies::default(),
            here => self.vault.reseal_for(row, wrapped, seals, here).await?,
        };
        for recipient in away.iter().filter_map(recipient_of) {
            let envelope = self.envelope_of(recipient, row, wrapped, seals).await?;
            copies.0.insert(recipient.key.hsm.clone(), envelope);
        }
        Ok(copies)
    }

    async fn open(&self, row: &RowBinding, seals: &SealedCopies) -> HsmResult<SecretBytes> {
        self.vault.open(row, seals).await
    }

    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> HsmResult<Vec<Vec<u8>>> {
        self.vault.otp_hmac(row, seals, hash, messages).await
    }

    async fn message_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        message: Vec<u8>,
    ) -> HsmResult<Vec<u8>> {
        self.vault.message_hmac(row, seals, hash, message).await
    }

    async fn decrypt_block(&self, row: &RowBinding, seals: &SealedCopies, block: [u8; 16]) -> HsmResult<[u8; 16]> {
        self.vault.decrypt_block(row, seals, block).await
    }

    async fn take_envelope(
        &self,
        transport: &HsmKey,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: &[u8],
    ) -> HsmResult<Vec<u8>> {
        self.vault.take_envelope(transport, row, wrapped, sealed).await
    }

    async fn open_deployment_secret(&self, transport: &HsmKey, sealed: &[u8]) -> HsmResult<SecretBytes> {
        self.vault.open_deployment_secret(transport, sealed).await
    }

    async fn put_in_envelope(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        to: &PublicKey,
    ) -> HsmResult<Vec<u8>> {
        self.vault.put_in_envelope(row, wrapped, seals, to).await
    }

    async fn derive(&self, hsm: Option<&HsmName>, label: &str, message: &[u8]) -> HsmResult<(HsmName, [u8; 32])> {
        self.vault.derive(hsm, label, message).await
    }
}
