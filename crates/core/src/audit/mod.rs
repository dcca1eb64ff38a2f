//! The audit record: what is written down of every decision that matters, and how the records hang together.
//!
//! Each node has a chain of its own. A record's hash covers its text and the hash of the record before it; checkpoints over the chain are signed in the
//! HSM. A [`AuditEvent`] is what a use case hands to the store; the store makes it a [`Record`] inside the same commit as
//! the change that it tells of, so that neither is there without the other (promise 3).

pub mod chain;
pub mod checkpoint;
pub mod export;
pub mod facts;
pub mod reason;
pub mod since;

pub use chain::{ChainCheck, ChainFault, ChainSummary, chain};
pub use checkpoint::CheckpointClaims;
pub use export::{ExportError, ExportLine, ExportReader};
pub use facts::Facts;

pub use reason::Reason;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::admin::Authority;
use crate::mfa::UsedFactor;
use crate::words::words;
use signet_jose::clock::Timestamp;

words! {
    /// What happened.
    pub enum Event {
        /// The audit log was exported with the chains of other nodes.
        AuditExported = "audit.exported",
        /// A node was admitted: the deployment's secret was encrypted to the transport key of its HSM token.
        NodeAdmitted = "node.admitted",
        /// A node that was admitted joined with an HSM token of its own.
        NodeJoined = "node.joined",
        /// A node was taken out of the deployment for good.
        NodeRetired = "node.retired",
        /// A deployment was initialised.
        DeploymentInitialised = "deployment.initialised",
        /// The server began to serve.
        ServerStarted = "server.started",
        /// The server stopped in order.
        ServerStopped = "server.stopped",
        /// It was decided whether a rule of the deployment holds.
        RuleDecided = "rule.decided",
        /// Settings of a tenant were stated, approved or taken back; the detail says each with what was and what is.
        SettingsStated = "settings.stated",
        /// A renewed TLS certificate was read while the server ran: served, or refused and the one before served on.
        CertificateRead = "certificate.read",
        /// The store was closed, to be copied to another one.
        StoreClosed = "store.closed",
        /// A backup was made, and its statement signed.
        StoreBackedUp = "store.backed_up",
        /// A backup was put into an empty store, and what could have been ended since was ended.
        StoreRestored = "store.restored",
        /// An operator said what had ended since the copy that was restored, and the servers write again.
        RestoreAnswered = "store.restore_answered",
        /// A store that had been closed was taken back before its copy was complete.
        StoreReopened = "store.reopened",
        /// A person showed a password and a factor, or failed to.
        SignIn = "sign_in",
        /// A session began in a browser, after its sign-in.
        SessionStarted = "session.started",
        /// A person proved again who they are, within a session.
        SessionRenewed = "session.renewed",
        /// A session was ended by its user: one, or all with all grants.
        SessionEnded = "session.ended",
        /// A recovery code took the place of a token.
        RecoveryCodeUsed = "recovery_code.used",
        /// A client authenticated, or failed to.
        ClientAuthentication = "client.authentication",
        /// A request came from an address that may not ask.
        RequestRefused = "request.refused",
        /// An access token was issued.
        TokenIssued = "token.issued",
        /// A refresh token was exchanged for its successor.
        TokenRefreshed = "token.refreshed",
        /// The immediate predecessor was shown again within the retry window and got the same successor.
        TokenRefreshRetried = "token.refresh_retried",
        /// A spent refresh token was shown again: its family ended.
        TokenReplayed = "token.replayed",
        /// A token or a refresh family was revoked.
        TokenRevoked = "token.revoked",
        /// A request for a token was refused for another reason.
        TokenRefused = "token.refused",
        /// A key was generated in an HSM.
        KeyGenerated = "key.generated",
        /// A rotation was asked for, or failed.
        KeyRotated = "key.rotated",
        /// A key began to sign.
        KeyActivated = "key.activated",
        /// A key signs no more, and stays published until its last token has expired.
        KeyRetired = "key.retired",
        /// A key left the JWKS.
        KeyWithdrawn = "key.withdrawn",
        /// A key was destroyed in its HSM token.
        KeyDestroyed = "key.destroyed",
        /// A person revoked a key: it left the JWKS at once, and what it signed counts for nothing.
        KeyRevoked = "key.revoked",
        /// A user was added, changed, disabled or removed.
        UserChanged = "user.changed",
        /// A factor was added, changed or removed.
        FactorChanged = "factor.changed",
        /// A Yubico OTP was verified for a client of the validation protocol, or refused.
        OtpValidated = "otp.validated",
        /// A client of the validation protocol was added, changed or removed.
        OtpClientChanged = "otp_client.changed",
        /// A Yubico OTP key that is no user's factor was added, changed or removed.
        OtpKeyChanged = "otp_key.changed",
        /// Tokens that belong to nobody yet were imported or removed.
        StockChanged = "stock.changed",
        /// A client was added, changed or removed.
        ClientChanged = "client.changed",
        /// An HSM token stopped answering.
        HsmDown = "hsm.down",
        /// An HSM token answers again.
        HsmUp = "hsm.up",
        /// An HSM token was added to the deployment.
        HsmAdded = "hsm.added",
        /// An HSM token was taken out of the deployment.
        HsmRetired = "hsm.retired",
        /// A secret on its way to an HSM token was refused: nobody of the deployment wrote it, or not for its row.
        EnvelopeRefused = "envelope.refused",
        /// A row that could get somebody a yes does not verify: somebody wrote it past Signet, and it was left out.
        RowRefused = "row.refused",
        /// The next generation of the deployment's secret was made, while servers run.
        SecretRenewalBegun = "secret.renewal_begun",
        /// Every row is written under the renewed secret, and the one before is gone.
        SecretRenewed = "secret.renewed",
        /// An operator allowed a login at an HSM token, after its PIN was refused or a login ended unknown.
        HsmLoginAllowed = "hsm.login_allowed",
        /// An HSM answered with a signature that does not verify.
        HsmWrongSignature = "hsm.wrong_signature",
        /// From here on signatures are reconciled with records: what was signed before is taken as it is.
        CustodyBegun = "custody.begun",
        /// Signatures without a record of their own are accounted for: `reason` says how.
        CustodySettled = "custody.settled",
        /// Kept counts of records that were false were dropped, so that all are counted anew.
        CustodyRecounted = "custody.recounted",
        /// Signatures that nobody accounts for: somebody else used the key, or the count was put back.
        CustodyDifference = "custody.difference",
        /// A custody report was signed.
        CustodyReport = "custody.report",
    }
}

