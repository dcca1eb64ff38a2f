//! Who presents a PIN to an HSM token, among all nodes (promise 9): the judgement is
//! [`LoginRecord`]'s; here it is read, taken by one conditional write, and ended.
//!
//! Without the store no PIN is presented. A word on how a login ended that can't be written at once is tried on with, as
//! long as that node might be waited for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::error::MembershipError;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::login::{LOGIN_LEASE, Verdict};
use signet_core::keys::{
    HsmName, LoginAnswer, LoginOutcome, LoginPermit, LoginPermits, LoginQuestion, LoginRecord, TokenIdentity,
};
use signet_jose::clock::Clock;
use signet_store::{LoginChange, Logins, StoreError, StoreFailure, StoredLogins};

/// How often a record is read again that others change at the same moment.
const ATTEMPTS: u32 = 50;

/// How long a worker waits for its login's end to be written before it goes on, and how often it is tried.
const END_PATIENCE: Duration = Duration::from_secs(5);
const END_RETRY: Duration = Duration::from_millis(100);

/// This node's way to the record of all nodes.
pub struct HsmLogins {
    node: Arc<Node>,
}

struct Node {
    store: Arc<dyn Logins>,
    clock: Arc<dyn Clock>,
    id: String,
    /// Tokens at which this process has a login under way.
    held: Arc<Mutex<HashSet<TokenIdentity>>>,
    /// Versions of records that this process may have written, without having presented a PIN after it.
    unsure: Mutex<HashMap<TokenIdentity, i64>>,
}

/// Ends with the login.
struct Held {
    all: Arc<Mutex<HashSet<TokenIdentity>>>,
    token: TokenIdentity,
}

impl Held {
    fn take(all: &Arc<Mutex<HashSet<TokenIdentity>>>, token: &TokenIdentity) -> Option<Self> {
        all.lock().insert(token.clone()).then(|| Self { all: Arc::clone(all), token: token.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.lock().remove(&self.token);
    }
}

impl HsmLogins {
    /// The way of the node with this id.
    pub fn new(store: Arc<dyn Logins>, clock: Arc<dyn Clock>, id: String) -> Self {
        let node = Node { store, clock, id, held: Arc::default(), unsure: Mutex::default() };
        Self { node: Arc::new(node) }
    }
}

#[async_trait]
impl LoginPermits for HsmLogins {
    async fn ask(&self, hsm: &HsmName, question: &LoginQuestion) -> LoginAnswer {
        let token = TokenIdentity::from(&question.token);
        let Some(held) = Held::take(&self.node.held, &token) else {
            return LoginAnswer::Wait("another worker of this node logs in to this HSM token".to_owned());
        };
        match self.node.take(hsm, &token, question).await {
            Ok(None) => LoginAnswer::Present(LoginPermit::new(token, held)),
            Ok(Some(kept)) => kept,
            Err(error) => LoginAnswer::Wait(format!("no PIN is presented without the store: {error}")),
        }
    }

    async fn end(&self, permit: LoginPermit, outcome: LoginOutcome) {
        let node = Arc::clone(&self.node);
        let written = tokio::spawn(async move { node.end(permit, outcome).await });
        // What takes longer goes on by itself.
        let _ = tokio::time::timeout(END_PATIENCE, written).await;
    }

    async fn is_stopped(&self, hsm: &HsmName, question: &LoginQuestion) -> bool {
        let token = TokenIdentity::from(&question.token);
        let judged = self.node.read(hsm, &token).await.map(|logins| logins.record.judge(&self.node.id, question));
        !matches!(judged, Ok(Verdict::Present(_) | Verdict::Wait { .. }))
    }
}

impl Node {
    async fn read(&self, hsm: &HsmName, token: &TokenIdentity) -> Result<StoredLogins, StoreError> {
        read(self.store.as_ref(), self.clock.as_ref(), hsm, token).await
    }

    /// Takes the right to present a PIN; the answer where there is none.
    async fn take(
        &self,
        hsm: &HsmName,
        token: &TokenIdentity,
        question: &LoginQuestion,
    ) -> Result<Option<LoginAnswer>, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut logins = self.read(hsm, token).await?;
            // The answer to an earlier write was lost, and no PIN was presented after it.
            if self.unsure.lock().remove(token) == Some(logins.version) {
                logins.record = logins.record.ended(&self.id, LoginOutcome::NotCounted);
            }
            let settled = logins.record.clone().settled(&self.id, question);
            if settled != logins.record {
                let change = LoginChange { logins: StoredLogins { record: settled, ..logins }, lasts: None };
                self.store.change_logins(change, self.clock.now(), vec![]).await?;
                continue;
            }
            let record = match logins.record.judge(&self.id, question) {
                Verdict::Present(record) => record,
                Verdict::Wait { node } => {
                    return Ok(Some(LoginAnswer::Wait(format!("node {node} logs in to this HSM token now"))));
                }
                Verdict::Stop(reason) => return Ok(Some(LoginAnswer::Stop(reason.describe(hsm, &self.id)))),
            };
            let version = logins.version;
            let logins = StoredLogins { hsm: hsm.clone(), record, ..logins };
            let change = LoginChange { logins, lasts: Some(LOGIN_LEASE) };
            // Until there is an answer, which an error is not, nor that nobody waits for it any more.
            self.unsure.lock().insert(token.clone(), version + 1);
            let is_taken = self.store.change_logins(change, self.clock.now(), vec![]).await?;
            self.unsure.lock().remove(token);
            if is_taken {
                return Ok(None);
            }
        }
        Ok(Some(LoginAnswer::Wait("other nodes log in to this HSM token".to_owned())))
    }

