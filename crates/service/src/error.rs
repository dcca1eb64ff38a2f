//! Why a use case failed, in words that a person can act on.

use std::time::Duration;

use signet_core::keys::{HsmError, HsmName};
use signet_core::oauth::OAuthError;
use signet_store::{StoreError, StoreFailure};

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
    /// No such thing, in words that say where to look.
    #[error("{0}")]
    Absent(String),
    /// The input is not acceptable, whatever is there.
    #[error("{0}")]
    Input(String),
    /// It does not fit to what is there: to another state it might.
    #[error("{0}")]
    Conflict(String),
    /// The operator may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The deployment has no key of this kind yet.
    #[error("the deployment has no {0} key yet; run `signet init` first")]
    NotInitialised(&'static str),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// HSM or store did not do their part, and the log says why.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How often a change is judged and tried anew where somebody else was faster.
pub(crate) const TRIES: u32 = 5;

impl ChangeError {
    /// Others change the same thing all the time.
    pub(crate) fn changes_meanwhile() -> Self {
        Self::Conflict("others change it at the same moment: look at it, and try again".to_owned())
    }

    /// There is no such thing.
    pub(crate) fn missing(noun: &'static str, name: impl ToString) -> Self {
        Self::Missing { noun, name: name.to_string() }
    }
}

/// Whether a change found what it was to change.
pub(crate) fn still_there(is_there: bool, noun: &'static str, name: &str) -> Result<(), ChangeError> {
    if is_there { Ok(()) } else { Err(ChangeError::missing(noun, name)) }
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
        "no other HSM token of this deployment signs now, and tokens could not be issued without `{name}`: {why}. \
         Wait until the signing key of another one is active (`signet key list`) and it answers (`/readyz`)"
    )]
    NothingElseSigns {
        /// Its name.
        name: HsmName,
        /// What the others lack.
        why: String,
    },
    /// Secrets would be lost.
    #[error(
        "{secrets} secrets are sealed for `{name}` alone and would be lost: `signet hsm add {other}` seals them \
         for `{other}` too; then try again"
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
         sign. Add one that keeps secrets first (docs/guides/hsm-guide.md)"
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
    SealedCopies(ChangeError),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node could not be let in, or could not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There is no deployment in the store.
    #[error("there is no deployment in this store to join: `signet init` makes one, on its first node")]
    NothingToJoin,
    /// The deployment has, or had, an HSM token of this name.
    #[error(
        "the deployment has, or had, an HSM token named `{0}` already (`signet hsm list`). Where it is this one and this node reaches \
         it, nothing is left to do; another one needs another name in its [[hsm]]"
    )]
    NameTaken(HsmName),
    /// The token has no way to receive secrets.
    #[error(
        "the HSM token `{0}` can't receive the deployment's secrets: that takes CKM_ECDH1_DERIVE on P-256, and what keeps secrets \
         (docs/guides/hsm-guide.md)"
    )]
    TakesNoEnvelopes(HsmName),
    /// No other node has an audit key.
    #[error(
        "no HSM token of another node has an audit key that could vouch; `signet hsm list` on another node shows its tokens"
    )]
    NobodyVouches,
    /// An operator has to choose.
    #[error(
        "several HSM tokens could vouch: say by --vouched-by which one, and type the code on a node that reaches it: {0}"
    )]
    SeveralVouch(String),
    /// What was typed is no code.
    #[error("this is no code of `signet node join`: it has 32 letters and digits in eight groups")]
    NoCode,
    /// The code is none of the keys that are seen here.
    #[error(
        "no node that asks to be let in has this code with the audit key that is seen here. Compare the code with what the other \
         machine shows; where it is the same, somebody who can write the database has put another key in between: do not go on"
    )]
    OtherCode,
    /// This node has not asked.
    #[error("this node does not ask to be let in: run `signet node join NAME` first")]
    NotAsked,
    /// No answer yet.
    #[error("this node is not admitted yet: run `signet node admit CODE` on a node that is in, and then this again")]
    NotAdmitted,
    /// Somebody else answered.
    #[error(
        "an admission lies there for this node, and {0}. Whoever can write the database offered another secret: nothing was taken. \
         Find out who, then run `signet node admit CODE` again on a node that is in"
    )]
    Refused(signet_core::admission::AdmissionRefused),
    /// It is for somebody else.
    #[error(
        "the admission that lies there is another node's, or another issuer's (server.public_url must be the deployment's): nothing \
         was taken"
    )]
    OfAnother,
    /// The HSM token can't become a member.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The keys could not be made.
    #[error(transparent)]
    Keys(#[from] InitialiseError),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// HSM or store did not do their part, and the log says why.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A change was refused.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// `init` failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitialiseError {
    /// The settings to begin with can't be so.
    #[error("{0}")]
    Settings(String),
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
         another [[hsm]] that has them; see docs/guides/hsm-guide.md"
    )]
    NothingSeals,
    /// Keys are made in HSM tokens that belong to the deployment, and in no others.
    #[error(
        "the HSM token `{0}` is not part of this deployment, or was retired: no key is made in it; `signet hsm list` shows \
         how it stands"
    )]
    NotAMember(HsmName),
    /// Another process was faster.
    #[error(
        "there is a key of this kind in the HSM token `{0}` already: another process made one at the same time, or is making it"
    )]
    PlaceTaken(HsmName),
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

/// HSM or store did not do their part of a request: the caller may try again. What failed is logged as this is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the HSM or the store does not answer at the moment; try again")]
pub struct Unavailable;

impl Unavailable {
    /// How long the caller should wait.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);
}

impl From<HsmError> for Unavailable {
    fn from(error: HsmError) -> Self {
        tracing::warn!(%error, "the HSM did not do its part of a request");
        Self
    }
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        match error.failure {
            // The log has that row once, however often it is asked for.
            StoreFailure::Forged { .. } => tracing::debug!(%error, "a row that does not verify was asked for"),
            _ => tracing::error!(%error, "the store did not do its part of a request"),
        }
        Self
    }
}

impl From<Unavailable> for OAuthError {
    fn from(_: Unavailable) -> Self {
        Self::TemporarilyUnavailable { retry_after: Unavailable::RETRY_AFTER }
    }
}

/// Why nobody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Whatever was wrong: there is one answer for all of it (promise 5).
    #[error("the name, the password or the second factor is not accepted")]
    Refused,
    /// All was right, and proves less than what the policy asks for.
    #[error("this sign-in does not prove what the policy asks for")]
    TooWeak,
    /// HSM or store did not do their part.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SignInError {
    /// How long to wait before another try, where that helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(_) => Some(Unavailable::RETRY_AFTER),
            Self::Refused | Self::TooWeak => None,
        }
    }
}

impl From<HsmError> for SignInError {
    fn from(error: HsmError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<SignInError> for OAuthError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => Self::InvalidGrant,
            SignInError::TooWeak => Self::UnmetAuthenticationRequirements,
            SignInError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