words! {
    /// What was changed of a user, a factor, a client or a key of the validation protocol.
    pub enum Change {
        /// It was added.
        Added = "added",
        /// It counts again.
        Enabled = "enabled",
        /// It counts no more.
        Disabled = "disabled",
        /// It is gone.
        Removed = "removed",
        /// It has another name.
        Renamed = "renamed",
        /// A user has other roles.
        RolesReplaced = "roles_replaced",
        /// A user has another password.
        PasswordReplaced = "password_replaced",
        /// Several things of it were replaced at once: what was and what is say which.
        Changed = "changed",
        /// A client may do other things.
        RightsReplaced = "rights_replaced",
        /// A client has another secret.
        SecretReplaced = "secret_replaced",
        /// Tries that were counted are forgotten.
        TriesForgotten = "tries_forgotten",
        /// The person has seen what was tried in vain, and says that it was they.
        TriesAnswered = "tries_answered",
        /// A factor was approved by a second operator, or was to be.
        Approved = "approved",
        /// A token that was out of step was found again.
        Resynchronised = "resynchronised",
        /// The counter was raised.
        CounterRaised = "counter_raised",
    }
}

impl Change {
    /// That it counts again, or no more.
    pub const fn enabled(enabled: bool) -> Self {
        if enabled { Self::Enabled } else { Self::Disabled }
    }

