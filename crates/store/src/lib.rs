//! What is kept: contracts, one per noun, each stated once. `store::sqlite` implements them.
//!
//! Every change takes the audit drafts that tell of it and commits both together, durably, before it returns.
//! Where the outcome of a conditional write decides what is told, the change takes a [`Told`]. Absence is an `Option`,
//! not an error; an error means that the store could not say, and the caller must deny.

#![forbid(unsafe_code)]

pub mod anchor;
pub mod ceremonies;
pub mod contract;
pub mod factor_life;
pub mod keys;
pub mod model;
pub mod otp_validation;
pub mod sessions;
pub mod stock;
pub mod throttles;

pub use ceremonies::{AssertionSpending, Ceremonies};
pub use contract::{
    AuditLog, Clients, Deployment, Factors, Grants, KeyMention, Revocations, Store, StoreError, StoreFailure, Told,
    Users,
};
pub use factor_life::{FactorLife, RecoveryCodes};
pub use keys::{Keys, Leases, SealedSecrets, SecretsAtRest};
pub use model::{
    EndReason, Factor, FactorState, Grant, GrantId, GrantState, HsmMember, ListedFactor, RefreshLookup, RotateOutcome,
    SealCount, SecretAtRest, SecretCursor, SecretOwner, Session, SessionId, User,
};
pub use otp_validation::{OtpClient, OtpKey, OtpSpending, OtpValidation, ShownOtp};
pub use sessions::Sessions;
pub use signet_core::mfa::yubico_validation::ClientNumber;
pub use signet_core::mfa::{FactorDetail, FactorId, TotpState, UserId, YubicoState};
pub use signet_core::oauth::{Client, ClientId, GrantType, UnknownGrantType};
pub use stock::{AssignOutcome, Stock, StockId, StockToken};
pub use throttles::Throttles;
