//! Why a use case of the operator's failed, in words that a person can act on.

use signet_core::keys::{HsmError, HsmName};
use signet_core::oauth::OAuthError;
use signet_store::StoreError;

/// A change of users, factors, clients or keys was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The name is taken.
    #[error("there is a {noun} named `{name}` already; choose another name or remove that one first")]
    Taken {
        /// `user`, `client`, ...
        noun: &'static str,
        /// The name.
        name: String,
    },
    /// No such thing.
    #[error("there is no {noun} `{name}`; `signet {noun} list` shows those that are")]
    Missing {
        /// `user`, `client`, `factor`, ...
        noun: &'static str,
        /// The name or id.
        name: String,
    },
    /// The input is not acceptable.
    #[error("{0}")]
    Input(String),
    /// The deployment has no key of this kind yet.
    #[error("the deployment has no {0} key yet; run `signet init` first")]
    NotInitialised(&'static str),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An HSM token could not be added or retired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// There is no deployment to add it to.
    #[error("this deployment has no keys yet: `signet init` makes them in every configured HSM token")]
    NotInitialised,
    /// It is not configured.
    #[error("there is no [[hsm]] named `{0}` in the configuration: add it there first")]
    NotConfigured(HsmName),
    /// The deployment does not know it.
    #[error("the HSM token `{0}` is not part of this deployment; `signet hsm list` shows those that are")]
    NotAMember(HsmName),
    /// It is the very token that the deployment has under another name.
    #[error("the HSM token `{name}` is the one that this deployment has as `{other}` (serial number {serial})")]
    SameToken {
        /// The name that was to be added.
        name: HsmName,
        /// The member's name.
        other: HsmName,
        /// The serial number of both.
        serial: String,
    },
    /// It can't sign as the deployment does.
    #[error("the HSM token `{name}` can't sign with {algorithm} (tokens.algorithm); it offers {offered}")]
    NoAlgorithm {
        /// Its name.
        name: HsmName,
        /// What is configured.
        algorithm: &'static str,
        /// What it can do.
        offered: String,
    },
    /// Nothing would be left.
    #[error("`{0}` is the last HSM token of this deployment: add another one first (`signet hsm add`)")]
    Last(HsmName),
    /// Nothing else signs.
    #[error(
        "no other HSM token of this deployment signs now, and tokens could not be issued without `{name}`: {why}. Wait          until the signing key of another one is active (`signet key list`) and it answers (`/readyz`)"
    )]
    NothingElseSigns {
        /// Its name.
        name: HsmName,
        /// What the others lack.
        why: String,
    },
    /// Secrets would be lost.
    #[error(
        "{secrets} secrets are sealed for `{name}` alone and would be lost: `signet hsm add {other}` seals them for          `{other}` too; then try again"
    )]
    SealedAlone {
        /// Its name.
        name: HsmName,
        /// How many.
        secrets: u64,
        /// A member that they can be sealed for.
        other: HsmName,
    },
    /// Secrets would be lost, and the others only sign.
    #[error(
        "{secrets} secrets are sealed for `{name}` alone and would be lost: the other HSM tokens of this deployment only \
         sign. Add one that keeps secrets first (docs/hsm-guide.md)"
    )]
    NothingElseKeeps {
        /// Its name.
        name: HsmName,
        /// How many.
        secrets: u64,
    },
    /// The keys could not be made.
    #[error(transparent)]
    Keys(#[from] InitialiseError),
    /// The seals could not be extended or removed; what was done stays.
    #[error("{0}; what was done stays: the same command goes on from there")]
    Seals(ChangeError),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `init` failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitialiseError {
    /// The HSM token under this name is another one than the deployment is bound to (its serial number differs).
    #[error(
        "the HSM token `{name}` has serial number {found}, but this deployment is bound to {expected}: the token was \
         re-initialised or exchanged. Its keys are gone; restore the token, or start a new deployment with a new store"
    )]
    OtherToken {
        /// The configured name.
        name: HsmName,
        /// The serial number that the deployment is bound to.
        expected: String,
        /// The serial number found.
        found: String,
    },
    /// The name belongs to a token that was retired, and this is another one.
    #[error(
        "`{name}` is the name of an HSM token that was retired (serial number {retired}), and this is another token \
         (serial number {found}): give its [[hsm]] another name"
    )]
    RetiredName {
        /// The configured name.
        name: HsmName,
        /// The serial number of the token that was retired.
        retired: String,
        /// The serial number found.
        found: String,
    },
    /// No HSM token of the deployment can keep a secret.
    #[error(
        "none of the HSM tokens can keep secrets: that takes CKM_AES_GCM, CKM_AES_KEY_GEN, CKM_SHA256_HMAC and \
         CKM_GENERIC_SECRET_KEY_GEN. A token without them signs, but passwords, OTP seeds and refresh tokens need \
         another [[hsm]] that has them; see docs/hsm-guide.md"
    )]
    NothingSeals,
    /// Keys are made in HSM tokens that belong to the deployment, and in no others.
    #[error(
        "the HSM token `{0}` is not part of this deployment, or was retired: no key is made in it; `signet hsm list` shows \
         how it stands"
    )]
    NotAMember(HsmName),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key came back that can't be used.
    #[error("the HSM made a key that can't be used: {0}")]
    Key(String),
}

/// The HSM failed while a token was asked for: the caller may try again.
pub(super) fn hsm_unavailable(error: &HsmError) -> OAuthError {
    tracing::warn!(%error, "the HSM did not do its part of a request");
    OAuthError::unavailable()
}

/// The store failed while a token was asked for: the caller may try again.
pub(super) fn store_unavailable(error: &StoreError) -> OAuthError {
    tracing::error!(%error, "the store did not do its part of a request");
    OAuthError::unavailable()
}