    /// It in words.
    pub fn in_words(self) -> String {
        self.name().replace('_', " ")
    }
}

words! {
    /// How it ended.
    pub enum Outcome {
        /// It was done.
        Done = "done",
        /// It was refused, as the rules say.
        Refused = "refused",
        /// It failed: something did not work.
        Failed = "failed",
    }
}

/// Where a request came from. Command-line changes have no address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContext {
    /// The id that the answer's `x-request-id` carries too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The peer's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Who asked as an operator: a system account, or a person or software by a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// By what right the request is made. The record does not say it.
    #[serde(skip)]
    pub authority: Authority,
}

impl RequestContext {
    /// Nobody in particular, from nowhere.
    pub const NONE: Self = Self { request_id: None, address: None, operator: None, authority: Authority::Own };
}

/// One decision, before it has its place in the chain. It never carries a secret: no password, code, token, seed,
/// nor a name that is not a known user's (people type passwords into name fields).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a fixed word, e.g. `wrong_code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The tenant.
    pub tenant: String,
    /// Who asked and from where.
    #[serde(flatten)]
    pub context: RequestContext,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What was shown: `password`, and each factor as `kind:id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<UsedFactor>,
    /// The key that signed, or that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the key signed, where that is not plain from the event: `token`, `checkpoint`, `report`, `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// How many signatures that is about; negative where the count is behind the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<i64>,
    /// The access token's `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The grant (refresh family).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The scopes, space-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The audiences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// What was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// What a change found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Facts>>,
    /// What it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<Facts>>,
    /// A user's roles after the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<String>>,
    /// What the counter of a token that counts stands at from then on: nothing before it is accepted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<i64>,
    /// For how many refusals this record stands, where that is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What else matters, in words without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AuditEvent {
    /// A draft with nothing but the event, its outcome and where it came from.
    pub fn new(event: Event, outcome: Outcome, tenant: &str, context: &RequestContext) -> Self {
        Self {
            event,
            outcome,
            reason: None,
            tenant: tenant.to_owned(),
            context: context.clone(),
            user: None,
            client: None,
            factors: Vec::new(),
            key: None,
            signed: None,
            signatures: None,
            jti: None,
            grant: None,
            scope: None,
            audience: Vec::new(),
            change: None,
            before: None,
            after: None,
            roles: None,
            counter: None,
            times: None,
            detail: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Reason>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds the user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Adds the client.
    #[must_use]
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Adds what was changed, and that in words as the detail.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        self.change = Some(change);
        self.detail(change.in_words())
    }

    /// Adds what a change found, and what it left.
    #[must_use]
    pub fn from_to(mut self, before: Facts, after: Facts) -> Self {
        (self.before, self.after) = (Some(Box::new(before)), Some(Box::new(after)));
        self
    }

    /// Adds how far a token that counts is spent.
    #[must_use]
    pub const fn counter(mut self, counter: i64) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

crate::string_id! {
    /// A node's name for itself: it is in the node's state folder, and its chain of records goes by it.
    pub struct NodeId;
}

/// One link of a chain, as it is stored and exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The node whose chain it is in.
    pub node: NodeId,
    /// Its place: 1, 2, 3, ... without gaps.
    pub sequence: i64,
    /// When it was made durable.
    pub at: Timestamp,
    /// The exact JSON text that the hash covers.
    pub text: String,
    /// SHA-256 of the previous record's hash followed by the text.
    pub hash: [u8; 32],
}

/// The end of a chain. The default is that of a chain without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The last record's place; 0 for an empty chain.
    pub sequence: i64,
    /// The last record's hash; zeros for an empty chain.
    pub hash: [u8; 32],
}

/// A signed statement of how far a chain reached: a JWS by the audit key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The node whose chain it covers.
    pub node: NodeId,
    /// The place of the record that it covers last.
    pub sequence: i64,
    /// When it was signed.
    pub at: Timestamp,
    /// The compact JWS.
    pub jws: String,
}
