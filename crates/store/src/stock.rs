//! The stock: tokens that belong to nobody yet, with their secrets.

use async_trait::async_trait;

use super::error::Result;
use super::{Factor, FactorDetail, Session, StockId};
use signet_core::audit::AuditEvent;
use signet_core::keys::{OtpSecretKind, SealedCopies, TenantId};
use signet_core::mfa::{FactorKind, Validity};
use signet_jose::clock::Timestamp;

/// A token that belongs to nobody yet: TOTP, HOTP or Yubico OTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockToken {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: StockId,
    /// What is printed on it, unique in the tenant.
    pub serial: String,
    /// What kind it is, with what its check needs.
    pub detail: FactorDetail,
    /// Its model, where the file names it.
    pub model: Option<String>,
    /// From when to when it may be used.
    pub validity: Validity,
    /// Its secret, wrapped by the HSM for this row. Empty in listings.
    pub secret: SealedCopies,
    /// When it was imported.
    pub imported_at: Timestamp,
}

impl StockToken {
    /// What its secret is; `None` for a kind that has no place in the stock.
    pub fn secret_kind(&self) -> Option<OtpSecretKind> {
        self.detail.secret_kind()
    }
}

/// How an assignment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignOutcome {
    /// The token is the user's.
    Assigned,
    /// Somebody else took it first.
    Gone,
    /// The user is gone, or another factor has its serial number or public id.
    Refused,
}

/// Tokens that belong to nobody yet.
#[async_trait]
pub trait Stock: Send + Sync {
    /// Adds tokens, all in one commit. Those whose serial number, or public id, the stock or a factor has already are
    /// left out; returns the serial numbers of those that were added.
    async fn add_stock(&self, tokens: Vec<StockToken>, audit: Vec<AuditEvent>) -> Result<Vec<String>>;
    /// Which of these serial numbers the stock or a factor has already.
    async fn known_serials(&self, tenant: &TenantId, serials: &[String]) -> Result<Vec<String>>;
    /// The token of this serial number, with its secret.
    async fn stock_token(&self, tenant: &TenantId, serial: &str) -> Result<Option<StockToken>>;
    /// The token of this kind that is named so from outside, with its secret.
    async fn stock_token_by_handle(
        &self,
        tenant: &TenantId,
        kind: FactorKind,
        handle: &str,
    ) -> Result<Option<StockToken>>;
    /// Tokens by serial number, after `after`, at most `limit`, without their secrets.
    async fn stock(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<StockToken>>;
    /// Takes a token out of the stock and adds it as a factor, in one commit: of N racing callers one wins. Where a session
    /// is given, it must hold as in [`add_own_factor`](super::FactorLife::add_own_factor).
    async fn assign_stock(
        &self,
        session: Option<&Session>,
        id: &StockId,
        factor: &Factor,
        audit: Vec<AuditEvent>,
    ) -> Result<AssignOutcome>;
    /// Removes a token; `false` where it is gone.
    async fn remove_stock(&self, tenant: &TenantId, serial: &str, audit: Vec<AuditEvent>) -> Result<bool>;
}
