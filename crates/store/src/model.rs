//! The nouns of the store: plain facts, with their stages as enums.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use signet_core::keys::{HsmName, OtpSecretKind, SealedCopies, TenantId, TokenInfo};
use signet_core::mfa::{FactorDetail, FactorId, FactorRef, UsedFactor, UserId};
use signet_core::oauth::ClientId;
use signet_jose::clock::Timestamp;

signet_core::string_id! {
    /// A grant's id: a UUIDv7.
    pub struct GrantId;

    /// A stock token's id: a UUIDv7. It becomes no factor's id: the factor has one of its own.
    pub struct StockId;

    /// A session's id: a UUIDv7, which stays and is no secret. Whoever knows it can't sign in by it.
    pub struct SessionId;
}

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The tenant.
    pub tenant: TenantId,
    /// The id, never used again after removal.
    pub id: UserId,
    /// The name as it was given, unique in the tenant in whatever spelling.
    pub name: String,
    /// The roles.
    pub roles: BTreeSet<String>,
    /// Whether the user may sign in.
    pub enabled: bool,
    /// The Argon2id hash of the password, sealed.
    pub password: Option<SealedCopies>,
    /// Rises when the password is replaced, a factor is removed, or the user is disabled or enabled: what was judged by
    /// a lower one holds no more.
    pub credentials_version: i64,
    /// When the user was added.
    pub created_at: Timestamp,
}

/// A means of proof that a user has enrolled, other than the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: FactorId,
    /// Whose it is.
    pub user: UserId,
    /// What the user calls it.
    pub label: String,
    /// What is printed on it, unique in the tenant; `None` where it is not known.
    pub serial: Option<String>,
    /// What kind it is, with what its check needs.
    pub detail: FactorDetail,
    /// Its stage.
    pub state: FactorState,
    /// From when on it proves nothing more; `None` where it lasts.
    pub valid_until: Option<Timestamp>,
    /// The OTP secret, wrapped by the HSM.
    pub secret: SealedCopies,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// When it last proved something.
    pub last_used_at: Option<Timestamp>,
}

impl Factor {
    /// How it is named where it was used.
    pub fn reference(&self) -> FactorRef {
        FactorRef { kind: self.detail.kind(), id: self.id.clone() }
    }

    /// Whether it may prove something at this time.
    pub fn is_usable(&self, at: Timestamp) -> bool {
        self.state.is_in_use() && self.valid_until.is_none_or(|until| at < until)
    }
}

/// A factor's stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorState {
    /// It proves its user.
    Enabled,
    /// It proves nothing until it is enabled again.
    Disabled,
    /// It proves nothing until an operator other than the one that is named has approved it.
    Pending {
        /// Who asked for it.
        requested_by: String,
    },
    /// It proves its user by two codes in a row, since nobody knows how far it was counted.
    WantsTwo,
    /// One of them was shown, and its counter stands there: the one directly after it proves its user.
    WantsNext,
}

impl FactorState {
    /// The stage's name in the store and on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Pending { .. } => "pending",
            Self::WantsTwo => "wants_two_codes",
            Self::WantsNext => "wants_next_code",
        }
    }

    /// Whether it proves its user by two codes in a row alone.
    pub const fn wants_two(&self) -> bool {
        matches!(self, Self::WantsTwo | Self::WantsNext)
    }

    /// Whether it proves something, by one code or by two.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Enabled | Self::WantsTwo | Self::WantsNext)
    }
}

/// A factor with its user's name, for a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFactor {
    /// The factor, without its secret.
    pub factor: Factor,
    /// Its user's name.
    pub user_name: String,
}

/// A person's sign-in in a browser. The secret that the browser holds is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The user's [`credentials_version`](User::credentials_version) that the sign-in was judged by.
    pub credentials_version: i64,
    /// From where it began, where that is known.
    pub address: Option<String>,
    /// When the person last proved who they are.
    pub auth_time: Timestamp,
    /// What was proved then, as an `acr`.
    pub acr: String,
    /// How (RFC 8176).
    pub amr: Vec<String>,
    /// By which factors: `password`, and each factor as `kind:id`.
    pub factors: Vec<UsedFactor>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last in use, to the minute.
    pub last_seen_at: Timestamp,
    /// When it ends by itself, however much it is used.
    pub expires_at: Timestamp,
}

