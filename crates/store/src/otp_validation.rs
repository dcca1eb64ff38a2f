//! Yubico OTPs that are verified for others: the nouns, and the contract that keeps them.

use async_trait::async_trait;

use super::Factor;
use super::error::Result;
use signet_core::audit::AuditEvent;
use signet_core::keys::{SealedCopies, TenantId};
use signet_core::mfa::FactorKind;
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_jose::clock::Timestamp;

/// A client of the Yubico validation protocol: software that has OTPs verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtpClient {
    /// The tenant.
    pub tenant: TenantId,
    /// The number that its requests carry.
    pub id: ClientNumber,
    /// What the operator calls it, unique in the tenant.
    pub name: String,
    /// The API key that signs both ways, wrapped by the HSM.
    pub key: SealedCopies,
    /// Whether a request without a signature is refused.
    pub needs_signature: bool,
    /// Whether it may have OTPs verified.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A Yubico OTP key that is verified for others and is no user's factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtpKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The public id in modhex, unique in the tenant, among factors too.
    pub public_id: String,
    /// The private id.
    pub private_id: [u8; 6],
    /// What is printed on it; `None` where it is not known.
    pub serial: Option<String>,
    /// The last accepted `useCtr << 8 | sessionUse`; -1 before the first.
    pub last_counter: i64,
    /// The AES key, wrapped by the HSM.
    pub secret: SealedCopies,
    /// Whether its OTPs are verified.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When an OTP of it was last accepted.
    pub last_used_at: Option<Timestamp>,
}

/// A good OTP that a request shows, to be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownOtp {
    /// The tenant.
    pub tenant: TenantId,
    /// The key's public id.
    pub public_id: String,
    /// `useCtr << 8 | sessionUse`.
    pub counter: i64,
    /// The request's nonce.
    pub nonce: String,
    /// Now.
    pub at: Timestamp,
}

/// How the spending of an OTP ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtpSpending {
    /// This request spent it.
    Spent,
    /// It, or a later one of its key, was spent before; or the key is gone.
    Replayed,
    /// It was spent by a request with the same nonce: the same request again.
    SameRequest,
}

/// What verifies Yubico OTPs for others: the protocol's clients, and keys that are no user's factor.
///
/// A public id names one key of the tenant, whether it is a user's factor or not: an OTP is accepted once, wherever it
/// is shown.
#[async_trait]
pub trait OtpValidation: Send + Sync {
    /// Adds a client; `false` where its number or name is taken.
    async fn add_otp_client(&self, client: &OtpClient, audit: Vec<AuditEvent>) -> Result<bool>;
    /// The client of this number.
    async fn otp_client(&self, tenant: &TenantId, id: ClientNumber) -> Result<Option<OtpClient>>;
    /// All clients by number, after `after`, at most `limit`.
    async fn otp_clients(&self, tenant: &TenantId, after: Option<ClientNumber>, limit: u32) -> Result<Vec<OtpClient>>;
    /// Lets a client ask, or no more; `false` where it is gone.
    async fn set_otp_client_enabled(
        &self,
        tenant: &TenantId,
        id: ClientNumber,
        enabled: bool,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Removes a client; `false` where it is gone.
    async fn remove_otp_client(&self, tenant: &TenantId, id: ClientNumber, audit: Vec<AuditEvent>) -> Result<bool>;

    /// Adds a key; `false` where its public id is taken, by a factor or another key.
    async fn add_otp_key(&self, key: &OtpKey, audit: Vec<AuditEvent>) -> Result<bool>;
    /// The key of this public id.
    async fn otp_key(&self, tenant: &TenantId, public_id: &str) -> Result<Option<OtpKey>>;
    /// All keys by public id, after `after`, at most `limit`.
    async fn otp_keys(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<OtpKey>>;
    /// Lets a key's OTPs be verified, or no more; `false` where it is gone.
    async fn set_otp_key_enabled(
        &self,
        tenant: &TenantId,
        public_id: &str,
        enabled: bool,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Removes a key; `false` where it is gone.
    async fn remove_otp_key(&self, tenant: &TenantId, public_id: &str, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Raises the last counter of the key or the factor of this public id, never lowers it; `false` where there is
    /// neither, or the counter is there already. For what another server had spent before its keys came here.
    async fn raise_yubico_counter(
        &self,
        tenant: &TenantId,
        public_id: &str,
        counter: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;

    /// The factor whose kind and handle (what its kind is found by: a public id, the thumbprint of a key) these are.
    async fn factor_by_handle(&self, tenant: &TenantId, kind: FactorKind, handle: &str) -> Result<Option<Factor>>;
    /// Spends an OTP's counter for a request: [`OtpSpending::Spent`] for the one caller that raised the counter of the
    /// key or the factor of this public id to it, on any number of nodes. `audit` is recorded where it was spent.
    async fn spend_validated_otp(&self, shown: &ShownOtp, audit: Vec<AuditEvent>) -> Result<OtpSpending>;
}
