//! Contracts: secrets on their way to HSM tokens of other nodes, and what they are encrypted to. An envelope is written and
//! removed with the seals of its secret. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{SecretAtRest, SecretCursor};
use signet_core::keys::HsmName;
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;

/// An envelope that waits for the node which reaches its HSM token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingEnvelope {
    /// Where it stands.
    pub at: SecretCursor,
    /// The secret, without its seals; `None` where nothing owns it.
    pub secret: Option<SecretAtRest>,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// A transport key, and who says that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedTransport {
    /// The HSM token that it lives in.
    pub hsm: HsmName,
    /// Its name: the thumbprint of its public half.
    pub key_id: KeyId,
    /// The MAC under the deployment's secret; nothing is encrypted to a key where it does not verify.
    pub mac: [u8; 32],
    /// When every secret that was there had come to the HSM token.
    pub complete_at: Option<Timestamp>,
}

/// Secrets on their way to HSM tokens of other nodes.
#[async_trait]
pub trait Envelopes: Send + Sync {
    /// The envelopes for an HSM token, after `after`, at most `limit`.
    async fn waiting_envelopes(
        &self,
        hsm: &HsmName,
        after: Option<&SecretCursor>,
        limit: u32,
    ) -> Result<Vec<WaitingEnvelope>>;
    /// Keeps a seal in the place of this very envelope; `false`, and nothing written, where it was replaced or removed since it
    /// was read.
    async fn seal_for_envelope(
        &self,
        hsm: &HsmName,
        secret: &SecretAtRest,
        envelope: &[u8],
        seal: &[u8],
    ) -> Result<bool>;
    /// Removes an envelope that is none, and seals nothing.
    async fn refuse_envelope(&self, hsm: &HsmName, at: &SecretCursor, envelope: &[u8]) -> Result<bool>;
    /// Puts an envelope in the place of this very one, e.g. with another MAC; `false` where that is not there any more.
    async fn replace_envelope(
        &self,
        hsm: &HsmName,
        at: &SecretCursor,
        envelope: &[u8],
        replacement: &[u8],
    ) -> Result<bool>;
    /// Every transport key that somebody vouched for.
    async fn vouched_transports(&self) -> Result<Vec<VouchedTransport>>;
    /// Vouches for the transport key of an HSM token, in the place of the one before; `false` where it stands so already.
    async fn vouch_transport(&self, transport: &VouchedTransport) -> Result<bool>;
    /// Notes that every secret has come to an HSM token.
    async fn complete_transport(&self, hsm: &HsmName, at: Timestamp) -> Result<()>;
}