    /// Writes down how a login ended, as long as its lease may be waited for.
    async fn end(&self, permit: LoginPermit, outcome: LoginOutcome) {
        let until = Instant::now() + LOGIN_LEASE;
        loop {
            match self.try_end(&permit.token, &outcome).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if Instant::now() >= until => {
                    let node = &self.id;
                    tracing::error!(node, %error, "how the login at an HSM token ended could not be written: it counts as unknown");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "how the login at an HSM token ended is not written yet");
                    tokio::time::sleep(END_RETRY).await;
                }
            }
        }
    }

    async fn try_end(&self, token: &TokenIdentity, outcome: &LoginOutcome) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(logins) = self.store.logins_of(token, now).await? else { return Ok(true) };
        let record = logins.record.clone().ended(&self.id, outcome.clone());
        if record == logins.record {
            return Ok(true);
        }
        let change = LoginChange { logins: StoredLogins { record, ..logins }, lasts: None };
        self.store.change_logins(change, now, vec![]).await
    }
}

async fn read(
    store: &dyn Logins,
    clock: &dyn Clock,
    hsm: &HsmName,
    token: &TokenIdentity,
) -> Result<StoredLogins, StoreError> {
    let none = || StoredLogins { token: token.clone(), hsm: hsm.clone(), version: 0, record: LoginRecord::default() };
    Ok(store.logins_of(token, clock.now()).await?.unwrap_or_else(none))
}

/// Logins at an HSM token that don't go as they should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TroubledLogins {
    /// Nodes whose PIN was refused, and to which no login was allowed since.
    pub stopped: Vec<String>,
    /// Nodes at which one login is allowed, and was not presented yet.
    pub allowed: Vec<String>,
    /// How many logins in a row ended in a way that nobody knows.
    pub unknown: u32,
    /// Whether every other node waits for an operator as well.
    pub others_wait: bool,
    /// The last that went wrong, e.g. `node 4f.. (CKR_PIN_INCORRECT)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl TroubledLogins {
    /// What the record says of trouble; `None` where it says of none.
    pub(crate) fn of(record: &LoginRecord) -> Option<Self> {
        let stopped: Vec<String> = record.stopped.difference(&record.allowed).cloned().collect();
        let last = record.last_unknown.as_ref().or(record.refused.as_ref());
        let is_well = stopped.is_empty() && record.allowed.is_empty() && last.is_none();
        (!is_well).then(|| Self {
            stopped,
            allowed: record.allowed.iter().cloned().collect(),
            unknown: record.unknown,
            others_wait: record.waits_for_an_operator(),
            last: last.map(ToString::to_string),
        })
    }
}

