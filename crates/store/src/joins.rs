//! Contract: nodes that ask to be let in. Nothing that stands here decides: an operator compares a code, and the new node checks
//! who signed its admission. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use signet_core::keys::{HsmName, TokenInfo};
use signet_jose::clock::Timestamp;
use signet_jose::{Jwk, KeyId};

/// A node that asks to be let in with an HSM token of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The name of the HSM token.
    pub hsm: HsmName,
    /// The node.
    pub node: String,
    /// The HSM token.
    pub token: TokenInfo,
    /// `CKA_ID` of its transport key.
    pub cka_id: Vec<u8>,
    /// The public half of its transport key.
    pub transport: Jwk,
    /// When it asked.
    pub requested_at: Timestamp,
    /// The admission: a JWS.
    pub admission: Option<String>,
}

/// Nodes that ask to be let in.
#[async_trait]
pub trait Joins: Send + Sync {
    /// Keeps a request, in the place of an earlier one for the same HSM token.
    async fn ask_to_join(&self, request: &JoinRequest) -> Result<()>;
    /// Every request, by the name of its HSM token.
    async fn join_requests(&self) -> Result<Vec<JoinRequest>>;
    /// Keeps the answer to a request with this transport key; `false` where there is none any more.
    async fn admit(&self, hsm: &HsmName, transport: &KeyId, admission: &str) -> Result<bool>;
    /// Removes a request that is done with.
    async fn end_join(&self, hsm: &HsmName) -> Result<()>;
}
