//! What is kept: contracts, one per noun, each stated once, with the nouns' types. `signet-store-sqlite` implements them.
//!
//! Every change takes the audit events that record it and commits both together, durably, before it returns. Where the
//! outcome of a conditional write decides what is recorded, the change takes an [`AuditOnOutcome`]. Absence is an `Option`,
//! not an error; an error means that the store could not say, and the caller must deny.
//!
//! It never names a database, and never decides who may do what: a contract says what is written, and under which condition.
//! The one thing here that reads and writes is the [`anchor`], a file that lies outside of every database.

#![forbid(unsafe_code)]

pub mod anchor;
pub mod audit_log;
pub mod ceremonies;
pub mod clients;
pub mod contract;
pub mod envelopes;
pub mod error;
pub mod factor_life;
pub mod factors;
pub mod grants;
pub mod idempotency;
pub mod joins;
pub mod keys;
pub mod logins;
pub mod membership;
pub mod model;
pub mod nodes;
pub mod otp_validation;
pub mod renewals;
pub mod role_requests;
pub mod rules;
pub mod sessions;
pub mod settings;
pub mod sign_in;
pub mod stock;
pub mod tries;
pub mod users;

pub use audit_log::{AuditLog, KeptCounts, KeyMention};
pub use ceremonies::Ceremonies;
pub use clients::Clients;
pub use contract::Store;
pub use envelopes::{Envelopes, VouchedTransport, WaitingEnvelope};
pub use error::{AuditOnOutcome, StoreError, StoreFailure};
pub use factor_life::{FactorEdit, FactorLife, RecoveryCodes};
pub use factors::{Factors, ProofSpending};
pub use grants::{Grants, Revocations};
pub use idempotency::{IdempotencyKeys, RequestClaim, RequestOutcome};
pub use joins::{JoinRequest, Joins};
pub use keys::{Beside, KeyAddition, Keys, Leases, RefusedRow, SealedSecrets, SecretsAtRest};
pub use logins::{LoginChange, Logins, StoredLogins};
pub use membership::{Generations, Membership};
pub use model::{
    EndReason, Factor, FactorState, Grant, GrantId, GrantState, HsmMember, ListedFactor, ListedGrant, RefreshLookup,
    RotateOutcome, SealCount, SecretAtRest, SecretCursor, SecretOwner, Session, SessionId, StockId, User,
};
pub use nodes::{HsmRate, Node, NodeHolder, NodeLease, Nodes};
pub use otp_validation::{OtpClient, OtpKey, OtpSpending, OtpValidation, ShownOtp};
pub use renewals::{Renewal, Renewals, RenewedRows};
pub use role_requests::{RoleRequest, RoleRequests};
pub use rules::{Rule, Rules};
pub use sessions::Sessions;
pub use settings::{DeclaredNoun, SettingStatement, SettingStatements};
pub use sign_in::Candidates;
pub use signet_core::mfa::yubico_validation::ClientNumber;
pub use signet_core::mfa::{FactorDetail, FactorId, TotpState, UserId, YubicoState};
pub use signet_core::oauth::{Client, ClientId, GrantType, UnknownGrantType};
pub use stock::{AssignOutcome, Stock, StockToken};
pub use tries::{Judged, PLACES_OF_NOBODY, Settled, Settling, Tries, TriesOf, UserWithTries};
pub use users::{UserEdit, Users};