/// Whose logins an operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedNodes {
    /// One login at each of these nodes.
    These(Vec<String>),
    /// Every node's: the PIN of each is right.
    Every,
}

/// What `allow-login` did.
#[derive(Debug, Clone, Serialize)]
pub struct AllowedLogin {
    /// The token's name.
    pub name: HsmName,
    /// Nodes at which one login is allowed now.
    pub allowed: Vec<String>,
    /// Nodes that are still stopped because their PIN was refused, and are not allowed one.
    pub stopped: Vec<String>,
    /// Whether logins are still stopped on every node that is not allowed one, or was since.
    pub others_wait: bool,
}

module! {
    /// Allows logins at an HSM token after its PIN was refused: the operator's act that promise 9 asks for.
    pub struct LoginAllowances {
        takes clock, membership, logins, settings;
    }
}

impl LoginAllowances {
    /// Allows one login of each node, on the record. A running server of it presents its PIN within seconds.
    /// Errors: [`MembershipError::NotAMember`] where neither the deployment nor a login knows the name.
    pub async fn allow(
        &self,
        hsm: &HsmName,
        nodes: &AllowedNodes,
        context: &RequestContext,
    ) -> Result<AllowedLogin, MembershipError> {
        let token = self.token_of(hsm).await?;
        for _ in 0..ATTEMPTS {
            let logins = read(self.logins.as_ref(), self.clock.as_ref(), hsm, &token).await?;
            let (record, whose) = match nodes {
                AllowedNodes::These(nodes) => {
                    let record = nodes.iter().fold(logins.record, |record, node| record.allow(node));
                    (record, format!("one login of node {}", nodes.join(", ")))
                }
                AllowedNodes::Every => (logins.record.allow_every_node(), "logins of every node".to_owned()),
            };
            let allowed = allowed_login(hsm, &record);
            let told = AuditEvent::new(Event::HsmLoginAllowed, Outcome::Done, self.settings.tenant.as_str(), context)
                .detail(format!("HSM token {hsm}: {whose}"));
            let change = LoginChange { logins: StoredLogins { record, ..logins }, lasts: None };
            if self.logins.change_logins(change, self.clock.now(), vec![told]).await? {
                return Ok(allowed);
            }
        }
        let busy =
            StoreFailure::Unavailable("other nodes log in to the HSM token again and again; try again".to_owned());
        Err(busy.during("allow a login").into())
    }

    /// The token that has the name: a member of the deployment, or one that a node has logged in to by that name.
    async fn token_of(&self, hsm: &HsmName) -> Result<TokenIdentity, MembershipError> {
        let bound = self.membership.hsm_tokens().await?.into_iter().find(|(name, _)| name == hsm);
        if let Some((_, token)) = bound {
            return Ok(TokenIdentity::from(&token));
        }
        let known = self.logins.logins(self.clock.now()).await?.into_iter().find(|logins| logins.hsm == *hsm);
        known.map(|logins| logins.token).ok_or_else(|| MembershipError::NotAMember(hsm.clone()))
    }
}

fn allowed_login(hsm: &HsmName, record: &LoginRecord) -> AllowedLogin {
    AllowedLogin {
        name: hsm.clone(),
        allowed: record.allowed.iter().cloned().collect(),
        stopped: record.stopped.difference(&record.allowed).cloned().collect(),
        others_wait: record.waits_for_an_operator(),
    }
}