/// The right of a client to hold tokens for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The tenant.
    pub tenant: TenantId,
    /// The id: the refresh family's.
    pub id: GrantId,
    /// Who holds it.
    pub client: ClientId,
    /// For whom.
    pub user: UserId,
    /// The scopes that were granted.
    pub scopes: BTreeSet<String>,
    /// The audiences that were granted.
    pub audiences: BTreeSet<String>,
    /// When the person proved who they are.
    pub auth_time: Timestamp,
    /// What was proved, as an `acr`.
    pub acr: String,
    /// How (RFC 8176).
    pub amr: Vec<String>,
    /// By which factors, as audit records name them: `password`, and each factor as `kind:id`.
    pub factors: Vec<UsedFactor>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Its stage.
    pub state: GrantState,
}

/// A grant in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGrant {
    /// The grant.
    pub grant: Grant,
    /// The name of its client; none where that is gone.
    pub client_name: Option<String>,
    /// When a refresh token of it was exchanged last.
    pub last_used_at: Option<Timestamp>,
}

/// A grant's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Tokens may be had.
    Active,
    /// It is over, for good.
    Ended {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: EndReason,
    },
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its client, its user or an operator revoked it.
    Revoked,
    /// A spent refresh token was shown again.
    Replayed,
}

impl EndReason {
    /// The name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Replayed => "replayed",
        }
    }
}

/// An HSM token that the deployment is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmMember {
    /// Its configured name.
    pub name: HsmName,
    /// The token.
    pub token: TokenInfo,
    /// When the deployment was bound to it.
    pub bound_at: Timestamp,
    /// When it was taken out, if it was: none of its keys signs, and nothing is sealed for it.
    pub retired_at: Option<Timestamp>,
}

/// What a secret at rest belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretOwner {
    /// The deployment itself, with the generation of its secret.
    Deployment(u8),
    /// A user's password.
    Password(UserId),
    /// A factor's secret, with the factor's user.
    Factor(FactorId, UserId),
    /// The secret of a token that belongs to nobody yet.
    Stock(StockId),
    /// The API key of a client of the validation protocol, by the client's number.
    OtpClient(String),
    /// The AES key of a Yubico OTP key that is no user's factor, by its public id.
    OtpKey(String),
}

/// A secret at rest, with the seals that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretAtRest {
    /// The tenant.
    pub tenant: TenantId,
    /// What it belongs to.
    pub owner: SecretOwner,
    /// What an OTP secret is; `None` for a secret that is opened.
    pub wrapped: Option<OtpSecretKind>,
    /// Its seals.
    pub seals: SealedCopies,
    /// Whether an envelope waits for the HSM token that was asked about.
    pub waits: bool,
}

/// Where a listing of secrets at rest goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCursor {
    /// The tenant.
    pub tenant: String,
    /// The table and column.
    pub kind: String,
    /// The row.
    pub row: String,
}

/// The seals of one HSM token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SealCount {
    /// All secrets at rest of the deployment.
    pub secrets: u64,
    /// Those that this token can open.
    pub sealed: u64,
    /// Those that no other token can open.
    pub alone: u64,
    /// Those that wait in an envelope, for its node to seal them.
    pub waiting: u64,
}

/// A refresh token that was presented, with its family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshLookup {
    /// The family.
    pub grant: Grant,
    /// This token's place in the family: 0, 1, 2, ...
    pub generation: i64,
    /// The place of the family's live token: every lower one is spent.
    pub live_generation: i64,
    /// When this token was spent, if it was.
    pub spent_at: Option<Timestamp>,
    /// The HSM token whose binding key derived the successor, where it was not the deployment's secret.
    pub successor_hsm: Option<HsmName>,
}

/// How a rotation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotateOutcome {
    /// This request spent the token; its successor is live.
    Rotated,
    /// Another request spent it first, or the family ended or expired meanwhile: nothing was changed. Look again.
    Lost,
}
